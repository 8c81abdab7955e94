"""One SQLite file, whatever happens to it: removed, replaced or broken, it is opened again or begun anew."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from typing import Any, TypeVar

from resilient import _check, clock, faults
from resilient._runtime import live, threads
from resilient.stores.connections import Connections, Role
from resilient.stores.sqlite_file import FAULTS, ForeignDatabase, broken, connect, final, fold
from resilient.stores.sqlite_path import identity, move_aside
from resilient.stores.sqlite_rows import BACK, newest

__all__ = ["Database"]

T = TypeVar("T")

_ATTEMPTS = 4
"""How often an operation begins anew, because the file was broken or was replaced meanwhile."""

_LOOKED = 1.0
"""Seconds after which a look-up makes sure that the file is still the one with its name."""


class Database:
    """Runs functions with a connection to the file that has the name now.

    Args:
        path: The file.
        patience: Seconds that a read waits for others in all, and that a change waits for other
            threads, and again for other processes.
        durable: Whether a commit waits for the disk.

    """

    __slots__ = (
        "__weakref__",
        "_connections",
        "_durable",
        "_folds",
        "_identity",
        "_looked",
        "_patience",
        "ahead",
        "close",
        "moved",
        "path",
    )

    def __init__(self, path: Path, patience: float, *, durable: bool) -> None:
        self.path = path
        self._patience = patience
        self._durable = durable
        self._identity: tuple[int, int] | None = None
        self._looked = 0.0
        self._folds: deque[None] = deque([None])
        self.moved = 0
        """How often the file was broken, and moved aside here."""
        self.ahead = False
        """Whether there may be records from the future, since the wall clock has gone back."""
        self._connections = Connections(str(path), self._connect, patience)
        self.close = self._connections.close
        live.add(self)

    def recognise(self) -> None:
        """Look at the file, if there is one.

        Raises:
            ConfigError: If it is another application's. What else is wrong shows at the calls.

        """
        try:
            if self.path.exists():
                self.run(newest, role="read")
        except ForeignDatabase:
            _check.refuse("path", str(self.path), "a new file or one of a SqliteStore, no other application's database")
        except (*FAULTS, OSError, RuntimeError):
            return

    def read(self, function: Callable[..., T], now: float, *args: Any) -> T:  # noqa: ANN401 -- those of the function
        """Call a function that reads; `now` is the wall clock's time."""
        if not -_LOOKED < now - self._looked < _LOOKED:
            self._look()
            self._looked = now
        return self.run(function, *args, role="read")

    def write(self, function: Callable[..., T], *args: Any) -> T:  # noqa: ANN401
        """Call a function that writes; nobody else in this process writes meanwhile."""
        self._look()
        return self.run(function, *args, role="write")

    def run(self, function: Callable[..., T], *args: Any, role: Role) -> T:  # noqa: ANN401
        """Call a function with a connection: again with a new one where that may help, then with a new file."""
        for attempt in range(_ATTEMPTS):
            try:
                return self._connections.run(function, *args, role=role)
            except FAULTS as fault:
                if not broken(fault) and (final(fault) or (attempt and not self._replaced())):
                    raise
                self._connections.expire()
                if broken(fault) and attempt:
                    self.close()
                    self.moved += move_aside(self.path, self._identity, fault, self._patience)
        return self._connections.run(function, *args, role=role)

    def fold(self) -> None:
        """Have the write-ahead log taken into the file, in another thread: it waits for the disk twice."""
        try:
            self._folds.pop()
        except IndexError:  # it is being done
            return
        try:
            threads.start(Context(), self._fold, (), {})
        except RuntimeError:  # no more threads: SQLite does it by itself when the log gets long
            self._folds.append(None)

    def _fold(self) -> None:
        try:
            self._connections.run(fold, role="fold")
        except Exception as fault:  # noqa: BLE001 -- nobody waits for it, and whoever writes next meets the same
            faults.report(Database.fold, fault)
        finally:
            self._folds.append(None)

    def _replaced(self) -> bool:
        """Tell whether somebody has removed or replaced the file, perhaps because it was broken."""
        return self._identity is not None and identity(self.path) != self._identity

    def _look(self) -> None:
        """Have the file opened anew if somebody has removed or replaced it."""
        if self._replaced():
            self._connections.expire()

    def _connect(self, role: Role) -> sqlite3.Connection:
        before = identity(self.path)
        try:
            db = connect(self.path, self._patience / 2 if role == "read" else self._patience, durable=self._durable)
        finally:  # also of a file that is broken: it is to be moved aside
            self._identity = identity(self.path) if before is None else before
        try:
            self.ahead = self.ahead or newest(db) > clock.current().wall() + BACK
        except BaseException:
            db.close()
            raise
        return db

    def renew(self) -> None:
        """Count on no thread of the parent, in a forked child."""
        self._folds = deque([None])

    def use_clock(self, _: clock.Clock) -> None:
        """Do nothing: the wall clock is asked anew each time."""
