"""Response bodies that keep the deadline while they are read, and settle all when they end.

Time counts against the downstream only while we wait for it: a reader that takes its time between
two chunks is not the server's failure. Between two chunks nothing is set in the reader's context.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from resilient._http.pool_health import part_with
from resilient._policy import NEVER
from resilient._runtime import awaiting
from resilient.deadline import ambient, enter, leave
from resilient.outcome import Verdict, attach, thrown_away

if TYPE_CHECKING:
    from resilient._http.exchange import Exchange

_SLACK = 0.002
"""Seconds by which a timer may fire early."""


class Open:
    """A body that is open, and what it still holds: the permits, the place in the pool.

    Args:
        stream: The body as the wrapped transport gave it.
        exchange: The call it belongs to.
        endless: Whether it may never end: then it holds no permit, and only the caller's own
            deadline ends it.

    """

    def __init__(self, stream: Any, exchange: Exchange, *, endless: bool) -> None:  # noqa: ANN401 -- of either family
        self._stream = stream
        self._exchange = exchange
        self._open = True
        self._end = exchange.end
        if endless:
            exchange.settle(exchange.verdict)
            self._end = ambient()
        self._ran = exchange.route.env.clock.now() - exchange.began

    def _broke(self, error: BaseException, ran: float) -> BaseException:
        """Settle by an error while reading; return what the reader gets."""
        exchange = self._exchange
        core, env = exchange.route.core, exchange.route.env
        if isinstance(error, core.late_errors) and env.now() + _SLACK >= self._end:
            late = self._expired(ran)
            late.__cause__ = error
            return late
        if isinstance(error, Exception):
            verdict = core.verdicts.of(error)
            if verdict is not None:
                attach(error, verdict)
        if thrown_away(error):
            exchange.abandon()
        else:
            exchange.settle(env.classifier.of_error(error))
        return error

    def _expired(self, ran: float) -> BaseException:
        """Settle by our own deadline; return the error for the reader."""
        exchange = self._exchange
        error = exchange.timed_out(exchange.cut, ran)
        exchange.settle(exchange.route.env.classifier.of_error(error))
        return exchange.route.core.family.dressed(error, exchange.request)

    def _over(self) -> Verdict | None:
        """Return by what to settle, at the first time; None after that."""
        first, self._open = self._open, False
        return self._exchange.verdict if first else None

    def __del__(self) -> None:
        """Give back what an unclosed body held, without taking a lock, and say so."""
        if getattr(self, "_open", False):
            self._open = False
            exchange = self._exchange
            exchange.abandon()
            lease, exchange.lease = exchange.lease, None
            if lease is not None:
                lease.drop()
            name = exchange.route.env.downstream
            warnings.warn(f"a response of {name!r} was never closed", ResourceWarning, stacklevel=2)


class Body(Open):
    """A body read by threads. A family's class derives from this and from its `SyncByteStream`."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield the chunks, those first that have been read already."""
        exchange = self._exchange
        now, end, ran = exchange.route.env.clock.now, self._end, self._ran
        first, rest = exchange.begun or ((), None)
        yield from first
        parts: Iterator[bytes] | None = rest
        while True:
            began = now()
            if began >= end:
                raise self._closed_by(self._expired(ran))
            try:
                if parts is None:
                    parts = iter(self._stream)
                chunk = next(parts, None)
            except BaseException as fault:
                error = self._closed_by(self._broke(fault, ran + now() - began))
                try:
                    if error is not fault:
                        raise error from fault
                finally:
                    del error  # see `Core.refused`
                raise
            if chunk is None:
                break
            ran += now() - began
            yield chunk
        part_with(self._stream, retired=exchange.lease is not None and exchange.lease.retired)
        self.close()

    def _closed_by(self, error: BaseException) -> BaseException:
        with contextlib.suppress(Exception):  # the reader gets the error that came first
            self.close()
        return error

    def close(self) -> None:
        """Close the body and settle; nothing happens the second time."""
        verdict = self._over()
        if verdict is not None:
            exchange = self._exchange
            lease, exchange.lease = exchange.lease, None
            unwinding = sys.exception()
            try:
                self._stream.close()
            finally:
                # httpx2 closes what it finds half-read, even if it is the collector that unwinds.
                if unwinding is not None and thrown_away(unwinding):
                    exchange.settle_later(verdict)
                    lease.drop()
                else:
                    exchange.settle(verdict)
                    lease.release()


class AsyncBody(Open):
    """The same for tasks, under asyncio and trio."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the chunks, those first that have been read already."""
        exchange = self._exchange
        now, end, ran = exchange.route.env.clock.now, self._end, self._ran
        # The network keeps the deadline by itself where it is clamped: no timer is needed.
        timed = end < NEVER and not exchange.route.pool.clamped
        first, rest = exchange.begun or ((), None)
        for chunk in first:
            yield chunk
        parts: AsyncIterator[bytes] | None = rest
        while True:
            began = now()
            if began >= end:
                raise await self._closed_by(self._expired(ran))
            try:
                if parts is None:
                    parts = aiter(self._stream)
                chunk = await (self._timed(parts) if timed else parts.__anext__())
            except StopAsyncIteration:
                break
            except BaseException as fault:
                error = await self._closed_by(self._broke(fault, ran + now() - began))
                try:
                    if error is not fault:
                        raise error from fault
                finally:
                    del error
                raise
            ran += now() - began
            yield chunk
        part_with(self._stream, retired=exchange.lease is not None and exchange.lease.retired)
        await self.aclose()

    async def _closed_by(self, error: BaseException) -> BaseException:
        if not thrown_away(error):  # else nothing may be awaited any more
            with contextlib.suppress(Exception):  # the reader gets the error that came first
                await self.aclose()
        return error

    async def _timed(self, parts: AsyncIterator[bytes]) -> bytes:
        token, thrown = enter(self._end), False
        try:
            return await awaiting.bounded(parts.__anext__(), self._exchange.route.env.clock, self._end)
        except BaseException as error:
            thrown = thrown_away(error)
            raise
        finally:
            if not thrown:  # else this may be somebody else's context
                leave(token)

    async def aclose(self) -> None:
        """Close the body and settle; nothing happens the second time."""
        verdict = self._over()
        if verdict is not None:
            exchange = self._exchange
            lease, exchange.lease = exchange.lease, None
            thrown = False
            try:
                await self._stream.aclose()
            except BaseException as error:
                thrown = thrown_away(error)
                raise
            finally:
                if thrown:  # nothing may be awaited any more, and no lock taken
                    exchange.settle_later(verdict)
                    lease.drop()
                else:
                    exchange.settle(verdict)
                    await lease.arelease()
