"""What happened, told to whoever subscribed; nothing is built while nobody listens.

Every event has a name such as `resilient.breaker.transition` and flat fields. Events are
published after every lock is gone, on the thread that caused them, in order per pipeline.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from types import MappingProxyType

from resilient import _check, faults
from resilient import clock as _clock

__all__ = ["LEVELS", "Event", "Listener", "log_events", "subscribe"]

LEVELS: Mapping[str, str] = MappingProxyType(
    {
        "resilient.breaker.transition": "INFO",
        "resilient.breaker.would_open": "INFO",
        "resilient.call.rejected": "DEBUG",
        "resilient.retry.scheduled": "DEBUG",
        "resilient.retry.exhausted": "WARNING",
        "resilient.retry.budget_exhausted": "WARNING",
        "resilient.fallback.used": "INFO",
        "resilient.bulkhead.saturated": "WARNING",
        "resilient.rate_limit.changed": "INFO",
        "resilient.override.applied": "WARNING",
        "resilient.override.expired": "INFO",
        "resilient.override.released": "INFO",
        "resilient.override.expiring": "WARNING",
        "resilient.control.lost": "ERROR",
        "resilient.control.restored": "INFO",
        "resilient.control.regressed": "ERROR",
        "resilient.incident.opened": "ERROR",
        "resilient.incident.closed": "INFO",
        "resilient.http.pool_rebuilt": "WARNING",
        "resilient.cache.stale_served": "WARNING",
        "resilient.cache.refresh_failed": "INFO",
        "resilient.idempotency.replayed": "DEBUG",
        "resilient.idempotency.in_doubt": "WARNING",
        "resilient.idempotency.unrecorded": "WARNING",
        "resilient.store.bypassed": "WARNING",
        "resilient.store.resumed": "INFO",
    }
)
"""The events and the level at which `log_events` writes each of them."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Attributes:
        name: Such as "resilient.breaker.transition".
        downstream: Name of the pipeline it happened in.
        fields: Flat details; the names are listed in the documentation of events.

    """

    name: str
    downstream: str
    fields: Mapping[str, object] = field(default_factory=dict)


Listener = Callable[[Event], None]

_listeners: dict[object, Listener] = {}
"""By subscription. Every change and every look is one atomic step, so nobody needs a lock."""


def subscribe(listener: Listener) -> Callable[[], None]:
    """Send every event of this process to `listener`; return a function that stops it.

    Args:
        listener: A plain function. It runs on the calling thread and must be quick; what it
            raises is reported once and changes nothing.

    Raises:
        TypeError: If the listener is no plain function.

    """
    _check.plain("listener", listener, "a plain function")
    subscription = object()  # not the listener itself: it may be there twice
    _listeners[subscription] = listener

    def unsubscribe() -> None:
        _listeners.pop(subscription, None)

    return unsubscribe


def logged() -> bool:
    """Tell whether events are written to the loggers."""
    return any(getattr(each, "logs", False) for each in list(_listeners.values()))


def wanted() -> bool:
    """Tell whether anybody listens."""
    return bool(_listeners)


def publish(name: str, downstream: str, fields: Mapping[str, object]) -> None:
    """Hand an event to every listener. Never call this while holding a lock."""
    listeners = tuple(_listeners.values())
    if not listeners:
        return
    event = Event(name, downstream, MappingProxyType(dict(fields)))
    for listener in listeners:
        try:
            listener(event)
        except Exception as fault:  # noqa: BLE001 -- a listener never changes an outcome
            faults.report(listener, fault)


def log_events() -> Callable[[], None]:
    """Write every event to the standard logger tree `resilient.*`; return a function that stops it.

    The record carries the event's name as `event` and its fields under their own names with
    the prefix `resilient_`, for structured formatters. A transition to open is a warning. So is the first
    refusal of a downstream for a reason, and after that one line in 10 s that says how many there were.
    """
    import logging  # noqa: PLC0415 -- only who logs pays for it

    refusals = _Refusals()

    def write(event: Event) -> None:
        level = getattr(logging, LEVELS.get(event.name, "INFO"))
        if event.name == "resilient.breaker.transition" and event.fields.get("to") == "open":
            level = logging.WARNING
        logger = logging.getLogger(event.name.rpartition(".")[0])
        if logger.isEnabledFor(level):
            extra = {"event": event.name, "resilient_downstream": event.downstream}
            extra.update({f"resilient_{key}": str(value) for key, value in event.fields.items()})
            details = " ".join(f"{key}={value}" for key, value in event.fields.items())
            logger.log(level, "%s %s %s", event.name, event.downstream, details, extra=extra)
        if event.name == "resilient.call.rejected":
            refused(event, logger)

    def refused(event: Event, logger: logging.Logger) -> None:
        reason = str(event.fields.get("reason"))
        number, seconds = refusals.add(event.downstream, reason, _clock.current().now())
        if number:
            name = "resilient.call.rejections"
            extra = {
                "event": name,
                "resilient_downstream": event.downstream,
                "resilient_reason": reason,
                "resilient_count": str(number),
            }
            since = f" in {seconds:.0f} s" if seconds else ""
            message = "%s %s reason=%s count=%d%s"
            logger.warning(message, name, event.downstream, reason, number, since, extra=extra)

    write.logs = True  # type: ignore[attr-defined]  # see `logged`
    return subscribe(write)


class _Refusals:
    """How often each downstream refused for each reason, told at most once in 10 s."""

    _EVERY = 10.0
    _MOST = 1024

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str], _Tally] = {}

    def add(self, downstream: str, reason: str, now: float) -> tuple[int, float]:
        """Count one; return how many are to be told, 0 for none, and since how many seconds, 0 for the first."""
        tally = self._tallies.get((downstream, reason))
        if tally is None:
            if len(self._tallies) >= self._MOST:
                self._tallies.clear()
            tally = self._tallies.setdefault((downstream, reason), _Tally())
        number = tally.step()
        if tally.told and now < tally.at + self._EVERY:
            return 0, 0.0
        try:
            tally.turn.pop()  # one of several threads tells
        except IndexError:
            return 0, 0.0
        since, seconds = number - tally.told, now - tally.at if tally.told else 0.0
        tally.told, tally.at = number, now
        tally.turn.append(None)
        return since, seconds


class _Tally:
    """Counts without a lock."""

    __slots__ = ("at", "step", "told", "turn")

    def __init__(self) -> None:
        self.step = count(1).__next__
        self.told = 0
        self.at = 0.0
        self.turn: deque[None] = deque([None])
