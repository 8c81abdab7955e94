"""Build the policies of pyresilience; two timeouts need two of its decorators."""

from __future__ import annotations

from typing import Any

from pyresilience import (
    BulkheadConfig,
    CacheConfig,
    CircuitBreakerConfig,
    FallbackConfig,
    RateLimiterConfig,
    RetryConfig,
    TimeoutConfig,
    resilient,
)

from benchmarks import cases


def decorate(case: cases.Case) -> Any:
    """Return a decorator for the case."""
    match case.policy:
        case "retry":
            return resilient(retry=_retry())
        case "bulkhead":
            return resilient(bulkhead=BulkheadConfig(case.limit))
        case "breaker-count":
            return resilient(circuit_breaker=_breaker(case, cases.WINDOW_CALLS))
        case "breaker-consecutive":
            return resilient(circuit_breaker=_breaker(case, 0))
        case "rate-limit":
            return resilient(rate_limiter=RateLimiterConfig(case.burst, case.per))
        case "fallback":
            return resilient(fallback=FallbackConfig(0, (ConnectionError,)))
        case "timeout":
            return resilient(timeout=_timeout())
        case "timeout-twice":
            return _around(resilient(retry=_retry(), timeout=_timeout()))
        case "stack-three":
            return resilient(retry=_retry(), **_admission(case))
        case "stack-five":
            return _around(resilient(retry=_retry(), timeout=_timeout(), **_admission(case)))
        case "cache-hit":
            return resilient(cache=CacheConfig(max_size=cases.ENTRIES, ttl=cases.FRESH))
    raise cases.UnavailableError


def _around(inner: Any) -> Any:
    outer = resilient(timeout=TimeoutConfig(cases.TOTAL_SECONDS))
    return lambda function: outer(inner(function))


def _retry() -> RetryConfig:
    return RetryConfig(cases.ATTEMPTS, delay=0.0, jitter=False, retry_on=(ConnectionError,))


def _timeout() -> TimeoutConfig:
    return TimeoutConfig(cases.SECONDS)


def _admission(case: cases.Case) -> dict[str, Any]:
    # It has no time window; the count window is what it would be asked for instead.
    return {
        "circuit_breaker": _breaker(case, cases.WINDOW_CALLS),
        "bulkhead": BulkheadConfig(case.limit),
    }


def _breaker(case: cases.Case, window: int) -> CircuitBreakerConfig:
    return CircuitBreakerConfig(
        failure_threshold=case.consecutive,
        recovery_timeout=cases.OPEN_FOR,
        sliding_window_size=window,
        failure_rate_threshold=case.trip.rate,
        minimum_calls=case.trip.min_calls,
    )
