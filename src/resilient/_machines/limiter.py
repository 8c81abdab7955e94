"""A rate limit that gives way: exact while all is well, slower when throttled or told to be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from resilient._machines.cubic import Backpressure
from resilient._machines.gcra import Gcra

if TYPE_CHECKING:
    from fractions import Fraction

LONGEST_PAUSE = 60.0
"""Seconds for which a server's word stops or slows admission at most."""

CALM = 1.0
"""Seconds without a word to slow down, at least, before all is well again: advice swings around the rate."""


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

    `gcra` admits; `adapting` tells whether somebody has to look at outcomes, because the rate is
    or was reduced. Both stay the same objects and names for life, so that a fast path may hold
    on to them.
    """

    __slots__ = ("_advice", "_calm", "_lapse", "_lock", "_pressure", "_settings", "_told", "adapting", "gcra")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.gcra = Gcra(settings.interval, settings.burst)
        self._start()

    def _start(self) -> None:
        settings = self._settings
        self._lock = Lock()
        self._pressure = Backpressure(settings.rate / settings.per, settings.floor / settings.per)
        self._advice = settings.rate / settings.per
        self._lapse = self._calm = -math.inf
        self._told = False
        self.adapting = False

    def renew(self) -> None:
        """Start afresh: new locks, the full burst, the configured rate."""
        self.gcra.renew()
        self._start()

    def rate(self, now: float) -> float:
        """Return the rate in force, in calls per `per`."""
        settings = self._settings
        rate = settings.rate
        if self._pressure.active:
            rate = min(rate, self._pressure.rate * settings.per)
        if now < self._lapse:
            rate = min(rate, self._advice * settings.per)
        return rate

    def reduced(self, now: float) -> bool:
        """Tell whether the rate is, or was a moment ago, below the configured one."""
        return self.adapting and (self._pressure.active or now < self._calm)

    def throttled(self, now: float, cause: str, hint: float | None) -> list[str]:
        """Cut the rate, and pause if the server said for how long.

        Args:
            now: The current time in seconds.
            cause: What to call the first cut.
            hint: Seconds the server asked us to stay away, or None.

        Returns:
            What is news: `cause` if no pressure was on the rate, "floor" once it is as low as it
            gets, "hint" if a pause began or grew longer.

        """
        with self._lock:
            pressure = self._pressure
            news = []
            began, lowest = pressure.active, pressure.active and pressure.lowest
            rate = pressure.throttled(now)
            self.adapting = pressure.active or self._told  # not so where the floor is the configured rate
            self._follow(rate)
            if pressure.active and not began:
                news.append(cause)
            if pressure.active and pressure.lowest and not lowest:
                news.append("floor")
            if hint and self.gcra.pause(now, min(hint, LONGEST_PAUSE)):
                news.append("hint")
        return news

    def succeeded(self, now: float) -> list[str]:
        """Let a reduced rate grow; the news is "recovered" once it is the configured one."""
        with self._lock:
            if not self.adapting:
                return []
            if self._pressure.active:
                self._follow(self._pressure.succeeded(now))
            return self._recovered(now)

    def advised(self, now: float, pace: float, seconds: float, remaining: int | None) -> list[str]:
        """Go no faster than the server says is safe, until it says something else or the time is over.

        Args:
            now: The current time in seconds.
            pace: Calls per second. The floor holds, and whatever the pace, one call is worth no
                more than the time that the advice is good for.
            seconds: How long the advice is good for; 60 s are believed.
            remaining: Calls that the server would still take; 0 stops admission for that time.

        Returns:
            What is news: "quota" if all was well before, "recovered" if all is well again.

        """
        if not (pace >= 0 and seconds > 0):
            return []
        seconds = min(seconds, LONGEST_PAUSE)
        settings = self._settings
        pace = max(pace, settings.floor / settings.per, 1 / seconds)
        slows = pace < settings.rate / settings.per
        if not slows and remaining != 0:
            return self._released(now) if self.adapting else []
        with self._lock:
            self._advice, self._lapse = pace, now + seconds
            self._calm = now + max(seconds, CALM)
            if remaining == 0:
                self.gcra.advise(now, None)
                self.gcra.pause(now, seconds)
            else:
                self.gcra.advise(now, pace, seconds)
            news = [] if self._told else ["quota"]
            self._told = self.adapting = True
        return news

    def _follow(self, rate: float) -> None:
        self.gcra.pace(rate if self._pressure.active else None)

    def _released(self, now: float) -> list[str]:
        with self._lock:
            if now < self._lapse:
                self._lapse = now
                self.gcra.advise(now, None)
            return self._recovered(now)

    def _recovered(self, now: float) -> list[str]:
        """Note whether all is well again; the caller holds the lock."""
        if now >= self._calm:
            self._told = False
        adapting = self._pressure.active or self._told
        if adapting or not self.adapting:
            return []
        self.adapting = False
        return ["recovered"]
