"""Build the same policies with this library."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from benchmarks import cases
from resilient import (
    Backoff,
    Bulkhead,
    CircuitBreaker,
    Count,
    Fallback,
    Pipeline,
    RateLimit,
    Retry,
    StaleCache,
    Timeout,
)

Maker = Callable[[cases.Case], list[Any]]

_names = itertools.count(1)


def decorate(case: cases.Case) -> Pipeline:
    """Return a fresh pipeline with the case's settings; it is the decorator."""
    if case.colour == "async" and case.policy == "timeout-cooperative":
        raise cases.UnavailableError
    pipeline = Pipeline(f"benchmark {next(_names)}", *POLICIES[case.policy](case))
    if case.policy == "held":
        pipeline.hold("forced_open", reason="benchmark", expires=None, actor="benchmark")
    return pipeline


def caller(case: cases.Case) -> Callable[..., Any]:
    """Return the form that gets the function with each call."""
    pipeline = decorate(case)
    return pipeline.call if case.colour == "sync" else pipeline.acall


def _retry(case: cases.Case) -> Retry:
    # On the failure path every attempt has to run, as with the peers, which have no budget.
    if case.path == "failure":
        return Retry(cases.ATTEMPTS, backoff=Backoff(base=0.0, jitter="fixed"), budget=None)
    return Retry(cases.ATTEMPTS)


def _counting(case: cases.Case) -> CircuitBreaker:
    return _breaker(case, Count(cases.WINDOW_CALLS), case.trip.rate, case.trip.min_calls)


def _timed(case: cases.Case) -> CircuitBreaker:
    return _breaker(case, cases.WINDOW_SECONDS, case.trip.rate, case.trip.min_calls)


def _consecutive(case: cases.Case) -> CircuitBreaker:
    # The rate cannot be switched off; all of the last 100 calls comes closest.
    return _breaker(case, Count(cases.WINDOW_CALLS), 1.0, cases.WINDOW_CALLS)


def _breaker(case: cases.Case, window: float | Count, rate: float, min_calls: int) -> CircuitBreaker:
    return CircuitBreaker(
        failure_rate=rate,
        window=window,
        min_calls=min_calls,
        consecutive=case.trip.consecutive,
        open_for=cases.OPEN_FOR,
        max_open_for=cases.OPEN_FOR,
    )


def _five(case: cases.Case) -> list[Any]:
    return [Timeout(cases.TOTAL_SECONDS), *POLICIES["stack-three"](case), Timeout(cases.SECONDS)]


POLICIES: dict[str, Maker] = {
    "retry": lambda case: [_retry(case)],
    "bulkhead": lambda case: [Bulkhead(case.limit)],
    "breaker-count": lambda case: [_counting(case)],
    "breaker-time": lambda case: [_timed(case)],
    "breaker-consecutive": lambda case: [_consecutive(case)],
    "held": lambda case: [_timed(case)],
    "rate-limit": lambda case: [RateLimit(case.burst, per=case.per, burst=case.burst)],
    "fallback": lambda _: [Fallback(0, on=ConnectionError)],
    "timeout": lambda _: [Timeout(cases.SECONDS)],
    "timeout-cooperative": lambda _: [Timeout(cases.SECONDS, cooperative=True)],
    "timeout-twice": lambda case: [Timeout(cases.TOTAL_SECONDS), _retry(case), Timeout(cases.SECONDS)],
    "cache-hit": lambda _: [StaleCache(cases.FRESH, stale=cases.STALE, max_entries=cases.ENTRIES)],
    "stack-three": lambda case: [_retry(case), _timed(case), Bulkhead(case.limit)],
    "stack-five": _five,
}
