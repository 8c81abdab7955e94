"""What is read from the record for the API alone: incidents, and the tags of all downstreams at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from resilient.control import standing
from resilient.control.moment import Moment
from resilient.control.spoken import iso

__all__ = ["etags", "incidents"]


def etags(db: sqlite3.Connection, names: Iterable[str]) -> dict[str, str]:
    """Return for each downstream what changes whenever its holds do; as `Operations.etag`, all of one moment."""
    moment = Moment.current()
    return {name: standing.etag(db, name, moment) for name in names}


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
