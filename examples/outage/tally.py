"""What the callers of one side saw, counted per phase."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

__all__ = ["FALLBACK", "FRESH", "Tally", "percentile"]

FRESH = "fresh"
"""The service answered this very call."""

FALLBACK = "fallback"
"""The caller got the last known answer, marked as such."""


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of all values does not exceed.

    Args:
        values: In any order.
        share: Such as 0.99; 0.0 gives the smallest value.

    """
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class Tally:
    """Counts results and keeps every latency; used by threads and tasks at once."""

    def __init__(self) -> None:
        """Start from nothing."""
        self._lock = threading.Lock()
        self._results: dict[str, Counter[str]] = {}
        self._latencies: list[float] = []
        self._fresh: list[float] = []
        self._recent: list[float] = []
        self._in_flight = 0

    def begin(self) -> None:
        """Count a call that a user makes."""
        with self._lock:
            self._in_flight += 1

    def end(self, phase: str, result: str, seconds: float) -> None:
        """Count how a call ended.

        Args:
            phase: The phase in which the user made it.
            result: `FRESH`, `FALLBACK` or the name of an error.
            seconds: How long the user waited.

        """
        with self._lock:
            self._in_flight -= 1
            self._results.setdefault(phase, Counter())[result] += 1
            self._latencies.append(seconds)
            self._recent.append(seconds)
            if result == FRESH:
                self._fresh.append(seconds)

    def report(self) -> dict[str, Any]:
        """Return the counts so far, with the latencies since the last report."""
        with self._lock:
            recent, self._recent = self._recent, []
            phases = {name: dict(counts) for name, counts in self._results.items()}
            in_flight = self._in_flight
        return {"phases": phases, "in_flight": in_flight, "latency": latency(recent)}

    def total(self) -> dict[str, Any]:
        """Return the final counts, with the latencies of all calls."""
        with self._lock:
            everything, fresh = list(self._latencies), list(self._fresh)
        latencies = {"latency": latency(everything), "fresh_latency": latency(fresh)}
        return {**self.report(), **latencies}


def latency(values: Sequence[float]) -> dict[str, float]:
    """Return the percentiles that the report shows, in seconds."""
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {name: round(percentile(values, share), 4) for name, share in shares.items()}
