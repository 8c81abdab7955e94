"""What `doctor` looks at: each check says what it found, and what to do about it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from resilient.cli.words import age, count, listed
from resilient.clock import SYSTEM
from resilient.control import filesystems, paths, private
from resilient.control.errors import ControlUnavailable
from resilient.control.host import boot
from resilient.control.page import FOLDER

if TYPE_CHECKING:
    from resilient.cli.session import Session
    from resilient.control.pages import PageView

__all__ = ["OF_PROCESSES", "OF_RECORD", "Finding", "elsewhere", "grounds"]

STALE = 5.0
"""Seconds without a heartbeat after which a live process is called stale; it is due each second."""

_SKEW = 2.0
_FREE = 64 << 20
_UNSAFE = 0o077


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        status: Whether it is well.
        check: What was looked at.
        finding: What was found.
        advice: What to do, empty if nothing.

    """

    status: Literal["ok", "warn", "fail"]
    check: str
    finding: str
    advice: str = ""


def grounds(path: Path) -> Iterator[Finding]:
    """Look at the place itself: rights, file system, room."""
    if not path.exists():
        advice = "An application makes it at its first call, if RESILIENT_APP is set or control.configure() was called."
        yield Finding("fail", "permissions", f"{path} does not exist", advice)
        return
    try:
        private.checked(path, foreign=True)
        yield Finding("ok", "permissions", f"{path} is private to {private.owner_name(path.lstat().st_uid)}")
    except ControlUnavailable as fault:
        yield Finding("fail", "permissions", str(fault), "Processes do not use it; set its owner and mode 0700.")
    owner = path.lstat().st_uid
    for each in sorted([*path.iterdir(), *(path / FOLDER).glob("*")]):
        found = each.lstat()
        if stat.S_ISLNK(found.st_mode) or found.st_uid != owner or stat.S_IMODE(found.st_mode) & _UNSAFE:
            what = f"{each} is a link, another user's, or open to others (mode {stat.S_IMODE(found.st_mode):04o})"
            yield Finding("fail", "permissions", what, f"chown it to {private.owner_name(owner)} and chmod go= it.")
    kind = filesystems.kind(path.resolve())
    if filesystems.remote(path.resolve()):
        advice = "Locks there are not to be trusted: set RESILIENT_CONTROL_DIR to a local directory, everywhere."
        yield Finding("fail", "file system", f"{kind}, of a network", advice)
    else:
        room = os.statvfs(path)
        free = room.f_bavail * room.f_frsize
        status: Literal["ok", "warn"] = "ok" if free > _FREE else "warn"
        advice = "" if free > _FREE else "Each process needs 1 MiB here, and the record some more."
        yield Finding(status, "file system", f"{kind or 'local'}, {free >> 20} MiB free", advice)


def record(session: Session) -> Iterator[Finding]:
    """Look at the record: the database, the epoch, the audit."""
    problems = session.directory.database.problems()
    if problems:
        advice = "Restore it from a backup, or move it aside: a new one begins without holds and without audit."
        yield Finding("fail", "database", f"damaged: {listed(problems, 3)}", advice)
    else:
        yield Finding("ok", "database", f"sound, at revision {session.directory.revision()}")
    if session.directory.epoch.intact():
        yield Finding("ok", "epoch", "in place")
    else:
        yield Finding("fail", "epoch", "the file is not the one that was opened", "Restart the processes.")
    found = session.operations.verify_audit()
    if found.ok:
        what = (
            f"{count(found.rows, 'entry', 'entries')}, the chain is whole, head {found.head_seq}:{found.head_hash[:16]}"
        )
        yield Finding("ok", "audit", what, found.caveat)
    else:
        what = listed([f"entry {each['seq']}: {each['problem']}" for each in found.faults], 3)
        yield Finding("fail", "audit", what, "Somebody has changed the record by other means; secure a copy of it.")


def presence(_: Session, pages: list[PageView]) -> Iterator[Finding]:
    """Look at who lives, who is silent, and who has died."""
    alive = [each for each in pages if each.alive]
    if not alive:
        advice = "Start the application with RESILIENT_APP set; it appears at its first call."
        yield Finding("warn", "processes", "none is live", advice)
    else:
        yield Finding("ok", "processes", f"{len(alive)} live: {listed([each.instance for each in alive], 8)}")
    for each in alive:
        if each.age > STALE:
            what = f"{each.instance} lives, and was last heard {age(each.age)} ago"
            advice = "It checks before its next call all the same; it may be stopped, swapped out or stuck."
            yield Finding("warn", "heartbeat", what, advice)
        errors = {key: number for key, number in (each.data.get("errors") or {}).items() if number}
        if errors:
            what = f"{each.instance} counted {', '.join(f'{key} {number}' for key, number in errors.items())}"
            yield Finding("warn", "errors", what, "See the log of that process under `resilient`.")
    dead = [each for each in pages if not each.alive]
    if dead:
        what = (
            f"{count(len(dead), 'process', 'processes')} died, not yet added up: {listed([e.instance for e in dead])}"
        )
        yield Finding("ok" if alive else "warn", "dead pages", what, "A live process adds them up within seconds.")


