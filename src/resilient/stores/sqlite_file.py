"""The layout of a store's SQLite file: laid out whole or not at all, recognised, and what its errors mean."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from resilient import clock
from resilient.stores.sqlite_path import create

__all__ = [
    "APPLICATION",
    "FAULTS",
    "SCHEMA",
    "AnotherVersion",
    "ForeignDatabase",
    "broken",
    "connect",
    "final",
    "fold",
    "full",
]

APPLICATION = 0x72736C74
"""Says in the file's header whose it is: "rslt"."""

SCHEMA = 1
"""The version of the layout below. A file of a later one is left alone, one of an earlier one is moved aside."""

LAYOUT = (
    # `version` rises with every change, over all records: order of writing, and what `expected` means.
    # `turn` is the place in the line of those that give way, `used` whether it was read there.
    """CREATE TABLE records (
        version INTEGER PRIMARY KEY, key BLOB NOT NULL, variant BLOB NOT NULL, written REAL NOT NULL,
        lifetime REAL NOT NULL, ends REAL NOT NULL, used INTEGER NOT NULL, turn INTEGER NOT NULL,
        pinned INTEGER NOT NULL, tags INTEGER NOT NULL, size INTEGER NOT NULL, seal INTEGER NOT NULL,
        UNIQUE (key, variant))""",
    # Apart from what is looked at to make room, so that looking is cheap.
    "CREATE TABLE bodies (version INTEGER PRIMARY KEY, head BLOB NOT NULL, body BLOB NOT NULL)",
    "CREATE TABLE tags (tag BLOB, version INTEGER, PRIMARY KEY (tag, version)) WITHOUT ROWID",
    """CREATE TABLE totals (
        id INTEGER PRIMARY KEY, entries INTEGER NOT NULL, size INTEGER NOT NULL, pinned_entries INTEGER NOT NULL,
        pinned_size INTEGER NOT NULL, last INTEGER NOT NULL)""",
    "CREATE INDEX ending ON records (ends)",
    "CREATE INDEX line ON records (pinned, turn)",
    "CREATE INDEX tagged ON tags (version)",
)

IN_COMMIT = "resilient_in_commit"
"""Set on an error that leaves open whether a transaction is in the file."""

_WAL_LIMIT = 4 * 1024 * 1024
_WAL_PAGES = 4_000
"""After so many pages SQLite folds the log in by itself, in the middle of a change; we begin earlier, beside."""

_PAUSE = 0.005
_BROKEN = frozenset(
    {
        1,  # SQLITE_ERROR: a table of the layout is not there
        11,  # SQLITE_CORRUPT
        19,  # SQLITE_CONSTRAINT: an index that does not fit its table
        20,  # SQLITE_MISMATCH
        26,  # SQLITE_NOTADB
    }
)
_SHORT_READ = 522  # SQLITE_IOERR_SHORT_READ
_BUSY = frozenset({5, 6, 9})  # SQLITE_BUSY, SQLITE_LOCKED, SQLITE_INTERRUPT
_FULL = 13  # SQLITE_FULL


class ForeignDatabase(Exception):
    """A sound SQLite file that belongs to another application; it is left alone."""


class AnotherVersion(Exception):
    """A file of ours with another layout."""

    def __init__(self, schema: int) -> None:
        super().__init__(f"the file has layout {schema}, this version of the library needs {SCHEMA}")
        self.schema = schema


FAULTS = (sqlite3.Error, AnotherVersion, UnicodeDecodeError)
"""What using a file may raise. The last: SQLite's message repeats damaged bytes, and `sqlite3` stumbles over them."""


def broken(fault: BaseException) -> bool:
    """Tell whether an error means that the file is of no use any more."""
    if isinstance(fault, AnotherVersion):
        return fault.schema < SCHEMA
    if isinstance(fault, UnicodeDecodeError):
        return True
    if " transaction" in str(fault):  # a connection in a wrong state is no broken file, though its code is the same
        return False
    code = getattr(fault, "sqlite_errorcode", 0)
    return code & 0xFF in _BROKEN or code == _SHORT_READ


def waits(fault: BaseException) -> bool:
    """Tell whether an error means that other processes did not make room in time."""
    return getattr(fault, "sqlite_errorcode", 0) & 0xFF in _BUSY


def final(fault: BaseException) -> bool:
    """Tell whether trying again, with a new connection, would not help or might do a thing twice."""
    return waits(fault) or full(fault) or getattr(fault, IN_COMMIT, False)


def full(fault: BaseException) -> bool:
    """Tell whether an error means that the disk is full."""
    return getattr(fault, "sqlite_errorcode", 0) & 0xFF == _FULL


def connect(path: Path, patience: float, *, durable: bool) -> sqlite3.Connection:
    """Open a file of ours; begin it if there is none.

    Args:
        path: The file.
        patience: Seconds that a statement waits for other processes.
        durable: Whether a commit waits until it is on the disk.

    Raises:
        ForeignDatabase: If it is another application's.
        AnotherVersion: If it has another layout.
        PermissionError: If this process may not read and write it.
        sqlite3.Error: Whatever else is wrong.

    """
    create(path)
    if not os.access(path, os.R_OK | os.W_OK):
        # SQLite would read it, and leave files beside it that stop who may write later.
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    db = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
    try:
        db.text_factory = bytes  # a damaged value must not raise where it is fetched
        db.execute("PRAGMA cell_size_check = ON")
        if not _ours(db):
            _lay_out(db)
        _log_ahead(db, patience)
        db.execute("PRAGMA synchronous = FULL" if durable else "PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT}")
        db.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
    except BaseException:
        db.close()
        raise
    return db


def fold(db: sqlite3.Connection) -> None:
    """Take the write-ahead log into the file, as far as nobody still reads it."""
    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def _ours(db: sqlite3.Connection) -> bool:
    """Tell whether the file says that it is ours."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (schema,) = db.execute("PRAGMA user_version").fetchone()
    if application == APPLICATION and schema != SCHEMA:
        raise AnotherVersion(schema)
    return bool(application == APPLICATION)


def _lay_out(db: sqlite3.Connection) -> None:
    """Make the tables of an empty file, unless another process has done so meanwhile."""
    db.execute("BEGIN IMMEDIATE")
    if not _ours(db):
        if db.execute("SELECT 1 FROM sqlite_master").fetchone() or db.execute("PRAGMA application_id").fetchone()[0]:
            message = "the file is a SQLite database of another application"
            raise ForeignDatabase(message)
        for statement in LAYOUT:
            db.execute(statement)
        # From the time of day on, so that a file that takes another's place gives no version twice.
        first = max(0, int(clock.current().wall() * 1e6))
        db.execute("INSERT INTO totals VALUES (1, 0, 0, 0, 0, ?)", (first,))
        db.execute(f"PRAGMA user_version = {SCHEMA}")
        db.execute(f"PRAGMA application_id = {APPLICATION}")
    db.execute("COMMIT")


def _log_ahead(db: sqlite3.Connection, patience: float) -> None:
    """Switch to a write-ahead log, for which SQLite does not wait by itself while others use the file."""
    end = clock.SYSTEM.now() + patience
    while db.execute("PRAGMA journal_mode").fetchone() != (b"wal",):
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as fault:
            if not waits(fault) or clock.SYSTEM.now() >= end:
                raise
            clock.SYSTEM.sleep(_PAUSE)
