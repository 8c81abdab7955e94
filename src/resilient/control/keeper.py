"""The one process of a host that tidies up.

It adds up dead pages, writes down what time has done to holds, keeps the incidents and bounds the record.
Which process it is a lock decides, that the kernel takes from the dead. Whatever it does can be cut off at
any point and done again by the next one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from resilient.clock import SYSTEM
from resilient.control import events_log, locks, paths, retained, sweeping
from resilient.control.directory import Directory
from resilient.control.operations import Operations
from resilient.control.pages import PageView, read_pages
from resilient.control.snapshot import OTHER
from resilient.control.watching import Watching
from resilient.telemetry.totals import Totals

__all__ = ["Keeper"]

_PRUNING = 60.0
"""Seconds between two looks for what is too old."""


class Keeper:
    """Does the tidying up, if this process is the one.

    Args:
        directory: The control directory.

    """

    __slots__ = ("_directory", "_fd", "_named", "_operations", "_pid", "_pruned", "_watching")

    def __init__(self, directory: Directory) -> None:
        """Begin as one of many."""
        self._directory = directory
        self._operations = Operations(directory)
        self._fd: int | None = None
        self._pid = os.getpid()
        self._forget()

    def _forget(self) -> None:
        self._watching: Watching | None = None
        self._named: set[str] = set()
        self._pruned = -_PRUNING

    @property
    def keeping(self) -> bool:
        """Whether this process was the keeper at its last tick."""
        return self._fd is not None and self._pid == os.getpid()

    def tick(self) -> bool:
        """Do what is due, about once a second; tell whether this process is the keeper.

        Raises:
            ControlUnavailable: If the record cannot be used now; what was not done is done at another tick.
            OSError: If the pages cannot be read or removed.

        """
        if not self._chosen():
            return False
        pages = read_pages(self._directory.path)
        dead = [page for page in pages if not page.alive]
        if dead:
            self._fold(dead)
        alive = [page for page in pages if page.alive]
        self._name(alive)
        if self._watching is None:
            self._watching = Watching(self._directory)
        self._operations.sweep()
        self._watching.look(alive)
        if SYSTEM.now() - self._pruned >= _PRUNING:
            self._prune(pages)
        return True

    def close(self) -> None:
        """Give the office back, so that another process takes over at its next tick."""
        fd, self._fd = self._fd, None
        if fd is not None and self._pid == os.getpid():
            if self._watching is not None:
                self._watching.close()
            locks.release(fd)
        self._forget()

    def _chosen(self) -> bool:
        """Tell whether the lock is ours, and still the one that others see."""
        path = self._directory.path / paths.KEEPER
        if self._pid != os.getpid():  # a forked child, which has let go of the lock already
            self._fd, self._pid = None, os.getpid()
            self._forget()
        if self._fd is not None and not _same(self._fd, path):
            locks.release(self._fd)
            self._fd = None
            self._forget()
        if self._fd is None:
            self._fd = locks.take(path, self._directory.owner)
        return self._fd is not None

    def _fold(self, dead: Sequence[PageView]) -> None:
        """Add up what the dead have counted; then remove their pages."""
        counted = [
            (page.instance, str(page.data.get("app") or ""), Totals.decode(page.data.get("totals"))) for page in dead
        ]
        self._directory.database.write(retained.fold, counted, SYSTEM.wall())
        for page in dead:
            page.file.unlink(missing_ok=True)

    def _name(self, pages: Sequence[PageView]) -> None:
        """Remember the names of downstreams, so that they are known while no process shows them."""
        shown = {name for page in pages for name in page.data.get("downstreams") or {}} - {OTHER}
        new = shown - self._named
        if new:
            self._directory.database.write(retained.name_all, sorted(new), SYSTEM.wall())
            self._named |= new
            if len(self._named) > retained.KNOWN:
                self._named = shown

    def _prune(self, pages: Sequence[PageView]) -> None:
        """Bound the record, and remove what nobody will come back for."""
        sweeping.sweep(self._directory.path, {page.instance for page in pages})
        there = sweeping.instances(self._directory.path)
        self._directory.database.write(sweeping.prune, there, SYSTEM.wall())
        self._directory.database.write(events_log.prune)
        self._pruned = SYSTEM.now()


def _same(fd: int, path: os.PathLike[str]) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False
