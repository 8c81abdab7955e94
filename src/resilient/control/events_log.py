"""What happened, in the record: events of all processes in one order, kept for a while and read on from a cursor."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from resilient.control.directory import Directory
from resilient.events import Event

__all__ = ["KEPT", "Row", "append", "latest", "newest", "prune", "read"]

KEPT: Final = 10_000
"""Events that are kept; older ones make room."""

_LONGEST: Final = 500
"""Characters of one value."""

_MOST: Final = 1_000
"""Events read at a time."""


@dataclass(frozen=True, slots=True)
class Row:
    """One event as it was recorded.

    Attributes:
        seq: Its place in the order; rises, with gaps.
        at: Seconds since 1970.
        instance: Name of the process.
        name: Such as "resilient.breaker.transition".
        downstream: Whose it is.
        fields: Details.

    """

    seq: int
    at: float
    instance: str
    name: str
    downstream: str
    fields: dict[str, Any]


def append(directory: Directory, instance: str, batch: Iterable[tuple[float, Event]]) -> int:
    """Record events in the order given, all or none; return how many.

    Args:
        directory: The control directory.
        instance: Name of the process they happened in.
        batch: When each happened (seconds since 1970), and what.

    Raises:
        ControlUnavailable: If they cannot be recorded now.

    """
    found = [(at, instance, event.name, event.downstream, _text(event.fields)) for at, event in batch]
    if found:
        directory.database.write(insert, found)
    return len(found)


def insert(db: sqlite3.Connection, found: Iterable[tuple[float, str, str, str, str]]) -> None:
    """Record events: time, process, name, downstream, and fields as JSON."""
    db.executemany("INSERT INTO events (at, instance, name, downstream, fields) VALUES (?, ?, ?, ?, ?)", found)


def read(  # noqa: PLR0913 -- what to read
    directory: Directory,
    *,
    after: int = 0,
    limit: int = 100,
    downstream: str | None = None,
    name: str | None = None,
    since: float = 0.0,
) -> list[Row]:
    """Return events behind a cursor, oldest first; the `seq` of the last one is the cursor of the next reading.

    Args:
        directory: The control directory.
        after: The cursor; 0 for the oldest event there is.
        limit: Events to return, at most 1000.
        downstream: Whose events, or None for all.
        name: Of which name, or None for all.
        since: Seconds since 1970 before which events are left out.

    Raises:
        ControlUnavailable: If they cannot be read now.

    """
    where, args = ["seq > ?", "at >= ?"], [after, since]
    wanted = {"downstream": downstream, "name": name}
    for column, value in wanted.items():
        if value is not None:
            where.append(f"{column} = ?")
            args.append(value)  # type: ignore[arg-type]  # of any kind
    return directory.database.read(_select, " AND ".join(where), (*args, max(0, min(limit, _MOST))))


def latest(directory: Directory, downstream: str, limit: int) -> list[Row]:
    """Return the last events of a downstream, oldest first.

    Args:
        directory: The control directory.
        downstream: Whose events.
        limit: How many at most.

    Raises:
        ControlUnavailable: If they cannot be read now.

    """
    found = directory.database.read(_select, "downstream = ?", (downstream, max(0, min(limit, _MOST))), "DESC")
    return found[::-1]


def newest(directory: Directory) -> int:
    """Return the cursor behind which nothing has happened yet.

    Raises:
        ControlUnavailable: If it cannot be read now.

    """
    return directory.database.read(_newest)


def prune(db: sqlite3.Connection, kept: int = KEPT) -> None:
    """Remove the oldest events beyond a number of them."""
    last = db.execute("SELECT seq FROM events ORDER BY seq DESC LIMIT 1 OFFSET ?", (kept,)).fetchone()
    if last is not None:
        db.execute("DELETE FROM events WHERE seq <= ?", last)


def _select(db: sqlite3.Connection, where: str, args: tuple[Any, ...], order: str = "ASC") -> list[Row]:
    found = db.execute(
        f"SELECT seq, at, instance, name, downstream, fields FROM events WHERE {where} ORDER BY seq {order} LIMIT ?",  # noqa: S608
        args,
    )
    return [Row(seq, at, who, what, whose, json.loads(text)) for seq, at, who, what, whose, text in found]


def _newest(db: sqlite3.Connection) -> int:
    (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
    return int(last)


def _text(fields: Mapping[str, object]) -> str:
    return json.dumps({str(key): _plain(value) for key, value in fields.items()}, separators=(",", ":"))


def _plain(value: object) -> object:
    """Return what JSON can say of a value, at a bounded length."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # no NaN in JSON
    try:
        return str(value)[:_LONGEST]
    except Exception:  # noqa: BLE001 -- the user's own value
        return f"<{type(value).__name__}>"
