"""What a cache's flows ask for, carried out by threads and by tasks.

Both have the same async methods. Those for threads never suspend, so that whatever is written with
them is run to its end without an event loop: the driver stands once for both.
"""

from __future__ import annotations

import contextlib
from _thread import get_ident
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from resilient._runtime.background import Background
from resilient._runtime.blocking import complete
from resilient._runtime.flight import Flight
from resilient._runtime.flights import Flights
from resilient.clock import current
from resilient.outcome import thrown_away
from resilient.stores.front import Front

if TYPE_CHECKING:
    from resilient._runtime.flight import Got

T = TypeVar("T")

Begin = Callable[..., tuple[Any, Callable[[Any], Any]]]
"""Returns the exchange of a request, and the woven function to hand it to."""


class Threads:
    """For a plain client."""

    __slots__ = ("_begin", "_front", "_refreshing")

    def __init__(self, front: Front, begin: Begin, refreshing: Background) -> None:
        """Bind to a transport and the store of its cache."""
        self._front, self._begin, self._refreshing = front, begin, refreshing

    async def call(self, default: Any, method: str, args: Any, kwargs: Any) -> Any:  # noqa: ANN401 -- of any method
        """Ask the store."""
        return self._front.run(default, method, *args, **kwargs)

    async def send(self, request: Any, *, whole: bool = False) -> tuple[Any, Any]:  # noqa: ANN401 -- of either family
        """Send a request through its pipeline; return the response, and the exchange it came from."""
        exchange, woven = self._begin(request, whole=whole)
        return woven(exchange), exchange

    async def read(self, stream: Any, most: float) -> bytes | None:  # noqa: ANN401
        """Read a body to its end, and close it; None if it is longer than `most`."""
        chunks, size = [], 0
        try:
            for chunk in stream:
                chunks.append(chunk)
                size += len(chunk)
                if size > most:
                    return None
        finally:
            await self.close(stream)
        return b"".join(chunks)

    async def close(self, stream: Any) -> None:  # noqa: ANN401
        """Close a body that nobody reads on."""
        with contextlib.suppress(Exception):
            stream.close()

    @staticmethod
    def home() -> object:
        """Return what connections belong to: all threads share them."""
        return None

    async def close_all(self, close: Callable[[], object]) -> None:
        """Close all connections."""
        close()

    @staticmethod
    def who() -> int:
        """Return what tells this thread from others that live."""
        return get_ident()

    async def follow(self, flights: Flights[None], flight: Flight[None], end: float) -> Got[None]:
        """Wait for another one's request."""
        return flights.follow(flight, current(), end)

    def background(self, work: Callable[..., Coroutine[Any, Any, None]], *args: object) -> bool:
        """Run something in the background; False if too much runs already."""
        return self._refreshing.start(lambda: complete(work(*args)))


class Tasks:
    """For an async client."""

    __slots__ = ("_begin", "_front", "_refreshing")

    def __init__(self, front: Front, begin: Begin, refreshing: Background) -> None:
        """Bind to a transport and the store of its cache."""
        self._front, self._begin, self._refreshing = front, begin, refreshing

    async def call(self, default: Any, method: str, args: Any, kwargs: Any) -> Any:  # noqa: ANN401
        """Ask the store."""
        return await self._front.arun(default, method, *args, **kwargs)

    async def send(self, request: Any, *, whole: bool = False) -> tuple[Any, Any]:  # noqa: ANN401
        """Send a request through its pipeline; return the response, and the exchange it came from."""
        exchange, woven = self._begin(request, whole=whole)
        return await woven(exchange), exchange

    async def read(self, stream: Any, most: float) -> bytes | None:  # noqa: ANN401
        """Read a body to its end, and close it; None if it is longer than `most`."""
        chunks, size, thrown = [], 0, False
        try:
            async for chunk in stream:
                chunks.append(chunk)
                size += len(chunk)
                if size > most:
                    return None
        except BaseException as error:
            thrown = thrown_away(error)
            raise
        finally:
            if not thrown:  # else nothing may be awaited any more
                await self.close(stream)
        return b"".join(chunks)

    async def close(self, stream: Any) -> None:  # noqa: ANN401
        """Close a body that nobody reads on."""
        with contextlib.suppress(Exception):
            await stream.aclose()

    @staticmethod
    def home() -> object:
        """Return what connections belong to: each event loop has its own."""
        from resilient._http.pool_closing import here  # noqa: PLC0415 -- only async code loads asyncio

        return here()

    async def close_all(self, close: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Close all connections of this event loop."""
        await close()

    @staticmethod
    def who() -> int:
        """Return what tells this task from others that live."""
        from resilient._runtime.awaiting import task_id  # noqa: PLC0415 -- only async code loads asyncio

        return task_id()

    async def follow(self, flights: Flights[None], flight: Flight[None], end: float) -> Got[None]:
        """Wait for another one's request."""
        return await flights.afollow(flight, current(), end)

    def background(self, work: Callable[..., Coroutine[Any, Any, None]], *args: object) -> bool:
        """Run something in the background; False if too much runs already."""
        return self._refreshing.astart(work, *args)
