"""Resilience policies around the calls a service makes, woven into one function.

Start with `standard("name")`, or put policies into a `Pipeline` in the order you want.
"""

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
from resilient.holds import Hold
from resilient.keyed import Keyed
from resilient.outcome import Certainty, Classifier, Outcome, Verdict, from_status
from resilient.permit import Permit
from resilient.pipeline import Pipeline
from resilient.provenance import provenance
from resilient.rate_limit import RateLimit
from resilient.retry import Retry
from resilient.stale_cache import StaleCache
from resilient.standard import standard
from resilient.timeout import Timeout

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
