"""The same clients with transports of ours: the part of the demo to copy.

One pipeline object guards the client that threads use and the one that asyncio tasks use. The
breaker looks again sooner than by default, because this outage lasts seconds and not minutes.
"""

from __future__ import annotations

import importlib
import time
from collections import Counter
from typing import Any

from examples.outage.tally import FALLBACK, FRESH
from resilient import (
    Bulkhead,
    CircuitBreaker,
    Event,
    Fallback,
    Pipeline,
    RateLimit,
    Retry,
    Timeout,
    subscribe,
)

__all__ = ["Protected"]

OLDEST = 60.0
"""Seconds for which the last known rates are good enough to show to a user."""


class Protected:
    """Calls the service through a pipeline, and knows the last answer it got.

    Args:
        url: Address of the service.
        family: The client library, `httpx` or `httpx2`.

    """

    def __init__(self, url: str, family: str) -> None:
        """Open one client for threads and one for tasks, and one pipeline for both."""
        self._family = library = importlib.import_module(family)
        ours = importlib.import_module(f"resilient.{family}")
        self._pipeline = Pipeline(
            "rates",
            Fallback(self._last_known),
            Timeout(3.0),
            Retry(attempts=3),
            CircuitBreaker(open_for=0.5, max_open_for=2.0, ramp=2.0),
            RateLimit(150, per=1.0),
            Bulkhead(20),
            Timeout(1.5),
        )
        self._client = library.Client(base_url=url, transport=ours.ResilientTransport(self._pipeline))
        self._async_client = library.AsyncClient(base_url=url, transport=ours.AsyncResilientTransport(self._pipeline))
        self._known: tuple[float, bytes] | None = None
        self._retries = 0
        self._rejections: Counter[str] = Counter()
        self._transitions: list[str] = []
        self._unsubscribe = subscribe(self._notice)

    def ask(self) -> str:
        """Get the rates in this thread."""
        return self._learn(self._client.get("/rates"))

    async def aask(self) -> str:
        """Get the rates in this task."""
        return self._learn(await self._async_client.get("/rates"))

    async def close(self) -> None:
        """Close the connections of both clients, and hear no more events."""
        self._unsubscribe()
        self._client.close()
        await self._async_client.aclose()

    def _learn(self, response: Any) -> str:  # noqa: ANN401 -- a Response of either family
        response.raise_for_status().json()
        if "Age" in response.headers:
            return FALLBACK
        self._known = time.monotonic(), response.content
        return FRESH

    def _last_known(self, cause: Any) -> Any:  # noqa: ANN401 -- the error, or the response that is no good
        """Answer with the last known rates, marked by their age as caches do it, unless they are too old."""
        at, rates = self._known or (0.0, b"")
        age = time.monotonic() - at
        if rates and age <= OLDEST:
            return self._family.Response(200, headers={"Age": str(round(age))}, content=rates)
        if isinstance(cause, Exception):
            raise cause
        return cause

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
