"""Waiting in a plain thread."""

from __future__ import annotations

import sys
import warnings
from _thread import allocate_lock
from collections.abc import Coroutine
from itertools import count
from typing import Any, Generic, TypeVar

from resilient.clock import Clock

T = TypeVar("T")

_warned: set[str] = set()


def on_event_loop() -> bool:
    """Tell whether this thread is running an asyncio loop or a trio run right now."""
    asyncio_events = sys.modules.get("asyncio.events")
    if asyncio_events is not None and asyncio_events._get_running_loop() is not None:  # noqa: SLF001 -- the documented one raises
        return True
    trio = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_run())


def warn_on_loop(downstream: str, what: str) -> None:
    """Warn once per downstream that a sync call would have waited on an event loop's thread."""
    if downstream in _warned:
        return
    if len(_warned) < 1000:  # noqa: PLR2004 -- names, not calls
        _warned.add(downstream)
    message = (
        f"{downstream}: a sync call on the thread of a running event loop would have to {what}; "
        "it is refused instead, because the tasks it waits for live on that thread. "
        "Call it from a worker thread or guard an async function."
    )
    warnings.warn(message, RuntimeWarning, stacklevel=2)


def complete(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends: what stands once for threads and tasks, for threads."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    message = f"{coroutine!r} suspended, and there is no event loop"
    raise RuntimeError(message)


class ThreadWaiter(Generic[T]):
    """A place in line for a thread. Whoever steps `claim` first decides: giver or waiter."""

    __slots__ = ("_lock", "accepted", "claim", "seen", "value")

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()
        self.claim = count().__next__
        self.accepted = count().__next__
        self.seen: float | None = None
        self.value: T | None = None

    def offer(self, value: T) -> bool:
        """Hand over a value; False if the waiter has left. Takes no lock: the collector may call it."""
        self.value = value
        if self.claim():
            self.value = None
            return False
        self._lock.release()
        return True

    def wait(self, clock: Clock, seconds: float) -> T | None:
        """Return what was handed over, or None if nothing came in time or it was reclaimed."""
        arrived = clock.acquire(self._lock, seconds)
        if not arrived and not self.claim():
            return None
        return self.accept()

    def accept(self) -> T | None:
        """Take what was handed over, unless it has been reclaimed meanwhile."""
        if self.accepted():
            return None
        value, self.value = self.value, None
        return value
