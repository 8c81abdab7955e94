"""The same callers for both sides: a seeded schedule of who asks, and when."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

__all__ = ["Arrival", "Kind", "arrivals"]

Kind = Literal["threads", "asyncio"]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One call that a user makes.

    Attributes:
        at: Seconds after the start.
        kind: Whether a thread or an asyncio task makes it.

    """

    at: float
    kind: Kind


def arrivals(*, seed: int, seconds: float, rate: float) -> list[Arrival]:
    """Draw independent arrivals (a Poisson process); half of them are calls by threads.

    Users do not wait for each other: the next one comes whether or not the last was served.

    Args:
        seed: The same seed gives the same schedule.
        seconds: Length of the schedule.
        rate: Arrivals per second, on average.

    """
    generator = random.Random(seed)  # noqa: S311 -- a load test, not cryptography
    schedule = []
    at = generator.expovariate(rate)
    while at < seconds:
        schedule.append(Arrival(at, generator.choice(("threads", "asyncio"))))
        at += generator.expovariate(rate)
    return schedule
