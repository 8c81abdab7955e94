"""The name under which a SQLite file stands: checked, given to an empty file at once, and taken from a broken one."""

from __future__ import annotations

import os
import sqlite3
from _thread import get_ident
from contextlib import closing, suppress
from pathlib import Path

from resilient import _check, faults

__all__ = ["create", "identity", "move_aside", "usable"]

_MOST_ASIDE = 5
"""How many broken files are kept beside a store's; then the oldest of them makes room."""


def usable(path: object) -> Path:
    """Return the real path of a file that can be used, as far as can be seen now.

    Raises:
        TypeError: If it is no path.
        ConfigError: If it cannot be the path of a file that this process may read and write.

    """
    text = path if isinstance(path, str) else str(path) if isinstance(path, os.PathLike) else None
    if text is None:
        _check.refuse_type("path", path, "the path of a file")
    if text in {"", ":memory:"} or text.startswith("file:") or "\0" in text:
        _check.refuse("path", path, "the path of a file; in memory there is MemoryStore")
    real = Path(text).resolve()
    if os.path.isdir(real) or not os.path.isdir(real.parent):  # noqa: PTH112 -- a Path raises where it may not look
        _check.refuse("path", path, "the path of a file in a directory that is there")
    if not os.access(real.parent, os.W_OK | os.X_OK):
        _check.refuse("path", path, "the path of a file in a directory that this process may write to")
    if real.exists() and not os.access(real, os.R_OK | os.W_OK):
        _check.refuse("path", path, "the path of a file that this process may read and write")
    return real


def identity(path: Path) -> tuple[int, int] | None:
    """Return what tells this file from another that takes its place, or None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def create(path: Path) -> None:
    """Create an empty file that nobody else may read, unless it is there; SQLite gives its other files the same mode.

    It is complete when it gets its name: a file that another thread may have opened must never be
    opened and closed here, for that would drop SQLite's locks.
    """
    if path.exists():
        return
    fresh = _beside(path, f".new-{os.getpid()}-{get_ident()}")
    os.close(os.open(fresh, os.O_CREAT | os.O_RDWR, 0o600))
    try:
        path.hardlink_to(fresh)
    except FileExistsError:  # another was first
        pass
    except OSError:  # no hard links here
        fresh.rename(path)
        return
    fresh.unlink()


def move_aside(path: Path, which: tuple[int, int] | None, fault: Exception, patience: float) -> bool:
    """Rename a broken file and what SQLite keeps beside it.

    Args:
        path: The file.
        which: Its identity as it was opened.
        fault: Why; it is reported once per process.
        patience: Seconds to wait for another process that is doing the same.

    Returns:
        Whether it was done here: False if another process was first.

    """
    turn = _beside(path, ".aside")
    create(turn)
    # One process at a time: an empty database beside the file is a lock that dies with its process.
    with closing(sqlite3.connect(turn, timeout=patience, isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        if which is None or identity(path) != which:
            return False
        target = _free_name(path)
        # The log first: whoever opens the old name in between must not leave a log to a new file.
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                _beside(path, suffix).replace(_beside(target, suffix))
    faults.note(fault, "the file was moved to %s, and a new one begun", target)
    faults.report(move_aside, fault)
    return True


def _free_name(path: Path) -> Path:
    names = [_beside(path, f".aside-{number}") for number in range(1, _MOST_ASIDE + 1)]
    taken = [name for name in names if name.exists()]
    if len(taken) == len(names):
        return min(taken, key=lambda name: name.stat().st_mtime)
    return next(name for name in names if name not in taken)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
