"""Every exception this library raises.

ResilienceError
├── ConfigError            settings that cannot work (also ValueError)
├── Unguardable            a function that cannot be guarded (also TypeError)
├── Rejected               refused here; the downstream was not called
│   ├── BreakerOpen
│   ├── BulkheadFull
│   ├── RateLimited
│   ├── BudgetExhausted
│   ├── ThreadsExhausted
│   └── DeadlineExceeded
└── CallTimeout            called, but not done in time (also TimeoutError)
"""

from __future__ import annotations

__all__ = [
    "BreakerOpen",
    "BudgetExhausted",
    "BulkheadFull",
    "CallTimeout",
    "ConfigError",
    "DeadlineExceeded",
    "RateLimited",
    "Rejected",
    "ResilienceError",
    "ThreadsExhausted",
    "Unguardable",
]


class ResilienceError(Exception):
    """Base class of every exception this library raises on purpose."""


class ConfigError(ResilienceError, ValueError):
    """A policy was given settings that cannot work."""


class Unguardable(ResilienceError, TypeError):
    """A function is of a kind that this pipeline cannot guard."""


class Rejected(ResilienceError):
    """A policy refused the call; the wrapped function did not run.

    Refusals are raised under overload, so building one is cheap: there is no Python
    `__init__`, the four arguments stay in `args` and the attributes read them there.

    Args:
        downstream: Name of the dependency the call was meant for.
        policy: Label of the policy that refused, for example "circuit_breaker".
        retry_after: Seconds until a new call has a chance, or None if unknown.
        reason: What refused, in a stable word such as "forced_open".

    """

    title = "call rejected"
    default_reason = "rejected"

    @property
    def downstream(self) -> str:
        """Name of the dependency the call was meant for."""
        return str(self.args[0]) if self.args else ""

    @property
    def policy(self) -> str:
        """Label of the policy that refused."""
        return str(self.args[1]) if len(self.args) > 1 else ""

    @property
    def retry_after(self) -> float | None:
        """Seconds until a new call has a chance, or None if unknown."""
        return self.args[2] if len(self.args) > 2 else None  # noqa: PLR2004 -- the third argument

    @property
    def reason(self) -> str:
        """Why, in one stable word; metric labels use it."""
        return str(self.args[3]) if len(self.args) > 3 else self.default_reason  # noqa: PLR2004

    def __str__(self) -> str:
        """Say who refused and when to come back."""
        hint = "" if self.retry_after is None else f"; retry in {_seconds(self.retry_after)} s"
        reason = "" if self.reason == self.default_reason else f" ({self.reason})"
        return f"{self.downstream}: {self._what()}{reason}{hint}"

    def _what(self) -> str:
        """Return what happened, in words."""
        return self.title


def _seconds(seconds: float) -> str:
    """Return three digits, and never a power of ten."""
    return f"{seconds:.3g}" if seconds < 1000 else f"{seconds:.0f}"  # noqa: PLR2004 -- from here on `g` writes 1e+03


class BreakerOpen(Rejected):
    """The circuit breaker lets no call pass: open, held open, ramping, or all probes in flight."""

    title = "circuit breaker is open"
    default_reason = "breaker_open"

    def _what(self) -> str:
        """Tell what somebody wants from what the breaker decided."""
        return "held open" if self.reason == "forced_open" else self.title


class BulkheadFull(Rejected):
    """Every permit is in use, and the waiting line is full, too slow or not allowed."""

    title = "bulkhead is full"
    default_reason = "bulkhead_full"


class RateLimited(Rejected):
    """The call would exceed the rate, and waiting for its turn is not allowed or would not fit."""

    title = "rate limit reached"
    default_reason = "rate_limited"


class BudgetExhausted(Rejected):
    """The shared allowance of extra load is spent."""

    title = "retry budget is spent"
    default_reason = "retry_budget"


class ThreadsExhausted(Rejected):
    """Too many timed-out functions still run in abandoned worker threads."""

    title = "too many abandoned threads"
    default_reason = "abandoned_threads"


class DeadlineExceeded(Rejected):
    """The deadline had passed before the call could start."""

    title = "deadline exceeded"
    default_reason = "deadline"


class CallTimeout(ResilienceError, TimeoutError):
    """The call was started but not done in time.

    Args:
        downstream: Name of the dependency that was called.
        policy: Label of the timeout that ran out.
        seconds: The limit that ran out.
        ran: Seconds that the attempt had run when it was cut.
        whole: Seconds that an attempt may run in full; more than `seconds` where a deadline of
            the caller's left less than that. None means `seconds`.

    """

    retry_after: float | None = None
    reason = "timeout"

    def __init__(self, downstream: str, policy: str, seconds: float, ran: float, whole: float | None = None) -> None:
        """Keep the arguments for pickling; `OSError` would take them for an errno."""
        super().__init__()
        self.args = (downstream, policy, seconds, ran, whole)
        self.downstream = downstream
        self.policy = policy
        self.seconds = seconds
        self.ran = ran
        self.whole = seconds if whole is None else whole

    def __str__(self) -> str:
        """Say which limit ran out."""
        return f"{self.downstream}: {self.policy} of {self.seconds:.3g} s ran out"
