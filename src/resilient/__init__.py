"""Resilience policies around the calls a service makes, woven into one function.

Start with `standard("name")`, or put policies into a `Pipeline` in the order you want.
"""

import typing as _typing

from resilient.backoff import Backoff
from resilient.breaker import CircuitBreaker, Count
from resilient.budget import RetryBudget
from resilient.bulkhead import Bulkhead
from resilient.deadline import deadline, remaining
from resilient.errors import (
    BreakerOpen,
    BudgetExhausted,
    BulkheadFull,
    CallTimeout,
    ConfigError,
    DeadlineExceeded,
    RateLimited,
    Rejected,
    ResilienceError,
    ThreadsExhausted,
    Unguardable,
)
from resilient.events import Event, log_events, subscribe
from resilient.fallback import Fallback
from resilient.keyed import Keyed
from resilient.outcome import Certainty, Classifier, Outcome, Verdict, from_status
from resilient.permit import Permit
from resilient.pipeline import Pipeline
from resilient.provenance import provenance
from resilient.rate_limit import RateLimit
from resilient.retry import Retry
from resilient.standard import standard
from resilient.timeout import Timeout

if _typing.TYPE_CHECKING:
    from resilient.holds import Hold
    from resilient.stale_cache import StaleCache

__all__ = [
    "Backoff",
    "BreakerOpen",
    "BudgetExhausted",
    "Bulkhead",
    "BulkheadFull",
    "CallTimeout",
    "Certainty",
    "CircuitBreaker",
    "Classifier",
    "ConfigError",
    "Count",
    "DeadlineExceeded",
    "Event",
    "Fallback",
    "Hold",
    "Keyed",
    "Outcome",
    "Permit",
    "Pipeline",
    "RateLimit",
    "RateLimited",
    "Rejected",
    "ResilienceError",
    "Retry",
    "RetryBudget",
    "StaleCache",
    "ThreadsExhausted",
    "Timeout",
    "Unguardable",
    "Verdict",
    "deadline",
    "from_status",
    "log_events",
    "provenance",
    "remaining",
    "standard",
    "subscribe",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> _typing.Any:  # noqa: ANN401 -- a class
    """Load what only some programs use when they ask for it."""
    if name == "StaleCache":
        from resilient.stale_cache import StaleCache  # noqa: PLC0415 -- what few use, all need not load

        found: type = StaleCache
    elif name == "Hold":
        from resilient.holds import Hold  # noqa: PLC0415

        found = Hold
    else:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the public names, those not loaded yet included."""
    return sorted({*globals(), *__all__})
