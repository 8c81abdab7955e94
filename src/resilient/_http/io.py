"""The I/O of an exchange, twice: for threads and for tasks. Decisions are in `exchange`."""

from __future__ import annotations

import contextlib
from typing import Any

from resilient._guards.timeout import Cut
from resilient._http.exchange import Exchange
from resilient._http.options import DEFAULT
from resilient._policy import NEVER
from resilient._runtime import awaiting
from resilient.deadline import ambient, enter, leave
from resilient.outcome import thrown_away

_DRAIN_SECONDS = 0.25
"""Longest time that draining a discarded answer may take."""


class SyncExchange(Exchange):
    """An exchange of a thread."""

    def attempt(self, end: float, cut: Cut | None, began: float) -> Any:  # noqa: ANN401 -- of either family
        """Send the request once; return the response, whose body is open."""
        request = self.prepared(end, cut, began)
        self.lease = lease = self.route.pool.lease()
        try:
            response = lease.transport.handle_request(request)
            self.received(response)
            if self.options is not DEFAULT and self.options.buffer and not self.endless(response):
                response = self.response = self._buffered(response)
        except BaseException as error:
            self.lease = None
            raised = self.failed(error)
            lease.release(ok=False)
            if raised is error:
                raise
            raise raised from error
        return response

    def _buffered(self, response: Any) -> Any:  # noqa: ANN401
        """Read the body inside the attempt, as far as that is allowed."""
        parts, chunks, size = iter(response.stream), [], 0
        try:
            for chunk in parts:
                chunks.append(chunk)
                size += len(chunk)
                if size > self.route.core.settings.buffer:
                    self.begun = chunks, parts
                    return response
        except BaseException:
            with contextlib.suppress(Exception):  # the first error tells more
                response.stream.close()
            raise
        response.stream.close()
        return self.rebuilt(response, chunks)

    def discard(self, response: Any) -> Any:  # noqa: ANN401
        """Do away with an answer before the next attempt; return what is left of it to hand out."""
        lease, self.lease = self.lease, None
        kept = response
        if lease is not None:
            try:
                kept = self._drained(response)
            finally:
                try:
                    response.stream.close()
                finally:
                    self.settle(self.verdict)
                    lease.release()
        self.settle(self.verdict)
        return kept

    def _drained(self, response: Any) -> Any:  # noqa: ANN401
        chunks = self.drain_begun(response)
        if chunks is None:
            return response
        now = self.route.env.clock.now
        end = min(ambient(), self.end, now() + _DRAIN_SECONDS)
        token = enter(end)
        size = 0
        try:
            for chunk in response.stream:
                chunks.append(chunk)
                size += len(chunk)
                if size > self.route.core.settings.drain or now() >= end:
                    return response
        except Exception:  # noqa: BLE001 -- then it is closed, and that is all
            return response
        finally:
            leave(token)
        return self.saved(response, chunks)

    def close(self) -> None:
        """Close what is still open, after an error."""
        self.abandon()
        lease, self.lease = self.lease, None
        if lease is not None:
            with contextlib.suppress(Exception):  # the caller gets the error that came first
                self.response.stream.close()
            lease.release(ok=False)


class AsyncExchange(Exchange):
    """An exchange of a task."""

    blocks = False

    async def attempt(self, end: float, cut: Cut | None, began: float) -> Any:  # noqa: ANN401
        """Send the request once; return the response, whose body is open."""
        request = self.prepared(end, cut, began)
        self.lease = lease = self.route.pool.lease()
        try:
            if self.end == NEVER or cut is not None:
                response = await lease.transport.handle_async_request(request)
            else:  # a deadline of the caller's, and no timeout of the pipeline that would keep it
                clock = self.route.env.clock
                response = await awaiting.bounded(lease.transport.handle_async_request(request), clock, self.end)
            self.received(response)
            if self.options is not DEFAULT and self.options.buffer and not self.endless(response):
                response = self.response = await self._buffered(response)
        except BaseException as error:
            self.lease = None
            raised = self.failed(error)
            if thrown_away(error):
                lease.drop()
            else:
                await lease.arelease(ok=False)
            if raised is error:
                raise
            raise raised from error
        return response

    async def _buffered(self, response: Any) -> Any:  # noqa: ANN401
        """Read the body inside the attempt, as far as that is allowed."""
        parts, chunks, size = response.stream.__aiter__(), [], 0
        try:
            async for chunk in parts:
                chunks.append(chunk)
                size += len(chunk)
                if size > self.route.core.settings.buffer:
                    self.begun = chunks, parts
                    return response
        except BaseException as error:
            if not thrown_away(error):
                with contextlib.suppress(Exception):  # the first error tells more
                    await response.stream.aclose()
            raise
        await response.stream.aclose()
        return self.rebuilt(response, chunks)

    async def discard(self, response: Any) -> Any:  # noqa: ANN401
        """Do away with an answer before the next attempt; return what is left of it to hand out."""
        lease, self.lease = self.lease, None
        kept = response
        if lease is not None:
            try:
                kept = await self._drained(response)
            except BaseException as error:
                if thrown_away(error):
                    lease.drop()
                    raise
                await self._done(response, lease)
                raise
            await self._done(response, lease)
        self.settle(self.verdict)
        return kept

    async def _done(self, response: Any, lease: Any) -> None:  # noqa: ANN401
        try:
            await response.stream.aclose()
        finally:
            self.settle(self.verdict)
            await lease.arelease()

    async def _drained(self, response: Any) -> Any:  # noqa: ANN401
        chunks = self.drain_begun(response)
        if chunks is None:
            return response
        clock = self.route.env.clock
        end = min(ambient(), self.end, clock.now() + _DRAIN_SECONDS)

        async def drain() -> bool:
            size, most = 0, self.route.core.settings.drain
            async for chunk in response.stream:
                chunks.append(chunk)
                size += len(chunk)
                if size > most:
                    if not self.route.pool.owned or size > 2 * most:
                        return False
                    # Now it ends in an error: trio complains of generators that are left half-way.
                    await response.stream.aclose()
            return size <= most

        try:
            whole = await awaiting.bounded(drain(), clock, end)
        except Exception:  # noqa: BLE001 -- then it is closed, and that is all
            return response
        return self.saved(response, chunks) if whole else response

    async def close(self, error: BaseException) -> None:
        """Close what is still open, after an error."""
        self.abandon()
        lease, self.lease = self.lease, None
        if lease is not None:
            if thrown_away(error):
                lease.drop()
                return
            try:
                with contextlib.suppress(Exception):  # the caller gets the error that came first
                    await self.response.stream.aclose()
            finally:
                await lease.arelease(ok=False)
