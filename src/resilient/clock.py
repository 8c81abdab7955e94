"""The one place that reads a clock, draws randomness and sleeps.

Tests replace it whole (`resilient.testing`): every pipeline, also those already decorated,
then runs on the replacement.
"""

from __future__ import annotations

import os
import time
from _random import Random  # the generator alone: the module around it takes 2 ms to import
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

__all__ = ["Clock", "SystemClock", "current", "install"]


class Clock(Protocol):
    """What a pipeline needs of time. All values are seconds on a monotonic scale."""

    def now(self) -> float:
        """Return the current time."""

    def wall(self) -> float:
        """Return the seconds since 1970: only for dates of other machines and records that outlive the process."""

    def random(self) -> float:
        """Return a random number in [0, 1)."""

    def sleep(self, seconds: float) -> None:
        """Block this thread."""

    async def asleep(self, seconds: float) -> None:
        """Suspend this task, under asyncio or trio."""

    def acquire(self, lock: LockLike, seconds: float) -> bool:
        """Wait for a raw lock, at most so long; tell whether it was acquired."""

    def call_later(self, loop: LoopLike, seconds: float, callback: Callable[[], None]) -> HandleLike:
        """Call back on an asyncio loop after so many seconds."""

    def scope(self, seconds: float) -> ScopeLike:
        """Return a trio cancel scope that ends after so many seconds."""


class LockLike(Protocol):
    """The part of `_thread.lock` that a wait needs."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:  # noqa: FBT001, FBT002
        """Take the lock."""


class HandleLike(Protocol):
    """A timer that can be cancelled."""

    def cancel(self) -> None:
        """Forget the timer."""


class LoopLike(Protocol):
    """The part of an asyncio loop that a timer needs."""

    def call_later(self, delay: float, callback: Callable[[], None], /) -> HandleLike:
        """Call back after so many seconds."""


class ScopeLike(Protocol):
    """The part of a trio cancel scope that a time limit needs."""

    @property
    def cancelled_caught(self) -> bool:
        """Whether the scope ended its body."""

    def __enter__(self) -> object:
        """Enter the scope."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> bool | None:
        """Leave the scope."""


class SystemClock:
    """Real time and real randomness."""

    def __init__(self) -> None:
        """Seed from the operating system."""
        self._generator = Random(_entropy())
        self.now = time.monotonic
        self.wall = time.time
        self.random = self._generator.random
        self.sleep = time.sleep

    async def asleep(self, seconds: float) -> None:
        """Suspend this task, under asyncio or trio."""
        from resilient._runtime import awaiting  # noqa: PLC0415 -- only async code pays for it

        await awaiting.sleep(seconds)

    def acquire(self, lock: LockLike, seconds: float) -> bool:
        """Wait for a raw lock, at most so long."""
        return lock.acquire(timeout=max(0.0, min(seconds, 1e6)))

    def call_later(self, loop: LoopLike, seconds: float, callback: Callable[[], None]) -> HandleLike:
        """Call back on an asyncio loop after so many seconds."""
        return loop.call_later(seconds, callback)

    def scope(self, seconds: float) -> ScopeLike:
        """Return a trio cancel scope that ends after so many seconds."""
        import trio  # noqa: PLC0415 -- only trio programs have it

        return trio.move_on_after(max(0.0, seconds))

    def reseed(self) -> None:
        """Draw different numbers from here on; called in a forked child."""
        self._generator.seed(_entropy())


def _entropy() -> int:
    return int.from_bytes(os.urandom(16), "big")


SYSTEM = SystemClock()
_current: Clock = SYSTEM
_watchers: list[Callable[[Clock], None]] = []


def current() -> Clock:
    """Return the clock in force."""
    return _current


def install(clock: Clock) -> Clock:
    """Put a clock in force for every pipeline and return the one it replaces."""
    global _current
    previous, _current = _current, clock
    for watcher in _watchers:
        watcher(clock)
    return previous


def watch(watcher: Callable[[Clock], None]) -> None:
    """Call `watcher` with each clock that is installed later."""
    _watchers.append(watcher)
