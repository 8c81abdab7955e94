"""A lock between processes that dies with its holder: `flock` on a file, never inherited by a forked child."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resilient import clock as _clock
from resilient._runtime import live
from resilient.control import private
from resilient.control.errors import ControlUnavailable

__all__ = ["held", "release", "take"]

_PAUSES = (0.001, 0.02)
"""Seconds between two looks at a lock that somebody has: the first, and the longest."""

_mine: set[int] = set()
"""Descriptors of the locks that this process holds."""


@contextmanager
def held(path: Path, owner: int, seconds: float) -> Iterator[None]:
    """Hold a lock for the length of a block.

    Args:
        path: The lock's file; made if it is not there.
        owner: Number of the user that must own it.
        seconds: How long to wait for whoever has it.

    Raises:
        ControlUnavailable: If it was not to be had in time, or the file cannot be used.

    """
    end, pause = _clock.SYSTEM.now() + seconds, _PAUSES[0]
    while (fd := take(path, owner)) is None:
        if _clock.SYSTEM.now() >= end:
            message = f"{path} was held by another process for more than {seconds:g} s"
            raise ControlUnavailable(message)
        _clock.SYSTEM.sleep(pause)
        pause = min(2 * pause, _PAUSES[1])
    try:
        yield
    finally:
        release(fd)


def take(path: Path, owner: int) -> int | None:
    """Take a lock at once, and return the descriptor that holds it; None if somebody else has it.

    Args:
        path: The lock's file; made if it is not there.
        owner: Number of the user that must own it.

    Raises:
        ControlUnavailable: If the file cannot be used.

    """
    import fcntl  # noqa: PLC0415 -- not on Windows

    try:
        fd = private.open_file(path, os.O_RDWR | os.O_CREAT, owner)
    except OSError as fault:
        message = f"{path} cannot be opened: {fault.strerror}"
        raise ControlUnavailable(message) from fault
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), path.lstat()):  # else it was replaced, and others lock the new one
            _mine.add(fd)
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)
    return None


def release(fd: int) -> None:
    """Give back what `take` returned; in a forked child that has let go of it already, nothing."""
    if fd in _mine:
        _mine.discard(fd)
        _unlock(fd)


def _unlock(fd: int) -> None:
    import fcntl  # noqa: PLC0415

    try:
        # By name: a copy of the descriptor in a child that was forked meanwhile would keep the lock alive.
        fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


def _let_go() -> None:
    """Drop what the parent holds, without unlocking it, in a forked child."""
    for fd in tuple(_mine):
        os.close(fd)
    _mine.clear()


live.renewing(_let_go)
