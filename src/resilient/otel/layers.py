"""What is woven in for spans: one INTERNAL span around every call, and under it one CLIENT span for every attempt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from opentelemetry.trace import SpanKind

from resilient._policy import Colour, Env, Exchange, Guard, Policy
from resilient._weave.inlays import Place
from resilient.otel.spans import Open, Spans

__all__ = ["AttemptSpans", "CallSpans"]

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
