"""A trace shows every call and every attempt, in threads, asyncio and trio, and what never went out."""

from __future__ import annotations

import asyncio
import gc
import re
import threading
import types
from collections.abc import Iterator

import pytest
import trio
from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from resilient import (
    Backoff,
    BreakerOpen,
    CircuitBreaker,
    Classifier,
    ConfigError,
    Fallback,
    Outcome,
    Pipeline,
    Retry,
    Timeout,
    faults,
    otel,
)
from resilient.testing import isolated

QUICK = Retry(attempts=3, backoff=Backoff(base=0.0001), budget=None)


class Trace:
    """Everything that was exported."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self.records = InMemoryLogRecordExporter()
        self.tracing = TracerProvider()
        self.tracing.add_span_processor(SimpleSpanProcessor(self.spans))
        self.logging = LoggerProvider()
        self.logging.add_log_record_processor(SimpleLogRecordProcessor(self.records))

    def of(self, kind: SpanKind) -> list[ReadableSpan]:
        return [span for span in self.spans.get_finished_spans() if span.kind is kind]

    @property
    def call(self) -> ReadableSpan:
        (span,) = self.of(SpanKind.INTERNAL)
        return span


@pytest.fixture
def traced() -> Iterator[Trace]:
    found = Trace()
    with isolated():
        otel.instrument(found.tracing, found.logging)
        yield found
        otel.uninstrument()


def flaky(failures: int):
    left = [failures]

    def call() -> str:
        if left[0]:
            left[0] -= 1
            raise OSError("down, with a secret")
        return "up"

    return call


def run_sync(pipeline: Pipeline, function) -> object:
    return pipeline.call(function)


def run_asyncio(pipeline: Pipeline, function) -> object:
    async def call() -> object:
        await asyncio.sleep(0)
        return function()

    return asyncio.run(pipeline.acall(call))


def run_trio(pipeline: Pipeline, function) -> object:
    async def call() -> object:
        await trio.lowlevel.checkpoint()
        return function()

    return trio.run(pipeline.acall, call)


@pytest.mark.parametrize("run", [run_sync, run_asyncio, run_trio])
@pytest.mark.parametrize("policies", [(QUICK,), (Timeout(5), QUICK, CircuitBreaker(), Timeout(2))])
def test_every_attempt_stands_under_its_call_and_is_current_while_it_runs(traced: Trace, run, policies) -> None:
    inside = []
    answer = flaky(2)

    def call() -> str:
        inside.append(trace.get_current_span().get_span_context().span_id)
        return answer()

    assert run(Pipeline("orders", *policies), call) == "up"
    attempts = traced.of(SpanKind.CLIENT)
    assert [span.parent.span_id for span in attempts] == [traced.call.context.span_id] * 3
    assert [span.context.span_id for span in attempts] == inside
    assert [span.attributes["resilient.attempt"] for span in attempts] == [1, 2, 3]
    assert [span.attributes.get("error.type") for span in attempts] == ["OSError", "OSError", None]
    assert [span.status.status_code for span in attempts] == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
    assert all(span.attributes["resilient.downstream"] == "orders" for span in [*attempts, traced.call])
    assert traced.call.status.status_code is StatusCode.UNSET
    assert traced.call.attributes["resilient.outcome"] == "success"
    assert not trace.get_current_span().get_span_context().is_valid


def test_concurrent_tasks_keep_their_traces_apart(traced: Trace) -> None:
    async def main() -> None:
        pipeline = Pipeline("parallel", Timeout(5), QUICK)

        async def call(_: int) -> None:
            await asyncio.sleep(0.001)

        await asyncio.gather(*(pipeline.acall(call, number) for number in range(10)))

    asyncio.run(main())
    parents = {span.parent.span_id for span in traced.of(SpanKind.CLIENT)}
    assert parents == {span.context.span_id for span in traced.of(SpanKind.INTERNAL)}
    assert len(parents) == 10
    assert len({span.context.trace_id for span in traced.of(SpanKind.INTERNAL)}) == 10


def test_the_span_of_an_inner_pipeline_stands_under_the_attempt_of_the_outer_one(traced: Trace) -> None:
    inner, outer = Pipeline("inner", Timeout(5)), Pipeline("outer", Timeout(5))
    outer.call(inner.call, len, "x")
    named = {span.name: span for span in traced.spans.get_finished_spans()}
    assert named["call inner"].parent.span_id == named["attempt outer"].context.span_id
    assert named["attempt outer"].parent.span_id == named["call outer"].context.span_id


def test_a_refused_call_has_its_span_and_no_attempt(traced: Trace) -> None:
    pipeline = Pipeline("held", QUICK, CircuitBreaker())
    pipeline.hold("forced_open", reason="maintenance", expires=60)
    with pytest.raises(BreakerOpen):
        pipeline.call(len, "x")
    assert traced.of(SpanKind.CLIENT) == []
    assert traced.call.attributes["error.type"] == "forced_open"
    assert traced.call.attributes["resilient.outcome"] == "rejected"
    assert traced.call.status.status_code is StatusCode.ERROR


def test_no_message_of_an_exception_is_recorded(traced: Trace) -> None:
    with pytest.raises(OSError, match="secret"):
        Pipeline("quiet").call(flaky(1))
    assert len(traced.spans.get_finished_spans()) == 2
    assert not any("secret" in span.to_json() for span in traced.spans.get_finished_spans())


def test_who_answered_in_place_of_the_downstream_stands_on_the_call(traced: Trace) -> None:
    Pipeline("rescued", Fallback("fixed")).call(flaky(1))
    assert traced.call.attributes["resilient.answered_by"] == "fallback"


def test_results_are_judged(traced: Trace) -> None:
    Pipeline("judged", classifier=Classifier(result=lambda result: Outcome.FAILURE)).call(len, "x")
    assert traced.call.attributes["error.type"] == "failure"
    assert traced.of(SpanKind.CLIENT)[0].status.status_code is StatusCode.ERROR


@types.coroutine
def _hang() -> Iterator[None]:
    yield


async def hang() -> None:
    await _hang()


def test_the_span_of_a_coroutine_that_is_thrown_away_is_ended_by_the_next_call(traced: Trace, caplog) -> None:
    pipeline = Pipeline("thrown", CircuitBreaker())

    def throw_away() -> None:
        coroutine = pipeline.acall(hang)
        coroutine.send(None)
        del coroutine
        gc.collect()

    thread = threading.Thread(target=throw_away)
    thread.start()
    thread.join(5)
    assert traced.spans.get_finished_spans() == ()
    pipeline.call(len, "x")
    outcomes = [span.attributes["resilient.outcome"] for span in traced.spans.get_finished_spans()]
    assert outcomes == ["cancelled", "cancelled", "success", "success"]
    assert caplog.records == []


def test_events_become_log_records_within_the_trace(traced: Trace) -> None:
    pipeline = Pipeline("told", CircuitBreaker(consecutive=1))
    with pytest.raises(OSError, match="down"):
        pipeline.call(flaky(1))
    (logged,) = [each.log_record for each in traced.records.get_finished_logs()]
    assert logged.event_name == "resilient.breaker.transition"
    assert logged.attributes["resilient.to"] == "open"
    assert logged.attributes["resilient.downstream"] == "told"
    assert logged.severity_text == "WARNING"
    assert logged.trace_id == traced.call.context.trace_id


@pytest.mark.parametrize(("chosen", "on_span", "logged"), [("span", 1, 0), ("both", 1, 1), ("logs", 0, 1)])
def test_events_go_where_the_environment_says(monkeypatch, chosen: str, on_span: int, logged: int) -> None:
    monkeypatch.setenv("RESILIENT_OTEL_EVENTS", chosen)
    found = Trace()
    with isolated():
        otel.instrument(found.tracing, found.logging)
        with pytest.raises(OSError, match="down"):
            Pipeline("chosen", CircuitBreaker(consecutive=1)).call(flaky(1))
        otel.uninstrument()
    assert len(found.call.events) == on_span
    assert len(found.records.get_finished_logs()) == logged


def test_a_wrong_word_is_refused_with_the_right_ones(monkeypatch) -> None:
    monkeypatch.setenv("RESILIENT_OTEL_EVENTS", "spans")
    with pytest.raises(ConfigError, match=r"RESILIENT_OTEL_EVENTS must be 'logs', 'span' or 'both', got 'spans'"):
        otel.instrument()
    with pytest.raises(ConfigError, match=r"events_as must be"):
        otel.instrument(events_as="nowhere")


def test_without_an_sdk_nothing_happens_and_nothing_fails() -> None:
    with isolated():
        otel.instrument()
        assert Pipeline("plain", QUICK).call(flaky(1)) == "up"
        otel.uninstrument()


def test_nothing_is_woven_in_before_or_after() -> None:
    with isolated():
        pipeline = Pipeline("woven", QUICK)
        before = pipeline.source()
        otel.instrument(TracerProvider())
        otel.instrument(TracerProvider())
        assert len(re.findall(r"span_\d+ = begin_\d+\(\)", pipeline.source())) == 1
        otel.uninstrument()
        assert pipeline.source() == before


def test_an_exporter_that_fails_fails_no_call() -> None:
    class Broken:
        def start_span(self, *args, **named):
            raise RuntimeError("exporter")

    class Provider:
        def get_tracer(self, *args, **named):
            return Broken()

    with isolated():
        otel.instrument(Provider())
        assert Pipeline("broken", QUICK).call(len, "x") == 1
        assert faults.total() == 2
        otel.uninstrument()


@pytest.mark.parametrize("client", ["httpx", "httpx2"])
def test_an_http_request_that_is_sent_again_says_how_often(traced: Trace, client: str) -> None:
    import importlib

    http, door = importlib.import_module(client), importlib.import_module(f"resilient.{client}")
    statuses = iter([503, 503, 200])
    inner = http.MockTransport(lambda request: http.Response(next(statuses), text="x"))
    pipeline = Pipeline("http", QUICK, CircuitBreaker())
    with http.Client(transport=door.ResilientTransport(pipeline, transport=inner)) as session:
        assert session.get("https://orders.internal:8443/?token=hidden").status_code == 200
    attempts = traced.of(SpanKind.CLIENT)
    assert [span.attributes.get("http.request.resend_count") for span in attempts] == [None, 1, 2]
    assert [span.attributes["http.response.status_code"] for span in attempts] == [503, 503, 200]
    assert [span.attributes.get("error.type") for span in attempts] == ["503", "503", None]
    assert attempts[0].attributes["server.address"] == "orders.internal"
    assert attempts[0].attributes["server.port"] == 8443
    assert all("hidden" not in span.to_json() for span in traced.spans.get_finished_spans())
    assert traced.call.attributes["resilient.outcome"] == "success"
