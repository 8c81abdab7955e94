"""The I/O of an exchange, twice: for threads and for tasks. Decisions are in `exchange`."""

from __future__ import annotations

import contextlib
from typing import Any

from resilient._guards.timeout import Cut
from resilient._http.exchange import Exchange
from resilient._http.pool_health import part_with
from resilient._policy import NEVER
from resilient._runtime import awaiting
from resilient.deadline import ambient, enter, leave
from resilient.errors import ResilienceError
from resilient.outcome import thrown_away

_DRAIN_SECONDS = 0.25
"""Longest time that draining a discarded answer may take."""


class SyncExchange(Exchange):
    """An exchange of a thread."""

    def attempt(self, end: float, cut: Cut | None, began: float) -> Any:  # noqa: ANN401 -- of either family
        """Send the request once; return the response, whose body is open."""
        try:
            request = self.prepared(end, cut, began)
            response = self.received(self.send(request))
            return self.buffered() if response is None else response
        except BaseException as error:
            self.failed(error)
            raise

    def _leased(self) -> None:
        self.lease = lease = self.route.pool.lease()
        self.send = lease.transport.handle_request

    def _release(self, lease: Any) -> None:  # noqa: ANN401
        lease.release(ok=False)

    def buffered(self) -> Any:  # noqa: ANN401
        """Read the body inside the attempt, as far as that is allowed."""
        response = self.response
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
        part_with(response.stream, retired=False)
        response.stream.close()
        self.response = self.rebuilt(response, chunks)
        return self.response

    def discard(self, response: Any) -> Any:  # noqa: ANN401
        """Do away with an answer before the next attempt; return what is left of it to hand out."""
        lease, self.lease = self.lease, None
        chunks = self.drain_begun(response)
        kept = response
        if lease is not None:
            try:
                kept = self._drained(response, chunks)
            finally:
                try:
                    with contextlib.suppress(Exception):  # nobody waits for this answer any more
                        response.stream.close()
                finally:
                    self.settle(self.verdict)
                    lease.release()
        self.settle(self.verdict)
        return kept

    def _drained(self, response: Any, chunks: list[bytes] | None) -> Any:  # noqa: ANN401
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
        part_with(response.stream, retired=False)
        return self.saved(response, chunks)

    def raised(self, error: BaseException) -> Any:  # noqa: ANN401
        """Clean up after a call that failed; return the answer in place of a refusal, None to raise the error."""
        self.close()
        return self.route.core.refused(error, self.request) if isinstance(error, ResilienceError) else None

    def close(self) -> None:
        """Close what is still open."""
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
        try:
            request = self.prepared(end, cut, began)
            sent = self.send(request)
            if self.end < NEVER and cut is None:
                # A deadline of the caller's, and no timeout of the pipeline that would keep it.
                sent = awaiting.bounded(sent, self.route.env.clock, self.end)
            response = self.received(await sent)
            return await self.buffered() if response is None else response
        except BaseException as error:
            self.failed(error)
            raise

    def _leased(self) -> None:
        self.lease = lease = self.route.pool.lease()
        self.send = lease.transport.handle_async_request

    def _release(self, lease: Any) -> None:  # noqa: ANN401
        lease.end(ok=False)  # what it leaves to be closed is closed by whoever releases next

    async def buffered(self) -> Any:  # noqa: ANN401
        """Read the body inside the attempt, as far as that is allowed."""
        response = self.response
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
        part_with(response.stream, retired=False)
        await response.stream.aclose()
        self.response = self.rebuilt(response, chunks)
        return self.response

    async def discard(self, response: Any) -> Any:  # noqa: ANN401
        """Do away with an answer before the next attempt; return what is left of it to hand out."""
        lease, self.lease = self.lease, None
        chunks = self.drain_begun(response)
        kept = response
        if lease is not None:
            try:
                kept = await self._drained(response, chunks)
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
        """Close an answer that nobody waits for any more, also one that fails at that."""
        thrown = False
        try:
            await response.stream.aclose()
        except BaseException as error:
            thrown = thrown_away(error)
            if thrown or not isinstance(error, Exception):
                raise
        finally:
            if thrown:  # nothing may be awaited any more, and no lock taken
                self.settle_later(self.verdict)
                lease.drop()
            else:
                self.settle(self.verdict)
                await lease.arelease()

    async def _drained(self, response: Any, chunks: list[bytes] | None) -> Any:  # noqa: ANN401
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
        if not whole:
            return response
        part_with(response.stream, retired=False)
        return self.saved(response, chunks)

    async def raised(self, error: BaseException) -> Any:  # noqa: ANN401
        """Clean up after a call that failed; return the answer in place of a refusal, None to raise the error."""
        await self.close(error)
        pool = self.route.pool
        if pool.owned and pool.closing and not thrown_away(error):
            await pool.closing.asweep()
        return self.route.core.refused(error, self.request) if isinstance(error, ResilienceError) else None

    async def close(self, error: BaseException) -> None:
        """Close what is still open."""
        self.abandon()
        lease, self.lease = self.lease, None
        if lease is not None:
            if thrown_away(error):
                lease.drop()
                return
            await self._done(self.response, lease)
