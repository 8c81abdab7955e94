"""Holds and windows as JSON says them, and the sentence in which people read how things are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from resilient.control.intent import Hold, Window

__all__ = ["clock_time", "hold_json", "iso", "verdict", "window_json"]

_MOST: Final = 3
"""Holds, and windows, that the sentence names."""

_ALL: Final = 100

_HELD: Final = {
    "forced_open": "held open",
    "observe": "only observed",
    "forced_closed": "held closed",
    "no_retries": "kept from retrying",
}

Row = Mapping[str, Any]


def iso(wall: float | None) -> str | None:
    """Return a time (seconds since 1970) as ISO 8601 in UTC, to the millisecond."""
    if wall is None:
        return None
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock_time(wall: float) -> str:
    """Return the time of day, such as "03:40 UTC"."""
    return f"{datetime.fromtimestamp(wall, UTC):%H:%M} UTC"


def hold_json(hold: Hold, remaining: float, *, masked: bool) -> dict[str, Any]:
    """Return a hold as JSON says it.

    Args:
        hold: The hold.
        remaining: Seconds until it ends by itself.
        masked: Whether a stricter one is in force in its place.

    """
    data = {key: iso(value) if key.endswith("_at") else value for key, value in asdict(hold).items()}
    del data["ends"], data["boot"], data["ttl"]
    return {**data, "notes": list(hold.notes), "remaining": round(remaining, 3), "masked": masked}


def window_json(window: Window) -> dict[str, Any]:
    """Return a window as JSON says it."""
    return {key: iso(value) if key.endswith("_at") else value for key, value in asdict(window).items()}


def verdict(rows: Sequence[Row], holds: Iterable[Hold], windows: Iterable[Window], synced: int, live: int) -> str:
    """Return in a sentence how things are, with people in it.

    Args:
        rows: The downstreams, as the overview shows them.
        holds: Those in force, masked ones left out.
        windows: Those in force.
        synced: Live processes that have applied all changes.
        live: Live processes.

    """
    parts = [_downstreams(rows)]
    parts += _some([_hold(hold) for hold in holds], "hold")
    parts += _some([_window(window) for window in windows], "window")
    parts.append(_processes(synced, live))
    return "; ".join(parts)


def _downstreams(rows: Sequence[Row]) -> str:
    if not rows:
        return "no downstream seen yet"
    total = len(rows)
    # Held open for a part of the calls is not open; the hold is named anyhow.
    shut = sum(row["state"] == "open" or (row["state"] == "forced_open" and row["share"] <= 0) for row in rows)
    back = sum(row["state"] == "half_open" or (row["ramping"] and row["state"] == "closed") for row in rows)
    if shut:
        first = f"{shut} of {_number(total, 'downstream')} open"
    elif back:
        first = f"none of {_number(total, 'downstream')} open"
    else:
        first = f"all {total} downstreams closed" if total > 1 else "the one downstream closed"
    return f"{first}, {back} coming back" if back else first


def _hold(hold: Hold) -> str:
    share = f" for {hold.percent} % of calls" if hold.percent < _ALL else ""
    who = f" by {hold.actor}" if hold.actor else ""
    return f"{hold.target} {_HELD[hold.mode]}{share}{who} until {clock_time(hold.expires_at)} ({hold.reason})"


def _window(window: Window) -> str:
    who = f" by {window.actor}" if window.actor else ""
    return f"maintenance of {window.selector}{who} until {clock_time(window.ends_at)} ({window.reason})"


def _some(parts: list[str], noun: str) -> list[str]:
    more = len(parts) - _MOST
    return [*parts[:_MOST], f"{_number(more, f'more {noun}')}"] if more > 0 else parts


def _processes(synced: int, live: int) -> str:
    if not live:
        return "no process is running"
    if synced == live:
        return f"all {live} processes in sync" if live > 1 else "its one process in sync"
    return f"{synced} of {_number(live, 'process', 'processes')} in sync"


def _number(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"
