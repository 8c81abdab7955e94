"""Events as log records, and on spans."""

from __future__ import annotations

from typing import Any, Final

from opentelemetry import context, trace

from resilient import clock, faults
from resilient.events import LEVELS, Event

__all__ = ["Told", "logger_of"]

_SEVERITIES: Final = {"DEBUG": 5, "INFO": 9, "WARNING": 13, "ERROR": 17}
"""OpenTelemetry's numbers."""

_ANSWERED: Final = frozenset({"resilient.fallback.used", "resilient.cache.stale_served"})
"""Events that say who answered in place of the downstream."""


def logger_of(provider: object, version: str) -> Any:  # noqa: ANN401 -- the logs API is not public yet
    """Return a logger of a provider, of the global one for None, or None where there is no logs API."""
    try:
        from opentelemetry._logs import get_logger  # noqa: PLC0415 -- may move or go: it is not public yet
    except ImportError:
        return None
    return get_logger("resilient", version, provider)  # type: ignore[arg-type]


class Told:
    """Hears every event."""

    def __init__(self, logger: Any, *, on_span: bool) -> None:  # noqa: ANN401 -- the logs API is not public yet
        """Hand events on.

        Args:
            logger: Takes them as log records; None for nobody.
            on_span: Whether they are added to the current span.

        """
        self._logger = logger
        self._on_span = on_span

    def tell(self, event: Event) -> None:
        """Hand on one event. It happens within the span of its call."""
        attributes = {"resilient.downstream": event.downstream}
        for key, value in event.fields.items():
            if value is not None:
                attributes[f"resilient.{key}"] = value if isinstance(value, (bool, int, float)) else str(value)  # type: ignore[assignment]
        span = trace.get_current_span()
        if event.name in _ANSWERED and span.is_recording():
            span.set_attribute("resilient.answered_by", str(event.fields.get("policy", "")))
        if self._on_span:
            span.add_event(event.name, attributes)
        if self._logger is not None:
            self._log(event, attributes)

    def _log(self, event: Event, attributes: dict[str, str]) -> None:
        from opentelemetry._logs import LogRecord, SeverityNumber  # noqa: PLC0415 -- there, since a logger is

        level = LEVELS.get(event.name, "INFO")
        if event.name == "resilient.breaker.transition" and event.fields.get("to") == "open":
            level = "WARNING"
        try:
            record = LogRecord(
                timestamp=int(clock.SYSTEM.wall() * 1e9),
                context=context.get_current(),
                severity_number=SeverityNumber(_SEVERITIES[level]),
                severity_text=level,
                body=f"{event.name} {event.downstream}",
                attributes=attributes,
                event_name=event.name,
            )
            self._logger.emit(record)
        except TypeError as fault:  # of another version
            faults.report(self.tell, fault)
            self._logger = None
