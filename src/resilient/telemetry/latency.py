"""Durations in buckets: finer than those exported, and what can be told of percentiles from them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping

from resilient.telemetry.catalogue import METRICS

__all__ = ["FINE", "coarse", "percentiles", "spread"]

EXPORTED = METRICS["resilient_call_duration_seconds"].buckets

# fmt: off
FINE = tuple(sorted({*EXPORTED,
    0.0001, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.0065, 0.0085,
    0.015, 0.02, 0.035, 0.0625, 0.125, 0.15, 0.2, 0.3, 0.4, 0.6, 1.25, 1.5, 2.0, 3.5, 15.0, 20.0, 45.0, 120.0,
}))
# fmt: on
"""Upper bounds of the fine buckets, all exported ones among them."""

_COARSE = tuple(bisect_left(EXPORTED, bound) for bound in (*FINE, float("inf")))
"""By fine bucket, the exported one that it is a part of."""


def spread(durations: list[float]) -> Counter[int]:
    """Return how many durations fall into each fine bucket; they have to be sorted.

    To sort many and find the bounds among them costs less than to find each one among the bounds.
    """
    fine: Counter[int] = Counter()
    below = 0
    for bucket in range(bisect_left(FINE, durations[0]), bisect_left(FINE, durations[-1])):
        upto = bisect_right(durations, FINE[bucket])
        if upto > below:
            fine[bucket], below = upto - below, upto
    fine[bisect_left(FINE, durations[-1])] = len(durations) - below
    return fine


def coarse(fine: Mapping[int, int]) -> list[float]:
    """Return how many fell into each exported bucket, the infinite one last."""
    counts = [0.0] * (len(EXPORTED) + 1)
    for bucket, count in fine.items():
        counts[_COARSE[bucket]] += count
    return counts


def percentiles(parts: Iterable[Mapping[int, int]], *shares: float) -> list[float | None]:
    """Return an estimate for each share, in seconds: exact to its fine bucket, and evenly spread in there.

    Args:
        parts: How many durations fell into each fine bucket, added up.
        shares: Such as 0.5 for the median.

    """
    counts: Counter[int] = Counter()
    for part in parts:
        counts.update(part)
    total = counts.total()
    return [_percentile(sorted(counts.items()), share * total) if total else None for share in shares]


def _percentile(counts: list[tuple[int, int]], rank: float) -> float:
    below = 0
    for bucket, count in counts:
        if below + count >= rank:
            if bucket == len(FINE):  # no upper bound
                return FINE[-1]
            low = FINE[bucket - 1] if bucket else 0.0
            return low + (FINE[bucket] - low) * max(0.0, rank - below) / count
        below += count
    return FINE[-1]  # pragma: no cover -- the rank is never above the total
