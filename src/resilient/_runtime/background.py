"""Background work: a bounded number of functions that run on their own, with nobody waiting for them.

What is started sees the caller's context variables, but neither its deadline nor what else ends
with the call: nobody who left early cuts it short, and nobody hears of what it does.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, copy_context
from math import inf
from typing import TYPE_CHECKING, Any

from resilient import faults
from resilient._runtime import live, threads
from resilient._runtime.ledger import set_repeating
from resilient.clock import Clock
from resilient.deadline import enter

if TYPE_CHECKING:
    import asyncio

Failed = Callable[[Exception], object]

_leaving: list[Callable[[], object]] = [lambda: enter(inf), lambda: set_repeating(None)]


def leaving(clear: Callable[[], object]) -> None:
    """Call `clear` in the context of all background work: it unsets a context variable of a call."""
    _leaving.append(clear)


def detached() -> Context:
    """Return a copy of the caller's context variables, without those that belong to its call."""
    context = copy_context()
    for clear in _leaving:
        context.run(clear)
    return context


class Background:
    """Room for so much background work.

    Args:
        most: How much may run at once, over all threads and event loops.
        failed: Gets what the work raises; by default it is reported once. It must not raise.

    """

    __slots__ = ("__weakref__", "_failed", "_most", "_room", "_tasks")

    def __init__(self, most: int, failed: Failed | None = None) -> None:
        """Start with all room free."""
        self._most = most
        self._failed = failed
        self._room: deque[None] = deque([None] * most)
        # Strong references: a loop alone would let the collector take a task.
        self._tasks: dict[asyncio.Task[None], Coroutine[Any, Any, None]] = {}
        live.add(self)

    @property
    def running(self) -> int:
        """How much runs now."""
        self._sweep()
        return self._most - len(self._room)

    def start(self, function: Callable[..., object], /, *args: object) -> bool:
        """Start a plain function in a worker thread; False if there is no room, or no thread."""
        self._sweep()
        room = self._room
        if not self._enter(room):
            return False
        try:
            job = threads.start(detached(), self._run, (function, args), {})
        except BaseException as error:
            room.append(None)
            if isinstance(error, RuntimeError):  # the system has no more threads
                return False
            raise
        job.afterwards(lambda: room.append(None))
        return True

    def astart(self, function: Callable[..., Coroutine[Any, Any, object]], /, *args: object) -> bool:
        """Start an async function on the running event loop; False if there is no room, or the loop takes none."""
        from resilient._runtime.awaiting import task_and_loop  # noqa: PLC0415 -- only async code loads asyncio

        task, loop = task_and_loop()
        if task is None or loop is None:
            return self._start_on_trio(function, args)
        self._sweep()
        room, tasks = self._room, self._tasks
        if not self._enter(room):
            return False

        def ended(task: asyncio.Task[None]) -> None:
            if tasks.pop(task, None) is not None:
                room.append(None)

        coroutine = self._arun(function, args)
        try:
            started = detached().run(loop.create_task, coroutine)  # some task factories know no context=
        except BaseException as error:
            coroutine.close()
            room.append(None)
            if isinstance(error, Exception):  # of the loop's own task factory
                self._tell(function, error)
                return False
            raise
        tasks[started] = coroutine
        started.add_done_callback(ended)
        return True

    def _start_on_trio(self, function: Callable[..., Coroutine[Any, Any, object]], args: tuple[object, ...]) -> bool:
        if sys.modules.get("trio") is None:  # nobody runs this but by hand
            return False
        import trio  # noqa: PLC0415 -- only trio programs have it

        room = self._room
        if not self._enter(room):
            return False

        async def run() -> None:
            # Whatever leaves a system task ends the program, but for its cancellation when the run ends.
            try:
                await self._arun(function, args)
            except BaseException as error:  # noqa: BLE001 -- handed on, but for the cancellation
                ends = _cancellation(error, trio.Cancelled)
                if ends is not None:
                    raise ends from None
                faults.report(function, error)
            finally:
                room.append(None)

        try:
            trio.lowlevel.spawn_system_task(run, name=function, context=detached())
        except BaseException as error:
            room.append(None)
            if isinstance(error, RuntimeError):  # trio does not run, or is about to end
                return False
            raise
        return True

    def _enter(self, room: deque[None]) -> bool:
        try:
            room.pop()
        except IndexError:
            return False
        return True

    def _run(self, function: Callable[..., object], args: tuple[object, ...]) -> None:
        try:
            function(*args)
        except Exception as error:  # noqa: BLE001 -- handed on
            self._tell(function, error)
        except BaseException as error:  # nobody is there who could see it end the thread
            faults.report(function, error)
            raise

    async def _arun(self, function: Callable[..., Coroutine[Any, Any, object]], args: tuple[object, ...]) -> None:
        try:
            await function(*args)
        except Exception as error:  # noqa: BLE001 -- handed on
            self._tell(function, error)

    def _tell(self, function: object, error: Exception) -> None:
        if self._failed is None:
            faults.report(function, error)
        else:
            self._failed(error)

    def _sweep(self) -> None:
        """End the tasks of loops that were closed over them: they never go on, and would keep their room."""
        for task, coroutine in list(self._tasks.items()):
            if task.get_loop().is_closed() and self._tasks.pop(task, None) is not None:
                self._room.append(None)
                with suppress(Exception):  # of somebody's clean-up, which has no loop to run on
                    coroutine.close()

    def renew(self) -> None:
        """Forget the parent's work, in a forked child."""
        self._room = deque([None] * self._most)
        self._tasks = {}

    def use_clock(self, clock: Clock) -> None:
        """Nothing here tells the time."""


def _cancellation(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """Return the part of an error that is a cancellation."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(kind)[0]
    return error if isinstance(error, kind) else None