def revisions(session: Session, pages: list[PageView]) -> Iterator[Finding]:
    """Look at what each live process has applied."""
    revision = session.directory.revision()
    behind = [each for each in pages if each.alive and (each.data.get("applied") or 0) < revision]
    for each in behind:
        what = f"{each.instance} has applied {each.data.get('applied') or 0} of {revision}"
        yield Finding("warn", "revision", what, "It checks before its next call; if it stays behind, restart it.")
    if not behind:
        yield Finding("ok", "revision", f"{revision} in every live process")


def keeper(session: Session, pages: list[PageView]) -> Iterator[Finding]:
    """Look whether one of the processes keeps the books."""
    if not any(each.alive for each in pages):
        return
    if _held(session.directory.path / paths.KEEPER):
        yield Finding("ok", "keeper", "one process adds up what others leave behind")
    else:
        advice = "The next live process takes it within seconds; look again."
        yield Finding("warn", "keeper", "no process keeps incidents and the counts of the dead now", advice)


def clocks(_: Session, pages: list[PageView]) -> Iterator[Finding]:
    """Look whether the time of day was set while processes ran."""
    now, wall = SYSTEM.now(), SYSTEM.wall()
    worst = 0.0
    for each in pages:
        beat, heartbeat = each.data.get("beat"), each.data.get("heartbeat")
        if each.alive and beat is not None and heartbeat is not None and each.data.get("boot") == boot():
            worst = max(worst, abs((wall - heartbeat) - (now - beat)), key=abs)
    if worst > _SKEW:
        advice = "Holds end on time all the same: they are measured by another clock."
        yield Finding("warn", "clock", f"the time of day was set by {age(worst)} since the last heartbeat", advice)
    else:
        yield Finding("ok", "clock", "the time of day agrees with the processes'")


def versions(_: Session, pages: list[PageView]) -> Iterator[Finding]:
    """Look whether all run the same version of the library."""
    own = metadata.version("resilient-client")
    found: dict[str, list[str]] = {}
    for each in pages:
        if each.alive:
            found.setdefault(str(each.data.get("version")), []).append(each.instance)
    if set(found) - {own}:
        what = "; ".join(f"{version}: {listed(who, 3)}" for version, who in sorted(found.items()))
        yield Finding("warn", "versions", f"this command is {own}, and there are {what}", "Restart what is older.")
    else:
        yield Finding("ok", "versions", own)


def elsewhere(path: Path | None) -> Iterator[Finding]:
    """Look for other directories of this user; as root for those of all users."""
    others = [each for each in paths.found() if path is None or not _same(each.path, path)]
    twin = [each for each in others if path is not None and each.app == path.name]
    for each in others:
        what = f"{each.path} of {each.user}" + (f": {each.problem}" if each.problem else "")
        if each in twin:
            advice = (
                f"The same application in two places: {_difference(each.path)} Set RESILIENT_CONTROL_DIR everywhere."
            )
            yield Finding("warn", "other directories", what, advice)
        else:
            yield Finding("ok", "other directories", what, f"To look there: --dir {each.path}")
    if not others:
        looked = listed([str(each) for each in paths.places()])
        yield Finding("ok", "other directories", f"none that this user can see; looked in {looked}")


def _difference(other: Path) -> str:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime:
        return "XDG_RUNTIME_DIR is not set here, and was where the other one was made."
    if other.is_relative_to(Path(runtime).resolve()):
        return "XDG_RUNTIME_DIR is set here, and was not where this one was made."
    return f"XDG_RUNTIME_DIR is {runtime} here, and was not where the other one was made."


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _held(path: Path) -> bool:
    """Tell whether a process holds a lock, without taking it for longer than the question."""
    import fcntl  # noqa: PLC0415 -- not on Windows

    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


OF_RECORD: tuple[Callable[[Session], Iterator[Finding]], ...] = (record,)
OF_PROCESSES: tuple[Callable[[Session, list[PageView]], Iterator[Finding]], ...] = (
    presence,
    revisions,
    keeper,
    clocks,
    versions,
)
