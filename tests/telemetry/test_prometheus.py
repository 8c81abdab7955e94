"""What Prometheus reads is what was counted, in a form that its own tools accept."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from resilient import Bulkhead, CircuitBreaker, Pipeline, RateLimit, Retry, control, faults
from resilient.control.directory import Directory
from resilient.prometheus import Collector, exposition
from resilient.telemetry.catalogue import METRICS
from resilient.telemetry.gauges import gauges
from resilient.telemetry.statistics import Statistics
from resilient.testing import isolated
from tests.ops._promql import promtool
from tests.telemetry import _workers

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(autouse=True)
def _names_of_their_own() -> Iterator[None]:
    with isolated():
        yield


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    registry = CollectorRegistry()
    collector = Collector(registry=registry)
    yield registry
    collector.close()


def samples(text: str, downstream: str | None = None) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if downstream in (None, sample.labels.get("downstream"))
    }


def scrape(registry: CollectorRegistry, downstream: str) -> Samples:
    found = samples(generate_latest(registry).decode(), downstream)
    return {(name, tuple(pair for pair in labels if pair[0] != "downstream")): v for (name, labels), v in found.items()}


def down() -> None:
    raise OSError("down")


def test_calls_are_shown_with_their_outcomes_and_buckets(registry: CollectorRegistry) -> None:
    pipeline = Pipeline("shown", CircuitBreaker(consecutive=1))
    pipeline.call(len, "x")
    for _ in range(3):
        with pytest.raises(Exception, match=r"down|open"):
            pipeline.call(down)
    found = scrape(registry, "shown")
    good = (("error_type", ""), ("outcome", "success"))
    assert found["resilient_call_duration_seconds_count", good] == 1
    assert found["resilient_call_duration_seconds_bucket", (*good[:1], ("le", "0.005"), *good[1:])] == 1
    assert found["resilient_call_duration_seconds_bucket", (*good[:1], ("le", "+Inf"), *good[1:])] == 1
    refused = (("policy", "circuit_breaker"), ("reason", "breaker_open"))
    assert found["resilient_call_rejections_total", refused] == 2
    opened = (("breaker", "circuit_breaker"), ("cause", "consecutive"), ("from", "closed"), ("to", "open"))
    assert found["resilient_breaker_transitions_total", opened] == 1
    breaker = ("breaker", "circuit_breaker")
    assert found["resilient_breaker_status", (breaker, ("state", "open"))] == 1
    assert found["resilient_breaker_status", (breaker, ("state", "closed"))] == 0


def test_gauges_show_this_moment(registry: CollectorRegistry) -> None:
    pipeline = Pipeline("gauges", Retry(), RateLimit(100), Bulkhead(7))
    hold = pipeline.hold("forced_open", reason="maintenance", expires=3600)
    found = scrape(registry, "gauges")
    assert found["resilient_bulkhead_limit", (("bulkhead", "bulkhead"),)] == 7
    assert found["resilient_bulkhead_active", (("bulkhead", "bulkhead"),)] == 0
    assert found["resilient_rate_limiter_rate", (("limiter", "rate_limit"),)] == 100
    assert found["resilient_retry_budget_ratio", ()] > 0
    assert found["resilient_hold_active", (("mode", "forced_open"),)] == 1
    assert found["resilient_hold_expiry_timestamp_seconds", ()] > 1e9
    hold.release()
    assert ("resilient_hold_active", (("mode", "forced_open"),)) not in scrape(registry, "gauges")


def test_what_is_shown_is_in_the_catalogue_and_nothing_else(registry: CollectorRegistry) -> None:
    Pipeline("named", CircuitBreaker()).call(len, "x")
    text = generate_latest(registry).decode()
    for family in text_string_to_metric_families(text):
        known = METRICS.get(family.name) or METRICS[f"{family.name}_total"]
        assert family.type == known.kind
        assert family.documentation == known.help
        labels = {tuple(sample.labels) for sample in family.samples}
        assert all(set(each) - {"le"} == set(known.labels) for each in labels)
    assert "_created" not in text


def test_registering_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Collector, "collect", lambda self: pytest.fail("was asked"))
    Collector(registry=CollectorRegistry()).close()


def test_a_directory_that_cannot_be_read_is_reported_and_fails_no_scrape(tmp_path, caplog) -> None:
    registry = CollectorRegistry()
    Collector(tmp_path / "missing", registry)
    assert generate_latest(registry) == b""
    assert faults.total() == 1
    assert "Collector.collect" in caplog.text


def test_a_closed_collector_leaves_nothing_behind(registry: CollectorRegistry) -> None:
    other = CollectorRegistry()
    collector = Collector(registry=other)
    collector.close()
    collector.close()
    assert generate_latest(other) == b""


def test_promtool_finds_nothing_to_complain_about(registry: CollectorRegistry) -> None:
    pipeline = Pipeline("linted", Retry(), CircuitBreaker(), RateLimit(5), Bulkhead(3))
    pipeline.hold("observe", reason="maintenance", expires=3600)
    pipeline.call(len, "x")
    text = generate_latest(registry)
    promtool("--version")  # where it is missing, this says so, and in CI it fails
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, "")


def test_a_host_is_the_sum_of_its_pages(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    monkeypatch.setattr("resilient.prometheus.write_own_page", lambda: written.append(True))
    directory = Directory(tmp_path / "control", create=True, app="shop")
    with _workers.pages(directory.path, 3) as pages:
        for number, page in enumerate(pages, 1):
            statistics = Statistics()
            statistics.add("resilient_call_rejections_total", ("orders", "bulkhead", "bulkhead_full"), number)
            statistics.add("resilient_retry_delay_seconds", ("orders",), 0.25)
            page(statistics)
        content, kind = exposition(directory)
    assert kind.startswith("text/plain")
    assert written == [True]
    found = samples(content.decode(), "orders")
    labels = (("downstream", "orders"), ("policy", "bulkhead"), ("reason", "bulkhead_full"))
    assert found["resilient_call_rejections_total", labels] == 6
    assert found["resilient_retry_delay_seconds_sum", (("downstream", "orders"),)] == 0.75
    everyone = samples(content.decode())
    assert everyone["resilient_control_process_count", (("state", "live"),)] == 3
    assert everyone["resilient_control_revision", (("kind", "desired"),)] == directory.revision()
    directory.close()


def test_gauges_of_several_processes_are_brought_together() -> None:
    def page(state: str, rate: float, budget: float) -> dict[str, object]:
        breaker = {"state": state, "failure_rate": rate, "slow_rate": 0.0, "threshold": 0.5, "calls": 10}
        return {
            "version": "1",
            "python": "3.13",
            "downstreams": {
                "orders": {
                    "budget": budget,
                    "live": {"in_flight": 2},
                    "breakers": {"circuit_breaker": breaker},
                    "bulkheads": {"bulkhead": {"active": 1, "limit": 5, "queued": 0}},
                    "rate_limits": {},
                }
            },
        }

    found = gauges([page("open", 0.9, 0.5), page("closed", 0.1, 0.25), {"downstreams": None}])
    at = ("orders", "circuit_breaker")
    assert found["resilient_breaker_status"][*at, "open"] == 1
    assert found["resilient_breaker_status"][*at, "closed"] == 1
    assert found["resilient_breaker_failure_ratio"][at] == 0.9
    assert found["resilient_breaker_window_calls"][at] == 20
    assert found["resilient_retry_budget_ratio"]["orders",] == 0.25
    assert found["resilient_bulkhead_limit"]["orders", "bulkhead"] == 10
    assert found["resilient_call_active"]["orders",] == 4
    assert found["resilient_build_info"]["1", "3.13"] == 2


def test_gauges_of_more_names_than_are_told_apart_are_brought_together() -> None:
    pages = [{"downstreams": {f"tenant-{number}": {"live": {"in_flight": 1}} for number in range(300)}}]
    found = gauges(pages, {"tenant-7"})["resilient_call_active"]
    assert found == {("tenant-7",): 1, ("_other",): 299}


def test_where_control_is_on_the_collector_answers_for_the_host_from_the_first_call_on(tmp_path):
    pipeline = Pipeline("collector-host")
    control.configure("shop", directory=tmp_path / "control")
    registry = CollectorRegistry()
    collector = Collector(registry=registry)
    try:
        assert registry.get_sample_value("resilient_control_process_count", {"state": "live"}) is None
        pipeline.call(len, "x")
        assert registry.get_sample_value("resilient_control_process_count", {"state": "live"}) == 1
        named = Collector(str(tmp_path / "control"), registry=None)
        assert {family.name for family in named.collect()} >= {"resilient_control_process_count"}
    finally:
        collector.close()
        control.stop()
    assert registry.get_sample_value("resilient_control_process_count", {"state": "live"}) is None
