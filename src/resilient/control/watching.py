"""Incidents in the record: looked for at each tick of the keeper, written when something happens and now and then."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from resilient import events
from resilient.clock import SYSTEM
from resilient.control import retained
from resilient.control.directory import Directory
from resilient.control.errors import ControlUnavailable
from resilient.control.host import boot
from resilient.control.incidents import Incident, Incidents
from resilient.control.looking import looks
from resilient.control.moment import Moment
from resilient.control.pages import PageView
from resilient.telemetry.totals import Totals

__all__ = ["Watching", "tell"]

_KEY: Final = "incidents"
_WRITING: Final = 5.0
"""Seconds between two notes of the times, which are lost if the keeper is killed in between."""

Over = tuple[Incident, float]


class Watching:
    """Keeps the incidents of a host's downstreams, from where the keeper before left off.

    Args:
        directory: The control directory.

    Raises:
        ControlUnavailable: If the record cannot be read now.

    """

    __slots__ = ("_app", "_directory", "_incidents", "_over", "_times", "_written")

    def __init__(self, directory: Directory) -> None:
        """Read what was kept."""
        self._directory = directory
        self._app, self._incidents = directory.database.read(_load, _moment())
        self._over: list[Over] = []
        self._times: dict[tuple[str, Any, bool], float] = {}
        self._written = SYSTEM.now()

    def look(self, pages: Sequence[PageView]) -> None:
        """Look at the pages of the live processes once.

        Raises:
            ControlUnavailable: If the record cannot be used now; what was not written is written another time.

        """
        at = _moment()
        intent = self._directory.load()
        seen = looks(pages, intent, at.wall, self._incidents.running)
        _, over = self._incidents.step(at, seen)
        self._over += over
        new = [incident for incident in self._incidents.running.values() if not incident.id]
        if new or self._over or at.now - self._written >= _WRITING:
            self._write(at)

    def close(self) -> None:
        """Write what is not written yet, for the next keeper; if that cannot be done now, a few seconds are lost."""
        with suppress(ControlUnavailable):
            self._write(_moment())

    def _write(self, at: Moment) -> None:
        for key, seconds in self._incidents.take_times().items():
            self._times[key] = self._times.get(key, 0.0) + seconds
        new = [each for each in (*self._incidents.running.values(), *(each for each, _ in self._over)) if not each.id]
        try:
            self._directory.database.write(self._record, new, at.wall)
        except BaseException:
            for incident in new:  # undone
                incident.id = 0
            raise
        over, self._over, self._times, self._written = self._over, [], {}, at.now
        for incident, end in over:  # first: one that has begun since may be of the same downstream
            if incident in new:
                tell("opened", incident)
            tell("closed", incident, seconds=round(end - incident.started_at, 3))
        for incident in self._incidents.running.values():
            if incident in new:
                tell("opened", incident)

    def _record(self, db: sqlite3.Connection, new: Sequence[Incident], wall: float) -> None:
        totals = Totals()
        for incident in new:
            row = (incident.downstream, incident.started_at, int(incident.planned), incident.cause)
            done = db.execute("INSERT INTO incidents (downstream, started_at, planned, cause) VALUES (?, ?, ?, ?)", row)
            incident.id = done.lastrowid or 0
            totals.add("resilient_incidents_total", (incident.downstream, _said(incident.planned)))
        for incident, end in self._over:
            db.execute("UPDATE incidents SET ended_at = ? WHERE id = ?", (end, incident.id))
            _note_peaks(db, incident)
            labels = (incident.downstream, _said(incident.planned))
            totals.observe("resilient_incident_duration_seconds", labels, end - incident.started_at)
        for incident in self._incidents.running.values():
            _note_peaks(db, incident)
        for (name, state, planned), seconds in self._times.items():
            totals.add("resilient_downstream_state_time_seconds_total", (name, state, _said(planned)), seconds)
            db.execute(
                """INSERT INTO downstream_time VALUES (?, ?, ?, ?)
                   ON CONFLICT DO UPDATE SET seconds = seconds + excluded.seconds""",
                (name, state, int(planned), seconds),
            )
        # Beside what dead processes have counted: this is written often, and that is large.
        retained.add(db, f"{self._app}/{_KEY}", totals, wall)
        db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_KEY, json.dumps(self._incidents.dump())))


def _load(db: sqlite3.Connection, at: Moment) -> tuple[str, Incidents]:
    """Return the application, and the incidents as they were left; the table knows best which are under way."""
    found = dict(db.execute("SELECT key, value FROM meta WHERE key IN ('app', ?)", (_KEY,)))
    kept = Incidents()
    with suppress(KeyError, ValueError):
        kept = Incidents.load(json.loads(found[_KEY]))
    running = {}
    rows = db.execute("SELECT id, downstream, started_at, planned, cause FROM incidents WHERE ended_at IS NULL")
    for number, name, started, planned, cause in rows:
        known = kept.running.get(name)
        if known is None or known.id != number:
            known = Incident(name, started, at.now, bool(planned), cause, id=number).rebased(at)
        running[name] = known
    kept.running = running
    return str(found.get("app", "")), kept


def _note_peaks(db: sqlite3.Connection, incident: Incident) -> None:
    peaks = {name: round(value, 4) for name, value in incident.peaks.items()}
    db.execute("UPDATE incidents SET peaks = ? WHERE id = ?", (json.dumps(peaks), incident.id))


def _moment() -> Moment:
    return Moment(SYSTEM.wall(), SYSTEM.now(), boot())


def _said(planned: bool) -> str:  # noqa: FBT001 -- a label
    return "true" if planned else "false"


def tell(what: str, incident: Incident, **more: object) -> None:
    """Publish that an incident was "opened" or "closed"."""
    fields = {"id": incident.id, "planned": incident.planned, "cause": incident.cause, **more}
    events.publish(f"resilient.incident.{what}", incident.downstream, fields)
