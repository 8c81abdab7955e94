"""The last two minutes of one downstream, in slots of 2 s."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping

from resilient.telemetry.latency import percentiles

__all__ = ["SLOT", "SLOTS", "Recent"]

SLOT = 2.0
"""Seconds."""

SLOTS = 60

_RATE_SLOTS = 5
"""Full slots that a rate is told from, beside the one that has just begun: 10 s."""

_LATENCY_SLOTS = 30


class _Slot:
    __slots__ = ("calls", "errors", "latency", "rejected")

    def __init__(self) -> None:
        self.calls = 0
        self.errors = 0
        self.rejected = 0
        self.latency: Counter[int] = Counter()


class Recent:
    """Calls, errors, refusals and latencies by slot. Its owner keeps the lock."""

    __slots__ = ("_began", "_number", "_slots")

    def __init__(self, now: float) -> None:
        """Begin with nothing."""
        self._began = now
        self._number = int(now // SLOT)
        self._slots: deque[_Slot] = deque([_Slot()], SLOTS)

    def add(self, now: float, calls: int, errors: int, latency: Mapping[int, int]) -> None:
        """Count calls that have ended since the last time.

        Nobody knows when exactly: where that is more than one slot ago they are spread evenly.

        Args:
            now: The current time.
            calls: All that have ended.
            errors: Those of them that failed.
            latency: How many of the calls that were let pass fell into each fine bucket.

        """
        number = self._number
        self._advance(now)
        slots = list(self._slots)[-max(1, self._number - number) :]
        share, rest = divmod(calls, len(slots))
        bad, bad_rest = divmod(errors, len(slots))
        for slot in slots:
            slot.calls += share
            slot.errors += bad
        slots[-1].calls += rest
        slots[-1].errors += bad_rest
        slots[-1].latency.update(latency)

    def reject(self, now: float, number: int) -> None:
        """Count refusals."""
        self._advance(now)
        # It may have come late: from a thread that was interrupted between looking at the clock and here.
        late = min(max(0, self._number - int(now // SLOT)), len(self._slots) - 1)
        self._slots[-1 - late].rejected += number

    def view(self, now: float) -> dict[str, object]:
        """Return rates per second over 10 s, the share of errors, percentiles of a minute, and the history."""
        now = self._advance(now)
        slots = list(self._slots)
        last = slots[-_RATE_SLOTS - 1 :]
        seconds = max(1.0, min(now - self._began, _RATE_SLOTS * SLOT + now - self._number * SLOT))
        calls, errors = sum(slot.calls for slot in last), sum(slot.errors for slot in last)
        p50, p90, p99 = percentiles((slot.latency for slot in slots[-_LATENCY_SLOTS:]), 0.5, 0.9, 0.99)
        missing = [0] * (SLOTS - len(slots))
        return {
            "rate": calls / seconds,
            "error_share": errors / calls if calls else 0.0,
            "rejected_rate": sum(slot.rejected for slot in last) / seconds,
            "p50": p50,
            "p90": p90,
            "p99": p99,
            "history": [*missing, *(slot.calls for slot in slots)],
            "errors": [*missing, *(slot.errors for slot in slots)],
        }

    def _advance(self, now: float) -> float:
        """Come to a time, and return it; one that is over already, by another thread's look, is the present slot's."""
        number = int(now // SLOT)
        if number < self._number - SLOTS:  # another clock
            self._number, self._began = number, now
        elif number < self._number:
            return self._number * SLOT
        for _ in range(min(SLOTS, number - self._number)):
            self._slots.append(_Slot())
        self._number = number
        return now
