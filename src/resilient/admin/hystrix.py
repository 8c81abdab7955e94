"""Downstreams as a Hystrix dashboard reads them: one HystrixCommand each, with the fields that it looks at.

The format is that of Netflix/Hystrix's `hystrix.stream`: data frames without names, one JSON object each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from resilient import clock

__all__ = ["commands"]

_WINDOW = 10.0
"""Seconds over which Hystrix counts."""

_PERCENTILES = {
    "0": None,
    "25": None,
    "50": "p50",
    "75": "p90",
    "90": "p90",
    "95": "p99",
    "99": "p99",
    "99.5": "p99",
    "100": "p99",
}
_NONE = (
    "BadRequests",
    "CollapsedRequests",
    "Emit",
    "ExceptionsThrown",
    "FallbackEmit",
    "FallbackFailure",
    "FallbackMissing",
    "FallbackRejection",
    "FallbackSuccess",
    "ResponsesFromCache",
    "SemaphoreRejected",
    "ThreadPoolRejected",
    "Timeout",
)
_UNUSED = {
    "propertyValue_executionIsolationStrategy": "SEMAPHORE",
    "propertyValue_executionIsolationThreadTimeoutInMilliseconds": 0,
    "propertyValue_executionTimeoutInMilliseconds": 0,
    "propertyValue_executionIsolationThreadInterruptOnTimeout": False,
    "propertyValue_executionIsolationSemaphoreMaxConcurrentRequests": 0,
    "propertyValue_fallbackIsolationSemaphoreMaxConcurrentRequests": 0,
    "propertyValue_metricsRollingStatisticalWindowInMilliseconds": 10_000,
    "propertyValue_requestCacheEnabled": False,
    "propertyValue_requestLogEnabled": False,
}
"""Settings that have no counterpart here, and that dashboards want to be there."""


def commands(seen: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield a frame for each downstream of an overview."""
    now = int(clock.SYSTEM.wall() * 1000)
    for row in seen.get("downstreams", ()):
        yield f"data: {json.dumps(_command(row, str(seen.get('app', '')), now), separators=(',', ':'))}\n\n".encode()


def _command(row: Mapping[str, Any], app: str, now: int) -> dict[str, Any]:
    asked = round((row.get("rate") or 0.0) * _WINDOW)
    rejected = round((row.get("rejected_rate") or 0.0) * _WINDOW)
    failed = min(asked, round(asked * (row.get("error_share") or 0.0)))
    latency = {key: _milliseconds(row.get(name) if name else 0.0) for key, name in _PERCENTILES.items()}
    mean = _milliseconds(row.get("p50"))
    breaker: Mapping[str, Any] = next(iter((row.get("breakers") or {}).values()), {})
    return {
        "type": "HystrixCommand",
        "name": row["name"],
        "group": app,
        "currentTime": now,
        "isCircuitBreakerOpen": row.get("state") in ("open", "forced_open"),
        "errorPercentage": round(100 * failed / asked) if asked else 0,
        "errorCount": failed,
        "requestCount": asked,
        **{f"rollingCount{name}": 0 for name in _NONE},
        "rollingCountFailure": failed,
        "rollingCountShortCircuited": rejected,
        "rollingCountSuccess": max(0, asked - failed - rejected),
        "currentConcurrentExecutionCount": row.get("in_flight") or 0,
        "rollingMaxConcurrentExecutionCount": row.get("in_flight") or 0,
        "latencyExecute_mean": mean,
        "latencyExecute": latency,
        "latencyTotal_mean": mean,
        "latencyTotal": latency,
        "propertyValue_circuitBreakerRequestVolumeThreshold": breaker.get("min_calls") or 0,
        "propertyValue_circuitBreakerSleepWindowInMilliseconds": 0,
        "propertyValue_circuitBreakerErrorThresholdPercentage": round(100 * (breaker.get("threshold") or 0)),
        "propertyValue_circuitBreakerForceOpen": row.get("state") == "forced_open",
        "propertyValue_circuitBreakerForceClosed": row.get("state") == "forced_closed",
        "propertyValue_circuitBreakerEnabled": bool(breaker),
        **_UNUSED,
        "reportingHosts": max(1, row.get("live") or 0),
    }


def _milliseconds(seconds: float | None) -> int:
    return round((seconds or 0.0) * 1000)
