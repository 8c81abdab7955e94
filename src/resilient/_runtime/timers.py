"""One timer for all calls of one timeout on one asyncio loop.

A timeout's duration is constant, so its ends come due in the order of their calls: one
ordered dict and one loop timer serve them all, where `asyncio.timeout` makes a timer each.
A call whose end was moved earlier by an enclosing deadline gets a timer of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import count
from math import inf

from resilient.clock import Clock, HandleLike


class _Callback:
    """What the loop calls back; if the loop is closed over it, the tasks in flight are let go.

    A task of a closed loop never goes on. While anything of ours refers to it the collector
    cannot end it, and the permits that it holds would be lost.
    """

    __slots__ = ("_call", "_timer")

    def __init__(self, timer: LoopTimer, call: Callable[[], None]) -> None:
        self._timer = timer
        self._call = call

    def __call__(self) -> None:
        """Do what it was made for."""
        self._call()

    def wanted(self) -> bool:
        """Tell whether a call is in flight; a fake clock moves no time for a timer left over."""
        return bool(self._timer.pending)

    def __del__(self) -> None:
        """Notice that the loop was closed; takes no lock."""
        if self._timer.loop.is_closed():
            self._timer.pending.clear()


class LoopTimer:
    """The calls in flight under one timeout on one loop, and the timer that ends them.

    A call's key is absent from `pending` exactly if its end came due and its task was
    cancelled; that is how the call tells our cancellation from anybody else's.
    """

    __slots__ = ("_clock", "_loop", "armed", "handles", "key", "last", "pending")

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self._loop = loop
        self._clock = clock
        self.pending: dict[int, tuple[float, asyncio.Task[object]]] = {}
        self.handles: dict[int, HandleLike] = {}
        self.key = count().__next__
        self.last = -inf
        self.armed = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop this timer belongs to."""
        return self._loop

    def arm(self) -> None:
        """Start the timer for the first call in line."""
        for end, _ in self.pending.values():
            self._later(end - self._clock.now(), self._fire)
            self.armed = True  # last: if no timer could be made, the next call tries again
            return

    def _later(self, seconds: float, call: Callable[[], None]) -> HandleLike:
        return self._clock.call_later(self._loop, max(0.0, seconds), _Callback(self, call))

    def _fire(self) -> None:
        self.armed = False
        now = self._clock.now()
        due = []
        for key, (end, _) in self.pending.items():
            if end > now:
                break
            due.append(key)
        try:
            for key in due:
                self._expire(key)
        finally:  # a task that fails to be cancelled keeps nobody else from it
            if self.pending:
                self.arm()

    def alone(self, key: int, end: float, task: asyncio.Task[object]) -> None:
        """Give a call that ends before its predecessors a timer of its own."""
        self.pending[key] = (end, task)
        self.handles[key] = self._later(end - self._clock.now(), partial(self._expire_alone, key, end))

    def forget(self, key: int) -> None:
        """Cancel the timer of a call that had one of its own."""
        handle = self.handles.pop(key, None)
        if handle is not None:
            handle.cancel()

    def _expire_alone(self, key: int, end: float) -> None:
        # A loop with a coarse clock may call back a little early.
        early = end - self._clock.now()
        if early > 0 and key in self.pending:
            self.handles[key] = self._later(early, partial(self._expire_alone, key, end))
        else:
            self.handles.pop(key, None)
            self._expire(key)

    def _expire(self, key: int) -> None:
        entry = self.pending.pop(key, None)
        if entry is not None:
            entry[1].cancel()

    @staticmethod
    def interrupted(task: asyncio.Task[object], cancelling: int, error: BaseException) -> bool:
        """Tell whether a call that raised when its end had come was cut by us; take our cancellation back.

        The rule is that of `asyncio.timeout`: it was us if nobody else asked for the task's
        cancellation since the call began and what arrives is the cancellation itself.
        """
        left = task.uncancel()
        return left <= cancelling and isinstance(error, asyncio.CancelledError)
