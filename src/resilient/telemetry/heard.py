"""What events tell is counted: the part of statistics that no meter sees."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping

from resilient.events import Event
from resilient.telemetry.names import Names
from resilient.telemetry.recent import SLOT
from resilient.telemetry.totals import Totals

__all__ = ["REJECTED", "TRANSITION", "Heard"]

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


class Heard:
    """Events that wait to be counted; those that come by the thousand are counted together."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        """Begin with none."""
        self.left: deque[tuple[Event, float]] = deque()
        """Events, and when they happened."""

    def count(
        self, names: Names, totals: Totals, kinds: Names, errors: Names
    ) -> Iterator[tuple[Event, str, float, int]]:
        """Count what waits; yield event, name of the downstream, time and number of those that tell more than that.

        Args:
            names: Names of downstreams, bounded.
            totals: Where to count.
            kinds: Names of events, bounded.
            errors: Names of errors, bounded.

        """
        rejected: dict[tuple[str, object, object, float], list[tuple[Event, float]]] = defaultdict(list)
        for _ in range(len(self.left)):
            event, at = self.left.popleft()
            if event.name == REJECTED:
                fields = event.fields
                rejected[event.downstream, fields["policy"], fields["reason"], at // SLOT].append((event, at))
                continue
            name = event.downstream and names.of(event.downstream)
            _count(event, name, 1, totals, kinds, errors)
            if event.name == TRANSITION:
                yield event, name, at, 1
        for group in rejected.values():
            event, at = group[0]
            name = event.downstream and names.of(event.downstream)
            _count(event, name, len(group), totals, kinds, errors)
            yield event, name, at, len(group)


def _count(event: Event, name: str, number: int, totals: Totals, kinds: Names, errors: Names) -> None:  # noqa: PLR0913, PLR0917
    totals.add("resilient_events_total", (name, kinds.of(event.name)), number)
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
        totals.add(metric, (name, *values), number)
