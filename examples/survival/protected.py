"""The readers: a client with a pipeline, with a cache around it, and a function cache. The code to copy.

One pipeline object and one cache serve the client that threads use and the one that asyncio tasks
use. The breaker looks again sooner than by default, because this outage lasts seconds and not minutes.
"""

from __future__ import annotations

import importlib
from typing import Any

from examples.survival.log import Reading
from examples.survival.unprotected import Bare
from resilient import CircuitBreaker, Pipeline, Retry, StaleCache, Timeout, provenance, standard
from resilient.cache import HttpCache

__all__ = ["Cached", "Function", "Piped"]

OLDEST = 60.0
"""Seconds for which rates are good enough to show to a user when there are no newer ones."""

BREAKER = CircuitBreaker(open_for=0.5, max_open_for=1.0, ramp=1.0)


class Piped(Bare):
    """Asks through a pipeline, without a cache.

    Args:
        url: Address of the shop.
        family: The client library, `httpx` or `httpx2`.

    """

    def clients(self, url: str, family: str) -> tuple[Any, Any]:
        """Return a client for threads and one for tasks, with one pipeline for both."""
        library, ours = importlib.import_module(family), importlib.import_module(f"resilient.{family}")
        self._pipeline = standard("shop", timeout=2.0, attempt_timeout=0.4, breaker=BREAKER)
        options = self.options()
        return (
            library.Client(base_url=url, transport=ours.ResilientTransport(self._pipeline, **options)),
            library.AsyncClient(base_url=url, transport=ours.AsyncResilientTransport(self._pipeline, **options)),
        )

    def options(self) -> dict[str, Any]:
        """Return further options of the transports."""
        return {}

    def status(self) -> dict[str, Any]:
        """Return what an operator of the callers sees."""
        state: dict[str, Any] = self._pipeline.snapshot()
        return {"breaker": state["circuit_breaker"]["state"]}


class Cached(Piped):
    """The same with a cache that answers while the shop cannot."""

    def options(self) -> dict[str, Any]:
        """Return the cache; without it this is `Piped`."""
        return {"cache": HttpCache(stale_if_error=OLDEST)}

    def read(self, response: Any) -> Reading:  # noqa: ANN401 -- a Response of either family
        """Believe what the answer says about itself: where it came from, and its age."""
        since = response.raise_for_status().json()["since"]
        origin = response.extensions.get("resilient.provenance")
        if origin is None:  # the shop itself, just now
            return Reading(stale=False, age=0.0, since=since)
        age = response.headers.get("Age")
        return Reading(stale=origin.stale, age=None if age is None else float(age), since=since)


class Function(Bare):
    """Plain functions behind a function cache; they use the bare client."""

    def __init__(self, url: str, family: str) -> None:
        """Guard one function for threads and one for tasks."""
        super().__init__(url, family)
        self._pipeline = rates = Pipeline(
            "rates",
            StaleCache(1.0, stale=OLDEST),
            Timeout(2.0),
            Retry(attempts=3),
            BREAKER,
            Timeout(0.4),
        )

        @rates
        def rate(currency: str) -> float:
            return self.fetch(currency)

        @rates
        async def arate(currency: str) -> float:
            return await self.afetch(currency)

        self._rate, self._arate = rate, arate

    def ask(self) -> Reading:
        """Get a rate in this thread."""
        with provenance() as answer:
            since = self._rate(self.next())
        return Reading(stale=answer.stale, age=answer.age, since=since)

    async def aask(self) -> Reading:
        """Get a rate in this task."""
        with provenance() as answer:
            since = await self._arate(self.next())
        return Reading(stale=answer.stale, age=answer.age, since=since)

    def status(self) -> dict[str, Any]:
        """Return what an operator of the callers sees."""
        state: dict[str, Any] = self._pipeline.snapshot()
        return {"breaker": state["circuit_breaker"]["state"]}
