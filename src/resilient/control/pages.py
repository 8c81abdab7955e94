"""Reading the pages of every process on this host: who lives, and what each one shows."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any

from resilient import faults
from resilient.clock import SYSTEM
from resilient.control.host import boot
from resilient.control.page import FOLDER, HEAD, LAYOUT, MAGIC, MOST, PACKED, SLOT, SLOTS, SUFFIX
from resilient.control.sound import sound

__all__ = ["PageView", "read_pages"]

_TRIES = 40
"""Looks at a page whose owner is writing at that moment; then it is given up."""

_LARGEST = 1 << 24
"""Bytes of a text that was compressed, at most."""

VERSION = 1
"""Format of the texts that can be read."""


@dataclass(frozen=True, slots=True)
class PageView:
    """What one process shows.

    Attributes:
        instance: The process's name.
        alive: Whether it lives; if not, what it shows is its last word.
        data: The text, as `snapshot.py` makes it.
        age: Seconds since its heartbeat.
        file: The page.

    """

    instance: str
    alive: bool
    data: dict[str, Any]
    age: float
    file: Path


class Unreadable(Exception):
    """A page that shows nothing that can be read."""


def read_pages(directory: str | os.PathLike[str]) -> list[PageView]:
    """Return what every process shows, by name; the dead ones included whose counts are not yet added up.

    A page that cannot be read is left out, and that is reported once.

    Args:
        directory: The control directory.

    Raises:
        OSError: If the folder of pages is there and cannot be read.

    """
    path = Path(directory) / FOLDER
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(SUFFIX) and name[0] != ".")  # noqa: PTH208 -- of a descriptor
        views = [_tried(path / name, folder) for name in names]
    finally:
        os.close(folder)
    return [view for view in views if view is not None]


def _tried(path: Path, folder: int) -> PageView | None:
    try:
        return read_page(path, folder)
    except FileNotFoundError:  # added up and removed meanwhile
        return None
    except (OSError, Unreadable) as fault:
        faults.report(read_pages, fault)
        return None


def read_page(path: Path, folder: int) -> PageView | None:
    """Return what a page shows, or None if its process has not written yet.

    Args:
        path: The page.
        folder: A descriptor of its folder, whose owner must own the page.

    Raises:
        OSError: If it cannot be opened or read.
        Unreadable: If it is no page, or is torn each time.

    """
    # Without waiting: a pipe of that name would wait for a writer for ever.
    fd = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
    try:
        found, owner = os.fstat(fd), os.fstat(folder).st_uid
        if not S_ISREG(found.st_mode) or found.st_uid != owner:
            message = f"{path.name} is no plain file of uid {owner}"
            raise Unreadable(message)
        alive = locked(fd)  # before reading: the text of a dead one is then its last
        text = read_text(fd, path.name, _TRIES if alive else 1)
    finally:
        os.close(fd)
    return None if text is None else _view(path, text, alive=alive)


def locked(fd: int) -> bool:
    """Tell whether the owner of a page holds its lock."""
    import fcntl  # noqa: PLC0415 -- not on Windows

    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: other readers are not in the way
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def read_text(fd: int, name: str, tries: int = 1) -> bytes | None:
    """Return the newest whole text of an open page, or None if there never was one.

    Args:
        fd: A descriptor of the page.
        name: What the error calls it.
        tries: Looks at most; a page that nobody writes any more needs but one.

    Raises:
        Unreadable: If it is no page, or no whole text was met in a number of looks.

    """
    begin = os.pread(fd, HEAD.size, 0)
    if len(begin) != HEAD.size or HEAD.unpack(begin) != (MAGIC, LAYOUT):
        message = f"{name} is no page of this layout"
        raise Unreadable(message)
    for look in range(tries):
        if look:
            SYSTEM.sleep(0.0005 * look)
        heads = [_head(fd, offset) for offset in SLOTS]
        if all(head[0] <= 1 for head in heads):  # nothing yet, or the first is being written
            return None
        # The newest first; if that one is written over meanwhile, look again.
        for head, offset in sorted(zip(heads, SLOTS, strict=True), reverse=True):
            number = head[0]
            text = None if number % 2 or not number else _slot(fd, head, offset)
            if text is not None:
                return text
    message = f"{name} was torn in {tries} looks"
    raise Unreadable(message)


def _head(fd: int, offset: int) -> tuple[int, int, int, int]:
    data = os.pread(fd, SLOT.size, offset)
    if len(data) != SLOT.size:
        message = "a page was cut short"
        raise Unreadable(message)
    head: tuple[int, int, int, int] = SLOT.unpack(data)
    return head


def _slot(fd: int, head: tuple[int, int, int, int], offset: int) -> bytes | None:
    """Return the text of a slot, or None if it is not whole."""
    _, length, checksum, flags = head
    if length > MOST:
        return None
    data = os.pread(fd, length, offset + SLOT.size)
    if len(data) != length or zlib.crc32(data) != checksum:
        return None
    if not flags & PACKED:
        return data
    unpacking = zlib.decompressobj()
    with suppress(zlib.error):
        text = unpacking.decompress(data, _LARGEST)
        return text if unpacking.eof else None
    return None


def _view(path: Path, text: bytes, *, alive: bool) -> PageView:
    try:
        data = json.loads(text)
    except ValueError as error:
        message = f"{path.name} holds no JSON"
        raise Unreadable(message) from error
    if not isinstance(data, dict) or data.get("v") != VERSION:
        message = f"{path.name} is of another format than version {VERSION}"
        raise Unreadable(message)
    return PageView(path.name.removesuffix(SUFFIX), alive, sound(data), _age(data), path)


def _age(data: Mapping[str, Any]) -> float:
    """Return the seconds since a heartbeat; by the host's monotonic clock unless the host was started since."""
    beat, heartbeat = data.get("beat"), data.get("heartbeat")
    if isinstance(beat, (int, float)):
        age = SYSTEM.now() - beat
        if age >= 0 and data.get("boot") == boot():
            return age
    if isinstance(heartbeat, (int, float)):
        return max(0.0, SYSTEM.wall() - heartbeat)
    return 0.0
