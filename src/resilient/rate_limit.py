"""RateLimit: at most so many calls per second, and fewer when the server says "too fast".

The limit itself is exact and lock-step with the clock (GCRA). Backpressure sleeps until the
first throttled outcome; then each one cuts the rate by 30 %, successes let it grow back along a
cubic curve, and at the configured rate it sleeps again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from resilient import _check
from resilient._guards.rate_limit import RateLimitGuard
from resilient._machines.limiter import Settings
from resilient._policy import Env

__all__ = ["RateLimit", "RateLimitGuard"]

_MOST = 1e12
"""Calls per second, and in a burst: far beyond anything real, and exact arithmetic still fits into floats."""

TEMPLATE = """
cost_ = price_(ARGS)                         #: costed
if not admit_(now(), cost_):
    raise limit_.refusal(cost_)              #: !waits
    AWAIT acquire_(END, cost_)               #: waits
    began = now()                            #: waits & timed
try:
    <inner>
except Exception as error:
    limit_.failed(error)                     #: adaptive
    raise
if machine_.adapting:                        #: adaptive & !judged & !streamed
    limit_.succeeded()                       #: adaptive & !judged & !streamed
limit_.returned(result)                      #: adaptive & judged & !streamed
if machine_.adapting or exchange.bad:        #: adaptive & streamed
    limit_.settle(exchange.verdict)          #: adaptive & streamed
"""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Let at most `rate` calls pass per `per` seconds, on average, and `burst` at once.

    Args:
        rate: Calls per `per`; any number above 0.
        per: The period of the rate, in seconds.
        burst: Calls that may pass at once after a quiet time; None means one second's worth, at
            least 1 and at least `cost`.
        cost: What a call counts for: a whole number, or a function of the call's arguments that
            returns one. A function that fails is reported once, and the call counts for 1.
        max_wait: Longest wait for a turn, in seconds; 0 refuses at once. None waits up to the
            deadline; a wait without any deadline is refused with a `ConfigError`.
        adaptive: Whether throttled outcomes shrink the rate and a server's hint pauses it, for
            60 s at most.
        on_failure: Whether failures do so, too.
        floor: What the rate never shrinks below, in calls per `per`; None means 1 % of the rate
            or one call in 2 s, whichever is more, and the rate itself if that is less.

    Raises:
        RateLimited: Instead of calling the function.

    Example:
        >>> from resilient import Pipeline, RateLimit
        >>> mail = Pipeline("doc-rate-limit", RateLimit(100))
        >>> mail.call(len, "hello")
        5
        >>> RateLimit(5, per=60, burst=2, max_wait=1).describe()
        '5 per 60 s, bursts of 2, waits up to 1 s, backs off when throttled'

    """

    rate: float
    _: KW_ONLY
    per: float = 1.0
    burst: int | None = None
    cost: int | Callable[..., int] = 1
    max_wait: float | None = 0.0
    adaptive: bool = True
    on_failure: bool = False
    floor: float | None = None

    kind: ClassVar[str] = "rate_limit"
    template: ClassVar[str] = TEMPLATE

    def __post_init__(self) -> None:
        """Check and normalise the settings."""
        object.__setattr__(self, "rate", _check.positive("rate", self.rate))
        object.__setattr__(self, "per", _check.seconds("per", self.per))
        if self.max_wait is not None:
            object.__setattr__(self, "max_wait", _check.seconds("max_wait", self.max_wait, zero=True))
        for name in ("adaptive", "on_failure"):
            if not isinstance(getattr(self, name), bool):
                _check.refuse_type(name, getattr(self, name), "True or False")
        if not 1 / _MOST <= self.rate / self.per <= _MOST:
            _check.refuse("rate", self.rate, f"from {1 / _MOST:g} to {_MOST:g} per second, with per={self.per:g}")
        self._check_cost()
        self._check_floor()

    def _check_cost(self) -> None:
        if self.burst is not None and _check.count("burst", self.burst) > _MOST:
            _check.refuse("burst", self.burst, f"at most {_MOST:g}")
        if isinstance(self.cost, int):
            cost = _check.count("cost", self.cost)
            if cost > _MOST:
                _check.refuse("cost", cost, f"at most {_MOST:g}")
            if self.burst is not None and cost > self.burst:
                _check.refuse("cost", cost, f"at most burst, which is {self.burst}: no call would ever pass")
        elif not callable(self.cost):
            _check.refuse_type("cost", self.cost, "a whole number or a function of the call's arguments")

    def _check_floor(self) -> None:
        if self.on_failure and not self.adaptive:
            _check.refuse("on_failure", self.on_failure, "False where adaptive is False")
        if self.floor is not None:
            if not self.adaptive:
                _check.refuse("floor", self.floor, "None where adaptive is False")
            floor = _check.positive("floor", self.floor)
            if floor > self.rate:
                _check.refuse("floor", floor, f"at most rate, which is {self.rate:g}")
            object.__setattr__(self, "floor", floor)

    @property
    def settings(self) -> Settings:
        """The configuration in plain numbers, for the machine."""
        floor = max(self.rate / 100, 0.5 * self.per) if self.floor is None else self.floor
        return Settings(self.rate, self.per, self.most_at_once, min(floor, self.rate))

    @property
    def most_at_once(self) -> int:
        """The burst in force."""
        if self.burst is not None:
            return self.burst
        return max(1, int(self.rate / self.per), self.cost if isinstance(self.cost, int) else 1)

    def bind(self, env: Env, label: str) -> RateLimitGuard:
        """Return fresh state for one position of one pipeline."""
        return RateLimitGuard(env, label, self)

    def describe(self) -> str:
        """Say in one line what is configured."""
        wait = f"waits up to {self.max_wait:g} s" if self.max_wait else "no wait"
        wait = "waits up to the deadline" if self.max_wait is None else wait
        causes = "throttled or failing" if self.on_failure else "throttled"
        adaptive = f", backs off when {causes}" if self.adaptive else ""
        return f"{self.rate:g} per {self.per:g} s, bursts of {self.most_at_once}, {wait}{adaptive}"
