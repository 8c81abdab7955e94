"""Spans: one INTERNAL span for every call, and under it one CLIENT span for every attempt.

A span is current while what it stands for runs, so spans of the client library and of inner pipelines stand under
it: in threads, in asyncio and in trio. No message of an exception is recorded, for it may hold a secret.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextvars import Token
from typing import Any, ClassVar

from opentelemetry import context, trace
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode, Tracer

from resilient import clock, faults
from resilient._policy import Colour, Env, Exchange, Guard, Policy
from resilient._weave.inlays import Place
from resilient.outcome import thrown_away
from resilient.telemetry import outcomes

__all__ = ["AttemptSpans", "CallSpans", "Spans"]

# `sends_00` counts the attempts in a local of the woven function that both templates know.
CALL = """
sends_00 = 0
span_ = begin_()
try:
    span_.enter()
    <inner>
except BaseException as error:
    span_.failed(error)
    raise
span_.ended()                       #: !judged & !streamed
span_.judged(result)                #: judged & !streamed
span_.answered(exchange)            #: streamed
"""

ATTEMPT = """
sends_00 += 1                       #: !inner
sent_ = send_(sends_00)             #: !inner & !streamed
sent_ = send_(sends_00, exchange)   #: !inner & streamed
sent_ = send_()                     #: inner & !streamed
sent_ = send_(0, exchange)          #: inner & streamed
try:
    sent_.enter()
    <inner>
except BaseException as error:
    sent_.failed(error)
    raise
sent_.ended()                       #: !judged & !streamed
sent_.judged(result)                #: judged & !streamed
sent_.answered(exchange)            #: streamed
"""

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
        self._end(*outcomes.of_error(self._env, error))

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
        if status is not None:
            self._span.set_attribute("http.response.status_code", status)
        self._end(outcome, str(status) if outcome in _FAILED else "")

    def _end(self, outcome: str, error: str) -> None:
        token, self._token = self._token, None
        if token is not None:
            context.detach(token)
        try:
            span = self._span
            if span.is_recording():
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


class _Tracing:
    """What spans are to the weaver, in place of a policy."""

    kind: ClassVar[str] = "spans"
    template: ClassVar[str] = CALL

    def bind(self, env: Env, label: str) -> Guard:
        """Do nothing: the inlay makes the guard of a pipeline."""
        raise NotImplementedError(label)

    def describe(self) -> str:
        """Say in one line what it is."""
        return "spans"


class _TracingAttempts(_Tracing):
    template: ClassVar[str] = ATTEMPT


_CALLS, _ATTEMPTS = _Tracing(), _TracingAttempts()


class _Calls(Guard):
    """Spans of the calls of one pipeline."""

    __slots__ = ("_attributes", "_name", "_spans")

    def __init__(self, env: Env, spans: Spans) -> None:
        super().__init__(env, "spans")
        self._spans = spans
        self._name = f"call {env.downstream}"
        self._attributes = {"resilient.downstream": env.downstream}

    @property
    def policy(self) -> Policy:
        return _CALLS

    def names(self, colour: Colour) -> Mapping[str, object]:  # noqa: ARG002 -- the same in both
        return {"begin": self.begin}

    def begin(self) -> Open:
        """Begin the span of a call."""
        return self._spans.start(self.env, self._name, SpanKind.INTERNAL, self._attributes)


class _Attempts(Guard):
    """Spans of the attempts of one pipeline."""

    __slots__ = ("_name", "_spans")

    def __init__(self, env: Env, spans: Spans) -> None:
        super().__init__(env, "attempt_spans")
        self._spans = spans
        self._name = f"attempt {env.downstream}"

    @property
    def policy(self) -> Policy:
        return _ATTEMPTS

    def names(self, colour: Colour) -> Mapping[str, object]:  # noqa: ARG002 -- the same in both
        return {"send": self.send}

    def send(self, number: int = 0, exchange: Exchange | None = None) -> Open:
        """Begin the span of an attempt; its number is 0 where nobody counts."""
        attributes: dict[str, str | int] = {"resilient.downstream": self.env.downstream}
        if number:
            attributes["resilient.attempt"] = number
        if exchange is not None:
            request: Any = exchange.request
            attributes["http.request.method"] = request.method
            attributes["server.address"] = request.url.host
            if request.url.port is not None:
                attributes["server.port"] = request.url.port
            resent = exchange.retries + max(0, number - 1)
            if resent:
                attributes["http.request.resend_count"] = resent
        return self._spans.start(self.env, self._name, SpanKind.CLIENT, attributes)


class CallSpans:
    """The inlay around every call."""

    place: Place = "call"

    def __init__(self, spans: Spans) -> None:
        """Make spans with `spans`."""
        self._spans = spans

    def bind(self, env: Env) -> Guard:
        """Return what makes the spans of one pipeline."""
        return _Calls(env, self._spans)


class AttemptSpans:
    """The inlay around every attempt."""

    place: Place = "attempt"

    def __init__(self, spans: Spans) -> None:
        """Make spans with `spans`."""
        self._spans = spans

    def bind(self, env: Env) -> Guard:
        """Return what makes the spans of one pipeline."""
        return _Attempts(env, self._spans)


def _wall() -> int:
    return int(clock.SYSTEM.wall() * 1e9)
