"""The usual client: `httpx2` as it comes, without a pipeline.

Its defaults: at most 100 connections, 5 seconds for each step (a free connection, connecting,
sending, the answer), no retry.
"""

from __future__ import annotations

from typing import Any

import httpx2

from examples.outage.tally import FRESH

__all__ = ["Unprotected"]


class Unprotected:
    """Calls the service and hopes for the best.

    Args:
        url: Address of the service.

    """

    def __init__(self, url: str) -> None:
        """Open one client for threads and one for tasks."""
        self._client = httpx2.Client(base_url=url)
        self._async_client = httpx2.AsyncClient(base_url=url)

    def ask(self) -> str:
        """Get the rates in this thread."""
        self._client.get("/rates").raise_for_status().json()
        return FRESH

    async def aask(self) -> str:
        """Get the rates in this task."""
        response = await self._async_client.get("/rates")
        response.raise_for_status().json()
        return FRESH

    def status(self) -> dict[str, Any]:
        """Return what an operator could see: nothing."""
        return {}
