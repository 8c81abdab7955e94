"""Durations fall into the buckets that a naive count puts them into, and percentiles into theirs."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from resilient.telemetry.latency import EXPORTED, FINE, coarse, percentiles, spread

DURATIONS = st.lists(st.one_of(st.floats(0, 200), st.sampled_from(FINE)), min_size=1, max_size=60)


@given(DURATIONS)
def test_every_duration_is_in_its_bucket(durations: list[float]) -> None:
    fine = spread(sorted(durations))
    assert fine == Counter(bisect_left(FINE, each) for each in durations)
    expected = Counter(bisect_left(EXPORTED, each) for each in durations)
    assert coarse(fine) == [expected[bucket] for bucket in range(len(EXPORTED) + 1)]


@given(DURATIONS, st.sampled_from([0.5, 0.9, 0.99]))
def test_a_percentile_lies_in_the_bucket_of_the_true_one(durations: list[float], share: float) -> None:
    durations.sort()
    (estimate,) = percentiles([spread(durations)], share)
    true = next(each for rank, each in enumerate(durations, 1) if rank >= share * len(durations))
    bucket = bisect_left(FINE, true)
    low, high = (FINE[bucket - 1] if bucket else 0.0), FINE[min(bucket, len(FINE) - 1)]
    assert estimate is not None
    assert min(low, high) <= estimate <= high


def test_nothing_measured_has_no_percentile() -> None:
    assert percentiles([], 0.5, 0.99) == [None, None]


def test_the_fine_buckets_are_few_and_hold_all_exported_ones() -> None:
    assert set(EXPORTED) < set(FINE)
    assert list(FINE) == sorted(set(FINE))
    assert len(FINE) < 50
