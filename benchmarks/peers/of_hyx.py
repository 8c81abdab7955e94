"""Build the policies of hyx (asyncio only); it composes by stacking decorators."""

from __future__ import annotations

from typing import Any

from hyx.bulkhead import bulkhead
from hyx.circuitbreaker import consecutive_breaker
from hyx.fallback import fallback
from hyx.ratelimit import tokenbucket
from hyx.retry import retry
from hyx.timeout import timeout

from benchmarks import cases


def decorate(case: cases.Case) -> Any:
    """Return a decorator for the case."""
    if case.colour == "sync":
        raise cases.UnavailableError
    match case.policy:
        case "retry":
            return _retry()
        case "bulkhead":
            return _bulkhead(case)
        case "breaker-consecutive":
            return _breaker(case)
        case "rate-limit":
            return tokenbucket(case.burst, case.per)
        case "fallback":
            return fallback(_zero, on=ConnectionError)
        case "timeout":
            return timeout(cases.SECONDS)
        case "stack-three":
            return _stack(_retry(), _breaker(case), _bulkhead(case))
        case "stack-five":
            inner = _breaker(case), _bulkhead(case), timeout(cases.SECONDS)
            return _stack(timeout(cases.TOTAL_SECONDS), _retry(), *inner)
    raise cases.UnavailableError


async def _zero(*_args: object, **_kwargs: object) -> int:
    return 0


def _stack(*decorators: Any) -> Any:
    def wrap(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return wrap


def _retry() -> Any:
    return retry(on=ConnectionError, attempts=cases.ATTEMPTS, backoff=0.0)


def _bulkhead(case: cases.Case) -> Any:
    return bulkhead(max_concurrency=case.limit, max_capacity=case.limit)


def _breaker(case: cases.Case) -> Any:
    return consecutive_breaker(failure_threshold=case.consecutive, recovery_time_secs=cases.OPEN_FOR)
