"""Removing what nobody will come back for: pages of processes that died at birth, and old rows of the record."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import Final

from resilient.clock import SYSTEM
from resilient.control.page import FOLDER, NEW, SUFFIX
from resilient.control.pages import Unreadable, locked, read_text

__all__ = ["instances", "prune", "sweep"]

_BIRTH: Final = 600.0
"""Seconds after which a page without any text, whose process is dead, is removed."""

_DAY: Final = 86_400.0
"""Seconds after which a dead page that cannot be read, perhaps another version's, is removed."""

_INCIDENTS: Final = 10_000
"""Incidents that are kept."""


def sweep(directory: Path, known: Collection[str]) -> None:
    """Remove abandoned files from the folder of pages.

    Args:
        directory: The control directory.
        known: Processes whose pages can be read; they are left alone.

    """
    folder = directory / FOLDER
    for path in folder.iterdir():
        fresh = path.name.startswith(".") and path.name.endswith(NEW)
        page = path.name.endswith(SUFFIX) and path.name.removesuffix(SUFFIX) not in known
        if fresh or page:
            with suppress(FileNotFoundError):
                _sweep(path)


def instances(directory: Path) -> set[str]:
    """Return the names of all processes that still have a page."""
    return {path.name.removesuffix(SUFFIX) for path in (directory / FOLDER).glob(f"*{SUFFIX}")}


def _sweep(path: Path) -> None:
    found = path.lstat()
    age = SYSTEM.wall() - found.st_mtime
    if age < _BIRTH or not S_ISREG(found.st_mode):
        return
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not locked(fd) and (age >= _DAY or _empty(fd)):
            path.unlink()
    finally:
        os.close(fd)


def _empty(fd: int) -> bool:
    try:
        return os.fstat(fd).st_size == 0 or read_text(fd, "") is None
    except Unreadable:
        return os.pread(fd, 8, 0) in {b"", bytes(8)}  # died before it was a page


def prune(db: sqlite3.Connection, there: Collection[str], wall: float) -> None:
    """Remove old rows of the record.

    Args:
        db: A connection, in a transaction that writes.
        there: Processes that still have a page: that they were added up must not be forgotten.
        wall: Seconds since 1970.

    """
    old = db.execute("SELECT instance FROM folded WHERE at < ?", (wall - _DAY,))
    gone = [(instance,) for (instance,) in old if instance not in there]
    db.executemany("DELETE FROM folded WHERE instance = ?", gone)
    db.execute(
        "DELETE FROM incidents WHERE ended_at IS NOT NULL AND id <= (SELECT max(id) FROM incidents) - ?", (_INCIDENTS,)
    )
    # Of names that come and go only those that are remembered have a past.
    db.execute("DELETE FROM downstream_time WHERE downstream NOT IN (SELECT name FROM downstreams)")
