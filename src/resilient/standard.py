"""A safe default pipeline in one line."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from resilient import _check
from resilient.breaker import CircuitBreaker
from resilient.bulkhead import Bulkhead
from resilient.fallback import Fallback
from resilient.outcome import Classifier
from resilient.pipeline import Pipeline
from resilient.rate_limit import RateLimit
from resilient.retry import Retry
from resilient.timeout import Timeout

__all__ = ["standard"]

_KINDS: dict[str, tuple[type, ...]] = {
    "fallback": (Fallback,),
    "timeout": (Timeout, int, float, timedelta),
    "retry": (Retry, int),
    "breaker": (CircuitBreaker,),
    "rate_limit": (RateLimit,),
    "bulkhead": (Bulkhead, int),
    "attempt_timeout": (Timeout, int, float, timedelta),
}


def standard(name: str, *, classifier: Classifier | None = None, replace: bool = False, **overrides: Any) -> Pipeline:  # noqa: ANN401 -- checked below
    """Return a pipeline with safe defaults: timeout 10 s, 3 attempts, breaker, bulkhead 100, attempt timeout 3 s.

    Args:
        name: The downstream's name.
        classifier: What errors and results mean.
        replace: Replace a pipeline of this name that has another configuration.
        overrides: `fallback`, `timeout`, `retry`, `breaker`, `rate_limit`, `bulkhead` or
            `attempt_timeout`: a policy in place of the default (for timeouts also seconds, for
            retry its attempts, for the bulkhead its limit), or None to leave it out. Fallback and rate limit are
            left out by default. A `timeout` below 10 s shortens the attempt timeout to 30 % of it.

    Raises:
        TypeError: If an override has another name or is no such policy.

    Example:
        >>> from resilient import standard
        >>> search = standard("doc-standard", timeout=5.0, bulkhead=20)
        >>> [policy.kind for policy in search.policies]
        ['timeout', 'retry', 'circuit_breaker', 'bulkhead', 'timeout']

    """
    chosen: dict[str, Any] = {
        "fallback": None,
        "timeout": Timeout(10.0),
        "retry": Retry(),
        "breaker": CircuitBreaker(),
        "rate_limit": None,
        "bulkhead": Bulkhead(100),
        "attempt_timeout": Timeout(3.0),
    }
    for key, value in overrides.items():
        if key not in chosen:
            _check.refuse_type("override", key, f"one of {', '.join(chosen)}")
        chosen[key] = _policy(key, value)
    if "attempt_timeout" not in overrides and chosen["timeout"] is not None:
        # In the proportion of the defaults, so that a shorter whole leaves room for three attempts.
        chosen["attempt_timeout"] = Timeout(min(3.0, 0.3 * chosen["timeout"].seconds))
    policies = [policy for policy in chosen.values() if policy is not None]
    return Pipeline(name, *policies, classifier=classifier, replace=replace)


def _policy(key: str, value: Any) -> Any:  # noqa: ANN401
    if value is None:
        return None
    kinds = _KINDS[key]
    if isinstance(value, bool) or not isinstance(value, kinds):
        _check.refuse_type(key, value, f"None or {' or '.join(kind.__name__ for kind in kinds)}")
    return value if isinstance(value, kinds[0]) else kinds[0](value)
