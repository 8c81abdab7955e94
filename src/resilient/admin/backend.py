"""The control directory as the API uses it: opened when first needed, opened again after it was lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from threading import Lock
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from resilient import clock
from resilient.admin import records
from resilient.control import standing
from resilient.control.audit import AuditRow
from resilient.control.directory import Directory
from resilient.control.host import boot
from resilient.control.intent import Hold
from resilient.control.operations import Operations
from resilient.control.overview import overview
from resilient.control.spoken import hold_json, iso

__all__ = ["Backend", "in_thread"]

T = TypeVar("T")

_THREADS = 16
_limiter: RunVar[anyio.CapacityLimiter] = RunVar("resilient_admin_threads")
"""Of each event loop."""

_NEWS = 200
"""Events that one look at the record takes, at most; the next look takes those that follow."""


async def in_thread(function: Callable[..., T], *args: Any, **named: Any) -> T:  # noqa: ANN401 -- any function's
    """Call what may block on a file, beside the event loop; who is cancelled does not wait for it.

    The threads are our own: an application whose threads all wait for a dead downstream is what operators come for.
    """
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(_THREADS)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(lambda: function(*args, **named), abandon_on_cancel=True, limiter=limiter)


class Backend:
    """What the API reads and changes; every method may block.

    Args:
        find: Returns the open directory; called when it is first needed, and again after it was lost.

    """

    def __init__(self, find: Callable[[], Directory]) -> None:
        self._find = find
        self._lock = Lock()
        self._open: tuple[Directory, Operations] | None = None

    @property
    def directory(self) -> Directory:
        """Return the open directory.

        Raises:
            ControlUnavailable: If it is not there, or not safe.

        """
        return self._both()[0]

    @property
    def operations(self) -> Operations:
        """Return what changes the record.

        Raises:
            ControlUnavailable: If it is not there, or not safe.

        """
        return self._both()[1]

    def overview(self) -> dict[str, Any]:
        """Return what all processes show, and what operators want.

        Raises:
            ControlUnavailable: If it cannot be read now.

        """
        return overview(self.directory, now=clock.SYSTEM.wall())

    def holds(self, target: str | None, limit: int, *, ended: bool) -> list[dict[str, Any]]:
        """Return holds as JSON says them: those in force, or all there were."""
        return [self._told(hold) for hold in self.operations.holds(target, ended=ended, limit=limit)]

    def hold(self, hold_id: str) -> dict[str, Any]:
        """Return one hold, ended or not.

        Raises:
            Refused: If there is none.

        """
        return self._told(self.operations.hold(hold_id))

    def events(self, after: int | None, limit: int, downstream: str | None = None) -> tuple[list[dict[str, Any]], int]:
        """Return the events behind a cursor (None: the latest ones), oldest first, and the next cursor."""
        found = self.operations.events(after or 0, limit=limit, downstream=downstream, latest=after is None)
        rows = [{**each, "at": iso(each["at"])} for each in found]
        return rows, found[-1]["seq"] if found else after or 0

    def news(self, cursor: int | None) -> tuple[list[dict[str, Any]], int]:
        """Return the events behind a cursor; None for that of now, and no events."""
        if cursor is None:
            return [], self.events(None, 1)[1]
        return self.events(cursor, _NEWS)

    def audit(self, after: int, limit: int, filters: Mapping[str, str], *, newest: bool) -> list[dict[str, Any]]:
        """Return audit records: the newest ones first, or those behind a number, oldest first."""
        found = self.operations.audit(after, limit=limit, latest=newest, **filters)
        return [_audited(row) for row in (reversed(found) if newest else found)]

    def audit_head(self) -> dict[str, Any]:
        """Return number and hash of the newest audit record."""
        seq, digest = self.operations.audit_head()
        return {"seq": seq, "hash": digest}

    def incidents(self, downstream: str | None, limit: int) -> list[dict[str, Any]]:
        """Return incidents, newest first."""
        return self.directory.database.read(records.incidents, downstream, limit, clock.SYSTEM.wall())

    def _told(self, hold: Hold) -> dict[str, Any]:
        if hold.status != "active":
            return hold_json(hold, 0.0, masked=False)
        wall = clock.SYSTEM.wall()
        left = hold.remaining(wall, clock.SYSTEM.now(), boot())
        masked = standing.masked_by(hold, standing.in_force(self.directory.load(), hold.target, wall))
        return hold_json(hold, left, masked=bool(masked))

    def _both(self) -> tuple[Directory, Operations]:
        with self._lock:
            if self._open is not None and not self._open[0].intact():
                self._open[0].close()
                self._open = None
            if self._open is None:
                directory = self._find()
                self._open = directory, Operations(directory)
            return self._open


def _audited(row: AuditRow) -> dict[str, Any]:
    said = {name: _json(getattr(row, name)) for name in ("request", "before", "after")}
    return {**asdict(row), "at": iso(row.at), **said}


def _json(text: str) -> Any:  # noqa: ANN401 -- whatever JSON can say
    try:
        return json.loads(text)
    except ValueError:  # edited by hand; the chain of hashes tells
        return text
