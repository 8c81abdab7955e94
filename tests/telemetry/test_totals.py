"""Totals of many processes add up without an error, whatever the order, and survive JSON."""

from __future__ import annotations

import json
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient.errors import ConfigError
from resilient.telemetry.catalogue import METRICS
from resilient.telemetry.totals import Totals

SECONDS = st.floats(min_value=0, max_value=1e5)
CALLS = "resilient_call_duration_seconds"
TIME = "resilient_breaker_state_time_seconds_total"
REJECTED = "resilient_call_rejections_total"


def some(values: list[float]) -> Totals:
    totals = Totals()
    for number, value in enumerate(values):
        totals.observe(CALLS, ("orders", "success", ""), value)
        totals.add(TIME, ("orders", "circuit_breaker", "open" if number % 2 else "closed"), value)
        totals.add(REJECTED, ("orders", "circuit_breaker", "breaker_open"))
    return totals


@given(st.lists(st.lists(SECONDS, max_size=8), min_size=1, max_size=5), st.randoms())
def test_the_order_of_merging_makes_no_difference(parts: list[list[float]], order: random.Random) -> None:
    one, other = Totals(), Totals()
    for part in parts:
        one.merge(some(part))
    order.shuffle(parts)
    for part in parts:
        other.merge(some(part))
    assert one == other


@given(st.lists(SECONDS, max_size=20))
def test_totals_come_back_from_json_as_they_were(values: list[float]) -> None:
    totals = some(values)
    assert Totals.decode(json.loads(json.dumps(totals.encode()))) == totals


def test_a_histogram_has_its_sum_its_count_and_its_buckets() -> None:
    totals = Totals()
    for value in (0.005, 0.0051, 2, 100):
        totals.observe(CALLS, ("orders", "success", ""), value)
    value = totals.value(CALLS, ("orders", "success", ""))
    assert isinstance(value, list)
    assert value[0] == pytest.approx(102.0101, abs=1e-5)
    assert value[1] == 4
    assert value[2:] == [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"unknown": [[[], 1]]},
        {REJECTED: 1},
        {REJECTED: [1]},
        {REJECTED: [[["a"], 1]]},
        {REJECTED: [[["a", "b", "c"], "1"]]},
        {REJECTED: [[["a", "b", "c"], -1]]},
        {REJECTED: [[["a", "b", "c"], float("nan")]]},
        {CALLS: [[["a", "b", "c"], [1, 1]]]},
        {CALLS: [[["a", "b", "c"], 1]]},
        {CALLS: [[["a", "b", "c"], [float("inf"), *[0] * 18]]]},
    ],
)
def test_what_another_version_wrote_is_left_out(data: object) -> None:
    assert Totals.decode(data) == Totals()


def test_names_beyond_a_cap_are_counted_together() -> None:
    totals = Totals()
    for name in ("a", "b", "c"):
        totals.add(REJECTED, (name, "bulkhead", "bulkhead_full"), 2)
        totals.observe(CALLS, (name, "success", ""), 1.0)
    totals.add("resilient_faults_total", (), 3)
    capped = totals.capped({"a"})
    assert capped.downstreams() == {"a", "_other"}
    assert capped.value(REJECTED, ("_other", "bulkhead", "bulkhead_full")) == 4
    assert capped.value("resilient_faults_total", ()) == 3
    assert totals.downstreams() == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("metric", "labels", "value", "named"),
    [
        ("no_such_metric", (), 1, "metric"),
        (CALLS, ("a", "b", "c"), 1, "metric"),
        (REJECTED, ("a",), 1, "labels"),
        (REJECTED, ("a", "b", "c"), -1, "value"),
        (REJECTED, ("a", "b", "c"), float("nan"), "value"),
    ],
)
def test_what_cannot_be_counted_is_refused(metric: str, labels: tuple[str, ...], value: float, named: str) -> None:
    with pytest.raises(ConfigError, match=f"^{named} must be"):
        Totals().add(metric, labels, value)


def test_every_metric_keeps_the_conventions() -> None:
    for name, metric in METRICS.items():
        assert re.fullmatch(r"resilient_[a-z_]+", name)
        assert (metric.kind == "counter") == name.endswith("_total")
        assert (metric.kind == "histogram") == bool(metric.buckets)
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert metric.help.endswith(".")
        assert all(re.fullmatch("[a-z_]+", label) for label in metric.labels)
