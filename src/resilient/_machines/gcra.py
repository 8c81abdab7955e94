"""When a call may pass: the generic cell rate algorithm (ITU-T I.371), exact.

The whole state is one number, the theoretical arrival time (TAT): when the bucket would be full
again. Time is counted in whole fractions of a nanosecond, fine enough that the interval between
two calls is a whole number too (3 per second makes thirds), so nothing is rounded in favour of
the caller and nothing drifts.

Who waits reserves first: the TAT moves on, the slot is theirs, later callers get later slots.
The line is therefore first come, first served without being a list.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fractions import Fraction

NANO = 1e9


class Allowance(NamedTuple):
    """What a limiter would say, without asking it for anything.

    Attributes:
        limited: Whether the call would be refused now.
        remaining: Calls of cost 1 that would pass at once.
        reset_after: Seconds until the full burst is available again.
        retry_after: Seconds until the call would pass (0.0: now), or None if it never will.

    """

    limited: bool
    remaining: int
    reset_after: float
    retry_after: float | None


@dataclass(slots=True, eq=False)
class Turn:
    """A reserved slot. Times are in the machine's own unit, but for `wait`.

    Attributes:
        wait: Seconds until the slot, from when it was reserved.
        at: Time of the slot.
        latest: Time beyond which waiting makes no sense.
        before: The TAT before the reservation.
        after: The TAT with it.
        shift: The machine's `shift` that these times belong to.

    """

    wait: float
    at: int
    latest: int
    before: int
    after: int
    shift: int


class Gcra:
    """One limiter. All methods take the current time in seconds.

    Args:
        interval: Nanoseconds between two calls at the configured rate.
        burst: Calls that may pass at once after a pause.

    """

    __slots__ = ("_advised", "_burst", "_configured", "_gone", "_interval", "_lapse", "_lock", "_paced", "_paused",
                 "_returned", "_scale", "_shift", "_tat", "_tolerance")  # fmt: skip

    def __init__(self, interval: Fraction, burst: int) -> None:
        self._scale = interval.denominator
        self._configured = interval.numerator
        self._burst = burst
        self._tolerance = self._configured * burst
        self.renew()

    def renew(self) -> None:
        """Start afresh: a new lock, a full bucket, the configured rate, nobody waiting."""
        self._lock = Lock()
        self._interval = self._paced = self._configured
        self._advised = self._lapse = 0
        self._tat = 0
        self._paused = 0
        self._shift = 0
        self._returned: deque[Turn | None] = deque()
        self._gone: dict[int, int] = {}

    def admit(self, now: float, cost: int = 1) -> bool:
        """Let a call pass now, or tell that it may not. Refusals change nothing."""
        instant = round(now * NANO) * self._scale
        with self._lock:
            if self._returned:
                self._fold(instant)
            tat = self._tat
            tat = tat if tat > instant else instant  # noqa: FURB136 -- costs half of a call
            need = cost * self._interval
            room = self._tolerance
            if need > room:
                # Only a call that never fits, or one whose turn at a reduced rate is a full bucket.
                if cost > self._burst:
                    return False
                room = need
            after = tat + need
            if after - instant > room or instant < self._paused:
                return False
            self._tat = after
            return True

    def reserve(self, now: float, cost: int, patience: float) -> Turn | None:
        """Reserve the next free slot, if it comes within `patience` seconds; else return None."""
        instant = round(now * NANO) * self._scale
        latest = instant + math.floor(patience * NANO) * self._scale
        with self._lock:
            self._fold(instant)
            before = max(self._tat, instant)
            at = self._slot(instant, before, cost)
            if at is None or at > latest:
                return None
            self._tat = after = before + cost * self._interval
            return Turn(self._seconds(at - instant), at, latest, before, after, self._shift)

    def lag(self, turn: Turn) -> float | None:
        """Return the seconds by which a pause has moved a slot since last asked; None if too far."""
        lag = self._shift - turn.shift
        turn.shift += lag
        turn.at += lag
        turn.before += lag
        turn.after += lag
        return None if turn.at > turn.latest else self._seconds(lag)

    def until(self, turn: Turn, now: float) -> float:
        """Return the seconds until a slot."""
        return self._seconds(max(0, turn.at - round(now * NANO) * self._scale))

    def give_back(self, turn: Turn) -> None:
        """Give up a slot, once. It is free again unless somebody else has reserved after it.

        Takes no lock: the next regular call folds it in.
        """
        self._returned.append(turn)

    def peek(self, now: float, cost: int = 1) -> Allowance:
        """Return what a call would be told, and take nothing."""
        instant = round(now * NANO) * self._scale
        with self._lock:
            self._fold(instant)
            tat = max(self._tat, instant)
            at = self._slot(instant, tat, cost)
            room = max(self._tolerance, self._interval) - (tat - instant)
            remaining = max(0, room // self._interval)
            reset = self._seconds(tat - instant)
            retry = None if at is None else self._seconds(at - instant)
            return Allowance(at is None or at > instant, remaining, reset, retry)

    def wait(self, now: float, cost: int) -> float | None:
        """Return the seconds until a call of this cost would pass, or None if it never will."""
        instant = round(now * NANO) * self._scale
        with self._lock:
            self._fold(instant)
            at = self._slot(instant, max(self._tat, instant), cost)
        return None if at is None else self._seconds(at - instant)

    def pace(self, rate: float | None) -> None:
        """Change the rate, in calls per second, for who comes next; None is the configured one.

        The TAT stays, so the bucket is as full in proportion as it was, and promised slots hold.
        The burst shrinks with the rate, for the tolerance is a time; never below one call.
        """
        with self._lock:
            self._paced = self._configured if rate is None else self._spaced(rate)
            self._interval = max(self._paced, self._advised)

    def advise(self, now: float, rate: float | None, seconds: float = 0.0) -> None:
        """Keep the rate at or below `rate` for so long, whatever `pace` says meanwhile.

        A newer advice replaces the one in force, None takes it back. It ends by itself.
        """
        instant = round(now * NANO) * self._scale
        with self._lock:
            self._lapse = instant + math.ceil(seconds * NANO) * self._scale
            self._advised = 0 if rate is None else self._spaced(rate)
            self._interval = max(self._paced, self._advised)
            self._returned.append(None)

    def pause(self, now: float, seconds: float) -> bool:
        """Let nobody pass for so long; all waiting slots move back by as much.

        Afterwards calls pass one by one, not in a burst. Return False if a pause in force
        already lasts as long.
        """
        instant = round(now * NANO) * self._scale
        until = instant + math.ceil(seconds * NANO) * self._scale
        with self._lock:
            self._fold(instant)
            if until <= max(self._paused, instant):
                return False
            added = until - max(self._paused, instant)
            self._paused = until
            self._shift += added
            drained = until + max(0, self._tolerance - self._interval)
            self._tat = max(max(self._tat, instant) + added, drained)
            self._gone.clear()
            return True

    def _slot(self, instant: int, tat: int, cost: int) -> int | None:
        """Return when a call may pass; None if never."""
        if cost > self._burst:
            return None
        need = cost * self._interval
        return max(tat + need - max(self._tolerance, need), self._paused, instant)

    def _spaced(self, rate: float) -> int:
        return max(self._configured, math.ceil(self._scale * NANO / rate))

    def _fold(self, instant: int) -> None:
        """Take back the reservations that were given up, as far as they are the newest.

        While an advice is in force, a None among them has every call look here whether it is
        over; calls without one pay nothing for it.
        """
        if not self._returned:
            return
        gone = {after: before for after, before in self._gone.items() if after > instant}
        while self._returned:
            turn = self._returned.popleft()
            if turn is not None:
                self.lag(turn)
                gone[turn.after] = turn.before
        while self._tat in gone:
            self._tat = gone.pop(self._tat)
        self._gone = gone
        if instant >= self._lapse:
            self._advised = 0
            self._interval = self._paced
        elif self._advised:
            self._returned.append(None)

    def _seconds(self, units: int) -> float:
        return units / (self._scale * NANO)
