"""Directories and files that nobody else can read, change or put there: made so, and refused otherwise."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from resilient.control import filesystems
from resilient.control.errors import ControlUnavailable, UnsafeDirectory

__all__ = ["as_owner_of", "check_file", "checked", "open_file", "owner_name", "prepare"]

_OTHERS = 0o077
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)


def prepare(path: Path) -> os.stat_result:
    """Make a private directory, and what is missing above it, unless it is there; check it in any case.

    Raises:
        UnsafeDirectory: If somebody else's hands are in it.
        ControlUnavailable: If it cannot be made, or cannot work here.

    """
    _supported()
    missing = [path]
    while not os.path.lexists(missing[-1].parent) and missing[-1].parent != missing[-1]:
        missing.append(missing[-1].parent)
    try:
        for each in reversed(missing):
            if each is path:
                _check_above(path, os.geteuid())  # nothing is made where a link of somebody else leads
            # Another process may be faster: what matters is whose it is, and that is checked below.
            each.mkdir(mode=0o700, exist_ok=True)
    except (OSError, ValueError) as fault:
        message = f"the control directory {path} cannot be made: {_why(fault)}"
        raise ControlUnavailable(message) from fault
    found = checked(path)
    if not os.access(path, os.W_OK | os.X_OK):
        message = f"the control directory {path} cannot be written to"
        raise ControlUnavailable(message)
    return found


def checked(path: Path, *, foreign: bool = False) -> os.stat_result:
    """Return the status of a directory that only its owner can reach, and whose owner is this process's user.

    Args:
        path: The directory.
        foreign: Whether it may be another user's, if this process is root's.

    Raises:
        UnsafeDirectory: If it is a symbolic link, another user's, open to others, or stands where others
            may replace it.
        ControlUnavailable: If it is not there, or on a network's file system.

    """
    _supported()
    found = _status(path)
    user = os.geteuid()
    if found.st_uid != user and not (foreign and user == 0):
        _refuse(path, f"belongs to {owner_name(found.st_uid)}, not to {owner_name(user)}")
    if stat.S_IMODE(found.st_mode) & _OTHERS:
        _refuse(path, f"is open to others (mode {stat.S_IMODE(found.st_mode):04o}); chmod 700 it")
    _check_above(path, found.st_uid)
    if (kind := filesystems.remote(path.resolve())) is not None:
        message = f"the control directory {path} is on a network file system ({kind}); it must be on this host"
        raise ControlUnavailable(message)
    return found


def open_file(path: Path, flags: int, owner: int) -> int:
    """Open a file of a checked directory, and return its descriptor; no link is followed.

    Args:
        path: The file.
        flags: As of `os.open`; a file that is made is private.
        owner: Number of the user that must own it.

    Raises:
        UnsafeDirectory: If it is no plain file of its directory's owner, or open to others.
        OSError: As `os.open` raises it.

    """
    try:
        fd = os.open(path, flags | _FLAGS, 0o600)
    except OSError as fault:
        if fault.errno in {errno.ELOOP, errno.EMLINK}:
            _refuse(path, "is a symbolic link")
        raise
    try:
        found = os.fstat(fd)
        _check_file(path, found, {owner, os.geteuid()})
        if found.st_uid != owner:  # root made it in another user's directory: it is that user's from here on
            os.fchown(fd, owner, -1)
    except BaseException:
        os.close(fd)
        raise
    return fd


def check_file(path: Path, owner: int) -> None:
    """Check a file that something else is going to open by its name.

    Args:
        path: The file.
        owner: Number of the user that must own it.

    Raises:
        UnsafeDirectory: If it is no plain file of its directory's owner, or open to others.
        OSError: If it is not there.

    """
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        _refuse(path, "is a symbolic link")
    _check_file(path, found, {owner, os.geteuid()})


@contextmanager
def as_owner_of(path: Path) -> Iterator[None]:
    """Act as the owner of a directory, if this process is root's; for programs of their own only.

    Root then touches nothing that the owner could not, whatever links the owner has laid. All
    threads of the process are concerned.
    """
    found = _status(path)
    if os.geteuid() != 0 or found.st_uid == 0:
        yield
        return
    group = os.getegid()
    os.setegid(found.st_gid)
    os.seteuid(found.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)


def owner_name(uid: int) -> str:
    """Return a user's name, or "user 1000" for one without."""
    try:
        import pwd  # noqa: PLC0415 -- not on Windows

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return f"user {uid}"


def _status(path: Path) -> os.stat_result:
    try:
        found = path.lstat()
    except (OSError, ValueError) as fault:
        message = f"the control directory {path} cannot be opened: {_why(fault)}"
        raise ControlUnavailable(message) from fault
    if stat.S_ISLNK(found.st_mode):
        _refuse(path, "is a symbolic link")
    if not stat.S_ISDIR(found.st_mode):
        _refuse(path, "is no directory")
    return found


def _check_above(path: Path, owner: int) -> None:
    """Check the directory above: who may rename there decides which directory has the name."""
    above = path.parent
    shared = not above.name.startswith("resilient")
    found = above.stat() if shared else _status(above)
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        _refuse(above, f"lets everybody replace what is in it (mode {stat.S_IMODE(found.st_mode):04o})")
    if not shared and found.st_uid not in {0, owner}:
        _refuse(above, f"belongs to {owner_name(found.st_uid)}, not to {owner_name(owner)}")


def _check_file(path: Path, found: os.stat_result, owners: set[int]) -> None:
    if not stat.S_ISREG(found.st_mode):
        _refuse(path, "is no plain file")
    if found.st_uid not in owners:
        _refuse(path, f"belongs to {owner_name(found.st_uid)}, not to {owner_name(min(owners))}")
    if stat.S_IMODE(found.st_mode) & _OTHERS:
        _refuse(path, f"is open to others (mode {stat.S_IMODE(found.st_mode):04o}); chmod 600 it")


def _supported() -> None:
    if not hasattr(os, "register_at_fork") or not hasattr(os, "geteuid"):
        message = "a control directory needs file locks and shared maps of POSIX, which this system lacks"
        raise ControlUnavailable(message)


def _refuse(path: Path, what: str) -> NoReturn:
    message = f"{path} {what}; it is not used for control"
    raise UnsafeDirectory(message)


def _why(fault: Exception) -> str:
    return (fault.strerror if isinstance(fault, OSError) else None) or str(fault)
