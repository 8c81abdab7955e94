"""The usual client: as its library makes it, without a pipeline.

Its defaults: at most 100 connections, 5 seconds for each step (a free connection, connecting,
sending, the answer), no retry.
"""

from __future__ import annotations

import importlib
from typing import Any

from examples.outage.tally import FRESH

__all__ = ["Unprotected"]


class Unprotected:
    """Calls the service and hopes for the best.

    Args:
        url: Address of the service.
        family: The client library, `httpx` or `httpx2`.

    """

    def __init__(self, url: str, family: str) -> None:
        """Open one client for threads and one for tasks."""
        library = importlib.import_module(family)
        self._client = library.Client(base_url=url)
        self._async_client = library.AsyncClient(base_url=url)

    def ask(self) -> str:
        """Get the rates in this thread."""
        self._client.get("/rates").raise_for_status().json()
        return FRESH

    async def aask(self) -> str:
        """Get the rates in this task."""
        response = await self._async_client.get("/rates")
        response.raise_for_status().json()
        return FRESH

    async def close(self) -> None:
        """Close the connections of both clients."""
        self._client.close()
        await self._async_client.aclose()

    def status(self) -> dict[str, Any]:
        """Return what an operator could see: nothing."""
        return {}
