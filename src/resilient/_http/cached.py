"""A cache around a transport's pipelines.

What to serve, ask, store or forget is decided in `resilient.cache`, by flows that know no client.
Here their commands are carried out: requests go through the pipelines, bodies are read, records
go through the front of the store. A fault of the cache itself never costs an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import TYPE_CHECKING, Any

from resilient import _check, faults
from resilient._http.cached_bodies import AsyncKept, Kept
from resilient._http.cached_flights import Together
from resilient._http.cached_io import Tasks, Threads, complete
from resilient._http.cached_run import Run
from resilient._http.sending import copied
from resilient._runtime import background
from resilient._runtime.flight import Lead
from resilient.cache import HttpCache
from resilient.cache import flow as flows
from resilient.cache.messages import Asked, Background, Call, Close, Fields, Flow, Got, Pass, Read, Reply, Send
from resilient.clock import current
from resilient.errors import CallTimeout, Rejected
from resilient.outcome import thrown_away
from resilient.provenance import note

if TYPE_CHECKING:
    from resilient._http.core import Core
    from resilient._http.transport import Transport

PROVENANCE = "resilient.provenance"
"""Extension of a response that says where it came from."""

MOST_REFRESHES = 16
"""Refreshes of stale answers that one transport runs in the background at a time."""


def _wall() -> float:
    return current().wall()


def _asked(request: Any, memory: type) -> Asked:  # noqa: ANN401 -- of either family
    body = getattr(request, "_content", None)
    if body is None and type(request.stream) is memory:  # the next hop of a redirect
        body = b"".join(request.stream)
    return Asked(request.method, str(request.url), request.headers.raw, body != b"")


class Cached:
    """The cache of one transport.

    Args:
        transport: The transport.
        core: What its routes share.
        cache: The cache.

    """

    def __init__(self, transport: Transport[Any], core: Core, cache: HttpCache) -> None:
        """Bind a cache to a transport.

        Raises:
            TypeError: If it is no cache.

        """
        if not isinstance(cache, HttpCache):
            _check.refuse_type("cache", cache, "an HttpCache or None")
        self._transport, self._core, self._cache = transport, core, cache
        module, refreshing = core.family.module, background.Background(MOST_REFRESHES)
        self._together = Together()
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

    def handle(self, request: Any) -> Any:  # noqa: ANN401
        """Answer from the store, or send the request through its pipeline; for threads."""
        asked = _asked(request, self._core.family.byte_stream)
        reply = flows.quick(self._cache, asked, _wall)
        return complete(self._answer(request, asked)) if reply is None else self._replied(reply, request)

    async def ahandle(self, request: Any) -> Any:  # noqa: ANN401
        """Do the same for tasks."""
        asked = _asked(request, self._core.family.byte_stream)
        reply = flows.quick(self._cache, asked, _wall)
        return await self._answer(request, asked) if reply is None else self._replied(reply, request)

    async def _answer(self, request: Any, asked: Asked) -> Any:  # noqa: ANN401
        run = Run(flows.answer(self._cache, asked, _wall, self._fails), request)
        key = self._together.key(request, asked.fields)
        if key is not None:
            await self._join(run, key)
        try:
            result = await self._drive(run)
        except BaseException as error:
            if run.lead is not None:
                self._together.lost(run.lead, error)
            if not run.lost(error):
                raise
            faults.report(flows.answer, error)  # the call goes on without a cache
            return (await self._io.send(request))[0] if run.open is None else run.open
        return self._landed(run, result)

    async def _join(self, run: Run, key: Hashable) -> None:
        """Wait for somebody who asks the same, or become the one that others wait for."""
        together = self._together
        run.key = key
        joined = together.flights.join(key, current().now())
        got = joined if isinstance(joined, Lead) else await self._io.follow(together.flights, joined, together.end())
        if isinstance(got, Lead):
            run.lead = got
        else:
            run.landing = got

    def _landed(self, run: Run, result: Reply | Pass) -> Any:  # noqa: ANN401
        """Return the response of a flow, and tell those who wait for it."""
        lead = run.lead
        if isinstance(result, Pass) and result.filling is not None:
            landed = None if lead is None else partial(self._together.landed, lead, run.key, stored=True)
            return self._passed(result, landed)
        if lead is not None:
            self._together.landed(lead, run.key, stored=isinstance(result, Reply))
        return self._replied(result, run.request) if isinstance(result, Reply) else self._passed(result)

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
                return await self._send(run, command.fields)
            case Read():
                run.open = None
                return await self._io.read(command.got.handle.stream)
            case Close():
                run.open = None
                await self._io.close(command.got.handle.stream)
            case Background():
                started = self._io.background(self._refresh, command.flow, run.request)
                if not started:
                    command.flow.close()
                return started
        return None

    async def _send(self, run: Run, fields: Fields | None) -> Got:
        request = run.request
        if fields is not None or run.apart:
            request = copied(request)
            request.extensions = {**run.request.extensions} if run.apart else run.request.extensions
            if fields is not None:
                request.headers = self._core.family.headers(fields)
        run.share()
        run.sends += 1
        run.open, exchange = await self._io.send(request)
        received = _wall()
        took = exchange.route.env.now() - exchange.began if exchange.attempts else 0.0
        return Got(
            run.open.status_code,
            run.open.headers.raw,
            requested_at=received - max(0.0, took),
            received_at=received,
            handle=run.open,
            replaced=exchange.replacement,
        )

    def _replied(self, reply: Reply, request: Any) -> Any:  # noqa: ANN401
        """Return a response that is made from the store."""
        env = (self._transport.routes.only or self._transport.routes.find(request.url)).env
        extensions: dict[str, Any] = {}
        made = reply.provenance(env.downstream)
        if made is not None:
            extensions[PROVENANCE] = made
            note(made)
            if made.stale:
                env.emit("resilient.cache.stale_served", policy=made.served_by, age=made.age, cause=made.reason)
        family = self._core.family
        stream = family.byte_stream(reply.body)
        return family.response(reply.status, headers=reply.fields, stream=stream, extensions=extensions)

    def _passed(self, result: Pass, landed: Callable[[], None] | None = None) -> Any:  # noqa: ANN401
        """Return a live response, whose body is stored as it is read."""
        response = result.got.handle
        if result.fields is not None:
            response.headers = self._core.family.headers(result.fields)
        if result.filling is not None:
            response.stream = self._kept(response.stream, result.filling, self._finish, landed)
        return response

    async def _afinish(self, flow: Flow) -> None:
        """Store what was filled."""
        await self._unheard(Run(flow, None))

    async def _refresh(self, flow: Flow, request: Any) -> None:  # noqa: ANN401
        """Run a flow in the background, apart from the request that it began with."""
        await self._unheard(Run(flow, request, apart=True))

    async def _unheard(self, run: Run) -> None:
        """Run a flow whose result nobody waits for; what fails in it is reported."""
        try:
            result = await self._drive(run)
            if isinstance(result, Pass):
                response = self._passed(result)
                await self._io.read(response.stream)
        except Exception as error:  # noqa: BLE001
            if error is not run.raised:
                faults.report(self._refresh, error)
