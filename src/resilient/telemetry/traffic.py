"""What was measured of one downstream: numbers that calls leave behind, and how they are added up."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable
from itertools import repeat
from math import fsum
from typing import TypeVar

from resilient.telemetry.latency import coarse, spread
from resilient.telemetry.names import Names
from resilient.telemetry.outcomes import BAD, PASSED, SUCCESS
from resilient.telemetry.recent import Recent
from resilient.telemetry.totals import Totals

__all__ = ["Traffic"]

Odd = tuple[str, str, float, int]
"""A call that was not answered by one good attempt: outcome, error type, seconds and attempts."""

OddAttempt = tuple[str, str, str, float]
"""An attempt that was no first and good one: kind, outcome, error type and seconds."""

LONG = 4096
"""Numbers left behind that nobody has read, before a call adds them up itself."""

T = TypeVar("T")


class Traffic:
    """The calls of one downstream, or of all those beyond the cap.

    Attributes:
        name: The label's value.
        ended: Seconds of calls that one good attempt has answered.
        odd: The other calls that are over.
        spent: Seconds of first and good attempts.
        odd_spent: The other attempts that are over.
        active: One object for each call in flight.
        recent: The last two minutes.

    """

    __slots__ = ("_tidy", "active", "ended", "name", "odd", "odd_spent", "recent", "spent")

    def __init__(self, name: str, now: float, tidy: Callable[[Traffic], None]) -> None:
        """Begin with nothing.

        Args:
            name: The label's value.
            now: The current time.
            tidy: Adds up what was left behind, unless somebody is at it.

        """
        self.name = name
        self.ended: deque[float] = deque()
        self.odd: deque[Odd] = deque()
        self.spent: deque[float] = deque()
        self.odd_spent: deque[OddAttempt] = deque()
        self.active: set[object] = set()
        self.recent = Recent(now)
        self._tidy = tidy

    def tidy(self) -> None:
        """Add up what was left behind, unless somebody is at it."""
        self._tidy(self)

    def tidy_if_long(self) -> None:
        """Do so if it is much."""
        if len(self.odd) > LONG:
            self._tidy(self)

    def clear(self) -> None:
        """Forget everything, in place: woven functions know these very objects."""
        for left in (self.ended, self.odd, self.spent, self.odd_spent, self.active):
            left.clear()

    def fold(self, totals: Totals, now: float, errors: Names) -> None:
        """Move what was left behind to `totals`, under its owner's lock."""
        if self.ended or self.odd:
            self._fold_calls(_taken(self.ended), _taken(self.odd), totals, now, errors)
        if self.spent:
            _gather(totals, "resilient_attempt_duration_seconds", (self.name, "first", SUCCESS, ""), _taken(self.spent))
        if self.odd_spent:
            self._fold_attempts(_taken(self.odd_spent), totals, errors)

    def _fold_calls(self, plain: list[float], odd: list[Odd], totals: Totals, now: float, errors: Names) -> None:
        groups: dict[tuple[str, str], list[float]] = defaultdict(list)
        if plain:
            groups[SUCCESS, ""] = plain
        for outcome, error, seconds, tries in odd:
            groups[outcome, error and errors.of(error)].append(seconds)
            if tries > 1:
                totals.observe("resilient_call_retries", (self.name, outcome), tries - 1)
        latency: Counter[int] = Counter()
        calls = bad = 0
        for (outcome, error), durations in groups.items():
            fine = _gather(totals, "resilient_call_duration_seconds", (self.name, outcome, error), durations)
            calls += len(durations)
            if outcome in PASSED:
                latency.update(fine)
            if outcome in BAD:
                bad += len(durations)
        self.recent.add(now, calls, bad, latency)

    def _fold_attempts(self, odd: list[OddAttempt], totals: Totals, errors: Names) -> None:
        groups: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        for kind, outcome, error, seconds in odd:
            groups[kind, outcome, error and errors.of(error)].append(seconds)
        for labels, durations in groups.items():
            _gather(totals, "resilient_attempt_duration_seconds", (self.name, *labels), durations)

    def view(self, now: float) -> dict[str, object]:
        """Return what happens now."""
        return {"in_flight": len(self.active), **self.recent.view(now)}


def _gather(totals: Totals, metric: str, labels: tuple[str, ...], durations: list[float]) -> Counter[int]:
    durations.sort()
    if durations[0] < 0:  # a clock that was replaced meanwhile
        durations = [max(0.0, each) for each in durations]
    fine = spread(durations)
    totals.gather(metric, labels, fsum(durations), coarse(fine))
    return fine


def _taken(left: deque[T]) -> list[T]:
    """Take out what is there now; others may only add."""
    return list(map(deque.popleft, repeat(left, len(left))))
