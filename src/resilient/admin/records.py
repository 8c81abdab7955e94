"""Incidents, as the record holds them."""

from __future__ import annotations

import sqlite3
from typing import Any

from resilient.control.spoken import iso

__all__ = ["incidents"]


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
