"""Permits of a bulkhead and the line in front of it, without a lock on any way back.

A permit is an object in a deque: `pop` takes one, `append` returns it. Whoever returns a
permit while somebody waits calls `hand_over`, which takes no lock, so a finaliser or an
abandoned coroutine may do the same. The order in which it works is what makes it sound:

* first the permit, then the waiter: a permit that is in hand cannot be taken by a newcomer,
  and newcomers who see a line join it, so nobody is passed;
* whoever joins looks again for a free permit after joining, whoever returns looks for waiters
  after returning: one of the two sees the other, so no wake-up is lost.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Protocol


class Waiter(Protocol):
    """Somebody in line."""

    seen: float | None
    value: Permit | None

    def offer(self, value: Permit, /) -> bool:
        """Hand over a permit; False if the waiter has left."""

    def accepted(self) -> int:
        """Return 0 to the first who asks: the waiter, or the one who takes the permit back."""


class Permit:
    """The right of one call to be in flight. Lost to an asynchronous exception, it returns itself."""

    __slots__ = ("home",)

    def __init__(self, home: Callable[[], Line | None]) -> None:
        self.home = home

    def __del__(self) -> None:
        """Return to the line, unless the line is gone or the permit has been spent."""
        try:
            line = self.home()
        except AttributeError:  # never finished its construction
            return
        if line is not None:
            line.give(self)


def _nowhere() -> None:
    return None


class Sink:
    """A place in line that swallows a permit, for a limit that was lowered while in use."""

    __slots__ = ("seen", "value")

    def __init__(self) -> None:
        self.seen: float | None = None
        self.value: Permit | None = None

    def offer(self, value: Permit, /) -> bool:
        """Retire the permit."""
        value.home = _nowhere
        return True

    def accepted(self) -> int:
        """Nobody can take a swallowed permit back."""
        return 1


class Line:
    """A fixed number of permits and a first-come, first-served line of waiters."""

    __slots__ = ("__weakref__", "_lock", "free", "handed", "home", "limit", "waiting")

    def __init__(self, limit: int) -> None:
        self.home: Callable[[], Line | None] = weakref.ref(self)
        self.limit = limit
        self.free: deque[Permit] = deque(Permit(self.home) for _ in range(limit))
        self.waiting: deque[Waiter] = deque()
        self.handed: deque[Waiter] = deque()
        self._lock = Lock()

    @property
    def in_flight(self) -> int:
        """Permits that are neither free nor still owed to a lowered limit."""
        return max(0, self.limit + self._owed() - len(self.free))

    @property
    def queued(self) -> int:
        """How many wait in line."""
        return max(0, len(self.waiting) - self._owed())

    def _owed(self) -> int:
        return sum(type(waiter) is Sink for waiter in tuple(self.waiting))

    def take(self) -> Permit | None:
        """Take a free permit, unless somebody is before us."""
        if self.waiting:
            return None
        try:
            return self.free.pop()
        except IndexError:
            return None

    def give(self, permit: Permit) -> None:
        """Return a permit, once, whoever asks first and how often. Takes no lock.

        The collector ends an abandoned coroutine and finalises the permit that it holds, in
        either order, and no object is finalised twice. So what comes back is spent, and a
        fresh permit takes its place.
        """
        fresh = Permit(_nowhere)
        if permit.home is _nowhere:
            return
        # No call in between, so no signal handler either: exactly one of the two is good.
        permit.home, fresh.home = _nowhere, self.home
        self.free.append(fresh)
        if self.waiting:
            self.hand_over()

    def hand_over(self) -> None:
        """Give free permits to the first in line. Takes no lock."""
        while self.waiting:
            try:
                permit = self.free.pop()
            except IndexError:
                return
            try:
                waiter = self.waiting.popleft()
            except IndexError:
                # The line emptied while we held the permit; look again after putting it back.
                self.free.append(permit)
                continue
            if waiter.offer(permit):
                if type(waiter) is not Sink:
                    self.handed.append(waiter)
            else:
                self.free.append(permit)

    def join(self, waiter: Waiter, most: int) -> bool:
        """Stand in line behind at most `most - 1` others; False if the line is full."""
        with self._lock:
            if self.queued >= most:
                return False
            self.waiting.append(waiter)
        self.hand_over()
        return True

    def quit(self, waiter: Waiter) -> None:
        """Leave the line without a permit."""
        try:
            self.waiting.remove(waiter)
        except ValueError:  # somebody was about to offer, and will find that we left
            return
        self.hand_over()

    def reclaim(self, now: float, patience: float) -> None:
        """Take back permits handed to waiters that never came for them (a dead loop or thread)."""
        for _ in range(len(self.handed)):
            try:
                waiter = self.handed.popleft()
            except IndexError:
                return
            if waiter.value is None:  # accepted
                continue
            if waiter.seen is None:
                waiter.seen = now
            if now - waiter.seen < patience:
                self.handed.append(waiter)
                continue
            if waiter.accepted() == 1:
                # It came, but has not got it: it is at it just now, or a signal handler stopped it there.
                waiter.seen = now
                self.handed.append(waiter)
                continue
            permit, waiter.value = waiter.value, None
            if permit is not None:
                self.give(permit)

    def resize(self, limit: int) -> None:
        """Change the limit while permits are in use; calls in flight finish undisturbed."""
        with self._lock:
            change, self.limit = limit - self.limit, limit
            if change < 0:
                # Sinks stand before everybody, so no newcomer takes what is owed.
                self.waiting.extendleft(Sink() for _ in range(-change))
            while change > 0:
                try:
                    if type(self.waiting[0]) is not Sink:
                        break
                    first = self.waiting.popleft()
                except IndexError:  # somebody has returned a permit meanwhile
                    break
                if type(first) is not Sink:
                    self.waiting.appendleft(first)
                    break
                change -= 1
            for _ in range(change):
                self.free.append(Permit(self.home))
        self.hand_over()
