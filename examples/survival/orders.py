"""Placing orders so that each is carried out once: a key from the order's number. The code to copy.

The transport repeats an order whose answer is late or lost, with the same key. What is left open
after that, and after a crash of this process, is sent again later, with the same key again.
"""

from __future__ import annotations

import importlib
from http import HTTPStatus
from typing import Any, NamedTuple

from examples.survival.journal import DONE, DOUBT
from resilient import CircuitBreaker, standard
from resilient.idempotency import idempotency_key

__all__ = ["End", "Keyed", "Plain"]


class End(NamedTuple):
    """How an order ended.

    Attributes:
        state: `DONE`, or `DOUBT` if the shop crashed while it carried the order out, and says so.
        key_id: For a doubt, how the shop calls the key.
        replayed: Whether the shop had carried it out before, and repeated its answer.

    """

    state: str
    key_id: str = ""
    replayed: bool = False


class Plain:
    """The usual way: send it until there is an answer, and hope.

    Args:
        url: Address of the shop.
        family: The client library, `httpx` or `httpx2`.

    """

    def __init__(self, url: str, family: str) -> None:
        """Open one client for threads and one for tasks."""
        self._client, self._async_client = self.clients(url, family)

    def clients(self, url: str, family: str) -> tuple[Any, Any]:
        """Return a client for threads and one for tasks."""
        library = importlib.import_module(family)
        return library.Client(base_url=url, timeout=0.4), library.AsyncClient(base_url=url, timeout=0.4)

    def place(self, order: str) -> End | None:
        """Place an order in this thread; return how it ended, or None while that is open."""
        return self.read(self._client.post("/orders", json=content(order)))

    async def aplace(self, order: str) -> End | None:
        """Do the same in a task."""
        return self.read(await self._async_client.post("/orders", json=content(order)))

    def read(self, response: Any) -> End | None:  # noqa: ANN401 -- a Response of either family
        """Return what an answer says about an order."""
        if response.status_code == HTTPStatus.CREATED:
            return End(DONE, replayed="Idempotency-Replayed" in response.headers)
        if response.status_code == HTTPStatus.CONFLICT:
            problem = response.json()
            if problem["type"] == "urn:resilient:idempotency:in-doubt":
                return End(DOUBT, problem["key_id"])
        return None  # it is in progress, or was refused for a while

    async def close(self) -> None:
        """Close all connections."""
        self._client.close()
        await self._async_client.aclose()


class Keyed(Plain):
    """Each order under a key of its own, through a pipeline that repeats it."""

    def clients(self, url: str, family: str) -> tuple[Any, Any]:
        """Return clients with our transport: 3 attempts of 0.4 s."""
        library, ours = importlib.import_module(family), importlib.import_module(f"resilient.{family}")
        breaker = CircuitBreaker(open_for=0.5, max_open_for=1.0, ramp=1.0)
        pipeline = standard("orders", timeout=2.0, attempt_timeout=0.4, breaker=breaker)
        options = {"idempotency": ours.IdempotencyKey(style="quoted")}
        return (
            library.Client(base_url=url, transport=ours.ResilientTransport(pipeline, **options)),
            library.AsyncClient(base_url=url, transport=ours.AsyncResilientTransport(pipeline, **options)),
        )

    def place(self, order: str) -> End | None:
        """Place an order in this thread, under the key that this order always has."""
        with idempotency_key(order):
            return super().place(order)

    async def aplace(self, order: str) -> End | None:
        """Do the same in a task."""
        with idempotency_key(order):
            return await super().aplace(order)


def content(order: str) -> dict[str, Any]:
    """Return what is sent for an order."""
    return {"order": order, "cents": 1250}
