"""Build the policies of nopanic."""

from __future__ import annotations

from typing import Any

import nopanic

from benchmarks import cases


def decorate(case: cases.Case) -> Any:
    """Return a decorator for the case."""
    match case.policy:
        case "retry":
            return _retry()
        case "bulkhead":
            return nopanic.bulkhead(case.limit, max_wait=0.0)
        case "breaker-time":
            return _breaker(case)
        case "rate-limit":
            return nopanic.rate_limit(case.burst, case.per, burst=case.burst, max_wait=0.0)
        case "fallback":
            return nopanic.fallback(0, on=ConnectionError)
        case "timeout":
            return _timeout()
        case "timeout-twice":
            return nopanic.compose(_total(), _retry(), _timeout())
        case "stack-three":
            return nopanic.compose(_retry(), _breaker(case), nopanic.bulkhead(case.limit, max_wait=0.0))
        case "stack-five":
            inner = (_breaker(case), nopanic.bulkhead(case.limit, max_wait=0.0), _timeout())
            return nopanic.compose(_total(), _retry(), *inner)
        case "cache-hit":
            return nopanic.cache(cases.FRESH, stale_ttl=cases.STALE, maxsize=cases.ENTRIES)
    raise cases.UnavailableError


def _retry() -> Any:
    return nopanic.retry(cases.ATTEMPTS, on=ConnectionError, backoff=0.0)


def _timeout() -> Any:
    return nopanic.timeout(cases.SECONDS)


def _total() -> Any:
    return nopanic.timeout(cases.TOTAL_SECONDS)


def _breaker(case: cases.Case) -> Any:
    return nopanic.circuit_breaker(
        failure_threshold=case.trip.rate,
        min_calls=case.trip.min_calls,
        window=cases.WINDOW_SECONDS,
        reset_timeout=cases.OPEN_FOR,
    )
