"""One flight: a question that one asks for many, what it came to, and the duty to ask it.

Nothing on the way of a leader takes a lock, for the collector may take that way. The order is
what makes it sound: who waits looks, after it has joined, whether the flight has landed or has
no leader; who lands or leaves looks for those who wait after it has said so. One sees the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, cast

T = TypeVar("T")


class Air(Protocol[T]):
    """Where newcomers find the flights they would follow."""

    forgotten: int
    """How often answers were to be forgotten."""

    def begin(self, flight: Flight[T], now: float) -> None:
        """Give a new leader its time, and its flight to newcomers."""

    def drop(self, flight: Flight[T]) -> None:
        """Let newcomers ask anew. Takes no lock."""


class Landing(Generic[T]):
    """What a flight came to: a value, or an error that is raised for everybody who waited."""

    __slots__ = ("_context", "_error", "_traceback", "_value")

    def __init__(self, value: T | None, error: BaseException | None = None) -> None:
        self._value = value
        self._error = error
        self._traceback = None if error is None else error.__traceback__
        self._context = None if error is None else error.__context__

    def answer(self) -> T:
        """Return the value or raise the error, whose traceback does not grow from one caller to the next.

        Nor does it get what this caller is handling just now as its context.
        """
        error = self._error
        if error is None:
            return cast("T", self._value)
        try:
            raise error.with_traceback(self._traceback)  # noqa: TRY301 -- its context is put right below
        except BaseException:
            BaseException.__setattr__(error, "__context__", self._context)
            raise
        finally:
            del self, error  # else the error and this frame would hold each other


class Waiter(Protocol[T]):
    """A place in line, of a thread or of a task."""

    claim: Callable[[], int]

    def offer(self, value: Lead[T] | Landing[T], /) -> bool:
        """Hand over how it landed, or the duty to lead; False if the waiter has left."""

    def accept(self) -> Lead[T] | Landing[T] | None:
        """Take what was handed over."""


class Lead(Generic[T]):
    """The duty of a flight's leader: to land it, or to lose it. Forgotten, it loses itself."""

    __slots__ = ("_air", "_flight")

    def __init__(self, air: Air[T], flight: Flight[T]) -> None:
        self._air = air
        self._flight: Flight[T] | None = flight

    @property
    def flight(self) -> Flight[T] | None:
        """What is led, until it is settled."""
        return self._flight

    @property
    def valid(self) -> bool:
        """Whether nobody has asked to forget the answer since the question was asked."""
        flight = self._flight
        return flight is not None and flight.valid and flight.apart in {None, self._air.forgotten}

    def begin(self, now: float) -> None:
        """Ask anew, after another leader."""
        flight = self._flight
        if flight is not None:
            self._air.begin(flight, now)

    def land(self, value: T) -> None:
        """Share a value."""
        self._settle(Landing(value))

    def fail(self, error: BaseException) -> None:
        """Share an error."""
        self._settle(Landing(None, error))

    def _settle(self, landing: Landing[T]) -> None:
        flight = self._flight
        if flight is not None:
            flight.landing = landing
            self._air.drop(flight)
            flight.share()
            self._flight = None

    def lose(self, worth: float = -inf, error: BaseException | None = None) -> None:
        """Hand over to whoever waits until `worth` or longer; others get `error`. Takes no lock."""
        flight = self._flight
        if flight is None:
            return
        if flight.landing is None:
            flight.seat.append(None)
            flight.pass_on(self._air, worth, None if error is None else Landing(None, error))
            if flight.seat:  # nobody waits
                self._air.drop(flight)
        else:  # a signal handler's error came while it landed
            self._air.drop(flight)
            flight.share()
        self._flight = None

    def disarm(self) -> None:
        """Forget the duty: somebody else has it."""
        self._flight = None

    def __del__(self) -> None:
        """Lose what was neither landed nor lost."""
        if getattr(self, "_flight", None) is not None:
            self.lose()


if TYPE_CHECKING:  # making them takes as long as importing all the rest
    Got = Lead[T] | Landing[T] | None
    Place = tuple[Waiter[T], float]


class Flight(Generic[T]):
    """One question that is being asked, and who waits for its answer.

    Attributes:
        key: What is asked for.
        mark: The key's hash when the flight was put where newcomers find it.
        lease: Time at which the leader is taken for lost.
        landing: How it landed, once it has.
        valid: Whether nobody has asked to forget the answer since.
        apart: For a flight that newcomers do not find: how often anything was forgotten before.
        seat: Holds one item while nobody leads.
        waiting: Places in line, each with the time until which it is held.

    """

    __slots__ = ("apart", "key", "landing", "lease", "mark", "seat", "valid", "waiting")

    def __init__(self, key: Hashable, lease: float) -> None:
        self.key = key
        self.mark = 0
        self.lease = lease
        self.landing: Landing[T] | None = None
        self.valid = True
        self.apart: int | None = None
        self.seat: deque[None] = deque(maxlen=1)
        self.waiting: deque[Place[T]] = deque()

    def share(self) -> None:
        """Tell everybody how it landed. Takes no lock."""
        landing = self.landing
        while landing is not None and self.waiting:
            try:
                waiter, _ = self.waiting.popleft()
            except IndexError:  # another one tells it, too
                return
            waiter.offer(landing)

    def pass_on(self, air: Air[T], worth: float = -inf, consolation: Landing[T] | None = None) -> None:
        """Make the first of those who wait long enough the leader, if nobody leads. Takes no lock."""
        while self.waiting:
            try:
                seat = self.seat.pop()
            except IndexError:
                return
            try:
                waiter, end = self.waiting.popleft()
            except IndexError:
                self.seat.append(seat)
                continue
            if consolation is not None and end < worth:
                self.seat.append(seat)
                waiter.offer(consolation)
                continue
            lead = Lead(air, self)
            if waiter.offer(lead):
                return
            lead.disarm()
            self.seat.append(seat)

    def take(self, place: Place[T], air: Air[T]) -> None:
        """Stand in line."""
        self.waiting.append(place)
        if self.landing is not None:
            self.share()
        elif self.seat:
            self.pass_on(air)

    def quit(self, place: Place[T]) -> None:
        """Leave the line."""
        with suppress(ValueError):  # somebody was about to offer, and will find that we left
            self.waiting.remove(place)

    def leave(self, place: Place[T]) -> None:
        """Leave the line for another reason than time; a duty on its way is handed on."""
        waiter = place[0]
        if waiter.claim():
            got = waiter.accept()
            if isinstance(got, Lead):
                got.lose()
        self.quit(place)
