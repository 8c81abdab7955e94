"""What counts for a downstream among all that operators want of it, and whether that has changed."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from dataclasses import replace

from resilient.control import rows
from resilient.control.intent import Hold, Intent, Window, strictest, strictness
from resilient.control.moment import Moment

__all__ = ["as_of", "effective", "etag", "forced_open", "masked_by", "rules_etag"]


def effective(entries: Iterable[Hold | Window]) -> str:
    """Return the mode that counts for a downstream, given all that is in force there; "auto" for none."""
    several = list(entries)
    first = strictest(several)
    return first.mode if first else "no_retries" if several else "auto"


def masked_by(one: Hold | Window, entries: Iterable[Hold | Window]) -> list[str]:
    """Return the ids of what is more restrictive than one hold, so that it is not felt."""
    if one.mode == "no_retries":
        return []
    own = strictness(one.mode, one.percent)
    return [each.id for each in entries if each.id != one.id and strictness(each.mode, each.percent) > own]


def in_force(intent: Intent, target: str, wall: float) -> list[Hold | Window]:
    """Return the holds and windows that a downstream is under."""
    holds = [hold for hold in intent.holds if hold.target == target]
    return [*holds, *(window for window in intent.windows if window.active(wall) and window.covers(target))]


def forced_open(
    intent: Intent, names: Iterable[str], moment: Moment, span: tuple[float, float], without: str = ""
) -> tuple[frozenset[str], ...]:
    """Return which downstreams are forced open for all calls: at the start of a span, and at each later change.

    Args:
        intent: What operators want.
        names: The downstreams to look at.
        moment: The present.
        span: From when until when, in seconds since 1970.
        without: Id of a hold that is left out.

    """

    def opened(entry: Hold | Window) -> bool:
        return entry.mode == "forced_open" and entry.percent == 100 and entry.id != without  # noqa: PLR2004

    start, end = span
    held = [(hold.target, moment.wall + moment.left(hold)) for hold in intent.holds if opened(hold)]
    windows = [each for each in intent.windows if opened(each) and each.starts_at < end and each.ends_at > start]
    hit = {each.id: {name for name in names if each.covers(name)} for each in windows}
    starts = {start, *(each.starts_at for each in windows if each.starts_at > start)}  # more are open only from there
    return tuple(
        frozenset(target for target, until in held if until > at).union(
            *(hit[each.id] for each in windows if each.active(at))
        )
        for at in sorted(starts)
    )


def etag(db: sqlite3.Connection, target: str, moment: Moment) -> str:
    """Return what changes whenever the holds of a downstream do, also by time."""
    (last,) = db.execute("SELECT max(revision) FROM holds WHERE target = ?", (target,)).fetchone()
    active = rows.holds(db, "target = ? AND status = 'active' ORDER BY id", target)
    return _digest(target, last, *(hold.id for hold in active if moment.left(hold) > 0))


def rules_etag(db: sqlite3.Connection) -> str:
    """Return what changes whenever the rules do."""
    return _digest("rules", *db.execute("SELECT id, kind, fields FROM rules ORDER BY id"))


def as_of(record: Hold | Window, moment: Moment) -> Hold | Window:
    """Return a record with the status that time has given it, be it not written down yet."""
    if isinstance(record, Window):
        if record.status == "scheduled" and record.active(moment.wall):
            return replace(record, status="active")
        if record.status != "ended" and moment.wall >= record.ends_at:
            return replace(record, status="ended", ended_at=record.ends_at, end_reason="its time was over")
    elif record.status == "active" and moment.left(record) <= 0:
        return replace(record, status="expired", ended_at=record.expires_at, end_reason="its time was over")
    return record


def _digest(*parts: object) -> str:
    return hashlib.sha256(rows.canonical(parts).encode()).hexdigest()[:16]
