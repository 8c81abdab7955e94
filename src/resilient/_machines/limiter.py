"""A rate limit that gives way: exact while all is well, slower after throttled outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from resilient._machines.cubic import Backpressure
from resilient._machines.gcra import Gcra

if TYPE_CHECKING:
    from fractions import Fraction

LONGEST_PAUSE = 60.0
"""Seconds for which a server's hint stops admission at most."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A rate limit in plain numbers.

    Attributes:
        rate: Calls per `per`.
        per: The period, in seconds.
        burst: Calls that may pass at once after a quiet time.
        floor: What the rate never shrinks below, in calls per `per`.

    """

    rate: float
    per: float
    burst: int
    floor: float

    @property
    def interval(self) -> Fraction:
        """Nanoseconds between two calls. Settings are read as decimals: 0.1 is a tenth."""
        from fractions import Fraction  # noqa: PLC0415 -- 10 ms that only who limits a rate should pay

        return Fraction(str(self.per)) * 10**9 / Fraction(str(self.rate))


class Limiter:
    """One limit and the pressure on it.

    `gcra` admits; `adapting` tells whether the rate is reduced. Both stay the same objects and
    names for life, so that a fast path may hold on to them.
    """

    __slots__ = ("_lock", "_pressure", "_settings", "adapting", "gcra")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.gcra = Gcra(settings.interval, settings.burst)
        self._start()

    def _start(self) -> None:
        settings = self._settings
        self._lock = Lock()
        self._pressure = Backpressure(settings.rate / settings.per, settings.floor / settings.per)
        self.adapting = False

    def renew(self) -> None:
        """Start afresh: new locks, the full burst, the configured rate."""
        self.gcra.renew()
        self._start()

    @property
    def rate(self) -> float:
        """The rate in force, in calls per `per`."""
        return self._pressure.rate * self._settings.per if self.adapting else self._settings.rate

    def throttled(self, now: float, cause: str, hint: float | None) -> list[str]:
        """Cut the rate, and pause if the server said for how long.

        Args:
            now: The current time in seconds.
            cause: What to call the first cut.
            hint: Seconds the server asked us to stay away, or None.

        Returns:
            What is news: `cause` if the rate was the configured one, "floor" once it is as low
            as it gets, "hint" if a pause began or grew longer.

        """
        with self._lock:
            pressure = self._pressure
            news = []
            began, lowest = pressure.active, pressure.active and pressure.lowest
            rate = pressure.throttled(now)
            self.adapting = pressure.active  # not so where the floor is the configured rate
            self.gcra.pace(rate if self.adapting else None)
            if self.adapting and not began:
                news.append(cause)
            if self.adapting and pressure.lowest and not lowest:
                news.append("floor")
            if hint and self.gcra.pause(now, min(hint, LONGEST_PAUSE)):
                news.append("hint")
        return news

    def succeeded(self, now: float) -> list[str]:
        """Let a reduced rate grow; the news is "recovered" once it is the configured one."""
        with self._lock:
            if not self.adapting:
                return []
            rate = self._pressure.succeeded(now)
            self.adapting = self._pressure.active
            recovered = not self._pressure.active
            self.gcra.pace(None if recovered else rate)
        return ["recovered"] if recovered else []
