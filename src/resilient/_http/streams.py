"""Response bodies that tell when they end, and keep the deadline while they are read."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from resilient._http.watch import Watch
from resilient._policy import NEVER
from resilient._runtime import awaiting
from resilient.deadline import enter, leave
from resilient.outcome import thrown_away


class Body:
    """A body read by threads. A family's class derives from this and from its `SyncByteStream`.

    Args:
        stream: The body as the wrapped transport gave it.
        watch: What is told of the end.
        first: Chunks that have been read already.
        rest: The iterator over all others; None to begin with the first.

    """

    def __init__(
        self,
        stream: Any,  # noqa: ANN401 -- of either family
        watch: Watch,
        first: Sequence[bytes] = (),
        rest: Iterator[bytes] | None = None,
    ) -> None:
        self._stream = stream
        self._watch = watch
        self._first = first
        self._rest = rest

    def __iter__(self) -> Iterator[bytes]:
        """Yield the chunks; between two of them no deadline is set in the reader's context."""
        yield from self._first
        watch = self._watch
        parts: Iterator[bytes] = iter(self._stream) if self._rest is None else self._rest
        while True:
            began = watch.now()
            if began >= watch.end:
                raise self._closed_by(watch.expired())
            token = None if watch.end == NEVER else enter(watch.end)
            try:
                chunk = next(parts, None)
            except BaseException as fault:
                error = self._closed_by(watch.broke(fault, began))
                if error is fault:
                    raise
                raise error from fault
            finally:
                if token is not None:
                    leave(token)
            watch.waited += watch.now() - began
            if chunk is None:
                break
            yield chunk
        self.close()

    def _closed_by(self, error: BaseException) -> BaseException:
        with contextlib.suppress(Exception):  # the reader gets the error that came first
            self.close()
        return error

    def close(self) -> None:
        """Close the body and settle; nothing happens the second time."""
        watch = self._watch
        lease = watch.take_lease()
        if lease is not None:
            unwinding = sys.exception()
            try:
                self._stream.close()
            finally:
                # httpx2 closes what it finds half-read, even if it is the collector that unwinds.
                if unwinding is not None and thrown_away(unwinding):
                    watch.later()
                    lease.drop()
                else:
                    watch.over()
                    lease.release()


class AsyncBody:
    """The same for tasks, under asyncio and trio.

    Args:
        stream: The body as the wrapped transport gave it.
        watch: What is told of the end.
        first: Chunks that have been read already.
        rest: The iterator over all others; None to begin with the first.

    """

    def __init__(
        self,
        stream: Any,  # noqa: ANN401 -- of either family
        watch: Watch,
        first: Sequence[bytes] = (),
        rest: AsyncIterator[bytes] | None = None,
    ) -> None:
        self._stream = stream
        self._watch = watch
        self._first = first
        self._rest = rest

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the chunks; between two of them no deadline is set in the reader's context."""
        for chunk in self._first:
            yield chunk
        watch = self._watch
        parts: AsyncIterator[bytes] = self._stream.__aiter__() if self._rest is None else self._rest
        while True:
            began = watch.now()
            if began >= watch.end:
                raise await self._closed_by(watch.expired())
            try:
                chunk = await self._next(parts)
            except StopAsyncIteration:
                break
            except BaseException as fault:
                error = await self._closed_by(watch.broke(fault, began))
                if error is fault:
                    raise
                raise error from fault
            watch.waited += watch.now() - began
            yield chunk
        await self.aclose()

    async def _closed_by(self, error: BaseException) -> BaseException:
        if not thrown_away(error):  # else nothing may be awaited any more
            with contextlib.suppress(Exception):  # the reader gets the error that came first
                await self.aclose()
        return error

    async def _next(self, parts: AsyncIterator[bytes]) -> bytes:
        watch = self._watch
        if watch.end == NEVER:
            return await parts.__anext__()
        token = enter(watch.end)
        thrown = False
        try:
            if watch.clamped:  # the network keeps the deadline by itself: no timer is needed
                return await parts.__anext__()
            return await awaiting.bounded(parts.__anext__(), watch.clock, watch.end)
        except BaseException as error:
            thrown = thrown_away(error)
            raise
        finally:
            if not thrown:  # else this may be somebody else's context
                leave(token)

    async def aclose(self) -> None:
        """Close the body and settle; nothing happens the second time."""
        watch = self._watch
        lease = watch.take_lease()
        if lease is not None:
            try:
                await self._stream.aclose()
            finally:
                watch.over()
                await lease.arelease()
