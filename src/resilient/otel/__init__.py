"""OpenTelemetry: a span for every call and for every attempt, and what happened as log records.

    from resilient import otel

    otel.instrument()

It uses the API alone: which SDK exports, and whether one is there at all, is the application's business. What is not
instrumented costs nothing, for nothing is woven in.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from threading import Lock

from opentelemetry import trace

from resilient import _check, events
from resilient._runtime import live
from resilient._weave import inlays
from resilient.otel.layers import AttemptSpans, CallSpans
from resilient.otel.records import Told, logger_of
from resilient.otel.spans import Spans

__all__ = ["instrument", "uninstrument"]

_SETTING = "RESILIENT_OTEL_EVENTS"
_CHOICES = ("logs", "span", "both")

_lock = Lock()
_undo: list[Callable[[], None]] = []


def instrument(
    tracer_provider: trace.TracerProvider | None = None,
    logger_provider: object = None,
    *,
    events_as: str | None = None,
) -> None:
    """Make spans of calls and attempts, and log records of events, from now on; also in functions decorated before.

    Called again, it goes on with the new settings.

    Args:
        tracer_provider: Whose tracer makes the spans; None takes the global one.
        logger_provider: Whose logger takes the events, of the logs API; None takes the global one.
        events_as: "logs" makes log records of events, "span" adds them to the current span, "both" does both.
            None takes what RESILIENT_OTEL_EVENTS says, or "logs".

    Raises:
        ConfigError: If `events_as`, or the variable, is none of these words.

    """
    name, chosen = ("events_as", events_as) if events_as is not None else (_SETTING, os.environ.get(_SETTING) or "logs")
    if chosen not in _CHOICES:
        _check.refuse(name, chosen, "'logs', 'span' or 'both'")
    own = _version()
    spans = Spans(trace.get_tracer("resilient", own, tracer_provider))
    logger = logger_of(logger_provider, own) if chosen != "span" else None
    told = Told(logger, on_span=chosen != "logs")
    laid = CallSpans(spans), AttemptSpans(spans)
    uninstrument()
    with _lock:
        _undo.append(events.subscribe(told.tell))
        for inlay in laid:
            inlays.add(inlay)
            _undo.append(lambda inlay=inlay: inlays.remove(inlay))  # type: ignore[misc]


def uninstrument() -> None:
    """Make no more spans and records; calls in flight finish as they began."""
    with _lock:
        while _undo:
            _undo.pop()()


def _version() -> str:
    try:
        return version("resilient-client")
    except PackageNotFoundError:  # a source tree that was not installed
        return ""


def _renew() -> None:
    global _lock  # noqa: PLW0603 -- the parent's may be held by a thread that is not here
    _lock = Lock()


live.renewing(_renew)
