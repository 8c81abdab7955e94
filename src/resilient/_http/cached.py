"""A cache around a transport's pipelines.

What to serve, ask, store or forget is decided in `resilient.cache`, by flows that know no client.
Here their commands are carried out: requests go through the pipelines, bodies are read, records
go through the front of the store. A fault of the cache itself never costs an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from resilient import _check, faults
from resilient._http.cached_bodies import AsyncKept, Kept
from resilient._http.cached_flights import Together
from resilient._http.cached_io import Tasks, Threads
from resilient._http.cached_messages import asked_of, got_from, in_memory, replied, shown, spent, wall
from resilient._http.cached_run import Run
from resilient._http.pool_closing import gone
from resilient._http.sending import copied
from resilient._runtime import background
from resilient._runtime.blocking import complete
from resilient.cache import HttpCache
from resilient.cache import flow as flows
from resilient.cache.messages import Asked, Background, Call, Close, Fields, Flow, Got, Pass, Read, Reply, Send
from resilient.errors import CallTimeout, Rejected
from resilient.outcome import thrown_away

if TYPE_CHECKING:
    from resilient._http.core import Core
    from resilient._http.transport import Transport

MOST_REFRESHES = 16
"""Refreshes of stale answers that one transport runs in the background at a time."""


class Cached:
    """The cache of one transport.

    Args:
        transport: The transport.
        core: What its routes share.
        cache: The cache.
        close: Closes the transport's connections.

    """

    def __init__(self, transport: Transport[Any], core: Core, cache: HttpCache, close: Callable[[], Any]) -> None:
        """Bind a cache to a transport.

        Raises:
            TypeError: If it is no cache.

        """
        if not isinstance(cache, HttpCache):
            _check.refuse_type("cache", cache, "an HttpCache or None")
        self._transport, self._core, self._cache = transport, core, cache
        module, refreshing = core.family.module, background.Background(MOST_REFRESHES)
        self._together = Together()
        self._close, self._closed = close, dict[object, None]()
        self._failures = (module.TransportError, Rejected, CallTimeout, OSError)
        self._mistakes = (module.LocalProtocolError, module.UnsupportedProtocol)
        self._io: Threads | Tasks
        self._kept: Any
        self._finish: Any
        if transport.colour == "async":
            self._io = Tasks(cache.front, transport.begin, refreshing)
            self._kept = type("Kept", (AsyncKept, module.AsyncByteStream), {})
            self._finish = self._afinish
        else:
            self._io = Threads(cache.front, transport.begin, refreshing)
            self._kept = type("Kept", (Kept, module.SyncByteStream), {})
            self._finish = lambda flow: complete(self._afinish(flow))

    def shut(self) -> None:
        """Hear that the connections are being closed: until the next request nothing goes on behind."""
        for home in [each for each in self._closed if each is not None and gone(each)]:
            self._closed.pop(home, None)
        self._closed[self._io.home()] = None

    def handle(self, request: Any) -> Any:  # noqa: ANN401
        """Answer from the store, or send the request through its pipeline; for threads."""
        asked = asked_of(self._core.family, request)
        reply = flows.quick(self._cache, asked, wall, self._cache.get)
        return complete(self._answer(request, asked)) if reply is None else self._replied(reply, request)

    async def ahandle(self, request: Any) -> Any:  # noqa: ANN401
        """Do the same for tasks."""
        cache, asked = self._cache, asked_of(self._core.family, request)
        reply = flows.quick(cache, asked, wall) if cache.ready else await flows.aquick(cache, asked, wall)
        return await self._answer(request, asked) if reply is None else self._replied(reply, request)

    async def _answer(self, request: Any, asked: Asked) -> Any:  # noqa: ANN401
        if self._closed:
            self._closed.pop(self._io.home(), None)
        run = Run(flows.answer(self._cache, asked, wall, self._fails), request)
        await self._together.join(run, asked.fields, self._io)
        try:
            result = await self._drive(run)
        except BaseException as error:
            if run.lead is not None:
                self._together.lost(run.lead, run.key, error)
            if not run.lost(error):
                raise
            faults.report(flows.answer, error)  # the call goes on without a cache
            return (await self._io.send(request))[0] if run.open is None else run.open
        return await self._landed(run, result)

    async def _landed(self, run: Run, result: Reply | Pass) -> Any:  # noqa: ANN401
        """Return the response of a flow, and tell those who wait for it."""
        landed = _nobody if run.key is None else partial(self._together.landed, run.lead, run.key)
        if isinstance(result, Pass):
            return await self._passed(result, landed)
        landed(False)  # noqa: FBT003
        return self._replied(result, run.request)

    async def _drive(self, run: Run) -> Any:  # noqa: ANN401
        value: Any = None
        error: Exception | None = None
        try:
            while True:
                command = run.step(value, error)
                value = error = None
                try:
                    value = await self._perform(run, command)
                except Exception as fault:  # noqa: BLE001 -- the flow decides
                    error = fault
        except StopIteration as stop:
            return stop.value
        except BaseException as fault:
            run.flow.close()
            if run.open is not None and not isinstance(fault, Exception) and not thrown_away(fault):
                await self._io.close(run.open.stream)
            raise
        finally:
            del error

    def _fails(self, error: Exception) -> bool:
        """Tell whether a stale answer may stand in for an error: not for a mistake of the caller's."""
        return isinstance(error, self._failures) and not isinstance(error, self._mistakes)

    async def _perform(self, run: Run, command: Any) -> Any:  # noqa: ANN401
        match command:
            case Call():
                return await self._io.call(command.default, command.method, command.args, command.kwargs)
            case Send():
                return await self._send(run, command.fields, whole=command.whole)
            case Read():
                run.open = None
                return await self._read(command.got.handle, inf if command.most is None else command.most)
            case Close():
                run.open = None
                await self._io.close(command.got.handle.stream)
            case Background():
                started = self._io.background(self._refresh, command.flow, run.request)
                if not started:
                    command.flow.close()
                return started
        return None

    async def _send(self, run: Run, fields: Fields | None, *, whole: bool) -> Got:
        request = run.request
        if fields is not None or run.apart:
            request = copied(request)
            request.extensions = {**run.request.extensions} if run.apart else run.request.extensions
            if fields is not None:
                request.headers = self._core.family.headers(fields)
        run.share()
        run.sends += 1
        run.open, exchange = await self._io.send(request, whole=whole)
        return got_from(run.open, exchange)

    def _replied(self, reply: Reply, request: Any) -> Any:  # noqa: ANN401
        route = self._transport.routes.only or self._transport.routes.find(request.url)
        return replied(self._core.family, route.env, reply)

    async def _read(self, response: Any, most: float) -> bytes | None:  # noqa: ANN401
        body = in_memory(self._core.family, response)
        if body is None and not spent(response):
            return await self._io.read(response.stream, most)
        await self._io.close(response.stream)
        return None if body is None or len(body) > most else body

    async def _passed(self, result: Pass, landed: Callable[[bool | None], None]) -> Any:  # noqa: ANN401
        """Return a live response, whose body is stored as it is read; one that lies in memory is stored now."""
        family, got, filling = self._core.family, result.got, result.filling
        body = in_memory(family, got.handle)
        response = shown(family, got.handle, result.fields, body)
        if filling is not None and body is None and not spent(response):
            response.stream = self._kept(response.stream, filling, self._finish, landed)
            return response
        apart: bool | None = None if got.status in self._cache.stale_statuses else True
        if filling is not None and body is not None and filling.take(body):
            await self._afinish(filling.done())
            apart = False
        landed(apart)
        return response

    async def _afinish(self, flow: Flow | None) -> None:
        """Store what was filled."""
        if flow is not None:
            await self._unheard(Run(flow, None))

    async def _refresh(self, flow: Flow, request: Any) -> None:  # noqa: ANN401
        """Run a flow in the background, apart from the request that it began with."""
        home = self._io.home()
        if home in self._closed:
            next(flow, None)  # only what has begun can clean up
            flow.close()
            return
        await self._unheard(Run(flow, request, apart=True))
        if home in self._closed:  # meanwhile; what it has opened since is nobody's
            await self._io.close_all(self._close)

    async def _unheard(self, run: Run) -> None:
        """Run a flow whose result nobody waits for; what fails in it is reported."""
        try:
            await self._drive(run)
        except Exception as error:  # noqa: BLE001
            if error is not run.raised:
                faults.report(self._refresh, error)


def _nobody(_: bool | None, /) -> None:  # noqa: FBT001
    """Tell nobody."""
