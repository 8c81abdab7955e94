"""One downstream over all processes of a host: what each one shows, brought together in one row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from resilient.control.states import worst

__all__ = ["SLOTS", "merged"]

SLOTS: Final = 60
"""Slots of the history."""

Row = Mapping[str, Any]

_SUMS = ("rate", "rejected_rate", "in_flight")
_PERCENTILES = ("p50", "p90", "p99")


def merged(rows: Sequence[Row], *, counted: bool) -> dict[str, Any]:
    """Return what live processes show of one downstream, as one row; without any, a row of nothing.

    Rates and calls in flight are added up, shares weighted by the calls, percentiles those of the slowest process,
    states and shares those of the process that is worst off.

    Args:
        rows: What each process shows.
        counted: Whether any of them counts its calls.

    """
    states = Counter(str(row["state"]) for row in rows)
    state = worst(states)
    there = [row for row in rows if row["state"] == state]
    since = [row["since"] for row in there if row.get("since") is not None]
    budgets = [row["budget"] for row in rows if row.get("budget") is not None]
    return {
        "state": state,
        "since": min(since, default=None),
        "cause": next((row["cause"] for row in there if row.get("cause")), None),
        "states": dict(states),
        "live": len(rows),
        **_live([row.get("live") or {} for row in rows], counted=counted),
        "retries": "off" if any(row.get("retries") == "off" for row in rows) else "on",
        "share": min((row.get("share", 1.0) for row in rows), default=1.0),
        "ramping": any(row.get("ramping") for row in rows),
        "breakers": _by_label(rows, "breakers", _worst_breaker),
        "bulkheads": _by_label(rows, "bulkheads", _summed),
        "rate_limits": _by_label(rows, "rate_limits", _limit),
        "budget": min(budgets, default=None),
    }


def _live(rows: Sequence[Row], *, counted: bool) -> dict[str, Any]:
    if not counted:
        nothing = dict.fromkeys((*_SUMS, "error_share", *_PERCENTILES))
        return {**nothing, "history": [0] * SLOTS, "errors": [0] * SLOTS}
    sums: dict[str, Any] = {key: _rounded(sum(row.get(key) or 0 for row in rows)) for key in _SUMS}
    calls = sum(row.get("rate") or 0 for row in rows)
    failed = sum((row.get("rate") or 0) * (row.get("error_share") or 0) for row in rows)
    slowest = {key: max((row[key] for row in rows if row.get(key) is not None), default=None) for key in _PERCENTILES}
    history = {key: _added([row.get(key) or [] for row in rows]) for key in ("history", "errors")}
    return {**sums, "error_share": _rounded(failed / calls) if calls else 0.0, **slowest, **history}


def _added(histories: Iterable[Sequence[float]]) -> list[float]:
    """Add histories up, slot by slot from the newest back."""
    total: list[float] = [0] * SLOTS
    for each in histories:
        for back, value in enumerate(reversed(each[-SLOTS:]), 1):
            total[-back] += value
    return total


def _by_label(rows: Sequence[Row], kind: str, together: Any) -> dict[str, Any]:  # noqa: ANN401 -- one of those below
    found: dict[str, list[Row]] = {}
    for row in rows:
        for label, value in (row.get(kind) or {}).items():
            found.setdefault(label, []).append(value)
    return {label: together(values) for label, values in found.items()}


def _worst_breaker(values: Sequence[Row]) -> dict[str, Any]:
    state = worst(str(value.get("state")) for value in values)
    there = [value for value in values if value.get("state") == state]
    first: Row = max(there, key=lambda value: float(value.get("failure_rate") or 0))
    return dict(first)


def _summed(values: Sequence[Row]) -> dict[str, Any]:
    return {key: sum(value.get(key) or 0 for value in values) for key in ("limit", "active", "queued")}


def _limit(values: Sequence[Row]) -> dict[str, Any]:
    sums = {key: sum(value.get(key) or 0 for value in values) for key in ("rate", "configured_rate", "burst")}
    return {**sums, "adapting": any(value.get("adapting") for value in values)}


def _rounded(value: float) -> float:
    return round(value, 4)
