"""Limits beside what was measured, as sentences: of breakers, bulkheads and rate limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from resilient.cli.words import percent

__all__ = ["WHY", "limits"]

Values = Mapping[str, Any]

WHY = {
    "consecutive": "too many failures in a row",
    "failure_rate": "too many calls failed",
    "slow_rate": "too many calls were slow",
    "probe_ok": "probes succeeded",
    "probe_failed": "a probe failed",
    "wait_elapsed": "time to try again",
    "hold": "it is held",
    "override": "it is held",
    "window": "maintenance",
    "release": "a hold was released",
    "override_expired": "a hold has ended",
    "reset": "it was reset",
    "probe": "told to try",
}
"""Causes of a state, for people; what is not listed is told as it is."""


def limits(downstream: Values) -> Iterator[tuple[str, str]]:
    """Yield label and sentence of each policy of a downstream that has a limit."""
    for kind, tell in (("breakers", _breaker), ("bulkheads", _bulkhead), ("rate_limits", _plain)):
        for label, values in (downstream.get(kind) or {}).items():
            yield label, tell(values) if isinstance(values, Mapping) else str(values)


def _breaker(values: Values) -> str:
    calls = values.get("calls", 0)
    parts = [
        f"{values.get('state', '-')}: {percent(values.get('failure_rate'))} % of {calls} calls failed"
        + _bound(values.get("threshold"), f" of {values.get('min_calls') or 1} or more")
    ]
    if values.get("consecutive_threshold") is not None:
        parts.append(f"{values.get('consecutive', 0)} in a row (opens at {values['consecutive_threshold']})")
    if values.get("slow_threshold") is not None:
        parts.append(f"{percent(values.get('slow_rate'))} % slow{_bound(values['slow_threshold'])}")
    return ", ".join(parts)


def _bound(share: float | None, rest: str = "") -> str:
    return "" if share is None else f" (opens at {percent(share)} %{rest})"


def _bulkhead(values: Values) -> str:
    return f"{values.get('active', 0)} of {values.get('limit', '-')} places taken, {values.get('queued', 0)} waiting"


def _plain(values: Values) -> str:
    return ", ".join(f"{key} {_number(value)}" for key, value in values.items() if value is not None)


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
