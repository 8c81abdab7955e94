"""What events tell is counted: the part of statistics that no meter sees."""

from __future__ import annotations

from collections.abc import Mapping

from resilient.events import Event
from resilient.telemetry.names import Names
from resilient.telemetry.totals import Totals

__all__ = ["REJECTED", "TRANSITION", "count"]

REJECTED = "resilient.call.rejected"
TRANSITION = "resilient.breaker.transition"

_COUNTERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    REJECTED: ("resilient_call_rejections_total", ("policy", "reason")),
    TRANSITION: ("resilient_breaker_transitions_total", ("breaker", "from", "to", "cause")),
    "resilient.fallback.used": ("resilient_call_fallbacks_total", ("policy",)),
    "resilient.retry.exhausted": ("resilient_retry_exhausted_total", ("why",)),
    "resilient.retry.budget_exhausted": ("resilient_retry_budget_exhausted_total", ()),
    "resilient.cache.stale_served": ("resilient_cache_stale_served_total", ("cause",)),
    "resilient.cache.refresh_failed": ("resilient_cache_refresh_failures_total", ("cause",)),
}
"""By event: the counter, and the fields that are its labels after the downstream."""

_ERRORS = frozenset({"resilient.cache.stale_served", "resilient.cache.refresh_failed"})
"""Events whose cause is the name of a class, and there may be many of those."""


def count(event: Event, name: str, totals: Totals, kinds: Names, errors: Names) -> None:
    """Count one event.

    Args:
        event: What happened.
        name: The downstream to count it under.
        totals: Where.
        kinds: Names of events, bounded.
        errors: Names of errors, bounded.

    """
    totals.add("resilient_events_total", (name, kinds.of(event.name)))
    fields = event.fields
    if event.name == "resilient.retry.scheduled":
        delay = fields.get("delay")
        if isinstance(delay, (int, float)):
            totals.observe("resilient_retry_delay_seconds", (name,), delay)
        return
    known = _COUNTERS.get(event.name)
    if known is not None:
        metric, keys = known
        values = [str(fields.get(key, "")) for key in keys]
        if event.name in _ERRORS:
            values = [errors.of(each) for each in values]
        totals.add(metric, (name, *values))
