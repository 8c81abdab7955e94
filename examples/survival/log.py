"""What the callers of one reader saw: per phase, and per half second for the picture."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from examples.common.traffic import Arrival
from examples.outage.phases import Timeline

__all__ = ["STEP", "Reading", "ReadingLog", "shares"]

STEP = 0.5
"""Seconds between two points of the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One answer, as the caller sees it.

    Attributes:
        stale: Whether it is a stored answer past its time.
        age: Seconds since the shop gave it, as the answer says; None if it does not say.
        since: When the shop set this rate, in seconds since 1970.

    """

    stale: bool
    age: float | None
    since: float


@dataclass(slots=True)
class _Phase:
    """Counts of one phase."""

    fresh: int = 0
    stale: int = 0
    oldest: float = 0.0
    unmarked: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        return {
            "fresh": self.fresh,
            "stale": self.stale,
            "oldest": round(self.oldest, 1),
            "unmarked": self.unmarked,
            "errors": dict(self.errors),
        }


class ReadingLog:
    """Counts what came of the calls; used by threads and tasks at once.

    Args:
        timeline: To which phase a call belongs.

    """

    def __init__(self, timeline: Timeline) -> None:
        """Start from nothing."""
        self._timeline = timeline
        self._lock = threading.Lock()
        self._phases: dict[str, _Phase] = {}
        self._steps: dict[int, list[float]] = {}
        self._hidden = 0.0
        self._slowest = 0.0

    def begin(self) -> None:
        """Count nothing yet."""

    def end(self, arrival: Arrival, result: Reading | Exception, waited: float) -> None:
        """Count an answer or an error in the phase in which the call was made."""
        name = self._timeline.at(arrival.at).phase.name
        with self._lock:
            phase = self._phases.setdefault(name, _Phase())
            step = self._steps.setdefault(int(arrival.at / STEP), [0, 0, 0, 0.0])
            step[0] += 1
            self._slowest = max(self._slowest, waited)
            if isinstance(result, Exception):
                phase.errors[type(result).__name__] += 1
                return
            step[1] += 1
            age = result.age or 0.0
            phase.oldest, step[3] = max(phase.oldest, age), max(step[3], age)
            self._hidden = max(self._hidden, time.time() - result.since - age)
            if result.stale:
                phase.stale += 1
                step[2] += 1
                phase.unmarked += result.age is None
            else:
                phase.fresh += 1

    def report(self) -> dict[str, Any]:
        """Return the counts by phase; `hidden` is the most by which an answer was older than it said."""
        with self._lock:
            phases = {name: phase.as_dict() for name, phase in self._phases.items()}
            return {"phases": phases, "hidden": round(self._hidden, 1), "slowest": round(self._slowest, 3)}

    def series(self) -> list[list[float]]:
        """Return for each half second: its begin, calls, answered, of these stale, and the greatest age shown."""
        with self._lock:
            return [[step * STEP, *values] for step, values in sorted(self._steps.items())]


def shares(series: Sequence[Sequence[float]]) -> tuple[list[float], list[float], list[float]]:
    """Return times, and what per cent of the calls was answered afresh, and stale, in each half second.

    A half second without calls is left out.
    """
    seen = [row for row in series if row[1]]
    fresh = [100 * (answered - stale) / calls for _, calls, answered, stale, _ in seen]
    return [row[0] for row in seen], fresh, [100 * row[3] / row[1] for row in seen]
