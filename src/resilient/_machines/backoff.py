"""How long to wait before a retry: one curve per jitter, from nothing but numbers.

Every curve is a pure function of the retry number (1 is the first retry), the state that the
previous delay of the same call left behind, and one random number in [0, 1). No curve
overflows: beyond the range of floats the cap holds.

Full, equal and decorrelated jitter: AWS, "Exponential Backoff and Jitter". `polly`: Polly V2's
decorrelated jitter. `grpc`: gRPC proposal A6, the only curve that may pass its cap (by 20 %).
`envoy`: Envoy's router.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Protocol

START = 0.0
"""The state before the first delay of a call."""

Answer = tuple[float, float]
"""The delay in seconds, and the state to hand in next time."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The settings all jitters read.

    Attributes:
        base: Ceiling of the first delay, in seconds.
        cap: Longest delay, in seconds.
        multiplier: Growth per retry, of the exponential curves.
        throttled_base: What `base` is raised to after a throttled attempt, in seconds.
        jitter: Name of the curve, a key of `CURVES`.

    """

    base: float
    cap: float
    multiplier: float
    throttled_base: float
    jitter: str

    def delay(self, retry: int, state: float, random: float, *, throttled: bool = False) -> Answer:
        """Return the delay before a retry and the state for the next one.

        Args:
            retry: Number of the retry, 1 for the first.
            state: `START`, or what the previous delay of this call returned.
            random: A number in [0, 1); 1 gives the ceiling.
            throttled: Whether the attempt that failed was throttled.

        """
        base = max(self.base, self.throttled_base) if throttled else self.base
        return CURVES[self.jitter](self, min(base, self.cap), retry, state, random)

    def ceiling(self, base: float, retry: int) -> float:
        """Return the exponential curve that most jitters start from, capped."""
        return min(self.cap, base * power(self.multiplier, retry - 1))


def power(factor: float, exponent: int) -> float:
    """Raise to a power; the largest float where it would overflow, so that 0 times it is 0."""
    try:
        return factor**exponent
    except OverflowError:
        return _LARGEST


_LARGEST = 1.7e308
_POLLY_LAST = 1000  # 2 ** 1000 seconds is beyond every cap, and 2 ** 1024 beyond floats


def _none(curve: Curve, base: float, retry: int, state: float, random: float) -> Answer:  # noqa: ARG001
    return curve.ceiling(base, retry), state


def _fixed(curve: Curve, base: float, retry: int, state: float, random: float) -> Answer:  # noqa: ARG001
    return base, state


def _full(curve: Curve, base: float, retry: int, state: float, random: float) -> Answer:
    return random * curve.ceiling(base, retry), state


def _equal(curve: Curve, base: float, retry: int, state: float, random: float) -> Answer:
    half = curve.ceiling(base, retry) / 2
    return half + random * half, state


def _decorrelated(curve: Curve, base: float, retry: int, state: float, random: float) -> Answer:  # noqa: ARG001
    highest = max(base, 3 * (state or base))
    delay = min(curve.cap, base + random * (highest - base))
    return delay, delay


def _polly(curve: Curve, base: float, retry: int, state: float, random: float) -> Answer:
    if retry > _POLLY_LAST:
        return min(curve.cap, base * power(2.0, _POLLY_LAST)), state
    t = retry - 1 + random
    reached = 2.0**t * math.tanh(math.sqrt(4 * t))
    return min(curve.cap, max(0.0, (reached - state) / 1.4 * base)), reached


def _grpc(curve: Curve, base: float, retry: int, state: float, random: float) -> Answer:
    return curve.ceiling(base, retry) * (0.8 + 0.4 * random), state


def _envoy(curve: Curve, base: float, retry: int, state: float, random: float) -> Answer:
    return random * min(curve.cap, base * (power(curve.multiplier, retry) - 1)), state


CURVES: Mapping[str, Callable[[Curve, float, int, float, float], Answer]] = MappingProxyType(
    {
        "full": _full,
        "equal": _equal,
        "decorrelated": _decorrelated,
        "polly": _polly,
        "grpc": _grpc,
        "envoy": _envoy,
        "none": _none,
        "fixed": _fixed,
    }
)


class Tried(NamedTuple):
    """What is known when an attempt has failed.

    Attributes:
        attempt: Number of the attempt, 1 for the first.
        elapsed: Seconds since the first attempt began.
        slept: Seconds of it that were spent waiting between attempts.
        error: What the attempt raised, or None if its result was judged.
        result: What the attempt returned.

    """

    attempt: int
    elapsed: float
    slept: float
    error: BaseException | None = None
    result: object = None


class Delays(Protocol):
    """The delays of one call, in order; made when its first attempt has failed."""

    def next(self, tried: Tried, random: float, *, throttled: bool) -> float:
        """Return the delay in seconds before the next attempt."""

    def restart(self) -> None:
        """Begin anew, because the server named the last delay."""


class Growth:
    """The delays of one call, in order."""

    __slots__ = ("_curve", "_retry", "_state")

    def __init__(self, curve: Curve) -> None:
        self._curve = curve
        self._retry = 0
        self._state = START

    def next(self, tried: Tried, random: float, *, throttled: bool) -> float:  # noqa: ARG002 -- others look at it
        """Return the delay in seconds before the next attempt."""
        self._retry += 1
        delay, self._state = self._curve.delay(self._retry, self._state, random, throttled=throttled)
        return delay

    def restart(self) -> None:
        """Begin anew: after a server named the delay, our own next one is the first again."""
        self._retry = 0
        self._state = START
