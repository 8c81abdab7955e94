"""Keeps forks of this process apart from what must not be half done in a child.

A connection to a database that one thread is opening while another forks stays half open in the child, with
locks that nobody there will ever release.
"""

from __future__ import annotations

from contextlib import suppress
from threading import get_ident
from typing import Final

from resilient.clock import SYSTEM

__all__ = ["Crossing"]

_PATIENCE: Final = 2.0
"""Seconds that one waits for the other, at most."""

_PAUSE: Final = 0.001


class Crossing:
    """Where forks and one piece of work meet; each waits for the other, but not for ever. It takes no lock."""

    __slots__ = ("_forking", "_worker")

    def __init__(self) -> None:
        self._forking: list[int] = []
        self._worker: int | None = None

    def enter(self) -> None:
        """Begin the work, after forks that are under way; one thread at a time."""
        me, end = get_ident(), SYSTEM.now() + _PATIENCE
        self._worker = me
        while set(self._forking) - {me} and SYSTEM.now() < end:
            self._worker = None
            SYSTEM.sleep(_PAUSE)
            self._worker = me

    def leave(self) -> None:
        """End the work."""
        self._worker = None

    def before_fork(self) -> None:
        """Keep the work from beginning, and wait for its end."""
        me, end = get_ident(), SYSTEM.now() + _PATIENCE
        self._forking.append(me)
        while self._worker not in {None, me} and SYSTEM.now() < end:
            SYSTEM.sleep(_PAUSE)

    def after_fork(self) -> None:
        """Go on in the parent."""
        with suppress(ValueError):
            self._forking.remove(get_ident())

    def renew(self) -> None:
        """Forget both, in the child."""
        self._forking.clear()
        self._worker = None
