"""InstantClock: real time without its waits, for tests that talk to real servers."""

from __future__ import annotations

import random
from collections.abc import Callable

from resilient.clock import SYSTEM, HandleLike, LockLike, LoopLike, ScopeLike, current

__all__ = ["InstantClock"]


class InstantClock:
    """Real time in which a sleep ends at once, and the clock is that much later.

    Timeouts, and places in a line, are limits on something real: they keep their real length.
    What was slept counts for deadlines and for a breaker's open time, as it would have. Tasks
    that sleep at the same time move the clock only by the longest of their sleeps.

    Args:
        seed: Seed of `random`.

    Example:
        >>> from resilient.testing import InstantClock, use
        >>> with use(InstantClock()) as clock:
        ...     before = clock.now()
        ...     clock.sleep(3600)
        ...     clock.now() - before >= 3600
        True

    """

    def __init__(self, *, seed: int = 0) -> None:
        """Start at the time of the clock in force."""
        self._ahead = current().now() - SYSTEM.now()
        self.random = random.Random(seed).random  # noqa: S311 -- repeatable on purpose
        self.slept: list[float] = []
        """Every sleep that was asked for, in seconds, in order."""

    def now(self) -> float:
        """Return real time plus what was slept."""
        return SYSTEM.now() + self._ahead

    def wall(self) -> float:
        """Return the seconds since 1970, plus what was slept."""
        return SYSTEM.wall() + self._ahead

    def sleep(self, seconds: float) -> None:
        """Put the clock ahead."""
        self.slept.append(seconds)
        self._skip(self.now() + seconds)

    async def asleep(self, seconds: float) -> None:
        """Let the other tasks run once, then put the clock ahead."""
        from resilient._runtime import awaiting  # noqa: PLC0415 -- only async tests pay for it

        self.slept.append(seconds)
        end = self.now() + seconds
        await awaiting.sleep(0)
        self._skip(end)

    def _skip(self, end: float) -> None:
        self._ahead += max(0.0, end - self.now())

    def acquire(self, lock: LockLike, seconds: float) -> bool:
        """Wait for a lock in real time."""
        return SYSTEM.acquire(lock, seconds)

    def call_later(self, loop: LoopLike, seconds: float, callback: Callable[[], None]) -> HandleLike:
        """Call back on an asyncio loop in real time."""
        return SYSTEM.call_later(loop, seconds, callback)

    def scope(self, seconds: float) -> ScopeLike:
        """Return a trio cancel scope that ends in real time."""
        return SYSTEM.scope(seconds)
