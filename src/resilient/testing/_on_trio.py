"""A fake clock under trio: cancel scopes that end by it, and when the run's tasks have come to rest."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from resilient.testing._agenda import POLL, Agenda, Alarm

if TYPE_CHECKING:
    import trio


class RunParty:
    """The tasks of one trio run. A system task watches until they are all blocked."""

    def __init__(self, agenda: Agenda) -> None:
        """Start without a watcher."""
        self.thread = threading.get_ident()
        self.gone = False
        self._agenda = agenda
        self._events = 0
        self._rest: int | None = None
        self._watcher: object = None
        self._woken: trio.Event | None = None

    @property
    def quiet(self) -> bool:
        """Whether all tasks are blocked."""
        return self._rest == self._events

    def disturb(self) -> None:
        """Hear that something happens to its tasks; any thread may say so."""
        self._events += 1

    def wake(self) -> None:
        """Watch the tasks from now on."""
        import trio  # noqa: PLC0415 -- only trio programs have it

        self.disturb()
        if self._watcher is None:
            self._watcher = trio.lowlevel.spawn_system_task(self._watch, name="resilient.testing")
        elif self._woken is not None:
            self._woken.set()

    def before_task_step(self, task: object) -> None:
        """Hear from trio that a task runs."""
        if task is not self._watcher:
            self.disturb()
            self._agenda.stir()

    async def _watch(self) -> None:
        import trio.testing  # noqa: PLC0415

        # Trio takes any object with some of an instrument's methods.
        instrument = cast("trio.abc.Instrument", self)
        trio.lowlevel.add_instrument(instrument)
        try:
            while self._agenda.waits(self):
                await trio.testing.wait_all_tasks_blocked()
                self._rest = self._events
                if self._agenda.jump():
                    continue
                self._woken = trio.Event()
                with trio.move_on_after(POLL):
                    await self._woken.wait()
        finally:
            trio.lowlevel.remove_instrument(instrument)
            self.gone = True
            self._agenda.leave(self)


class Scope:
    """A cancel scope that ends by a fake clock."""

    def __init__(self, agenda: Agenda, seconds: float) -> None:
        """Prepare a scope of so many seconds from now."""
        import trio  # noqa: PLC0415

        self._scope = trio.CancelScope()
        self._alarm = _alarm(agenda, seconds, self._scope.cancel, self._release)

    @property
    def cancelled_caught(self) -> bool:
        """Whether the scope ended its body."""
        return self._scope.cancelled_caught

    def __enter__(self) -> Scope:
        """Start to limit."""
        self._alarm.agenda.add(self._alarm)
        self._scope.__enter__()
        return self

    def __exit__(self, *details: object) -> bool | None:
        """Cease to limit."""
        self._alarm.cancel()
        return self._scope.__exit__(*details)  # type: ignore[arg-type]

    def _release(self, left: float) -> None:
        import trio  # noqa: PLC0415

        self._scope.deadline = trio.current_time() + left


async def sleep(agenda: Agenda, seconds: float) -> None:
    """Suspend this task for so much fake time."""
    import trio  # noqa: PLC0415

    event = trio.Event()
    alarm = _alarm(agenda, seconds, event.set, lambda _: event.set(), sleeper=True)
    agenda.add(alarm)
    try:
        await event.wait()
    finally:
        alarm.cancel()


def _alarm(
    agenda: Agenda,
    seconds: float,
    ring: Callable[[], None],
    release: Callable[[float], None],
    *,
    sleeper: bool = False,
) -> Alarm:
    """Return an alarm of the running trio run, not yet on the agenda."""
    import trio  # noqa: PLC0415

    token = trio.lowlevel.current_trio_token()
    party = agenda.party(token, lambda: RunParty(agenda))

    def soon(callback: Callable[..., None], *args: float) -> None:
        if trio.lowlevel.in_trio_run() and trio.lowlevel.current_trio_token() is token:
            callback(*args)
            return
        try:
            token.run_sync_soon(callback, *args)
        except trio.RunFinishedError:  # nobody waits there any more
            return

    return Alarm(
        agenda.time + seconds,
        lambda: soon(ring),
        lambda left: soon(release, left),
        agenda,
        sleeper=sleeper,
        party=party,
    )
