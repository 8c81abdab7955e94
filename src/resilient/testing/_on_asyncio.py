"""A fake clock under asyncio: alarms that ring on their loop, and when its tasks have come to rest.

A loop does not tell that it is idle. Its tasks are at rest when, several turns apart, they are
the same tasks and each awaits the very same object; nothing private of the loop is used.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial

from resilient.testing._agenda import POLL, Agenda, Alarm, always

_TURNS = 5
"""Turns of the loop between two looks at its tasks; a callback gets that many to reach a task."""

_Look = tuple[int, dict[asyncio.Task[object], object]]


class LoopParty:
    """The tasks of one loop."""

    def __init__(self, agenda: Agenda, loop: asyncio.AbstractEventLoop) -> None:
        """Start without a look at the tasks."""
        self.thread = threading.get_ident()
        self.sleeping: set[asyncio.Task[object]] = set()
        self._agenda = agenda
        self._loop = loop
        self._turns = 0
        self._events = 0
        self._rest: int | None = None
        self._seen: _Look | None = None
        self._turning = False
        self._parked: asyncio.TimerHandle | None = None

    @property
    def quiet(self) -> bool:
        """Whether its tasks are at rest, or the loop does not run."""
        return self._rest == self._events or not self._loop.is_running()

    @property
    def gone(self) -> bool:
        """Whether the loop is closed."""
        return self._loop.is_closed()

    def disturb(self) -> None:
        """Hear that something happens to its tasks; any thread may say so."""
        self._events += 1

    def wake(self) -> None:
        """Watch the tasks from the next turn on."""
        self.disturb()
        if self._parked is not None:
            self._parked.cancel()
            self._parked = None
        elif self._turning:
            return
        self._turning = True
        self.thread = threading.get_ident()
        self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._parked = None
        if not self._agenda.waits(self):
            self._turning = False
            self._agenda.leave(self)
            return
        self._turns += 1
        if self._turns % _TURNS == 0 and self._at_rest() and not self._agenda.jump():
            self._turns -= 1
            self._parked = self._loop.call_later(POLL, self._turn)
        else:
            self._loop.call_soon(self._turn)

    def _at_rest(self) -> bool:
        tasks = asyncio.all_tasks(self._loop) - self.sleeping
        # The awaited objects are kept, so that a new one cannot have an old one's identity.
        look: _Look = self._events, {task: awaited(task) for task in tasks}
        before, self._seen = self._seen, look
        if before is None or before[0] != look[0] or not same(before[1], look[1]):
            self._rest = None
            self._agenda.stir()
            return False
        self._rest = look[0]
        return True


def awaited(task: asyncio.Task[object]) -> object:
    """Return the innermost object that a task waits for."""
    inner: object = task.get_coro()
    while True:
        for link in ("cr_await", "gi_yieldfrom", "ag_await"):
            further = getattr(inner, link, None)
            if further is not None:
                inner = further
                break
        else:
            return inner


def same(before: dict[asyncio.Task[object], object], now: dict[asyncio.Task[object], object]) -> bool:
    """Tell whether the same tasks await the same objects."""
    return before.keys() == now.keys() and all(before[task] is each for task, each in now.items())


def limit(agenda: Agenda, loop: asyncio.AbstractEventLoop, seconds: float, callback: Callable[[], None]) -> Alarm:
    """Call back on the loop after so much fake time, unless the alarm is cancelled."""
    context = copy_context()
    party = agenda.party(loop, lambda: LoopParty(agenda, loop))

    def run() -> None:
        if not alarm.cancelled:
            callback()

    def ring() -> None:
        _soon(loop, partial(loop.call_soon, run, context=context))

    def release(left: float) -> None:
        _soon(loop, partial(loop.call_later, left, run, context=context))

    alarm = Alarm(agenda.time + seconds, ring, release, agenda, party=party, live=_liveness(callback))
    agenda.add(alarm)
    return alarm


async def sleep(agenda: Agenda, seconds: float) -> None:
    """Suspend this task for so much fake time."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    future: asyncio.Future[None] = loop.create_future()
    party = agenda.party(loop, lambda: LoopParty(agenda, loop))

    def wake() -> None:
        if not future.done():
            future.set_result(None)

    def ring() -> None:
        _soon(loop, wake)

    alarm = Alarm(agenda.time + seconds, ring, lambda _: ring(), agenda, sleeper=True, party=party)
    assert isinstance(party, LoopParty)  # noqa: S101 -- narrows the type
    assert task is not None  # noqa: S101
    party.sleeping.add(task)
    agenda.add(alarm)
    try:
        await future
    finally:
        party.sleeping.discard(task)
        party.disturb()
        alarm.cancel()


def _soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Call at once on the loop's own thread, else as soon as the loop gets to it."""
    if asyncio._get_running_loop() is loop:  # noqa: SLF001 -- the documented one raises
        callback()
        return
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:  # closed meanwhile: nobody waits there any more
        return


def _liveness(callback: Callable[[], None]) -> Callable[[], bool]:
    """Return what tells whether anybody waits for a callback.

    A timeout's timer outlives the calls it was started for: without one it moves no time.
    """
    wanted: Callable[[], bool] = getattr(callback, "wanted", always)
    return wanted
