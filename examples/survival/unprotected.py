"""The usual reader: a client as its library makes it, without pipeline or cache."""

from __future__ import annotations

import asyncio
import importlib
import itertools
from typing import Any

from examples.survival.log import Reading
from examples.survival.rates import CURRENCIES

__all__ = ["Bare"]

NAMES = tuple(CURRENCIES)


class Bare:
    """Asks the shop for rates, one currency after the other.

    Args:
        url: Address of the shop.
        family: The client library, `httpx` or `httpx2`.

    """

    def __init__(self, url: str, family: str) -> None:
        """Open one client for threads and one for tasks."""
        self._client, self._async_client = self.clients(url, family)
        self._turns = itertools.count()

    def clients(self, url: str, family: str) -> tuple[Any, Any]:
        """Return a client for threads and one for tasks."""
        library = importlib.import_module(family)
        return library.Client(base_url=url), library.AsyncClient(base_url=url)

    def next(self) -> str:
        """Return the currency whose turn it is."""
        return NAMES[next(self._turns) % len(NAMES)]

    def ask(self) -> Reading:
        """Get a rate in this thread."""
        return self.read(self._client.get(f"/rates/{self.next()}"))

    async def aask(self) -> Reading:
        """Get a rate in this task."""
        return self.read(await self._async_client.get(f"/rates/{self.next()}"))

    def read(self, response: Any) -> Reading:  # noqa: ANN401 -- a Response of either family
        """Return what a caller learns from an answer."""
        return Reading(stale=False, age=0.0, since=response.raise_for_status().json()["since"])

    def fetch(self, currency: str) -> float:
        """Return since when the rate of one currency holds."""
        since: float = self._client.get(f"/rates/{currency}").raise_for_status().json()["since"]
        return since

    async def afetch(self, currency: str) -> float:
        """Return the same in a task."""
        response = await self._async_client.get(f"/rates/{currency}")
        since: float = response.raise_for_status().json()["since"]
        return since

    async def warm_up(self) -> None:
        """Ask once for everything, so that whoever remembers answers knows them all."""
        for _ in NAMES:
            await self.aask()
        for _ in NAMES:
            await asyncio.to_thread(self.ask)

    async def close(self) -> None:
        """Close all connections."""
        self._client.close()
        await self._async_client.aclose()

    def status(self) -> dict[str, Any]:
        """Return what an operator could see: nothing."""
        return {}
