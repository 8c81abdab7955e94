"""Build the policies of interlock-cb; its retry is the strategy that wraps tenacity."""

from __future__ import annotations

import asyncio
from typing import Any

import interlock

from benchmarks import cases


def decorate(case: cases.Case) -> Any:
    """Return a decorator for the case."""
    match case.policy:
        case "retry":
            return interlock.Pipeline(_retry())
        case "bulkhead":
            return interlock.Pipeline(interlock.BulkheadStrategy(case.limit))
        case "breaker-count":
            return _breaker(case, interlock.WindowType.COUNT_BASED, cases.WINDOW_CALLS)
        case "breaker-time":
            return _breaker(case, interlock.WindowType.TIME_BASED, int(cases.WINDOW_SECONDS))
        case "fallback":
            return interlock.Pipeline(interlock.FallbackStrategy(lambda _: 0, on=(ConnectionError,)))
        case "timeout":
            return _timeout(case)
        case "timeout-twice":
            return interlock.Pipeline(_total(), _retry(), _limit())
        case "stack-three":
            return interlock.Pipeline(_retry(), *_admission(case))
        case "stack-five":
            return interlock.Pipeline(_total(), _retry(), *_admission(case), _limit())
    raise cases.UnavailableError


def _retry() -> Any:
    from interlock.integrations.tenacity import RetryStrategy, retry_unless_open  # noqa: PLC0415
    from tenacity import wait_none  # noqa: PLC0415

    return RetryStrategy(
        attempts=cases.ATTEMPTS,
        retry=retry_unless_open(ConnectionError),
        wait=wait_none(),
        sleep=lambda _: None,
        async_sleep=asyncio.sleep,
    )


def _limit() -> Any:
    return interlock.TimeoutStrategy(cases.SECONDS)


def _total() -> Any:
    return interlock.TimeoutStrategy(cases.TOTAL_SECONDS)


def _timeout(case: cases.Case) -> Any:
    # The cheapest form it has: the function decorator if sync, its context manager if async.
    if case.colour == "sync":
        return interlock.sync_timeout(cases.SECONDS)

    def wrap(function: Any) -> Any:
        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            async with interlock.timeout(cases.SECONDS):
                return await function(*args, **kwargs)

        return wrapped

    return wrap


def _admission(case: cases.Case) -> tuple[Any, Any]:
    breaker = _breaker(case, interlock.WindowType.TIME_BASED, int(cases.WINDOW_SECONDS))
    return (
        interlock.CircuitBreakerStrategy(breaker),
        interlock.BulkheadStrategy(case.limit),
    )


def _breaker(case: cases.Case, kind: Any, size: int) -> Any:
    return interlock.CircuitBreaker(
        name="benchmark",
        config=interlock.Config(
            failure_rate_threshold=case.trip.rate,
            minimum_number_of_calls=case.trip.min_calls,
            wait_duration_in_open=cases.OPEN_FOR,
            window_type=kind,
            window_size=size,
        ),
    )
