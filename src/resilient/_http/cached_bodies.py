"""Bodies that are stored while they are read: whole, or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from resilient.cache.messages import Flow, Sink


class _Keeping:
    """A body of the origin's answer, and what it fills.

    Args:
        stream: The body.
        filling: What takes its chunks; once it refuses one, the rest is only handed on.
        finish: Runs the flow that stores what was filled.
        landed: Told when it was read to its end, and whether its likes need not be waited for.

    """

    def __init__(
        self,
        stream: Any,  # noqa: ANN401 -- of either family
        filling: Sink,
        finish: Callable[[Flow | None], Any],
        landed: Callable[[bool], None],
    ) -> None:
        self._stream = stream
        self._filling: Sink | None = filling
        self._finish = finish
        self._landed: Callable[[bool], None] | None = landed

    def _take(self, chunk: bytes) -> None:
        if self._filling is not None and not self._filling.take(chunk):
            self._filling = None
            self._land(apart=True)

    def _land(self, *, apart: bool = False) -> None:
        landed, self._landed = self._landed, None
        if landed is not None:
            landed(apart)

    def _ended(self) -> Flow | None:
        """Return the flow that stores the body, which ended as it should."""
        filling, self._filling = self._filling, None
        return None if filling is None else filling.done()

    def _broken(self) -> None:
        filling, self._filling = self._filling, None
        if filling is not None:
            filling.broken()
        self._landed = None  # whoever waits yet is told by the lead that is gone


class Kept(_Keeping):
    """A body read by threads; a family's class derives from this and from its `SyncByteStream`."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield the chunks; store them after the last one."""
        for chunk in self._stream:
            self._take(chunk)
            yield chunk
        self._finish(self._ended())
        self._land()

    def close(self) -> None:
        """Close the body; one that was not read to its end is not stored."""
        self._broken()
        self._stream.close()


class AsyncKept(_Keeping):
    """The same for tasks."""

    _finish: Callable[[Flow | None], Awaitable[Any]]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the chunks; store them after the last one."""
        async for chunk in self._stream:
            self._take(chunk)
            yield chunk
        await self._finish(self._ended())
        self._land()

    async def aclose(self) -> None:
        """Close the body; one that was not read to its end is not stored."""
        self._broken()
        await self._stream.aclose()
