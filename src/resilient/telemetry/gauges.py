"""Gauges: what processes show of this moment, brought together over all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from resilient.telemetry.catalogue import OTHER
from resilient.telemetry.totals import Labels

__all__ = ["STATES", "Gauges", "gauges"]

STATES: Final = ("closed", "open", "half_open", "forced_open", "forced_closed", "observe")
"""States of a breaker; each is shown, with 0 where no process is in it, so that no series ends with a state."""

Gauges = dict[str, dict[Labels, float]]
"""Metric -> values of its labels -> value."""

Page = Mapping[str, Any]
_Together = Callable[[float, float], float]


MOST: Final = 200
"""Downstreams that are told apart."""


def gauges(pages: Iterable[Page], names: Collection[str] = ()) -> Gauges:
    """Return the gauges of what some processes show, in the form of a page.

    Args:
        pages: What each live process shows.
        names: Downstreams that are told apart where there are more than 200, the others being `_other`.

    """
    pages = list(pages)
    everyone = {name for page in pages for name, _ in _rows(page.get("downstreams"))}
    if len(everyone) <= MOST:
        names = everyone
    found = _Found()
    for page in pages:
        found.put("resilient_build_info", (str(page.get("version", "")), str(page.get("python", ""))), 1)
        for shown, row in _rows(page.get("downstreams")):
            name = shown if shown in names else OTHER
            _calls(found, name, row)
            for label, breaker in _rows(row.get("breakers")):
                _breaker(found, name, label, breaker)
            for label, bulkhead in _rows(row.get("bulkheads")):
                for key in ("active", "limit", "queued"):
                    found.put(f"resilient_bulkhead_{key}", (name, label), bulkhead.get(key))
            for label, limit in _rows(row.get("rate_limits")):
                found.put("resilient_rate_limiter_rate", (name, label), limit.get("rate"))
    return found.gauges()


class _Found:
    """Values by metric and labels, one of several brought together as each metric wants it."""

    def __init__(self) -> None:
        self._values: Gauges = defaultdict(dict)

    def put(self, metric: str, labels: Labels, value: object, together: _Together = float.__add__) -> None:
        if isinstance(value, (int, float)):
            series = self._values[metric]
            series[labels] = together(series[labels], float(value)) if labels in series else float(value)

    def gauges(self) -> Gauges:
        return dict(self._values)


def _calls(found: _Found, name: str, row: Page) -> None:
    live = row.get("live")
    if isinstance(live, Mapping):
        found.put("resilient_call_active", (name,), live.get("in_flight"))
    found.put("resilient_retry_budget_ratio", (name,), row.get("budget"), min)


def _breaker(found: _Found, name: str, label: str, row: Page) -> None:
    for state in STATES:
        found.put("resilient_breaker_status", (name, label, state), int(row.get("state") == state))
    found.put("resilient_breaker_failure_ratio", (name, label), row.get("failure_rate"), max)
    found.put("resilient_breaker_slow_ratio", (name, label), row.get("slow_rate"), max)
    found.put("resilient_breaker_failure_threshold", (name, label), row.get("threshold"), max)
    found.put("resilient_breaker_window_calls", (name, label), row.get("calls"))


def _rows(data: object) -> Iterable[tuple[str, Page]]:
    """Return the rows of a table that another process wrote; nothing about its form is taken for granted."""
    if isinstance(data, Mapping):
        for name, row in data.items():
            if isinstance(row, Mapping):
                yield str(name), row
