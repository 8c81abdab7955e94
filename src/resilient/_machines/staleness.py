"""How long a stored answer is fresh, may be refreshed behind its reader's back, and may be used at all."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum, auto
from math import log
from typing import Any

from resilient._machines.sieve import Node

_EARLIEST = 20.0
"""Multiples of `took * early` before the end at which a draw begins: e**-20 would trigger sooner."""

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_MOST_DOUBLINGS = 6


class State(Enum):
    """What may be done with a stored answer."""

    FRESH = auto()
    REVALIDATE = auto()
    """Served at once, while a fresh one is asked for."""
    STALE = auto()
    """Served only if asking fails."""
    GONE = auto()


class Stored(Node):
    """A stored answer.

    Attributes:
        value: What was answered.
        born: Time at which the downstream gave it.
        until: Time until which it is served without another look at it.
        fresh: End of its fresh time.
        grace: End of the time in which it is served while it is refreshed.
        took: Seconds that asking took.
        failures: Refreshes that failed in a row.
        rest: Time before which it is not refreshed again.
        cause: Why the last refresh failed.

    """

    __slots__ = ("born", "cause", "failures", "fresh", "grace", "rest", "took", "until", "value")

    def __init__(self, key: Hashable, value: Any, end: float, size: int) -> None:  # noqa: ANN401 -- any answer
        super().__init__(key, end, size)
        self.value = value
        self.born = self.until = self.fresh = self.grace = self.rest = self.took = 0.0
        self.failures = 0
        self.cause: str | None = None

    def state(self, now: float) -> State:
        """Return what may be done with it."""
        if now >= self.end:
            return State.GONE
        if now < self.fresh:
            return State.FRESH
        return State.REVALIDATE if now < self.grace else State.STALE

    def failed(self, now: float, cause: str, hint: float | None) -> None:
        """Take a rest after a refresh that failed: longer with each one in a row, and as the server asked."""
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(self.failures, _MOST_DOUBLINGS))
        self.rest = now + max(pause, min(hint or 0.0, _LONGEST_PAUSE))
        self.failures += 1
        self.cause = cause

    def move(self, seconds: float) -> None:
        """Carry all times over to a clock that is so much ahead."""
        for name in ("born", "end", "fresh", "grace", "rest", "until"):
            setattr(self, name, getattr(self, name) + seconds)


@dataclass(frozen=True, slots=True)
class Ages:
    """The times of stored answers, in seconds.

    Attributes:
        fresh: How long an answer is served without asking.
        stale: How much longer it may be used.
        grace: How long of that it is served while it is refreshed.
        jitter: Share by which the fresh time is shortened at most, at random.
        early: How eagerly an answer is refreshed before its fresh time ends; None for not at all.

    """

    fresh: float
    stale: float
    grace: float
    jitter: float
    early: float | None

    def stored(  # noqa: PLR0913 -- what an answer is, and when it came
        self,
        key: Hashable,
        value: Any,  # noqa: ANN401 -- any answer
        now: float,
        *,
        age: float,
        took: float,
        draw: float,
        since: float = 0.0,
    ) -> Stored | None:
        """Return the stored form of an answer, or None if it is too old to be used at all.

        Its time is `fresh` since it was first stored, for whoever gave it called it fresh then, and
        all in all what remains since the downstream gave it: ages of caches behind each other do
        not add up.

        Args:
            key: What it is found by.
            value: The answer.
            now: The time.
            age: Seconds since the downstream gave it.
            took: Seconds that asking took.
            draw: A random number in [0, 1).
            since: Seconds since it was first stored, for one that comes out of a store.

        """
        end = now - age + self.fresh + self.stale
        if end <= now:
            return None
        stored = Stored(key, value, end, 1)
        stored.born, stored.took = now - age, took
        stored.fresh = stored.until = min(end, now - since + self.fresh * (1.0 - self.jitter * draw))
        stored.grace = stored.fresh if not self.grace else min(end, now - since + self.fresh + self.grace)
        if self.early is not None:
            stored.until = stored.fresh - _EARLIEST * took * self.early
        return stored

    def due(self, stored: Stored, now: float, draw: float) -> bool:
        """Tell whether a fresh answer is to be refreshed early, by XFetch (Vattani et al., VLDB 2015).

        The more expensive the answer and the nearer its end, the likelier; so of many readers one
        is early, and nobody finds it past its time.
        """
        return self.early is not None and now - stored.took * self.early * log(1.0 - draw) >= stored.fresh
