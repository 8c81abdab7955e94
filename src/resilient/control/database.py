"""The SQLite file of a control directory: what goes wrong with it is said clearly, and nothing takes its place."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from json import JSONDecodeError
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast
from urllib.parse import quote

from resilient.control import private, schema
from resilient.control.checks import plain
from resilient.control.errors import ControlUnavailable, Refused, UnsafeDirectory
from resilient.stores.connections import Connections, Role
from resilient.stores.sqlite_file import broken, full, waits
from resilient.stores.sqlite_path import create, identity

__all__ = ["Database"]

T = TypeVar("T")

READ = 0.25
"""Seconds that a read waits for other processes, at most: it may be on a call's path."""

WRITE = 2.0
"""Seconds that a change waits for other processes, at most."""

_THREADS = 1.0
"""Seconds that a thread waits for others of its process; half of it to read."""

_FAULTS = (sqlite3.Error, TimeoutError, RuntimeError, OSError, JSONDecodeError, UnicodeDecodeError)

_DAMAGED = "it is damaged (%s); restore it, or move it aside to begin a new record, without holds and audit"


class Database:
    """Runs functions with a connection, inside a transaction; nothing is open across a fork.

    Args:
        path: The file.
        owner: Number of the user that must own it.

    """

    __slots__ = ("__weakref__", "_connections", "_identity", "_owner", "close", "path")

    def __init__(self, path: Path, owner: int) -> None:
        self.path = path
        self._owner = owner
        self._identity: tuple[int, int] | None = None
        self._connections = Connections(str(path), self._connect, _THREADS)
        self.close = self._connections.close

    def begin(self, app: str) -> None:
        """Make the file and its tables, unless they are there.

        Args:
            app: Name of the application.

        Raises:
            ControlUnavailable: If that is not possible.

        """
        try:
            create(self.path)
            self._check_files()
            with closing(self._open(WRITE)) as db:
                schema.lay_out(db, app)
        except UnsafeDirectory:
            raise
        except (*_FAULTS, ControlUnavailable) as fault:
            self._explain(fault)

    def read(self, function: Callable[..., T], *args: Any) -> T:  # noqa: ANN401 -- those of the function
        """Call `function(db, *args)`, which sees one state of the database and changes nothing.

        Raises:
            ControlUnavailable: If the database cannot be used now.

        """
        return cast("T", self._run(_reading, function, args, role="read"))

    def write(
        self,
        function: Callable[..., T],
        *args: Any,  # noqa: ANN401
        durable: bool = False,
        keep: bool = True,
    ) -> T:
        """Call `function(db, *args)`, and commit what it has changed unless it raises.

        Args:
            function: What changes the database.
            args: Its other arguments.
            durable: Whether the commit waits for the disk.
            keep: Whether to commit; False tries, and undoes it.

        Raises:
            ControlUnavailable: If the database cannot be used now; what the function raises passes.

        """
        return cast("T", self._run(_writing, function, args, durable, keep, role="write"))

    def intact(self) -> bool:
        """Tell whether the file that is open is still the one with this name."""
        found = identity(self.path)
        return found is not None and self._identity in {None, found}

    def problems(self) -> list[str]:
        """Return what SQLite finds wrong with the file, nothing if it is sound.

        Raises:
            ControlUnavailable: If the database cannot be used now.

        """
        return [said for said in self.read(_check) if said != "ok"]

    def _run(self, *args: Any, role: Role) -> Any:  # noqa: ANN401 -- the function's answer
        if not self.intact():  # removed or replaced: what is open leads nowhere
            self._connections.expire()
        try:
            return self._connections.run(*args, role=role)
        except (UnicodeEncodeError, OverflowError) as fault:  # no name of anything, and no number of a row
            message = f"that cannot be in the record: {plain(str(fault))}"
            raise Refused("invalid", message) from fault
        except _FAULTS as fault:
            self._explain(fault)

    def _connect(self, role: Role) -> sqlite3.Connection:
        self._check_files()
        self._identity = identity(self.path)
        patience = READ if role == "read" else WRITE
        db = self._open(patience)
        try:
            schema.configure(db, patience)
        except ControlUnavailable as fault:
            db.close()
            self._explain(fault)
        except BaseException:
            db.close()
            raise
        return db

    def _open(self, patience: float) -> sqlite3.Connection:
        # `mode=rw`: a file that is gone is an error, and none is made in its place.
        uri = f"file:{quote(str(self.path))}?mode=rw"
        return sqlite3.connect(uri, uri=True, timeout=patience, isolation_level=None, check_same_thread=False)

    def _check_files(self) -> None:
        """Look at each file before SQLite does, which follows links."""
        for suffix in ("", "-wal", "-shm"):
            with suppress(*[FileNotFoundError] * bool(suffix)):
                private.check_file(self.path.with_name(self.path.name + suffix), self._owner)

    def _explain(self, fault: BaseException) -> NoReturn:
        message = f"the control database {self.path} cannot be used: {_reason(fault)}"
        raise ControlUnavailable(message) from fault


def _reading(db: sqlite3.Connection, function: Callable[..., T], args: tuple[Any, ...]) -> T:
    db.execute("BEGIN")
    result = function(db, *args)
    db.execute("COMMIT")
    return result


def _writing(
    db: sqlite3.Connection,
    function: Callable[..., T],
    args: tuple[Any, ...],
    durable: bool,  # noqa: FBT001 -- `Connections.run` passes no names
    keep: bool,  # noqa: FBT001
) -> T:
    db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    db.execute("BEGIN IMMEDIATE")
    result = function(db, *args)  # if it raises, the connection is closed and with it the transaction undone
    db.execute("COMMIT" if keep else "ROLLBACK")
    return result


def _check(db: sqlite3.Connection) -> list[str]:
    return [said for (said,) in db.execute("PRAGMA quick_check(20)")]


def _reason(fault: BaseException) -> str:
    if isinstance(fault, sqlite3.Error):
        if waits(fault):
            return "other processes kept it busy for too long"
        if full(fault):
            return "the disk is full"
        if broken(fault):
            return (
                f"it is damaged ({fault}); restore it, or move it aside to begin a new record without holds and audit"
            )
    if isinstance(fault, (JSONDecodeError, UnicodeDecodeError)):
        return _DAMAGED % fault
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror
    return str(fault)
