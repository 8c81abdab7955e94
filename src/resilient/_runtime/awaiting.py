"""Waiting without blocking the thread, under asyncio and trio.

Imported only once async code needs it, so that plain programs never load asyncio.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from resilient.clock import Clock

T = TypeVar("T")

running_loop: Callable[[], asyncio.AbstractEventLoop | None] = asyncio._get_running_loop  # noqa: SLF001 -- the documented one raises

if sys.version_info >= (3, 12):
    current_task: Callable[[asyncio.AbstractEventLoop], asyncio.Task[object] | None] = asyncio.current_task
else:
    # The function itself is a Python function before 3.12, and its body is this look-up.
    current_task = asyncio.tasks._current_tasks.get  # type: ignore[attr-defined]  # noqa: SLF001


def task_and_loop() -> tuple[asyncio.Task[object] | None, asyncio.AbstractEventLoop | None]:
    """Return the running asyncio task and loop; no task means trio, also as asyncio's guest."""
    loop = running_loop()
    return (None if loop is None else current_task(loop)), loop


def task_id() -> int:
    """Return what tells this task from all others that are alive, under asyncio and trio."""
    task: object = task_and_loop()[0]
    if task is None:
        import trio  # noqa: PLC0415 -- only trio programs have it

        task = trio.lowlevel.current_task()
    return id(task)


async def sleep(seconds: float) -> None:
    """Suspend this task."""
    task, _ = task_and_loop()
    if task is not None:
        await asyncio.sleep(seconds)
    else:
        import trio  # noqa: PLC0415 -- only trio programs have it

        await trio.sleep(seconds)


class TaskWaiter(Generic[T]):
    """A place in line for a task. Whoever steps `claim` first decides: giver or waiter."""

    __slots__ = ("_wake", "accepted", "claim", "seen", "value", "wait")

    def __init__(self) -> None:
        self.claim = count().__next__
        self.accepted = count().__next__
        self.seen: float | None = None
        self.value: T | None = None
        task, loop = task_and_loop()
        if task is not None and loop is not None:
            self._on_asyncio(loop)
        else:
            self._on_trio()

    def _on_asyncio(self, loop: asyncio.AbstractEventLoop) -> None:
        future: asyncio.Future[None] = loop.create_future()

        def resolve() -> None:
            if not future.done():
                future.set_result(None)

        def wake() -> None:
            if running_loop() is loop:
                resolve()
            else:
                loop.call_soon_threadsafe(resolve)

        async def wait(clock: Clock, seconds: float) -> None:
            timer = None if seconds == inf else clock.call_later(loop, seconds, resolve)
            try:
                await future
            finally:
                if timer is not None:
                    timer.cancel()

        self._wake: Callable[[], object] = wake
        self.wait = wait

    def _on_trio(self) -> None:
        import trio  # noqa: PLC0415

        event = trio.Event()
        token = trio.lowlevel.current_trio_token()

        async def wait(clock: Clock, seconds: float) -> None:
            if seconds == inf:
                await event.wait()
                return
            with clock.scope(seconds):
                await event.wait()

        self._wake = lambda: token.run_sync_soon(event.set)
        self.wait = wait

    def offer(self, value: T) -> bool:
        """Hand over a value; False if the waiter has left or its loop is gone.

        Takes no lock of ours: the collector may call it.
        """
        self.value = value
        if self.claim():
            self.value = None
            return False
        try:
            self._wake()
        except RuntimeError:  # the loop is closed, or the trio run has finished
            self.value = None
            return False
        return True

    def accept(self) -> T | None:
        """Take what was handed over, unless it has been reclaimed meanwhile."""
        if self.accepted():
            return None
        value, self.value = self.value, None
        return value


async def bounded(awaitable: Awaitable[T], clock: Clock, end: float) -> T:
    """Await something until `end`; raise TimeoutError after it. For slow paths."""
    if end == inf:
        return await awaitable
    task, loop = task_and_loop()
    seconds = max(0.0, end - clock.now())
    if task is None or loop is None:
        with clock.scope(seconds):
            return await awaitable
        raise TimeoutError
    async with asyncio.timeout(None) as limit:
        timer = clock.call_later(loop, seconds, lambda: limit.reschedule(loop.time()))
        try:
            return await awaitable
        finally:
            timer.cancel()
