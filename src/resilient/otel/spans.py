"""Spans that are begun, made current and ended, whatever becomes of the call.

A span is current while what it stands for runs, so spans of the client library and of inner pipelines stand under
it: in threads, in asyncio and in trio. No message of an exception is recorded, for it may hold a secret.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextvars import Token
from typing import Any

from opentelemetry import context, trace
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode, Tracer

from resilient import clock, faults
from resilient._policy import Env, Exchange
from resilient.outcome import thrown_away
from resilient.telemetry import outcomes

__all__ = ["Open", "Spans"]

_FAILED = outcomes.BAD | {outcomes.REJECTED}


class Open:
    """A span that is not over."""

    __slots__ = ("_env", "_span", "_spans", "_token")

    def __init__(self, spans: Spans, env: Env, span: Span) -> None:
        self._spans = spans
        self._env = env
        self._span = span
        self._token: Token[Any] | None = None

    def enter(self) -> None:
        """Make the span the current one."""
        if self._span is not INVALID_SPAN:
            self._token = context.attach(trace.set_span_in_context(self._span))

    def failed(self, error: BaseException) -> None:
        """End after an exception."""
        if thrown_away(error):
            # Perhaps by the collector, in somebody else's context and under the exporter's own lock.
            self._spans.late.append((self._span, _wall()))
            return
        self._end(*outcomes.of_error(self._env, error, gone=False))

    def ended(self) -> None:
        """End after an answer."""
        self._end(outcomes.SUCCESS, "")

    def judged(self, result: object) -> None:
        """End after an answer that means something."""
        outcome = outcomes.of_verdict(self._env.classifier.of_result(result))
        self._end(outcome, outcome if outcome in _FAILED else "")

    def answered(self, exchange: Exchange) -> None:
        """End after the head of an HTTP answer."""
        outcome = outcomes.of_verdict(exchange.verdict) if exchange.bad else outcomes.SUCCESS
        status = getattr(getattr(exchange, "response", None), "status_code", None)
        self._end(outcome, str(status) if outcome in _FAILED else "", status)

    def _end(self, outcome: str, error: str, status: int | None = None) -> None:
        token, self._token = self._token, None
        if token is not None:
            context.detach(token)
        try:
            span = self._span
            if span.is_recording():
                if status is not None:
                    span.set_attribute("http.response.status_code", status)
                span.set_attribute("resilient.outcome", outcome)
                if outcome in _FAILED:
                    span.set_attribute("error.type", error)
                    span.set_status(StatusCode.ERROR)
            span.end()
        except Exception as fault:  # noqa: BLE001 -- an exporter's fault fails no call
            faults.report(self._spans.start, fault)


class Spans:
    """Makes spans."""

    def __init__(self, tracer: Tracer) -> None:
        """Make spans with a tracer of the API."""
        self._tracer = tracer
        self.late: deque[tuple[Span, int]] = deque()
        """Spans of coroutines that were thrown away, and when; the next call ends them."""

    def start(self, env: Env, name: str, kind: SpanKind, attributes: Mapping[str, str | int]) -> Open:
        """Return a span that has begun."""
        while self.late:
            self._end_late()
        try:
            span = self._tracer.start_span(name, kind=kind, attributes=attributes)
        except Exception as fault:  # noqa: BLE001 -- an exporter's fault fails no call
            faults.report(self.start, fault)
            span = INVALID_SPAN
        return Open(self, env, span)

    def _end_late(self) -> None:
        try:
            span, at = self.late.popleft()
        except IndexError:  # another thread was faster
            return
        try:
            span.set_attribute("resilient.outcome", outcomes.CANCELLED)
            span.end(at)
        except Exception as fault:  # noqa: BLE001 -- an exporter's fault fails no call
            faults.report(self.start, fault)


def _wall() -> int:
    return int(clock.SYSTEM.wall() * 1e9)
