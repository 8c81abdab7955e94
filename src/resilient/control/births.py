"""The pages that this process has open, as far as a fork is concerned."""

from __future__ import annotations

import os
from _thread import get_ident
from threading import RLock
from typing import Final

from resilient._runtime import live

__all__ = ["births"]

_PATIENCE: Final = 1.0
"""Seconds that a fork waits for a page that is being made, at most."""


class Births:
    """Has a fork wait until no thread is making a page, and the child let go of all: it would keep their locks alive.

    Attributes:
        fds: Descriptors of all pages. The pages themselves may be lost to a child, with the stack of a thread.
        lock: Held while a page is made.

    """

    __slots__ = ("__weakref__", "_waited", "fds", "lock")

    def __init__(self) -> None:
        """Begin with no page."""
        self._begin()

    def _begin(self) -> None:
        self.fds: set[int] = set()
        self.lock = RLock()
        self._waited: dict[int, bool] = {}

    def release(self, fd: int) -> None:
        """Unlock a page, and close it."""
        import fcntl  # noqa: PLC0415 -- not on Windows

        self.fds.discard(fd)
        try:
            # By name: a copy of the descriptor in a child that is being forked would keep the lock alive.
            fcntl.flock(fd, fcntl.LOCK_UN)
        finally:
            os.close(fd)

    def before_fork(self) -> None:
        """Wait, but not for ever."""
        self._waited[get_ident()] = self.lock.acquire(timeout=_PATIENCE)

    def after_fork(self) -> None:
        """Go on in the parent."""
        if self._waited.pop(get_ident(), False):
            self.lock.release()

    def renew(self) -> None:
        """Let go of the parent's pages in a forked child. Closing keeps its locks; unlocking would take them."""
        for fd in self.fds:
            os.close(fd)
        self._begin()


births = Births()
live.renewing(births.renew)
live.around_forks(births)
