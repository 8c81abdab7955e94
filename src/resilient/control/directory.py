"""The control directory: the record, the word that tells of its changes, and where pages are."""

from __future__ import annotations

import os
import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path

from resilient import clock as _clock
from resilient.control import locks, paths, private, rows
from resilient.control.database import Database
from resilient.control.epoch import Epoch
from resilient.control.errors import ControlUnavailable
from resilient.control.host import boot
from resilient.control.intent import Intent

__all__ = ["Directory"]

PAGES = "w"
"""Where the pages of processes are."""


class Directory:
    """A control directory, opened and checked.

    Args:
        path: Where it is; see `paths.location`.
        create: Whether to make what is missing. A directory that is made must be this user's own; one
            that is only opened may be another user's if this process is root's.
        app: Name of the application, kept in a record that is made.

    Attributes:
        path: Where it is.
        owner: Number of the user it belongs to.
        database: Runs functions on the record: `database.read(function, ...)`, `database.write(function, ...)`.
        epoch: The word that rises with each change.

    Raises:
        UnsafeDirectory: If somebody else's hands are in it.
        ControlUnavailable: If it is not there, or cannot be used.

    """

    __slots__ = ("__weakref__", "_identity", "database", "epoch", "owner", "path")

    def __init__(self, path: str | os.PathLike[str], *, create: bool = False, app: str = "") -> None:
        self.path = paths.plain(Path(path))
        found = private.prepare(self.path) if create else private.checked(self.path, foreign=True)
        self.owner = found.st_uid
        self._identity = found.st_dev, found.st_ino
        if create:
            private.prepare(self.path / PAGES)
        elif not os.path.lexists(self.path / paths.DATABASE):
            message = f"{self.path} holds no record yet: no application has started with it"
            raise ControlUnavailable(message)
        self.database = Database(self.path / paths.DATABASE, self.owner)
        self.database.begin(app or self.path.name) if create else self.database.read(_revision)
        self.epoch = Epoch(self.path / paths.EPOCH, self.owner)

    def load(self) -> Intent:
        """Return what operators want now; bounded, so that it may run on a call's path.

        Raises:
            ControlUnavailable: If the record cannot be read.

        """
        clock = _clock.current()
        return self.database.read(rows.load, clock.wall(), clock.now(), boot())

    def revision(self) -> int:
        """Return the revision of the record.

        Raises:
            ControlUnavailable: If the record cannot be read.

        """
        return self.database.read(_revision)

    def intact(self) -> bool:
        """Tell whether directory, record and epoch are still those that were opened."""
        try:
            found = self.path.lstat()
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._identity and self.database.intact() and self.epoch.intact()

    def changing(self, seconds: float = 5.0) -> AbstractContextManager[None]:
        """Return a context in which this process alone changes the record and raises the epoch.

        Args:
            seconds: How long to wait for whoever is at it.

        Raises:
            ControlUnavailable: If its turn does not come in time; on entering.

        """
        return locks.held(self.path / paths.LOCK, self.owner, seconds)

    def announce(self) -> None:
        """Tell every process that the record has changed; within `changing()` and after the commit.

        Raises:
            ControlUnavailable: If there is no epoch file, and none can be made.

        """
        if not self.epoch.intact():  # others have mapped, or will map, the one with the name
            self.epoch.remap()
        self.epoch.bump()

    def close(self) -> None:
        """Close the database; a later use opens it again. The epoch's word stays readable."""
        self.database.close()


def _revision(db: sqlite3.Connection) -> int:
    return rows.number(db, "revision")
