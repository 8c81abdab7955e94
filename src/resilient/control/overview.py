"""Everything at a glance: what the processes of this host show, and what operators want of them.

The command line, the API, the dashboard and the streams all show this one picture.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from resilient.control import earlier
from resilient.control import rows as record
from resilient.control.audit import head
from resilient.control.directory import Directory
from resilient.control.history import History, histories
from resilient.control.intent import Hold, Intent, Window, strictest, strictness
from resilient.control.merging import merged
from resilient.control.moment import Moment
from resilient.control.pages import PageView, read_pages
from resilient.control.spoken import hold_json, iso, verdict, window_json
from resilient.control.standing import etag

__all__ = ["STALE", "overview"]

STALE: Final = 5.0
"""Seconds without a heartbeat, which comes each second, after which a live process is called stale."""

_ALL: Final = 100


@dataclass(frozen=True, slots=True)
class _Record:
    """What the database holds, all of one moment."""

    intent: Intent
    app: str
    head: tuple[int, str]
    histories: Mapping[str, History]
    tags: Mapping[str, str]
    strangers: set[str]


def overview(directory: Directory, *, now: float) -> dict[str, Any]:
    """Return the whole picture as data for JSON: times as ISO 8601 in UTC, durations in seconds.

    Args:
        directory: The control directory.
        now: Seconds since 1970.

    Raises:
        ControlUnavailable: If the record cannot be read.
        OSError: If the pages cannot be read.

    """
    pages = [page for page in read_pages(directory.path) if page.alive]
    rows = [item for page in pages for item in (page.data.get("downstreams") or {}).items()]
    names, shown = {name for name, _ in rows}, earlier.kept(row for _, row in rows)
    found = directory.database.read(_read, now, names, shown)
    intent = found.intent
    windows = [window for window in intent.windows if window.active(now)]
    downstreams = _downstreams(pages, found, now)
    processes = [_process(page) for page in pages]
    synced = sum(not each["stale"] and (each["applied"] or 0) >= intent.revision for each in processes)
    unmasked = [hold for hold in intent.holds if not _masked(hold, intent.holds, windows)]
    sequence, digest = found.head
    return {
        "at": iso(now),
        "app": found.app,
        "path": str(directory.path),
        "revision": intent.revision,
        "reach": _reach(len(pages)),
        "verdict": verdict(downstreams, unmasked, windows, synced, len(pages)),
        "audit_head": {"seq": sequence, "hash": digest},
        "processes": processes,
        "downstreams": downstreams,
    }


def _read(db: sqlite3.Connection, wall: float, names: set[str], shown: Iterable[str]) -> _Record:
    moment = Moment.current()
    intent = record.load(db, wall, moment.now, moment.boot)
    return _Record(
        intent,
        str(record.meta(db, "app")),
        head(db),
        histories(db, wall),
        {name: etag(db, name, moment) for name in names.union(hold.target for hold in intent.holds)},
        earlier.strangers(db, {*shown} - {hold.id for hold in intent.holds}),
    )


def _reach(live: int) -> str:
    if not live:
        return "no process on this host"
    return f"{live} {'process' if live == 1 else 'processes'} on this host"


def _process(page: PageView) -> dict[str, Any]:
    data = page.data
    return {
        "instance": page.instance,
        "host": data.get("host"),
        "pid": data.get("pid"),
        "version": data.get("version"),
        "python": data.get("python"),
        "started_at": iso(data.get("started")),
        "heartbeat_age": round(page.age, 3),
        "applied": data.get("applied"),
        "stale": page.age > STALE,
        "errors": data.get("errors") or {},
    }


def _downstreams(pages: Sequence[PageView], found: _Record, now: float) -> list[dict[str, Any]]:
    """Return a row for every downstream that a live process shows or somebody holds."""
    shown: dict[str, list[dict[str, Any]]] = {}
    for page in pages:
        for name, row in (page.data.get("downstreams") or {}).items():
            shown.setdefault(name, []).append(row)
    counted = any(page.data.get("statistics") for page in pages)
    holds: dict[str, list[Hold]] = {}
    for hold in found.intent.holds:
        holds.setdefault(hold.target, []).append(hold)
    rows = []
    for name in sorted({*shown, *holds}):
        row = merged(shown.get(name, []), counted=counted)
        windows = [window for window in found.intent.windows if window.covers(name)]
        mine = holds.get(name, [])
        rows.append({"name": name, **_with_intent(row, mine, windows, now), "etag": found.tags[name]})
        rows[-1]["kept"] = [each for each in earlier.kept(shown.get(name, [])) if each in found.strangers]
        rows[-1]["incidents"] = found.histories.get(name, History()).told()
    return rows


def _with_intent(row: dict[str, Any], holds: Sequence[Hold], windows: Sequence[Window], now: float) -> dict[str, Any]:
    """Return a row in which what operators want comes first, be it applied already or not."""
    active = [window for window in windows if window.active(now)]
    moment = Moment.current()
    told = [hold_json(hold, moment.left(hold), masked=_masked(hold, holds, active)) for hold in holds]
    row = {**row, "holds": told, "windows": [window_json(window) for window in windows]}
    wanted: list[Hold | Window] = [*holds, *active]
    if any(entry.mode == "no_retries" for entry in wanted):
        row["retries"] = "off"
    first = strictest(wanted)
    if first is not None:
        share = 1 - first.percent / _ALL if first.mode == "forced_open" else 1.0
        row["share"] = min(row["share"], share)
        # Who turns a part of the calls back hides no open breaker.
        if share in {0, 1} or row["state"] not in {"open", "half_open"}:
            since = first.created_at if isinstance(first, Hold) else first.starts_at
            row.update(state=first.mode, since=since, cause="hold" if isinstance(first, Hold) else "window")
    # Open, and nobody calls: nothing will close it but a call.
    row["idle"] = row["state"] == "open" and not row["rate"] and not row["rejected_rate"] and row["rate"] is not None
    return {**row, "since": iso(row["since"])}


def _masked(hold: Hold, holds: Iterable[Hold], windows: Iterable[Window]) -> bool:
    """Tell whether a stricter hold or window is in force in the place of this one."""
    if hold.mode == "no_retries":
        return False
    there: list[Hold | Window] = [each for each in holds if each.target == hold.target]
    first = strictest([*there, *(window for window in windows if window.covers(hold.target))])
    return first is not None and strictness(first.mode, first.percent) > strictness(hold.mode, hold.percent)
