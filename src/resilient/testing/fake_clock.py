"""FakeClock: time that stands still until somebody waits for it or moves it."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from resilient import _check
from resilient._runtime import threads
from resilient.clock import SYSTEM, HandleLike, LockLike, LoopLike, ScopeLike, current
from resilient.deadline import ambient
from resilient.testing._agenda import POLL, Agenda, Alarm

if TYPE_CHECKING:
    import asyncio

__all__ = ["FakeClock"]


class FakeClock:
    """Time for tests: sleeps end at once, timeouts expire exactly, randomness repeats itself.

    Put it in force with `use(clock)`. Time moves in two ways:

    * `advance()` moves it by hand, from anywhere.
    * With `auto`, it jumps to the earliest end of a wait as soon as everybody waits. A sleep
      lets it jump at once. A limit on something else (a timeout around work in another thread,
      a place in line) does so only when nothing has happened for `patience`, because the clock
      cannot see whether that work is about to end.

    Tasks of asyncio and trio are driven in the exact order of their times. Between threads,
    time stands still while a thread that the clock woke is at work, but not longer than
    `patience`; where that is not enough, use `auto=False` and `advance()`.

    Args:
        auto: Whether time jumps by itself.
        seed: Seed of `random`.
        patience: Real seconds to wait for what the clock cannot see. 0 lets every hanging call
            time out at once, which suits tests that touch neither threads nor sockets.

    Raises:
        ConfigError: If the patience is negative, NaN or infinite.

    Example:
        >>> from resilient import Backoff, Pipeline, Retry
        >>> from resilient.testing import FakeClock, use
        >>> fetching = Pipeline("doc-fake-clock", Retry(backoff=Backoff(base=8, jitter="none")))
        >>> @fetching
        ... def fetch():
        ...     raise OSError("reset")
        >>> with use(FakeClock()) as clock:
        ...     try:
        ...         fetch()
        ...     except OSError:
        ...         print(clock.slept, clock.elapsed)
        [8.0, 16.0] 24.0

    """

    def __init__(self, *, auto: bool = True, seed: int = 0, patience: _check.Duration = 0.5) -> None:
        """Start at the next whole second of the clock in force, so that existing state stays sane."""
        self._start = float(math.ceil(current().now()))
        self._agenda = Agenda(self._start, auto=auto, patience=_check.seconds("patience", patience, zero=True))
        self.now = self._agenda.now
        self._epoch = SYSTEM.wall() - self._start
        self.random = random.Random(seed).random  # noqa: S311 -- repeatable on purpose
        self.slept: list[float] = []
        """Every sleep that was asked for, in seconds, in order."""

    # -- for tests -------------------------------------------------------------------------

    @property
    def elapsed(self) -> float:
        """Seconds since the clock was made, to the nanosecond; after its block, what they were at the end."""
        return round(self._agenda.time - self._start, 9)

    def wall(self) -> float:
        """Return the seconds since 1970: the real time at which this clock was made, and what it has moved since."""
        return self._epoch + self.now()

    @property
    def waiting(self) -> int:
        """How many waits end by this clock: sleeps and limits together."""
        return sum(alarm.live() for alarm in list(self._agenda.alarms.values()))

    def advance(self, seconds: _check.Duration) -> None:
        """Move time; everything that is due on the way is woken in order, each at its own time.

        Threads and tasks only get to run afterwards, and then see the time after the whole
        step. Where it matters that each sees its own time, take smaller steps, or await
        `asleep()` with `auto`.

        Args:
            seconds: Seconds to move by, 0 or more; or a timedelta.

        """
        self._agenda.advance(_check.seconds("seconds", seconds, zero=True))

    def until_waiting(self, count: int = 1, *, within: _check.Duration = 5.0) -> None:
        """Block this thread, in real time, until other threads wait on this clock.

        Args:
            count: How many waits there must be.
            within: Real seconds until giving up.

        Raises:
            TimeoutError: If there are fewer by then.

        """
        end = SYSTEM.now() + _check.seconds("within", within, zero=True)
        while self.waiting < count:
            if SYSTEM.now() >= end:
                message = f"{self.waiting} of {count} waits came within {within} s"
                raise TimeoutError(message)
            SYSTEM.sleep(POLL)

    def resume(self) -> None:
        """Take time over; `use` calls it at the start of its block."""
        self._agenda.resume()

    def stop(self) -> None:
        """Let time run at real speed from here on; `use` calls it at the end of its block.

        Whoever still sleeps goes on at once; a limit keeps what is left of it.
        """
        self._agenda.stop()

    # -- for pipelines, and for the functions they guard -------------------------------------

    def sleep(self, seconds: float) -> None:
        """Sleep in this thread, in fake time."""
        self.slept.append(seconds)
        agenda = self._agenda
        if agenda.stopped is not None:
            SYSTEM.sleep(seconds)
            return
        end = agenda.time + seconds
        limit = ambient() if threads.working() else end
        if limit < end:
            # The caller of this worker leaves at its limit, perhaps without having begun to wait
            # for it: time gets that far, and an abandoned function does not drive it further.
            self._sleep(limit, sleeper=True)
            self._sleep(end, sleeper=False)
        else:
            self._sleep(end, sleeper=True)

    def _sleep(self, end: float, *, sleeper: bool) -> None:
        agenda, rung = self._agenda, threading.Event()
        me = threading.current_thread()
        alarm = Alarm(end, rung.set, lambda _: rung.set(), agenda, sleeper=sleeper, thread=me)
        agenda.add(alarm)
        try:
            while not rung.is_set() and agenda.stopped is None:
                if not agenda.jump(alarm):
                    rung.wait(POLL)
        finally:
            alarm.cancel()

    async def asleep(self, seconds: float) -> None:
        """Sleep in this task, in fake time, under asyncio or trio."""
        from resilient._runtime import awaiting  # noqa: PLC0415 -- only async tests pay for it

        self.slept.append(seconds)
        task, _ = awaiting.task_and_loop()
        if self._agenda.stopped is not None or seconds <= 0:
            await awaiting.sleep(max(0.0, seconds))
        elif task is not None:
            from resilient.testing import _on_asyncio  # noqa: PLC0415

            await _on_asyncio.sleep(self._agenda, seconds)
        else:
            from resilient.testing import _on_trio  # noqa: PLC0415

            await _on_trio.sleep(self._agenda, seconds)

    def acquire(self, lock: LockLike, seconds: float) -> bool:
        """Wait in this thread for a lock that another one releases, at most so long."""
        agenda = self._agenda
        if agenda.stopped is not None or seconds <= 0:
            return SYSTEM.acquire(lock, seconds)
        if lock.acquire(blocking=False):
            return True
        rung = threading.Event()
        left: list[float] = []
        alarm = Alarm(agenda.time + seconds, rung.set, left.append, agenda, thread=threading.current_thread())
        agenda.add(alarm)
        try:
            # A lock cannot tell that time is up, so look for both in turn.
            while not rung.is_set() and not left:
                if lock.acquire(timeout=POLL):
                    return True
                agenda.jump(alarm)
        finally:
            alarm.cancel()
        return SYSTEM.acquire(lock, left[0] if left else 0.0)

    def call_later(self, loop: LoopLike, seconds: float, callback: Callable[[], None]) -> HandleLike:
        """Call back on an asyncio loop after so much fake time."""
        if self._agenda.stopped is not None:
            return SYSTEM.call_later(loop, seconds, callback)
        from resilient.testing import _on_asyncio  # noqa: PLC0415

        return _on_asyncio.limit(self._agenda, cast("asyncio.AbstractEventLoop", loop), seconds, callback)

    def scope(self, seconds: float) -> ScopeLike:
        """Return a trio cancel scope that ends after so much fake time."""
        if self._agenda.stopped is not None:
            return SYSTEM.scope(seconds)
        from resilient.testing import _on_trio  # noqa: PLC0415

        return _on_trio.Scope(self._agenda, seconds)
