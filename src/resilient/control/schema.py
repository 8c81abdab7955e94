"""The layout of the control database: laid out whole or not at all, and recognised before anything is read."""

from __future__ import annotations

import sqlite3

from resilient import clock as _clock
from resilient.control.errors import ControlUnavailable
from resilient.stores.sqlite_file import waits

__all__ = ["APPLICATION", "GENESIS", "SCHEMA", "configure", "lay_out"]

APPLICATION = 0x72736C63
"""Says in the file's header whose it is: "rslc"."""

SCHEMA = 1

GENESIS = "0" * 64
"""What the first row of the audit names as the hash before it."""

LAYOUT = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
    """CREATE TABLE holds (
        id TEXT PRIMARY KEY, target TEXT NOT NULL, mode TEXT NOT NULL, percent INTEGER NOT NULL,
        disposition TEXT NOT NULL, reason TEXT NOT NULL, ticket TEXT NOT NULL, actor TEXT NOT NULL, via TEXT NOT NULL,
        created_at REAL NOT NULL, expires_at REAL NOT NULL, ends REAL NOT NULL, boot TEXT NOT NULL, ttl REAL NOT NULL,
        revision INTEGER NOT NULL, status TEXT NOT NULL, ended_at REAL, ended_by TEXT NOT NULL,
        end_reason TEXT NOT NULL, notes TEXT NOT NULL)""",
    # One actor holds one downstream once, and its retries once more.
    """CREATE UNIQUE INDEX one_each ON holds (target, actor, mode = 'no_retries') WHERE status = 'active'""",
    "CREATE INDEX holds_of ON holds (target, revision)",
    """CREATE TABLE windows (
        id TEXT PRIMARY KEY, selector TEXT NOT NULL, mode TEXT NOT NULL, percent INTEGER NOT NULL,
        disposition TEXT NOT NULL, reason TEXT NOT NULL, ticket TEXT NOT NULL, actor TEXT NOT NULL, via TEXT NOT NULL,
        created_at REAL NOT NULL, starts_at REAL NOT NULL, ends_at REAL NOT NULL, revision INTEGER NOT NULL,
        status TEXT NOT NULL, ended_at REAL, ended_by TEXT NOT NULL, end_reason TEXT NOT NULL)""",
    "CREATE INDEX windows_left ON windows (status)",
    # No generation is given twice, or a process would take a new command for one that it has done.
    """CREATE TABLE commands (
        generation INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, command TEXT NOT NULL, reason TEXT NOT NULL,
        actor TEXT NOT NULL, via TEXT NOT NULL, at REAL NOT NULL)""",
    "CREATE TABLE rules (id TEXT PRIMARY KEY, kind TEXT NOT NULL, fields TEXT NOT NULL)",
    """CREATE TABLE keys (
        actor TEXT NOT NULL, key TEXT NOT NULL, at REAL NOT NULL, request TEXT NOT NULL, receipt TEXT NOT NULL,
        PRIMARY KEY (actor, key))""",
    """CREATE TABLE audit (
        seq INTEGER PRIMARY KEY, at REAL NOT NULL, actor TEXT NOT NULL, role TEXT NOT NULL, via TEXT NOT NULL,
        action TEXT NOT NULL, target TEXT NOT NULL, request TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL,
        outcome TEXT NOT NULL, reason TEXT NOT NULL, prev_hash TEXT NOT NULL, hash TEXT NOT NULL)""",
    "CREATE INDEX audit_of ON audit (target, seq)",
    """CREATE TABLE events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, instance TEXT NOT NULL, name TEXT NOT NULL,
        downstream TEXT NOT NULL, fields TEXT NOT NULL)""",
    "CREATE INDEX events_of ON events (downstream, seq)",
    "CREATE INDEX events_at ON events (at)",
    "CREATE TABLE downstreams (name TEXT PRIMARY KEY, first_seen REAL NOT NULL)",
    "CREATE TABLE retained (app TEXT PRIMARY KEY, payload NOT NULL)",
    "CREATE TABLE folded (instance TEXT PRIMARY KEY, at REAL NOT NULL)",
    """CREATE TABLE incidents (
        id INTEGER PRIMARY KEY AUTOINCREMENT, downstream TEXT NOT NULL, started_at REAL NOT NULL, ended_at REAL,
        planned INTEGER NOT NULL, cause TEXT NOT NULL, peaks TEXT NOT NULL DEFAULT '{}')""",
    "CREATE INDEX incidents_of ON incidents (downstream, started_at)",
    """CREATE TABLE downstream_time (
        downstream TEXT NOT NULL, state TEXT NOT NULL, planned INTEGER NOT NULL, seconds REAL NOT NULL,
        PRIMARY KEY (downstream, state, planned))""",
)

_WAL_LIMIT = 4 * 1024 * 1024
_PAUSE = 0.005


def configure(db: sqlite3.Connection, patience: float) -> None:
    """Recognise the database behind a new connection, and set the connection up.

    Args:
        db: The connection.
        patience: Seconds to wait for others in all.

    Raises:
        ControlUnavailable: If it is another application's, or of another version.
        sqlite3.Error: Whatever else is wrong.

    """
    db.execute("PRAGMA cell_size_check = ON")
    db.execute("PRAGMA trusted_schema = OFF")
    if not _ours(db):
        message = "it is a SQLite database of another application, and left alone"
        raise ControlUnavailable(message)
    _log_ahead(db, patience)
    db.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT}")


def lay_out(db: sqlite3.Connection, app: str) -> None:
    """Make the tables of an empty database, unless another process has done so meanwhile.

    Args:
        db: A connection.
        app: Name of the application.

    Raises:
        ControlUnavailable: If it is another application's, or of another version.

    """
    if _ours(db):
        return
    db.execute("BEGIN IMMEDIATE")
    if not _ours(db):
        (taken,) = db.execute("PRAGMA application_id").fetchone()
        if taken or db.execute("SELECT 1 FROM sqlite_master").fetchone():
            message = "it is a SQLite database of another application, and left alone"
            raise ControlUnavailable(message)
        for statement in LAYOUT:
            db.execute(statement)
        first = {"app": app, "created_at": _clock.current().wall(), "revision": 0}
        db.executemany("INSERT INTO meta VALUES (?, ?)", [*first.items(), ("audit_seq", 0), ("audit_hash", GENESIS)])
        db.execute(f"PRAGMA user_version = {SCHEMA}")
        db.execute(f"PRAGMA application_id = {APPLICATION}")
    db.execute("COMMIT")


def _ours(db: sqlite3.Connection) -> bool:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (schema,) = db.execute("PRAGMA user_version").fetchone()
    if application == APPLICATION and schema != SCHEMA:
        message = f"it has layout {schema}, and this version of the library knows layout {SCHEMA}"
        raise ControlUnavailable(message)
    return bool(application == APPLICATION)


def _log_ahead(db: sqlite3.Connection, patience: float) -> None:
    """Switch to a write-ahead log, for which SQLite does not wait by itself while others use the file."""
    end = _clock.SYSTEM.now() + patience
    while db.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as fault:
            if not waits(fault) or _clock.SYSTEM.now() >= end:
                raise
            _clock.SYSTEM.sleep(_PAUSE)
