"""Statistics where threads are interrupted at the wrong moment, and where a page holds nonsense."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, NoOpTracer
from prometheus_client import CollectorRegistry, generate_latest

from resilient import CircuitBreaker, Pipeline, faults
from resilient.control.host import Identity
from resilient.control.snapshot import Showing
from resilient.events import Event
from resilient.otel.spans import Open, Spans
from resilient.prometheus import Collector, _holds
from resilient.telemetry.names import Names
from resilient.telemetry.recent import Recent
from resilient.telemetry.state_times import StateTimes, found
from resilient.telemetry.statistics import Statistics
from resilient.telemetry.totals import Totals
from resilient.telemetry.traffic import Traffic


@pytest.mark.parametrize("late", [lambda recent: recent.view(23.999), lambda recent: recent.reject(23.999, 0)])
def test_who_looked_at_the_clock_before_another_thread_does_not_spoil_the_rates(late):
    recent, other = Recent(0.0), Recent(0.0)
    for each in (recent, other):
        each.add(20.0, 100, 10, {})
        each.view(24.001)
    late(recent)
    assert recent.view(24.002) == other.view(24.002)
    assert recent.view(31.0) == other.view(31.0)


def test_a_refusal_that_comes_late_is_counted_in_its_slot():
    recent, other = Recent(0.0), Recent(0.0)
    recent.view(24.001)
    recent.reject(23.999, 3)
    recent.reject(24.002, 2)
    other.reject(23.999, 3)
    other.reject(24.002, 2)
    for now in range(25, 40):
        assert recent.view(float(now)) == other.view(float(now))


def test_a_refusal_from_before_the_history_is_counted_in_its_oldest_slot():
    recent = Recent(1_000.0)
    recent.reject(990.0, 5)
    assert recent.view(1_001.0)["rejected_rate"] == 5.0


def test_a_clock_that_is_another_begins_anew():
    recent = Recent(1_000.0)
    recent.add(1_000.0, 100, 0, {})
    recent.view(10.0)
    recent.add(20.0, 10, 0, {})
    assert recent.view(20.0)["rate"] <= 11.0


def test_the_time_in_all_states_is_the_time_that_passed_when_a_transition_is_heard_late():
    pipeline = Pipeline("late-news", CircuitBreaker())
    states = StateTimes()
    (followed,) = found(pipeline[0].env, "late-news")
    states.follow([followed])
    begun = followed.since
    assert dict(_times(states, begun + 10)) == {"closed": 10.0}
    states.moved(
        Event("resilient.breaker.transition", "late-news", {"breaker": followed.label, "to": "open"}), begun + 9
    )
    assert dict(_times(states, begun + 12)) == {"open": 2.0}


def _times(states: StateTimes, now: float) -> list[tuple[str, float]]:
    return [(state, round(seconds, 6)) for _, _, state, seconds in states.times(now)]


@pytest.mark.parametrize(
    "value", [1e308, 10**400, -(10**400), float("inf"), float("nan"), 1e30], ids=lambda value: f"{str(value)[:5]}"
)
def test_no_number_on_a_page_spoils_the_sums_of_a_host(value):
    page = {
        "resilient_faults_total": [[[], value]],
        "resilient_retry_delay_seconds": [[["orders"], [value, *[1] * 18]]],
    }
    sound = Totals()
    sound.add("resilient_faults_total", (), 2)
    total = Totals.decode(page)
    total.merge(sound)
    assert total == sound


@pytest.mark.parametrize("name", ["\ud800", 'x"} 1\nfake_metric 5\n\x1b[31m', "x" * 100_000, ""])
def test_whatever_an_error_is_called_the_scrape_is_sound(name):
    class OddError(Exception):
        pass

    def fail() -> None:
        raise OddError

    OddError.__qualname__ = name
    registry = CollectorRegistry()
    collector = Collector(registry=registry)
    with pytest.raises(OddError):
        Pipeline("odd-errors").call(fail)
    try:
        text = generate_latest(registry).decode()
    finally:
        collector.close()
    assert "fake_metric 5" not in text.splitlines()
    assert max(map(len, text.splitlines())) < 1_000
    assert text.isascii()


def test_a_page_adds_everything_up_once_and_not_for_each_downstream(monkeypatch):
    looked = []
    times = StateTimes.times
    monkeypatch.setattr(StateTimes, "times", lambda self, now: looked.append(now) or times(self, now))
    folded = []
    fold = Traffic.fold
    monkeypatch.setattr(Traffic, "fold", lambda self, *args: folded.append(self) or fold(self, *args))
    statistics = Statistics()
    statistics.start()
    try:
        pipelines = [Pipeline(f"many-{number}", CircuitBreaker()) for number in range(50)]
        for each in pipelines[:25]:
            each.call(len, "x")
        shown = Showing(Identity.own("shop"), statistics).snapshot(0, {})
    finally:
        statistics.stop()
    assert sum(row["live"]["history"][-1] + row["live"]["history"][-2] for row in shown["downstreams"].values()) == 25
    assert len(folded) < 5 * 50
    assert len(looked) < 5, "2 (stopping, and the totals), not one for each of the 50"


# -- planted faults that nothing else caught -------------------------------------------------


def test_what_belongs_to_no_downstream_is_not_one_beyond_the_cap():
    totals = Totals()
    totals.add("resilient_events_total", ("", "resilient.control.lost"), 2)
    totals.add("resilient_events_total", ("stock", "resilient.control.lost"), 3)
    capped = totals.capped({"orders"})
    assert capped.value("resilient_events_total", ("", "resilient.control.lost")) == 2
    assert capped.value("resilient_events_total", ("_other", "resilient.control.lost")) == 3


def test_two_who_look_at_once_count_a_call_that_was_only_observed_once():
    pipeline = Pipeline("looked-at-twice", CircuitBreaker())
    (followed,) = found(pipeline[0].env, "looked-at-twice")
    assert [followed.more(12), followed.more(10), followed.more(13)] == [12, 0, 1]


def test_refusals_do_not_tell_how_fast_a_downstream_is():
    traffic = Traffic("orders", 0.0, lambda _: None)
    traffic.ended.extend([0.4] * 10)
    traffic.odd.extend([("rejected", "forced_open", 0.00001, 0)] * 1_000)
    traffic.odd.extend([("failure", "OSError", 0.4, 1)] * 10)
    traffic.fold(Totals(), 1.0, Names(5, "errors"))
    assert traffic.view(1.0)["p50"] > 0.2


def test_the_last_end_of_several_holds_is_told_in_whatever_order_they_stand():
    for ends in ([10.0, 20.0], [20.0, 10.0]):
        shown = {}
        _holds(shown, [("orders", "forced_open", end) for end in (*ends, None)], {"orders"})
        assert shown["resilient_hold_expiry_timestamp_seconds"] == {("orders",): 20.0}
        assert shown["resilient_hold_active"] == {("orders", "forced_open"): 3.0}


def test_a_span_that_takes_no_attribute_fails_no_answer():
    class Faulty(NonRecordingSpan):
        def is_recording(self) -> bool:
            return True

        def set_attribute(self, key: str, value: object) -> None:
            raise RuntimeError(key)

    exchange = SimpleNamespace(bad=False, response=SimpleNamespace(status_code=200))
    env = Pipeline("faulty-spans")
    Open(Spans(NoOpTracer()), env, Faulty(INVALID_SPAN.get_span_context())).answered(exchange)
    assert faults.total() == 1
