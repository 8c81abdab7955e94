"""What the record knows of a downstream's past: incidents, the time to end them, and how long it was there."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["History", "histories"]

_DAY = 86_400.0


@dataclass(slots=True)
class History:
    """Incidents and time per state of one downstream.

    Attributes:
        open: Whether an incident is under way.
        recent: Incidents that began in the last 24 h.
        ended: Unplanned incidents that are over.
        lasted: Seconds that those took in all.
        unplanned: All unplanned incidents.
        up: Seconds up, planned or not.
        down: Seconds down that nobody had planned.
        total: Seconds observed.

    """

    open: bool = False
    recent: int = 0
    ended: int = 0
    lasted: float = 0.0
    unplanned: int = 0
    up: float = 0.0
    down: float = 0.0
    total: float = 0.0

    def told(self) -> dict[str, Any]:
        """Return it as the overview says it; None where nothing has happened that could be told."""
        return {
            "open": self.open,
            "count_24h": self.recent,
            "mttr_s": round(self.lasted / self.ended, 3) if self.ended else None,
            "mtbf_s": round(self.up / self.unplanned, 3) if self.unplanned else None,
            "availability": round(1 - self.down / self.total, 6) if self.total else None,
        }


def histories(db: sqlite3.Connection, wall: float) -> Mapping[str, History]:
    """Return the past of every downstream that has one.

    Args:
        db: A connection.
        wall: Seconds since 1970.

    """
    found: dict[str, History] = {}
    counts = db.execute(
        """SELECT downstream, max(ended_at IS NULL), sum(started_at > ?), sum(planned = 0),
               sum(planned = 0 AND ended_at IS NOT NULL),
               total(CASE WHEN planned = 0 AND ended_at IS NOT NULL THEN max(0, ended_at - started_at) END)
           FROM incidents GROUP BY downstream""",
        (wall - _DAY,),
    )
    for name, running, recent, unplanned, ended, lasted in counts:
        found[name] = History(open=bool(running), recent=recent, unplanned=unplanned, ended=ended, lasted=lasted)
    for name, state, planned, seconds in db.execute("SELECT downstream, state, planned, seconds FROM downstream_time"):
        one = found.setdefault(name, History())
        one.total += seconds
        if state == "up":
            one.up += seconds
        elif state == "down" and not planned:
            one.down += seconds
    return found
