"""What time does by itself, written down: holds expire, windows begin and end."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict, replace

from resilient.control import audit, rows
from resilient.control.intent import Hold, Window
from resilient.control.moment import Moment

__all__ = ["due", "sweep"]

_OVER = "its time was over"


def due(db: sqlite3.Connection, moment: Moment) -> bool:
    """Tell whether there is something to write down."""
    return bool(_changes(db, moment))


def sweep(db: sqlite3.Connection, moment: Moment) -> list[audit.AuditRow]:
    """Write down what time has done, each with its row in the audit; return those rows."""
    changes = _changes(db, moment)
    if not changes:
        return []
    revision = rows.number(db, "revision") + 1
    rows.set_meta(db, "revision", revision)
    written = []
    for action, target, before, after in changes:
        rows.put(db, fresh := replace(after, revision=revision))
        written.append(
            audit.append(
                db,
                at=moment.wall,
                actor="time",
                role="system",
                via="code",
                action=action,
                target=target,
                request={},
                before=asdict(before),
                after=asdict(fresh),
                outcome="done",
                reason=after.end_reason or "its time has come",
            )
        )
    return written


def _changes(db: sqlite3.Connection, moment: Moment) -> list[tuple[str, str, Hold | Window, Hold | Window]]:
    wall = moment.wall
    found: list[tuple[str, str, Hold | Window, Hold | Window]] = []
    # "+id": sorting the few of them, not going through all there ever were in the order of their ids.
    for hold in rows.holds(db, "status = 'active' ORDER BY +id"):
        if moment.left(hold) <= 0:
            over = replace(hold, status="expired", ended_at=wall, end_reason=_OVER)
            found.append(("expire", hold.target, hold, over))
    for window in rows.windows(db, "status IN ('scheduled', 'active') ORDER BY +id"):
        if wall >= window.ends_at:
            ended = replace(window, status="ended", ended_at=wall, end_reason=_OVER)
            found.append(("finish_window", window.selector, window, ended))
        elif window.status == "scheduled" and window.active(wall):
            found.append(("start_window", window.selector, window, replace(window, status="active")))
    return found
