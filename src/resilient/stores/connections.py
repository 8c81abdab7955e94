"""A few connections to one SQLite file, each used by one thread at a time, and none open across a fork.

SQLite's own bookkeeping of locks is copied into a forked child, while the locks themselves are
not: a child would believe that it holds them, the parent would fold away the write-ahead log
under it, and rows that the child committed would vanish. So before a fork every connection is
handed in and closed; those in flight are waited for, but not for ever.
"""

from __future__ import annotations

import sqlite3
import weakref
from _thread import get_ident
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from resilient import clock
from resilient._runtime import live

__all__ = ["Connections"]

T = TypeVar("T")

Role = Literal["read", "write", "fold"]
"""What a connection is used for: "fold" takes the write-ahead log into the file, while others go on."""

_SLOTS: Mapping[Role, int] = MappingProxyType({"write": 1, "read": 4, "fold": 1})
"""How many threads may be at it at the same time; who has the only writer's slot is alone to take all others."""

_ALL = sum(_SLOTS.values())

_FORK_PATIENCE = 1.0
"""Seconds that a fork waits for connections in flight, at most."""

_tainted: set[str] = set()
"""Files that a connection of the parent is open to in this very process, because a fork did not wait long enough."""


class Slot:
    """A place for one connection; whoever took it out of its queue is alone with it.

    One that is lost to an exception from a signal handler is replaced by its finaliser.
    """

    __slots__ = ("db", "era", "home")

    def __init__(self, home: Callable[[], SimpleQueue[Slot] | None]) -> None:
        self.home = home
        self.db: sqlite3.Connection | None = None
        self.era: object = None

    def close(self) -> None:
        """Close the connection, if there is one."""
        db, self.db = self.db, None
        if db is not None:
            db.close()

    def __del__(self) -> None:
        """Close, and put a new one in its place unless all of them are gone."""
        self.close()
        home = self.home()
        if home is not None:
            home.put(Slot(self.home))


def _line(slots: int) -> SimpleQueue[Slot]:
    line: SimpleQueue[Slot] = SimpleQueue()
    home = weakref.ref(line)
    for _ in range(slots):
        line.put(Slot(home))
    return line


class Connections:
    """Runs functions with a connection: one that writes and a few that read at a time.

    Args:
        path: The file.
        connect: Opens a connection to it, given its role.
        patience: Seconds that a thread waits for its turn; half of it for its turn to read.

    """

    __slots__ = ("__weakref__", "_connect", "_lines", "_parked", "_path", "_patience", "era")

    def __init__(self, path: str, connect: Callable[[Role], sqlite3.Connection], patience: float) -> None:
        self._path = path
        # Its owner holds us: held in turn, both would wait for the collector, which may drop what is open unclosed.
        self._connect = weakref.WeakMethod(connect) if hasattr(connect, "__self__") else lambda: connect
        self._patience = patience
        self._lines = {role: _line(slots) for role, slots in _SLOTS.items()}
        self._parked: dict[int, list[tuple[SimpleQueue[Slot], Slot]]] = {}
        self.era = object()
        """Connections of an older era are opened anew before their next use."""
        live.add(self)
        live.around_forks(self)

    def run(self, function: Callable[..., T], *args: Any, role: Role) -> T:  # noqa: ANN401 -- any function's
        """Call a function with a connection; one that it raises over is closed.

        Raises:
            TimeoutError: If all connections stayed in use.
            RuntimeError: In a child that was forked while a connection stayed in use.

        """
        if self._path in _tainted:
            message = "a connection was in use while this process was forked, so this file cannot be used here"
            raise RuntimeError(message)
        line, patience = self._lines[role], self._patience / 2 if role == "read" else self._patience
        try:
            slot = line.get(timeout=patience)
        except Empty:
            message = f"all connections were in use for {patience:g} s"
            raise TimeoutError(message) from None
        try:
            if slot.era is not self.era:
                slot.close()
            db = slot.db
            if db is None:
                slot.era = self.era
                slot.db = db = self._opener()(role)
            return function(db, *args)
        except BaseException:
            slot.close()
            raise
        finally:
            if slot.era is not self.era:  # closed, or the file was found broken, meanwhile
                slot.close()
            line.put(slot)

    def _opener(self) -> Callable[[Role], sqlite3.Connection]:
        connect = self._connect()
        if connect is None:
            message = "the store that these connections belong to is gone"
            raise RuntimeError(message)
        return connect

    def expire(self) -> None:
        """Have every connection opened anew before its next use."""
        self.era = object()

    def close(self) -> None:
        """Close every connection, those in use as soon as they are not; later calls open new ones."""
        self.expire()
        for role, line in self._lines.items():
            for _ in range(_SLOTS[role]):
                try:
                    slot = line.get_nowait()
                except Empty:
                    break
                slot.close()
                line.put(slot)

    # -- forks -----------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Take all slots out of use and close them. Who holds the slot of the writer is the only one to try."""
        end = clock.SYSTEM.now() + _FORK_PATIENCE
        parked = self._parked.setdefault(get_ident(), [])
        for line in [line for role, line in self._lines.items() for _ in range(_SLOTS[role])]:
            try:
                slot = line.get(timeout=max(0.0, end - clock.SYSTEM.now()))
            except Empty:
                return
            parked.append((line, slot))
            slot.close()

    def after_fork(self) -> None:
        """Go on in the parent."""
        for line, slot in self._parked.pop(get_ident(), ()):
            line.put(slot)

    def renew(self) -> None:
        """Go on in the child with connections of its own, if none was open at the fork."""
        if not any(len(parked) == _ALL for parked in self._parked.values()):
            _tainted.add(self._path)
        self._parked.clear()
        self._lines = {role: _line(slots) for role, slots in _SLOTS.items()}

    def use_clock(self, clock: clock.Clock) -> None:
        """Do nothing: what is waited for here are other threads and processes."""
