"""Whether the record can be changed now, and if not, who keeps it: told by the kernel's table of locks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from resilient.cli.checks import STALE, Finding
from resilient.cli.words import age, listed
from resilient.control import paths
from resilient.control.errors import ControlUnavailable

if TYPE_CHECKING:
    from resilient.cli.session import Session
    from resilient.control.pages import PageView

__all__ = ["holders", "writing"]

_LOCKS: Final = Path("/proc/locks")
_WRITER: Final = 120
"""Byte of SQLite's shared memory that the one who writes has locked; see "WAL-mode File Format" of SQLite."""

_PATIENCE: Final = 1.0
"""Seconds to wait for a writer; those that are well take milliseconds."""

_STATES: Final = {"T": "stopped", "t": "stopped by a debugger", "D": "waiting for a disk", "Z": "dead"}


def writing(session: Session, pages: list[PageView]) -> Iterator[Finding]:
    """Look whether a change could be made: whoever stops in the middle of one keeps all others from it."""
    directory = session.directory
    try:
        with directory.changing(_PATIENCE):
            directory.database.write(lambda _: None, keep=False)
    except ControlUnavailable as fault:
        alive = [page for page in pages if page.alive]
        found = [pid for pid in holders(directory.path) if pid != os.getpid()]
        yield Finding("fail", "writing", *(_told(found, alive) if found else _guessed(alive, str(fault))))
    else:
        yield Finding("ok", "writing", "nobody keeps others from changing the record")


def _told(found: Iterable[int], alive: Iterable[PageView]) -> tuple[str, str]:
    names = {page.data.get("pid"): page.instance for page in alive}
    who, stopped = [], []
    for pid in found:
        state = _state(pid)
        named = f", {names[pid]}" if pid in names else ""
        who.append(f"process {pid} ({state or 'running'}{named})")
        stopped += [str(pid)] * state.startswith("stopped")
    what = f"the record is locked by {listed(who)}: no change can be made"
    if stopped:
        return what, f"It stopped in the middle of a change: let it go on (kill -CONT {' '.join(stopped)}), or end it."
    return what, "A change takes milliseconds: if it is still so when you look again, end that process."


def _guessed(alive: Iterable[PageView], fault: str) -> tuple[str, str]:
    """Return who it may be where the kernel does not tell: who has not been heard for long."""
    late = [f"{page.instance} (last heard {age(page.age)} ago)" for page in alive if page.age > STALE]
    if not late:
        return fault, "A process that does not show itself may have stopped in the middle of a change."
    what = f"the record is locked by another process, perhaps {listed(late)}: no change can be made"
    return what, "If it stopped in the middle of a change: let it go on (kill -CONT), or end it."


def holders(path: Path) -> list[int]:
    """Return the processes that keep others from changing a control directory, as far as the kernel tells.

    Args:
        path: The control directory.

    """
    files: dict[str, str] = {}
    for name in (paths.LOCK, paths.DATABASE, f"{paths.DATABASE}-shm"):
        with suppress(OSError):
            # Only asked about: to open and close a file would end this process's own locks on it.
            at = (path / name).stat()
            files[f"{os.major(at.st_dev):02x}:{os.minor(at.st_dev):02x}:{at.st_ino}"] = name
    try:
        lines = _LOCKS.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):  # another system, or not allowed
        return []
    found = []
    for line in lines:
        fields = line.split()
        if len(fields) == 8 and fields[3] == "WRITE" and _matters(files.get(fields[5], ""), *fields[6:]):  # noqa: PLR2004
            found.append(int(fields[4]))
    # A process of another container has no number here.
    return [pid for pid in dict.fromkeys(found) if pid > 0]


def _matters(name: str, start: str, end: str) -> bool:
    if not name.endswith("-shm"):
        return bool(name)
    return int(start) <= _WRITER and (end == "EOF" or int(end) >= _WRITER)


def _state(pid: int) -> str:
    """Return in what way a process does nothing, empty if it goes on or cannot be seen."""
    try:
        said = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return _STATES.get(said.rpartition(")")[2].split()[0], "")
