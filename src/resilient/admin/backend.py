"""The control directory as the API uses it: opened when first needed, opened again after it was lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, TypeVar

import anyio.to_thread

from resilient import clock
from resilient.admin import records
from resilient.control.directory import Directory
from resilient.control.host import boot
from resilient.control.intent import Hold, Intent, strictest
from resilient.control.operations import Operations
from resilient.control.overview import overview
from resilient.control.spoken import hold_json

__all__ = ["Backend", "in_thread"]

T = TypeVar("T")

_NEWS = 200
"""Events that one look at the record takes, at most; the next look takes those that follow."""


async def in_thread(function: Callable[..., T], *args: Any, **named: Any) -> T:  # noqa: ANN401 -- any function's
    """Call what may block on a file, beside the event loop; who is cancelled does not wait for it."""
    return await anyio.to_thread.run_sync(lambda: function(*args, **named), abandon_on_cancel=True)


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
        return self.directory.database.read(records.events, after, limit, downstream)

    def news(self, cursor: int | None) -> tuple[list[dict[str, Any]], int]:
        """Return the events behind a cursor; None for that of now, and no events."""
        if cursor is None:
            return [], self.events(None, 1)[1]
        return self.events(cursor, _NEWS)

    def incidents(self, downstream: str | None, limit: int) -> list[dict[str, Any]]:
        """Return incidents, newest first."""
        return self.directory.database.read(records.incidents, downstream, limit, clock.SYSTEM.wall())

    def audit(self, after: int, limit: int, filters: Mapping[str, str], *, newest: bool) -> list[dict[str, Any]]:
        """Return audit records: the newest ones first, or those behind a number, oldest first."""
        return self.directory.database.read(records.audit, after, limit, filters, "DESC" if newest else "ASC")

    def audit_head(self) -> dict[str, Any]:
        """Return number and hash of the newest audit record."""
        return self.directory.database.read(records.audit_head)

    def _told(self, hold: Hold) -> dict[str, Any]:
        active = hold.status == "active"
        left = hold.remaining(clock.SYSTEM.wall(), clock.SYSTEM.now(), boot()) if active else 0.0
        return hold_json(hold, left, masked=active and _masked(hold, self.directory.load()))

    def _both(self) -> tuple[Directory, Operations]:
        with self._lock:
            if self._open is not None and not self._open[0].intact():
                self._open[0].close()
                self._open = None
            if self._open is None:
                directory = self._find()
                self._open = directory, Operations(directory)
            return self._open


def _masked(hold: Hold, intent: Intent) -> bool:
    """Tell whether a stricter hold or window is in force in the place of this one."""
    wall = clock.SYSTEM.wall()
    there = [each for each in intent.holds if each.target == hold.target]
    windows = [each for each in intent.windows if each.active(wall) and each.covers(hold.target)]
    first = strictest([*there, *windows])
    return hold.mode != "no_retries" and first is not None and first.id != hold.id
