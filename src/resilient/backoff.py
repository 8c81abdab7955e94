"""Backoff: how long a retry waits, as configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from resilient import _check
from resilient._machines.backoff import CURVES, Curve, Delays, Growth

if TYPE_CHECKING:
    from resilient._tenacity import StopRule, Wait

__all__ = ["Backoff", "Delays", "Jitter", "Pacing", "pacing"]

Jitter = Literal["full", "equal", "decorrelated", "polly", "grpc", "envoy", "none", "fixed"]

_CURVED_BY_MULTIPLIER = frozenset({"full", "equal", "grpc", "envoy", "none"})


class Pacing(Protocol):
    """What `Retry` needs of a backoff, be it ours or tenacity's."""

    def delays(self) -> Delays:
        """Return fresh delays for one call."""

    def describe(self) -> str:
        """Say in a few words what is configured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Wait longer after each failure, and not in step with everybody else.

    Retry n (1 is the first) has the ceiling `min(cap, base * multiplier ** (n - 1))`. No jitter
    but "grpc" ever waits longer than `cap`.

    Args:
        base: Ceiling of the first delay, in seconds, 0 or more.
        cap: Longest delay, in seconds.
        jitter: "full" (anything up to the ceiling; least load on the server), "equal" (half of
            it and anything up to the rest), "decorrelated" (AWS: up to three times the last
            delay), "polly" (Polly V2: smooth), "grpc" (the ceiling +-20 %, which may pass the
            cap), "envoy" (anything up to `base * (multiplier ** n - 1)`), "none" (the ceiling)
            or "fixed" (always `base`).
        multiplier: Growth per retry, 1 or more. Has no meaning for "decorrelated", "polly" and
            "fixed".
        throttled_base: What `base` is raised to after a throttled attempt, in seconds, 0 or
            more; never above `cap`.

    Raises:
        ConfigError: If a duration is out of range, the multiplier below 1, or `base` above `cap`.

    Example:
        >>> from resilient import Backoff
        >>> Backoff(base=0.1, cap=5).describe()
        'full jitter, 0.1 s times 2 up to 5 s, 1 s after a throttle'

    """

    base: float = 0.05
    cap: float = 20.0
    jitter: Jitter = "full"
    multiplier: float = 2.0
    throttled_base: float = 1.0
    curve: Curve = field(init=False, repr=False, compare=False)
    """The machine that computes the delays."""

    def __post_init__(self) -> None:
        """Check and normalise."""
        for name in ("base", "cap", "throttled_base"):
            checked = _check.seconds(name, getattr(self, name), zero=True)
            object.__setattr__(self, name, checked)
        if self.base > self.cap:
            _check.refuse("base", self.base, f"at most cap, which is {self.cap:g} s")
        if self.jitter not in tuple(CURVES):
            _check.refuse("jitter", self.jitter, "one of " + ", ".join(map(repr, CURVES)))
        multiplier = _check.number("multiplier", self.multiplier)
        if multiplier < 1:
            _check.refuse("multiplier", self.multiplier, "a number of 1 or more")
        object.__setattr__(self, "multiplier", multiplier)
        curve = Curve(self.base, self.cap, multiplier, self.throttled_base, self.jitter)
        object.__setattr__(self, "curve", curve)

    def delays(self) -> Growth:
        """Return fresh delays for one call."""
        return Growth(self.curve)

    def describe(self) -> str:
        """Say in a few words what is configured."""
        if self.jitter == "fixed":
            shape = f"fixed {self.base:g} s"
        else:
            growth = f" times {self.multiplier:g}" if self.jitter in _CURVED_BY_MULTIPLIER else ""
            kind = "no jitter" if self.jitter == "none" else f"{self.jitter} jitter"
            shape = f"{kind}, {self.base:g} s{growth} up to {self.cap:g} s"
        throttled = min(max(self.base, self.throttled_base), self.cap)
        return shape if throttled == self.base else f"{shape}, {throttled:g} s after a throttle"


def pacing(value: Backoff | Wait) -> Pacing:
    """Return what paces retries, from a `Backoff` or one of tenacity's `wait_*` objects.

    Raises:
        TypeError: If it is neither.

    """
    if isinstance(value, Backoff):
        return value
    from resilient import _tenacity  # noqa: PLC0415 -- only who brings tenacity's objects needs it

    if not _tenacity.is_wait(value):
        _check.refuse_type("backoff", value, "a Backoff or one of tenacity's wait_* objects")
    return _tenacity.WaitPacing(value)


def stopping(attempts: object) -> StopRule | None:
    """Return the rule of one of tenacity's `stop_*` objects; None for a plain number of attempts.

    Raises:
        ConfigError: If the number is below 1.
        TypeError: If it is neither.

    """
    if not isinstance(attempts, int):
        from resilient import _tenacity  # noqa: PLC0415 -- only who brings tenacity's objects needs it

        if _tenacity.is_stop(attempts):
            return _tenacity.StopRule(attempts)
    _check.count("attempts", attempts)
    return None
