"""The same client behind a pipeline: the part of the demo to copy.

One pipeline object guards a function that threads call and one that asyncio tasks call. The
breaker looks again sooner than by default, because this outage lasts seconds and not minutes.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import httpx2

from examples.outage.tally import FALLBACK, FRESH
from resilient import (
    Bulkhead,
    CircuitBreaker,
    Classifier,
    Event,
    Fallback,
    Pipeline,
    RateLimit,
    Retry,
    Timeout,
    Verdict,
    from_status,
    remaining,
    subscribe,
)

__all__ = ["Protected"]

OLDEST = 60.0
"""Seconds for which the last known rates are good enough to show to a user."""


def judge(error: Exception) -> Verdict | None:
    """Tell what an HTTP status means for the service's health; other errors are failures."""
    if not isinstance(error, httpx2.HTTPStatusError):
        return None
    hint = error.response.headers.get("Retry-After", "")
    return from_status(error.response.status_code, float(hint) if hint.isdigit() else None)


class Protected:
    """Calls the service through a pipeline, and knows the last answer it got.

    Args:
        url: Address of the service.

    """

    def __init__(self, url: str) -> None:
        """Open one client for threads and one for tasks, and one pipeline for both."""
        self._client = httpx2.Client(base_url=url)
        self._async_client = httpx2.AsyncClient(base_url=url)
        self._known_at: float | None = None
        self._retries = 0
        self._rejections: Counter[str] = Counter()
        self._transitions: list[str] = []
        self._pipeline = Pipeline(
            "rates",
            Fallback(FALLBACK, on=self._knows),
            Timeout(3.0),
            Retry(attempts=3),
            CircuitBreaker(open_for=0.5, max_open_for=2.0, ramp=2.0),
            RateLimit(150, per=1.0),
            Bulkhead(20),
            Timeout(1.5),
            classifier=Classifier(error=judge),
        )
        self.ask = self._pipeline(self._ask)
        self.aask = self._pipeline(self._aask)
        subscribe(self._notice)

    def _ask(self) -> str:
        """Get the rates in this thread; the socket ends with the attempt."""
        response = self._client.get("/rates", timeout=remaining())
        return self._learn(response)

    async def _aask(self) -> str:
        """Get the rates in this task."""
        response = await self._async_client.get("/rates")
        return self._learn(response)

    def _learn(self, response: httpx2.Response) -> str:
        response.raise_for_status().json()
        self._known_at = time.monotonic()
        return FRESH

    def _knows(self, _cause: Exception) -> bool:
        """Tell whether the last known rates may stand in for an answer."""
        return self._known_at is not None and time.monotonic() - self._known_at <= OLDEST

    def _notice(self, event: Event) -> None:
        """Count what the pipeline does; runs on the thread of the call, so it only counts."""
        if event.name == "resilient.retry.scheduled":
            self._retries += 1
        elif event.name == "resilient.call.rejected":
            self._rejections[str(event.fields["reason"])] += 1
        elif event.name == "resilient.breaker.transition":
            self._transitions.append(str(event.fields["to"]))

    def status(self) -> dict[str, Any]:
        """Return what an operator sees: the breaker, the rate in force, retries and rejections."""
        state: dict[str, Any] = self._pipeline.snapshot()
        return {
            "breaker": state["circuit_breaker"]["state"],
            "limit": round(state["rate_limit"]["rate"]),
            "retries": self._retries,
            "rejections": dict(self._rejections),
            "transitions": self._transitions,
        }
