"""What another process wrote on its page, brought into form: nothing about it is taken for granted.

A page that says something odd (another version's, or half of a bug) must keep nobody from tripping a breaker, and
hide no other process.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["sound"]

_LONGEST: Final = 200
_TABLES: Final = ("breakers", "bulkheads", "rate_limits")
_HISTORIES: Final = ("history", "errors")
_PLAIN: Final = frozenset({int, float, type(None), list})
_ENDLESS: Final = 1e11
"""Seconds since 1970 that no calendar can show."""


def sound(data: dict[str, Any]) -> dict[str, Any]:
    """Return a page's text in which all that is read by others has the form it should; in place."""
    rows = data.get("downstreams")
    data["downstreams"] = {
        name: _row(row) for name, row in _table(rows).items() if isinstance(row, dict) and _name(name)
    }
    data["errors"] = _table(data.get("errors"))
    if not isinstance(data.get("applied"), int):
        data["applied"] = 0
    if "started" in data:
        data["started"] = _time(data["started"])
    return data


def _row(row: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(row.get("state"), str):
        row["state"] = "closed"
    for key in _TABLES:
        if row.get(key):  # most are empty
            row[key] = {label: part for label, part in _table(row[key]).items() if isinstance(part, dict)}
    if row.get("live") is not None:
        row["live"] = _live(row["live"])
    for key in ("share", "budget"):
        if key in row and not _number(row[key]):
            row[key] = 1.0 if key == "share" else None
    if "since" in row:
        row["since"] = _time(row["since"])
    if "holds" in row and not isinstance(row["holds"], list):
        row["holds"] = []
    return row


def _live(live: object) -> dict[str, Any]:
    live = _table(live)
    if not {*map(type, live.values())} <= _PLAIN:
        live = {key: value for key, value in live.items() if type(value) in _PLAIN}
    for key in [key for key, value in live.items() if type(value) is list]:
        if key not in _HISTORIES or not _summable(live[key]):
            del live[key]
    for key in _HISTORIES:
        if not isinstance(live.get(key, []), list):
            del live[key]
    return live


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _name(name: str) -> bool:
    return 0 < len(name) <= _LONGEST and name.isprintable()


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and abs(value) <= _ENDLESS


def _time(value: object) -> object:
    return value if _number(value) else None


def _summable(value: list[Any]) -> bool:
    try:
        return _number(sum(value))  # faster than to look at each
    except TypeError:
        return False
