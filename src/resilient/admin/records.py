"""What is read from the record as it stands there: events, incidents, and the audit."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any, Final, Literal

from resilient.control.rows import meta
from resilient.control.spoken import iso

__all__ = ["FILTERS", "audit", "audit_head", "events", "incidents"]

FILTERS: Final = ("target", "actor", "action", "outcome")
"""Columns of the audit by which it can be filtered."""

_TEXTS: Final = ("request", "before", "after")
_COLUMNS: Final = (
    *("seq", "at", "actor", "role", "via", "action", "target"),
    *("request", "before", "after", "outcome", "reason", "prev_hash", "hash"),
)


def events(
    db: sqlite3.Connection, after: int | None, limit: int, downstream: str | None
) -> tuple[list[dict[str, Any]], int]:
    """Return the events behind a cursor (None: the latest ones), oldest first, and the next cursor."""
    order = "DESC" if after is None else "ASC"
    found = db.execute(
        f"""SELECT seq, at, instance, name, downstream, fields FROM events
            WHERE seq > ? AND (? IS NULL OR downstream = ?) ORDER BY seq {order} LIMIT ?""",  # noqa: S608 -- one of two words
        (after or 0, downstream, downstream, limit),
    ).fetchall()
    rows = [
        {"seq": seq, "at": iso(at), "instance": instance, "name": name, "downstream": of, "fields": _json(fields)}
        for seq, at, instance, name, of, fields in (reversed(found) if after is None else found)
    ]
    return rows, rows[-1]["seq"] if rows else after or 0


def incidents(db: sqlite3.Connection, downstream: str | None, limit: int, now: float) -> list[dict[str, Any]]:
    """Return incidents, newest first; one under way has lasted until now (seconds since 1970)."""
    found = db.execute(
        """SELECT id, downstream, started_at, ended_at, planned, cause FROM incidents
           WHERE ? IS NULL OR downstream = ? ORDER BY started_at DESC, id DESC LIMIT ?""",
        (downstream, downstream, limit),
    )
    return [
        {
            "id": number,
            "downstream": name,
            "started_at": iso(start),
            "ended_at": iso(end),
            "duration_s": round(max(0.0, (now if end is None else end) - start), 3),
            "planned": bool(planned),
            "cause": cause,
        }
        for number, name, start, end, planned, cause in found
    ]


def audit(
    db: sqlite3.Connection, after: int, limit: int, filters: Mapping[str, str], order: Literal["ASC", "DESC"]
) -> list[dict[str, Any]]:
    """Return audit records behind a number, in an order of those numbers."""
    chosen = [name for name in FILTERS if name in filters]
    where = " AND ".join(["seq > ?", *(f"{name} = ?" for name in chosen)])
    found = db.execute(
        f"SELECT {', '.join(_COLUMNS)} FROM audit WHERE {where} ORDER BY seq {order} LIMIT ?",  # noqa: S608 -- our own words
        (after, *(filters[name] for name in chosen), limit),
    )
    rows = [dict(zip(_COLUMNS, row, strict=True)) for row in found]
    return [{**row, "at": iso(row["at"]), **{name: _json(row[name]) for name in _TEXTS}} for row in rows]


def audit_head(db: sqlite3.Connection) -> dict[str, Any]:
    """Return number and hash of the newest audit record."""
    return {"seq": int(meta(db, "audit_seq")), "hash": str(meta(db, "audit_hash"))}


def _json(text: str) -> Any:  # noqa: ANN401 -- whatever JSON can say
    try:
        return json.loads(text) if text else None
    except ValueError:  # edited by hand; the chain of hashes tells
        return text
