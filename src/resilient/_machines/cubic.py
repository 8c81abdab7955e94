"""How fast to send when the server says "too fast": the CUBIC client rate of the AWS SDKs.

A throttled answer cuts the rate by 30 % and remembers where it was; afterwards the rate follows
a cubic curve through that point: quickly up to it, flat around it, then probing beyond.
"""

from __future__ import annotations

import math

BETA = 0.7
SCALE = 0.4
SMOOTHING = 0.8
BUCKET = 0.5
LEAST = 0.5


class Cubic:
    """The curve. Rates are calls per second, times are seconds."""

    __slots__ = ("_beta", "_highest", "_since", "plateau")

    def __init__(self, beta: float = BETA) -> None:
        self._beta = beta
        self._highest = 0.0
        self._since = 0.0
        self.plateau = 0.0

    def throttled(self, rate: float, now: float) -> float:
        """Return the new rate after a throttle at `rate`.

        `plateau` becomes the seconds until the curve is back at the old rate.
        """
        self._highest = rate
        self._since = now
        self.plateau = math.cbrt(rate * (1 - self._beta) / SCALE)
        return rate * self._beta

    def grown(self, now: float) -> float:
        """Return the rate that the curve has reached."""
        return SCALE * (now - self._since - self.plateau) ** 3 + self._highest


class Meter:
    """Answers per second, smoothed over buckets of half a second."""

    __slots__ = ("_bucket", "_count", "rate")

    def __init__(self, now: float) -> None:
        self._bucket = self._floor(now)
        self._count = 0
        self.rate = 0.0

    def step(self, now: float) -> float:
        """Count one answer and return the measured rate."""
        self._count += 1
        bucket = self._floor(now)
        if bucket > self._bucket:
            current = self._count / (bucket - self._bucket)
            self.rate = SMOOTHING * current + (1 - SMOOTHING) * self.rate
            self._count = 0
            self._bucket = bucket
        return self.rate

    @staticmethod
    def _floor(now: float) -> float:
        return math.floor(now / BUCKET) * BUCKET


class Backpressure:
    """The rate in force, from the first throttle until it is back at its ceiling.

    With a meter it is the adaptive mode of the AWS SDKs: cuts start from the measured rate, and
    growth is held to twice of it. Without, cuts start from the rate in force, which needs no
    counting while nothing is wrong.

    Args:
        ceiling: The configured rate; without one, backpressure never ends.
        floor: Lowest rate.
        meter: Measures the answers, or None.

    """

    __slots__ = ("_ceiling", "_cubic", "_floor", "_meter", "active", "rate")

    def __init__(self, ceiling: float = math.inf, floor: float = LEAST, meter: Meter | None = None) -> None:
        self._ceiling = ceiling
        self._floor = floor
        self._cubic = Cubic()
        self._meter = meter
        self.active = False
        self.rate = floor if meter else ceiling

    @property
    def lowest(self) -> bool:
        """Whether the rate has reached its floor."""
        return self.rate <= self._floor

    def throttled(self, now: float) -> float:
        """Cut the rate and return it."""
        start = self.rate
        if self._meter:
            measured = self._meter.step(now)
            start = min(measured, self.rate) if self.active else measured
        self.active = True
        return self._settle(self._cubic.throttled(start, now))

    def succeeded(self, now: float) -> float:
        """Let the rate grow and return it."""
        if self._meter:
            self._meter.step(now)
        return self._settle(self._cubic.grown(now))

    def _settle(self, rate: float) -> float:
        if self._meter:
            rate = min(rate, 2 * self._meter.rate)
        self.rate = min(self._ceiling, max(self._floor, rate))
        if self.rate >= self._ceiling:
            self.active = False
        return self.rate
