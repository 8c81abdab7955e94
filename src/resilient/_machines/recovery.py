"""How a breaker finds its way back: how long it stays open, and how traffic grows again."""

from __future__ import annotations

from typing import Final, Protocol

HEALTHY: Final = 60.0
"""Seconds closed that take one doubling of the open time back."""

_FLOOR: Final = 0.1
_OPERATOR_STEPS: Final = ((20.0, 0.05), (40.0, 0.25), (60.0, 0.5))
"""After an operator's release: up to so many seconds, this share; then everything."""


class OpenTimes(Protocol):
    """The settings that say how long a breaker stays open."""

    @property
    def open_for(self) -> float:
        """Seconds of the first opening."""

    @property
    def max_open_for(self) -> float:
        """Seconds of the longest opening."""

    @property
    def jitter(self) -> float:
        """Share by which an opening varies."""


def _centre(times: OpenTimes, level: int) -> float:
    doublings = min(level - 1, 1000)
    return float(min(times.max_open_for, times.open_for * 2**doublings)) if level else 0.0


def raised(times: OpenTimes, level: int) -> int:
    """Return the next level of doubling; it stops rising where the longest opening is reached."""
    return level + 1 if _centre(times, level) < times.max_open_for else level


def lowered(level: int, healthy: float) -> int:
    """Return the level after so many seconds of health."""
    return max(0, level - int(healthy / HEALTHY))


def open_time(times: OpenTimes, level: int, draw: float, hint: float | None) -> float:
    """Return how long to stay open, in seconds.

    The doubled time varies evenly by `jitter` on both sides, but never beyond the longest
    opening; near that the range narrows instead of piling up on it. A server's hint can only
    lengthen it, within the same bound.

    Args:
        times: The settings.
        level: How many openings lie behind, this one included.
        draw: A random number in [0, 1).
        hint: Seconds for which the server asked, or None.

    """
    centre = _centre(times, level)
    low = centre * (1 - times.jitter)
    high = min(centre * (1 + times.jitter), times.max_open_for)
    return max(low + (high - low) * draw, min(hint or 0.0, times.max_open_for))


class Ramp:
    """The growing share of calls that pass after closing.

    Attributes:
        began: When the breaker closed.
        operator: Whether an operator's release led here; then the steps are slower.

    """

    __slots__ = ("began", "operator")

    def __init__(self, began: float, *, operator: bool) -> None:
        self.began = began
        self.operator = operator

    def share(self, now: float, over: float) -> float:
        """Return the share of calls to admit, in (0, 1].

        Args:
            now: The current time.
            over: Seconds that the ramp takes, unless an operator's release began it.

        """
        elapsed = now - self.began
        if self.operator:
            return next((share for until, share in _OPERATOR_STEPS if elapsed < until), 1.0)
        if elapsed >= over:
            return 1.0
        return _FLOOR + (1 - _FLOOR) * max(0.0, elapsed) / over
