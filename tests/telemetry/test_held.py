"""A hold that another process places is seen everywhere at once: in counters, in the log, in the trace, on the page."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from prometheus_client.parser import text_string_to_metric_families

from resilient import BreakerOpen, CircuitBreaker, Pipeline, Retry, control, log_events, otel
from resilient.control.directory import Directory
from resilient.control.operations import Operations
from resilient.control.receipts import Who
from resilient.prometheus import exposition
from resilient.testing import isolated

REASON = "the provider asked us to stop"


@pytest.fixture
def spans():
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


@pytest.fixture
def events():
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    return provider, exporter


@pytest.fixture
def place(tmp_path):
    """A process that takes part in control, with every kind of telemetry on."""
    found = tmp_path / "control"
    with isolated():
        control.configure("shop", directory=found)
        yield found
        control.stop()


def by_hand(place, *words):
    """Do it as an operator does: in another process, by the command line."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RESILIENT_")}
    done = subprocess.run(
        [sys.executable, "-m", "resilient.cli", *words, "--dir", str(place)],
        capture_output=True, text=True, timeout=30, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done


def shown(place, name):
    text = exposition(place)[0].decode()
    return [
        (sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    ], text


def test_a_refusal_by_a_hold_raises_counters_logs_and_traces(place, spans, events, caplog):
    otel.instrument(spans[0], events[0])
    quiet = log_events()
    try:
        payments = Pipeline("payments", Retry(attempts=3), CircuitBreaker())
        with caplog.at_level(logging.INFO, "resilient"):
            payments.call(len, "x")
            by_hand(place, "trip", "payments", "--reason", REASON, "--for", "5m")
            for _ in range(3):
                with pytest.raises(BreakerOpen):
                    payments.call(len, "x")

            async def nothing():
                return "passed"

            with pytest.raises(BreakerOpen):
                asyncio.run(payments.acall(nothing))
    finally:
        quiet()
        otel.uninstrument()

    counted, text = shown(place, "resilient_call_rejections_total")
    assert [(one["downstream"], one["reason"], value) for one, value in counted] == [("payments", "forced_open", 4)]
    calls, _ = shown(place, "resilient_call_duration_seconds_count")
    rejected = [value for one, value in calls if one["outcome"] == "rejected"]
    assert rejected == [4]
    active, _ = shown(place, "resilient_hold_active")
    assert [(one["downstream"], one["mode"], value) for one, value in active] == [("payments", "forced_open", 1)]
    assert REASON not in text, "no label carries what people wrote"

    said = [record for record in caplog.records if getattr(record, "event", "") == "resilient.call.rejections"]
    assert said, "the refusals are in the log"
    assert (said[0].levelname, said[0].resilient_downstream, said[0].resilient_reason) == (
        "WARNING", "payments", "forced_open",
    )  # fmt: skip
    holds = [record for record in caplog.records if getattr(record, "event", "").startswith("resilient.override")]
    assert any(REASON in record.getMessage() + str(record.__dict__) for record in holds)
    assert all(record.levelno >= logging.WARNING for record in holds)

    refused = [
        span
        for span in spans[1].get_finished_spans()
        if span.kind is SpanKind.INTERNAL and span.attributes.get("error.type") == "forced_open"
    ]
    assert len(refused) == 4
    clients = [span for span in spans[1].get_finished_spans() if span.kind is SpanKind.CLIENT]
    assert len(clients) == 1, "what never went out has no attempt"
    told = {record.log_record.event_name for record in events[1].get_finished_logs()}
    assert any(name.startswith("resilient.override") for name in told), told


def test_an_automatic_trip_is_less_visible_than_one_by_hand(place, caplog):
    """At the level at which most applications log, a hold is told; an open breaker, which is routine, is no louder."""
    quiet = log_events()
    try:
        with caplog.at_level(logging.DEBUG, "resilient"):
            broken, held = Pipeline("broken", CircuitBreaker(consecutive=1)), Pipeline("held", CircuitBreaker())
            held.call(int)
            with pytest.raises(ZeroDivisionError):
                broken.call(lambda: 1 / 0)
            by_hand(place, "trip", "held", "--reason", REASON, "--for", "5m")
            with pytest.raises(BreakerOpen):
                held.call(int)
    finally:
        quiet()
    levels = {"broken": 0, "held": 0}
    for record in caplog.records:
        name = getattr(record, "resilient_downstream", "")
        if name in levels and record.event in ("resilient.override.applied", "resilient.breaker.transition"):
            levels[name] = max(levels[name], record.levelno)
    assert levels["held"] >= levels["broken"] > 0
    assert levels["held"] >= logging.WARNING


MANY = """
import sys
from resilient import Pipeline, control
from resilient.prometheus import exposition
control.configure("shop", directory=sys.argv[1])
for number in range(10_000):
    Pipeline(f"tenant-{number}").call(len, "x")
for number in range(200):
    try:
        Pipeline("errors").call(lambda: (_ for _ in ()).throw(type(f"Error{number}", (Exception,), {})()))
    except Exception:
        pass
sys.stdout.write(exposition(sys.argv[1])[0].decode())
"""


def test_ten_thousand_generated_names_stay_within_the_cap_of_a_scrape(tmp_path):
    """In what a real process exposes, with its page written, and again after it is gone and was added up."""
    place = tmp_path / "control"
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(place)],
        capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2], check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "more than 200 downstreams" in done.stderr, "it is told"
    families = list(text_string_to_metric_families(done.stdout))
    names = {each.labels["downstream"] for family in families for each in family.samples if "downstream" in each.labels}
    assert 2 <= len(names) <= 201, len(names)
    assert "_other" in names
    for family in families:
        own = {tuple(sorted(each.labels.items())) for each in family.samples if not each.name.endswith("_bucket")}
        if family.name == "resilient_breaker_status":
            continue
        assert len(own) <= 202 * 60, family.name
    errors = {each.labels.get("error_type", "") for family in families for each in family.samples}
    assert len(errors) <= 53, "error types are capped, too"
    count = sum(
        each.value
        for family in families
        for each in family.samples
        if each.name == "resilient_call_duration_seconds_count"
    )
    assert count == 10_200, "nothing is lost"
    assert len(done.stdout) < 4 << 20


def test_ten_thousand_holds_on_names_nobody_uses_stay_within_the_cap_of_a_scrape(place):
    """Names of holds are those of people: they must not grow labels either."""
    operations = Operations(Directory(place, create=True))
    who = Who("ann", "admin", "cli")
    for number in range(300):
        operations.place(f"tenant-{number}", "forced_open", reason="a test", ttl=600, who=who, allow_unknown=True)
    Pipeline("payments").call(int)
    active, text = shown(place, "resilient_hold_active")
    assert len({one["downstream"] for one, _ in active}) <= 201
    assert sum(value for _, value in active) == 300, "nothing is lost"
    assert any(one["downstream"] == "_other" and value >= 100 for one, value in active)
    assert "payments" in text
    operations.directory.close()


def test_a_maintenance_under_way_is_a_hold_to_those_who_watch(place):
    Pipeline("payments").call(int)
    Pipeline("search").call(int)
    by_hand(place, "maint", "schedule", "pay*", "--reason", REASON, "--from", "now", "--for", "5m", "--mode", "observe")
    active, _ = shown(place, "resilient_hold_active")
    assert active == [({"downstream": "payments", "mode": "observe"}, 1)]
    ends, _ = shown(place, "resilient_hold_expiry_timestamp_seconds")
    assert [one["downstream"] for one, _ in ends] == ["payments"]
