"""Single flight: of all who want the answer to one key at the same time, one asks and the others wait.

Threads and tasks share a flight. Who asks is its *leader*; what it lands with, a value or an
error, is the answer of everybody who waited. A leader that goes away without an answer (it was
cancelled, thrown away, or ran out of its own caller's time) hands over: one of those who wait
becomes the leader, the others wait on.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from resilient._machines.itself import finder
from resilient._runtime import blocking, live
from resilient._runtime.flight import Flight, Landing, Lead
from resilient.clock import Clock

if TYPE_CHECKING:
    from resilient._runtime.flight import Got, Place, Waiter

T = TypeVar("T")

LEASE = 30.0
"""Seconds after which newcomers and those who wait take a silent leader for lost."""


class Flights(Generic[T]):
    """The flights in the air, one for each key.

    Args:
        lease: Seconds after which a leader that has said nothing is no longer waited for.

    """

    __slots__ = ("__weakref__", "_air", "_lease", "forgotten")

    def __init__(self, lease: float = LEASE) -> None:
        """Start with none."""
        self._air: dict[Hashable, Flight[T]] = {}
        self._lease = lease
        self.forgotten = 0
        """How often answers were to be forgotten."""
        live.add(self)

    def __len__(self) -> int:
        """Return how many are in the air."""
        return len(self._air)

    def __contains__(self, key: Hashable) -> bool:
        """Tell whether somebody asks for a key now."""
        return key in self._air

    def busy(self, key: Hashable, now: float) -> bool:
        """Tell whether somebody asks for a key now who is not taken for lost."""
        flight = self._air.get(key)
        return flight is not None and now < flight.lease

    def join(self, key: Hashable, now: float) -> Lead[T] | Flight[T]:
        """Lead a new flight, or return the one that is in the air, to be followed."""
        mine: Flight[T] = Flight(key, now + self._lease)
        mine.mark = hash(key)
        lead = Lead(self, mine)  # first: should a signal handler raise now, it takes back what follows
        known = self._air.setdefault(key, mine)
        if known is mine:
            return lead
        if now >= known.lease and known.landing is None:
            self._air[key] = mine
            known.apart = self.forgotten
            return lead
        lead.disarm()
        return known

    def alone(self, key: Hashable, now: float) -> Lead[T]:
        """Lead a flight that nobody follows."""
        flight: Flight[T] = Flight(key, now + self._lease)
        flight.apart = self.forgotten
        return Lead(self, flight)

    def follow(self, flight: Flight[T], clock: Clock, end: float) -> Got[T]:
        """Wait in this thread for a flight: return how it landed, the duty to lead it, or None at `end`.

        On the thread of a running event loop nobody waits: such a caller asks alone.
        """
        if blocking.on_event_loop():
            return self.alone(flight.key, clock.now())
        while True:
            waiter: blocking.ThreadWaiter[Lead[T] | Landing[T]] = blocking.ThreadWaiter()
            place = (cast("Waiter[T]", waiter), end)
            try:
                flight.take(place, self)
                got = waiter.wait(clock, min(end, flight.lease) - clock.now())
            except BaseException:
                flight.leave(place)
                raise
            again = self._landed(flight, place, got, clock.now())
            if not isinstance(again, Flight):
                return again
            flight = again

    async def afollow(self, flight: Flight[T], clock: Clock, end: float) -> Got[T]:
        """Do the same without blocking the thread."""
        from resilient._runtime.awaiting import TaskWaiter  # noqa: PLC0415 -- only async code loads asyncio

        while True:
            waiter: TaskWaiter[Lead[T] | Landing[T]] = TaskWaiter()
            place = (cast("Waiter[T]", waiter), end)
            try:
                flight.take(place, self)
                await waiter.wait(clock, min(end, flight.lease) - clock.now())
            except BaseException:
                flight.leave(place)
                raise
            got = waiter.accept() if waiter.claim() else None
            again = self._landed(flight, place, got, clock.now())
            if not isinstance(again, Flight):
                return again
            flight = again

    def _landed(self, flight: Flight[T], place: Place[T], got: Got[T], now: float) -> Got[T] | Flight[T]:
        """Say what a wait has come to; a flight to be followed if the leader was silent for too long."""
        if got is None:
            flight.quit(place)
            return None if now >= place[1] else self.join(flight.key, now)
        if isinstance(got, Lead):
            got.begin(now)
        return got

    def begin(self, flight: Flight[T], now: float) -> None:
        """Give a new leader its time, and its flight to newcomers."""
        flight.lease = now + self._lease
        flight.valid = True
        known = self._air.get(finder(flight.key, flight.mark))
        if known is not flight:
            flight.mark = hash(flight.key)
            known = self._air.setdefault(flight.key, flight)
        flight.apart = None if known is flight else self.forgotten

    def drop(self, flight: Flight[T]) -> None:
        """Let newcomers ask anew, if this is the flight that they would follow. Takes no lock."""
        key = finder(flight.key, flight.mark)
        if self._air.get(key) is flight:
            self._air.pop(key, None)

    def forget(self, key: Hashable) -> None:
        """Let newcomers ask anew: who waits already gets the answer of the flight in the air."""
        self.forgotten += 1
        flight = self._air.pop(key, None)
        if flight is not None:
            flight.valid = False

    def clear(self) -> None:
        """Do the same for every key."""
        for key in list(self._air):
            self.forget(key)
        self.forgotten += 1

    def renew(self) -> None:
        """Start with none in a forked child, where no leader of the parent's ever lands."""
        self._air = {}

    def use_clock(self, clock: Clock) -> None:
        """Give the leaders of now their time by another clock."""
        for flight in list(self._air.values()):
            flight.lease = clock.now() + self._lease
