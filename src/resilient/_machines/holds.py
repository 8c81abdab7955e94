"""Which of several operators' holds on one breaker is in force."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

AUTO: Final = "auto"
FORCED_OPEN: Final = "forced_open"
FORCED_CLOSED: Final = "forced_closed"
OBSERVE: Final = "observe"

NO_RETRIES: Final = "no_retries"

MODES: Final = (FORCED_OPEN, OBSERVE, FORCED_CLOSED)
"""What a hold can ask of a breaker, the most restrictive first."""

ALL_MODES: Final = (*MODES, NO_RETRIES)
"""What a hold can ask of a downstream."""

HERE: Final = "here"
CONTROL: Final = "control"
GATE: Final = "gate"

DISPOSITIONS: Final = ("fallback", "reject")
"""Whether a Fallback of the pipeline may answer for what a hold refuses, or the refusal reaches the caller."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One hold, as the machine knows it.

    Attributes:
        id: Unique name.
        mode: One of `ALL_MODES`.
        reason: Why, for people.
        actor: Who, for people.
        until: Time at which it ends by itself, infinite for never.
        percent: The share of calls that `FORCED_OPEN` refuses; a breaker is held by the whole only.
        disposition: One of `DISPOSITIONS`.
        origin: `HERE`, `CONTROL` if it holds in other processes, too, or `GATE` on a breaker that a gate holds.

    """

    id: str
    mode: str
    reason: str
    actor: str
    until: float = math.inf
    percent: int = 100
    disposition: str = "fallback"
    origin: str = HERE


def in_force(entries: Iterable[Entry]) -> str:
    """Return the most restrictive mode, or `AUTO` without any hold."""
    modes = {entry.mode for entry in entries}
    return next((mode for mode in MODES if mode in modes), AUTO)


class HoldEnded(NamedTuple):
    """A hold is over: its time came, or somebody released it."""

    entry: Entry
    expired: bool
