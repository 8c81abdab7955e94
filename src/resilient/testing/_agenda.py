"""The agenda of a fake clock: what is due when, who waits, and when time may jump.

Everybody who waits on the clock has an alarm. Alarms belong to a *party*, an event loop or a
trio run, or to a plain thread. Time jumps to the earliest alarm once every party is quiet and
no thread that the clock woke is still at work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from itertools import count
from math import inf
from typing import Protocol

from resilient.clock import SYSTEM

POLL = 0.002
"""Real seconds between two looks of a waiter that cannot be told what it waits for."""


class Party(Protocol):
    """Tasks that take turns on one thread."""

    thread: int

    @property
    def quiet(self) -> bool:
        """Whether all its tasks wait."""

    @property
    def gone(self) -> bool:
        """Whether its loop is closed or its run over."""

    def disturb(self) -> None:
        """Hear that an alarm of its tasks rings: it is not quiet any more."""

    def wake(self) -> None:
        """Look soon whether its tasks have come to rest; called on its own thread."""


def always() -> bool:
    """Be wanted."""
    return True


@dataclass(eq=False, slots=True)
class Alarm:
    """One wait: when it ends, and how whoever waits is told.

    Attributes:
        when: Time of the clock at which it rings.
        ring: Tells the waiter.
        release: Tells the waiter that the clock stops to be in force so many seconds too early.
        sleeper: Whether it is a sleep, which nothing but time ends, and not a limit.
        party: Whose tasks it concerns, if they are tasks.
        live: Whether anybody cares about it yet.
        thread: The plain thread that waits.

    """

    when: float
    ring: Callable[[], None]
    release: Callable[[float], None]
    agenda: Agenda
    sleeper: bool = False
    party: Party | None = None
    live: Callable[[], bool] = always
    thread: threading.Thread | None = None
    cancelled: bool = False
    order: int = field(default_factory=count().__next__)

    def cancel(self) -> None:
        """Forget the alarm. Takes no lock: the collector may be the caller."""
        self.cancelled = True
        self.agenda.alarms.pop(self.order, None)


class Agenda:
    """The time of a fake clock and all its alarms."""

    def __init__(self, start: float, *, auto: bool, patience: float) -> None:
        """Start with nothing to do."""
        self.time = start
        self.alarms: dict[int, Alarm] = {}
        self.stopped: float | None = None
        self._auto = auto
        self._patience = patience
        self._lock = threading.Lock()
        self._parties: dict[Hashable, Party] = {}
        self._awake: dict[threading.Thread, float] = {}
        self._stirred = SYSTEM.now()

    def now(self) -> float:
        """Return the time; once stopped it runs at real speed from where it stood."""
        stopped = self.stopped
        return self.time if stopped is None else self.time + SYSTEM.now() - stopped

    def add(self, alarm: Alarm) -> None:
        """Note an alarm; one that is due already rings at once."""
        self.stir()
        if alarm.when <= self.time:
            alarm.ring()
            return
        self.alarms[alarm.order] = alarm
        if alarm.party is not None:
            alarm.party.wake()

    def party(self, key: Hashable, make: Callable[[], Party]) -> Party:
        """Return the party of a loop or run."""
        with self._lock:
            party = self._parties.get(key)
            if party is None:
                party = self._parties[key] = make()
            return party

    def waits(self, party: Party) -> bool:
        """Tell whether a party has an alarm."""
        return any(alarm.party is party for alarm in list(self.alarms.values()))

    def leave(self, party: Party) -> None:
        """Forget a party and its alarms."""
        with self._lock:
            self._forget(party)

    def _forget(self, party: Party) -> None:
        self._parties = {key: each for key, each in self._parties.items() if each is not party}
        for alarm in list(self.alarms.values()):
            if alarm.party is party:
                alarm.cancel()

    def stir(self) -> None:
        """Note that something happened: patience with what the clock cannot see starts anew."""
        self._stirred = SYSTEM.now()

    # -- moving time -----------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Move time, ringing every alarm on the way at its own time, in order."""
        target = self.time + seconds
        while due := self._move(target):
            self._ring(due)

    def jump(self, own: Alarm | None = None) -> bool:
        """Move time to the earliest alarm, if everybody waits; tell whether it moved.

        Args:
            own: What the calling thread waits for. If that is over, the thread has to see the
                present time before anybody moves on.

        """
        with self._lock:
            when = self._destination() if own is None or own.order in self.alarms else inf
        if when == inf:
            return False
        due = self._move(when)
        self._ring(due)
        return bool(due)

    def _destination(self) -> float:
        self._awake.pop(threading.current_thread(), None)
        if not self._auto or self.stopped is not None or self._busy():
            return inf
        alarms = [alarm for alarm in list(self.alarms.values()) if alarm.live()]
        patient = SYSTEM.now() - self._stirred >= self._patience
        if not patient and not any(alarm.sleeper for alarm in alarms):
            return inf
        return min((alarm.when for alarm in alarms), default=inf)

    def _busy(self) -> bool:
        """Tell whether anybody but this thread may still do something at the present time."""
        for party in list(self._parties.values()):
            if party.gone:
                self._forget(party)
        now = SYSTEM.now()
        for thread, since in list(self._awake.items()):
            if not thread.is_alive() or now - since >= self._patience:
                self._awake.pop(thread, None)
        mine = threading.get_ident()
        # A loop whose own thread waits here cannot turn.
        return bool(self._awake) or any(not each.quiet for each in self._parties.values() if each.thread != mine)

    def _move(self, target: float) -> list[Alarm]:
        """Go to the first alarm until `target`, or there; return what is due then, oldest first."""
        with self._lock:
            first = min((alarm.when for alarm in list(self.alarms.values())), default=inf)
            self.time = max(self.time, min(first, target))
            due = [alarm for alarm in list(self.alarms.values()) if alarm.when <= self.time]
            for alarm in due:
                self.alarms.pop(alarm.order, None)
                if alarm.party is not None:
                    alarm.party.disturb()
                if alarm.thread is not None and alarm.thread is not threading.current_thread():
                    self._awake[alarm.thread] = SYSTEM.now()
        return due

    def _ring(self, due: list[Alarm]) -> None:
        self.stir()
        for alarm in due:
            if not alarm.cancelled:
                alarm.ring()

    # -- in force or not -------------------------------------------------------------------

    def stop(self) -> None:
        """Let time run at real speed; sleepers go on at once, limits keep what is left of them."""
        with self._lock:
            if self.stopped is not None:
                return
            self.stopped = SYSTEM.now()
            left = list(self.alarms.values())
            self.alarms.clear()
            self._parties.clear()
            self._awake.clear()
        for alarm in left:
            alarm.release(alarm.when - self.time)

    def resume(self) -> None:
        """Take time over again where it has got to."""
        with self._lock:
            self.time = self.now()
            self.stopped = None
