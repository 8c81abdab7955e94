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

MODES: Final = (FORCED_OPEN, OBSERVE, FORCED_CLOSED)
"""What a hold can ask for, the most restrictive first."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One hold, as the machine knows it.

    Attributes:
        id: Unique name.
        mode: One of `MODES`.
        reason: Why, for people.
        actor: Who, for people.
        until: Time at which it ends by itself, infinite for never.

    """

    id: str
    mode: str
    reason: str
    actor: str
    until: float = math.inf


def in_force(entries: Iterable[Entry]) -> str:
    """Return the most restrictive mode, or `AUTO` without any hold."""
    modes = {entry.mode for entry in entries}
    return next((mode for mode in MODES if mode in modes), AUTO)


class HoldEnded(NamedTuple):
    """A hold is over: its time came, or somebody released it."""

    entry: Entry
    expired: bool
