"""A process's own page: one locked file that tells others on this host that it lives and how it fares.

The lock is taken before the file gets its name and is held for life; the kernel drops it on any
death, so nobody guesses from process numbers. The text stands in one of two slots, and the older
one is written over: whoever dies in the middle of a write leaves the text before it intact, and a
reader is torn only by two writes in a row. The file is written, not mapped: no truncation by
somebody else can kill its owner.
"""

from __future__ import annotations

import errno
import os
import re
import zlib
from contextlib import suppress
from pathlib import Path
from stat import S_IMODE
from struct import Struct
from threading import Lock

from resilient import _check
from resilient import clock as _clock
from resilient._runtime import live
from resilient.control.births import births

__all__ = ["FOLDER", "SIZE", "OwnPage"]

FOLDER = "w"
"""Where pages are, in a control directory."""

SUFFIX = ".page"
NEW = ".new"
SIZE = 1 << 20
"""Bytes of a page file."""

MAGIC = b"RSLTPAGE"
LAYOUT = 1
HEAD = Struct("<8sQ")
"""Magic and layout, at the beginning of the file."""

SLOT = Struct("<QIII")
"""Sequence number (odd while writing, 0 if never written), length, checksum, flags; then the text."""

FIRST = 64
ROOM = SIZE // 2 - FIRST
SLOTS = (FIRST, FIRST + ROOM)
"""Where each slot begins; both are of the same room."""

PACKED = 1
"""Flag: the text is compressed."""

MOST = ROOM - SLOT.size

_INSTANCE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class OwnPage:
    """The page of this process, from here until it dies or closes it.

    A forked child lets go of it by itself, at once: else it would keep a dead parent's lock alive.
    The file stays behind, for the keeper to add up what it counted.

    Args:
        directory: The control directory.
        instance: This process's name, as `host.new_instance` makes it.
        first: Text that the page shows from its first moment on.

    Raises:
        OSError: If the page cannot be made there.
        ConfigError: If the instance cannot be the name of a file.

    """

    __slots__ = ("__weakref__", "_fd", "_identity", "_lock", "_number", "instance", "path", "pid")

    def __init__(self, directory: str | os.PathLike[str], instance: str, *, first: bytes = b"") -> None:
        """Make the file, lock it, and only then give it its name."""
        if not _INSTANCE.fullmatch(instance):
            _check.refuse("instance", instance, "1 to 128 of letters, digits, '.', '_' and '-', not led by '.' or '-'")
        self.instance = instance
        self.path = Path(directory) / FOLDER / f"{instance}{SUFFIX}"
        self.pid = os.getpid()
        self._lock = Lock()
        self._number = 0
        self._fd = -1
        folder = _folder(self.path.parent)
        try:
            with births.lock:
                self._create(folder, first)
                live.add(self)
        except BaseException:
            self.close()
            raise
        finally:
            os.close(folder)

    def _create(self, folder: int, first: bytes) -> None:
        import fcntl  # noqa: PLC0415 -- not on Windows

        name = f".{self.instance}{NEW}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(name, flags, 0o600, dir_fd=folder)
        births.fds.add(self._fd)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _allocate(self._fd)
            os.pwrite(self._fd, HEAD.pack(MAGIC, LAYOUT), 0)
            if first:
                self.write(first)
            _claim(name, self.path.name, folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)
            raise
        found = os.fstat(self._fd)
        self._identity = found.st_dev, found.st_ino

    def write(self, text: bytes) -> bool:
        """Show a new text; tell whether it fits. If not, the one before stays.

        Raises:
            OSError: If the page is closed or cannot be written.

        """
        packed = len(text) > MOST
        data = zlib.compress(text, 1) if packed else text
        if len(data) > MOST:
            return False
        with self._lock:
            if self._fd < 0 or self.pid != os.getpid():
                raise OSError(errno.EBADF, "this page is closed, or another process's", str(self.path))
            offset = SLOTS[self._number % 2]
            number = 2 * self._number
            os.pwrite(self._fd, SLOT.pack(number + 1, 0, 0, 0), offset)
            _write(self._fd, data, offset + SLOT.size)
            head = SLOT.pack(number + 2, len(data), zlib.crc32(data), PACKED if packed else 0)
            os.pwrite(self._fd, head, offset)
            self._number += 1
        return True

    def intact(self) -> bool:
        """Tell whether the file is still there under its name, in its full size."""
        if self._fd < 0:
            return False
        try:
            found = self.path.lstat()
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._identity and found.st_size >= SIZE

    @property
    def closed(self) -> bool:
        """Whether this process has let go of the page."""
        return self._fd < 0

    def close(self) -> None:
        """Let go of the page, as death would: the keeper adds it up and removes it."""
        with self._lock:
            fd, self._fd = self._fd, -1
            if fd >= 0 and self.pid == os.getpid():
                births.release(fd)

    def close_inherited(self) -> None:
        """Let go of the parent's page, in a forked child, where its descriptor is closed already."""
        self._lock = Lock()  # the old one may be held by a thread that is not here
        if self.pid != os.getpid():
            self._fd = -1

    def renew(self) -> None:
        """Let go, in a forked child."""
        self.close_inherited()

    def use_clock(self, clock: _clock.Clock) -> None:
        """Do nothing: there is no time in here."""


def _folder(path: Path) -> int:
    """Return a descriptor of the folder of pages, made if it is not there, that only its owner may change.

    Raises:
        PermissionError: If somebody else might put files into it.

    """
    with suppress(FileExistsError):
        path.mkdir(0o700)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    found = os.fstat(fd)
    if found.st_uid != os.geteuid() or S_IMODE(found.st_mode) & 0o077:
        os.close(fd)
        found_is = f"uid {found.st_uid} with mode {S_IMODE(found.st_mode):04o}"
        message = f"must be owned by uid {os.geteuid()} with mode 0700, not {found_is}"
        raise PermissionError(errno.EPERM, message, str(path))
    return fd


def _allocate(fd: int) -> None:
    """Take all the room at once, so that no later write meets a full disk."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, SIZE)
    else:  # macOS
        _write(fd, bytes(SIZE), 0)


def _write(fd: int, data: bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        done = os.pwrite(fd, rest, offset)
        rest, offset = rest[done:], offset + done


def _claim(name: str, target: str, folder: int) -> None:
    """Give the file its name, unless another has it: no page is ever replaced."""
    try:
        os.stat(target, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(name, target, src_dir_fd=folder, dst_dir_fd=folder)
        return
    raise FileExistsError(errno.EEXIST, "another process has this page", target)
