"""A timeline for the post-mortem, as Markdown: what a downstream went through, who did what about it, and why."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from resilient.control import events_log
from resilient.control.directory import Directory
from resilient.control.history import History, histories
from resilient.control.timeline import Line, grouped, lines_of_audit, lines_of_incidents, transitions

__all__ = ["incident_report"]

_DAY: Final = 86_400.0
_BEFORE: Final = 600.0
"""Seconds before an incident that belong to its story."""

_MOST: Final = 400
"""Lines of the timeline; the newest are kept."""

_SPECIAL: Final = str.maketrans({"|": "\\|", "<": "&lt;", "`": "\\`", "*": "\\*", "[": "\\[", "\\": "\\\\"})


@dataclass(frozen=True, slots=True)
class _Story:
    """What the record knows."""

    incidents: list[tuple[Any, ...]]
    lines: list[Line]
    history: History


def incident_report(directory: Directory, name: str, since: float | None = None, *, now: float) -> str:
    """Return the report of a downstream.

    Args:
        directory: The control directory.
        name: The downstream.
        since: Seconds since 1970 at which it begins; None for a day ago, or before the incident that is under way.
        now: Seconds since 1970.

    Raises:
        ControlUnavailable: If the record cannot be read now.

    """
    start = directory.database.read(_start, name, now) if since is None else since
    story = directory.database.read(_read, name, start, now)
    lines = sorted([*story.lines, *grouped(transitions(_events(directory, name, start)))], key=lambda line: line.at)
    return "\n".join(
        [
            f"# Incident report: {_plain(name)}",
            "",
            f"From {_time(start)} to {_time(now)}. All times are UTC.",
            "",
            *_summary(story, now),
            "",
            "## Incidents",
            "",
            *_incidents(story.incidents, now),
            "",
            "## Timeline",
            "",
            *_timeline(lines),
            "",
        ]
    )


def _start(db: sqlite3.Connection, name: str, now: float) -> float:
    (began,) = db.execute(
        "SELECT min(started_at) FROM incidents WHERE downstream = ? AND ended_at IS NULL", (name,)
    ).fetchone()
    return now - _DAY if began is None else min(now - _DAY, began - _BEFORE)


def _read(db: sqlite3.Connection, name: str, since: float, now: float) -> _Story:
    incidents = db.execute(
        """SELECT started_at, ended_at, planned, cause, peaks FROM incidents
           WHERE downstream = ? AND coalesce(ended_at, ?) >= ? ORDER BY started_at""",
        (name, now, since),
    ).fetchall()
    lines = [*lines_of_incidents(incidents, since), *lines_of_audit(db, name, since)]
    return _Story(incidents, lines, histories(db, now).get(name, History()))


def _events(directory: Directory, name: str, since: float) -> Iterable[events_log.Row]:
    after = 0
    while True:
        found = events_log.read(directory, after=after, limit=1_000, downstream=name, since=since)
        yield from found
        if len(found) < 1_000:  # noqa: PLR2004 -- as asked for
            return
        after = found[-1].seq


def _summary(story: _Story, now: float) -> list[str]:
    told = story.history.told()
    planned = sum(bool(row[2]) for row in story.incidents)
    running = " One is under way." if any(row[1] is None for row in story.incidents) else ""
    unplanned = [row for row in story.incidents if not row[2]]
    down = sum((now if row[1] is None else row[1]) - row[0] for row in unplanned)
    availability = "-" if told["availability"] is None else f"{told['availability']:.4%}"
    return [
        f"- Incidents: {len(story.incidents)}, of which {planned} planned.{running}",
        f"- Unplanned incidents took {_long(down)} in all.",
        f"- Mean time to repair (all that is recorded): {_long(told['mttr_s'])}.",
        f"- Mean time between failures (all that is recorded): {_long(told['mtbf_s'])}.",
        f"- Availability (all that is recorded, planned times aside): {availability}.",
    ]


def _incidents(rows: Iterable[tuple[Any, ...]], now: float) -> list[str]:
    table = []
    for started, ended, planned, cause, text in rows:
        peaks: Mapping[str, float] = json.loads(text)
        worst = f"{peaks['open']:g} of {peaks['processes']:g}" if {"open", "processes"} <= peaks.keys() else "-"
        lasted = _long((now if ended is None else ended) - started)
        cells = (
            _time(started),
            "under way" if ended is None else _time(ended),
            lasted,
            "yes" if planned else "no",
            _plain(cause) or "-",
            worst,
            _rate(peaks.get("rate")),
            _rate(peaks.get("rejected_rate")),
            "-" if "error_share" not in peaks else f"{peaks['error_share']:.0%}",
        )
        table.append(_row(cells))
    head = (
        "began", "ended", "lasted", "planned", "cause", "processes open", "peak calls/s", "peak refusals/s",
        "peak errors",
    )  # fmt: skip
    return [_row(head), _row(["---"] * len(head)), *table] if table else ["None."]


def _timeline(lines: list[Line]) -> list[str]:
    if not lines:
        return ["Nothing is recorded."]
    left_out = [f"{len(lines) - _MOST} earlier lines are left out.", ""] if len(lines) > _MOST else []
    rows = [_row(_cells(line)) for line in lines[-_MOST:]]
    return [*left_out, _row(("time", "what", "who", "why")), _row(["---"] * 4), *rows]


def _cells(line: Line) -> tuple[str, ...]:
    what = _plain(line.what)
    return _time(line.at), f"**{what}**" if line.strong else what, _plain(line.who) or "-", _plain(line.why) or "-"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Return what people wrote as text that is no Markdown."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split()).translate(_SPECIAL)


def _time(wall: float) -> str:
    return f"{datetime.fromtimestamp(wall, UTC):%Y-%m-%d %H:%M:%S}"


def _long(seconds: float | None) -> str:
    """Return a duration, such as "1 h 2 min 3 s"."""
    if seconds is None:
        return "-"
    left = max(0, round(seconds))
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        number, left = divmod(left, size)
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts) or "0 s"


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
