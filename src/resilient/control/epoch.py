"""The epoch: one 8-byte word in a shared map that every process compares before it admits a call.

Whoever has changed the record raises it by one; whoever sees another value than before reads the
record again. The file has its full size before it gets its name and is never truncated, since a
truncated map kills the process that touches it.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from struct import Struct

from resilient.control import private
from resilient.control.errors import ControlUnavailable

__all__ = ["SIZE", "Epoch"]

SIZE = 4096
MAGIC = b"RSLTEPOC"
LAYOUT = 1

_HEAD = Struct("=8sQQ")
_WORD = slice(16, 24)
_MOST = (1 << 64) - 1


class Epoch:
    """The shared map of one file.

    Args:
        path: The file; made if it is not there.
        owner: Number of the user that must own it.

    Attributes:
        word: The word itself, `word[0]`. After `remap()` this is another object; the old one stays readable.

    Raises:
        ControlUnavailable: If the file cannot be made or is none of ours.

    """

    __slots__ = ("_identity", "_owner", "path", "word")

    word: memoryview

    def __init__(self, path: Path, owner: int) -> None:
        self.path = path
        self._owner = owner
        self._identity = (0, 0)
        self.remap()

    def bump(self) -> None:
        """Tell every process that the record has changed; only while the lock of writers is held.

        One store of 8 aligned bytes: nobody sees half of it.
        """
        self.word[0] = self.word[0] + 1 & _MOST

    def intact(self) -> bool:
        """Tell whether the file with this name is still the one that is mapped, and whole."""
        try:
            found = self.path.lstat()
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._identity and found.st_size == SIZE

    def remap(self) -> None:
        """Map the file that has the name now; make one if there is none.

        Raises:
            ControlUnavailable: If the file cannot be made or is none of ours; the old map stays.

        """
        try:
            fd = self._open()
        except OSError as fault:
            message = f"{self.path} cannot be opened: {fault.strerror}"
            raise ControlUnavailable(message) from fault
        try:
            found = os.fstat(fd)
            # The size first: a map that is longer than its file kills whoever touches it.
            if found.st_size != SIZE or _HEAD.unpack(os.pread(fd, _HEAD.size, 0))[:2] != (MAGIC, LAYOUT):
                message = f"{self.path} is no epoch file of ours, or damaged; remove it to have a new one made"
                raise ControlUnavailable(message)
            shared = mmap.mmap(fd, SIZE)
        finally:
            os.close(fd)
        # The old map lives for as long as somebody holds its word.
        self.word = memoryview(shared)[_WORD].cast("Q")
        self._identity = found.st_dev, found.st_ino

    def _open(self) -> int:
        try:
            return private.open_file(self.path, os.O_RDWR, self._owner)
        except FileNotFoundError:
            self._make()
            return private.open_file(self.path, os.O_RDWR, self._owner)

    def _make(self) -> None:
        """Make the file under another name and give it its own when it is complete, unless one is there by then."""
        fresh = self.path.with_name(f"{self.path.name}.new-{os.getpid()}-{os.urandom(4).hex()}")
        fd = private.open_file(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, self._owner)
        try:
            if hasattr(os, "posix_fallocate"):  # a disk that is full must say so now, not to who writes to the map
                os.posix_fallocate(fd, 0, SIZE)
            # From 1 on: small numbers compare faster. Whoever mapped a file before this one looks at the inode.
            os.pwrite(fd, _HEAD.pack(MAGIC, LAYOUT, 1).ljust(SIZE, b"\0"), 0)
            self._name(fresh)
        finally:
            os.close(fd)
            fresh.unlink(missing_ok=True)

    def _name(self, fresh: Path) -> None:
        try:
            self.path.hardlink_to(fresh)
        except FileExistsError:  # another was first
            return
        except OSError:  # no hard links here
            fresh.rename(self.path)
