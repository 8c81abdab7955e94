"""The transports, without a family: a door binds them to its own base classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, Unpack

from resilient._deadline_header import DeadlineHeader
from resilient._http.family import Family
from resilient._http.hops import Hops, awithin, within
from resilient._http.io import AsyncExchange, SyncExchange
from resilient._http.keys import IdempotencyKey
from resilient._http.marks import Marks
from resilient._http.options import DEFAULT, EXTENSION, CallOptions, parse
from resilient._http.owned import AsyncConnections, AsyncWrapped, Connections, Wrapped
from resilient._http.pool_plan import PoolOptions
from resilient._http.refusals import answer
from resilient._http.route import Route
from resilient._http.routes import Default, Routes
from resilient._http.settings import Settings
from resilient._http.verdicts import ErrorVerdicts
from resilient._policy import NEVER, Colour
from resilient.errors import Rejected, ResilienceError
from resilient.pipeline import Pipeline
from resilient.standard import standard

__all__ = ["AsyncTransport", "Core", "SyncTransport"]


class Core:
    """What all routes of one transport share."""

    def __init__(self, family: Family, body: Any, settings: Settings) -> None:  # noqa: ANN401 -- made per family
        """Bind the family to the settings."""
        self.family = family
        self.body = body
        self.settings = settings
        self.marks = Marks(settings)
        self.repeatable = frozenset(settings.repeatable)
        self.verdicts = ErrorVerdicts(family)
        self.late_errors = (family.timeout_exception, TimeoutError)

    def check_fallback(self, value: object) -> None:
        """Refuse a fixed answer that is no response of this family.

        Raises:
            TypeError: Saying what it must be.

        """
        if not callable(value) and not isinstance(value, self.family.response):
            name = self.family.name
            message = f"in a transport a Fallback must answer with an {name}.Response or a function, got {value!r}"
            raise TypeError(message)

    def refused(self, error: ResilienceError, request: Any) -> Any:  # noqa: ANN401 -- of either family
        """Return the response for a refusal, if it is to be answered; else raise it as one of the family's."""
        if self.settings.rejections == "answer" and isinstance(error, Rejected):
            return answer(self.family, error)
        dressed = self.family.dressed(error, request)
        if dressed is error:
            return None
        try:
            raise dressed from error.__cause__
        finally:
            del dressed  # its traceback leads here: with a cycle, each refusal would wait for the collector


_Inner = TypeVar("_Inner")  # what can be wrapped: the family's BaseTransport or AsyncBaseTransport


class Transport(Generic[_Inner]):
    """What the two colours share: construction and the way of a refusal."""

    family: ClassVar[Family]
    body: ClassVar[Any]
    colour: ClassVar[Colour]

    def __init__(  # noqa: PLR0913 -- one setting for each thing a transport can do
        self,
        pipelines: Pipeline | Mapping[str, Pipeline],
        *,
        default: Default = standard,
        transport: _Inner | None = None,
        owns_transport: bool = True,
        idempotency: IdempotencyKey | None = None,
        rejections: Literal["raise", "answer"] = "raise",
        attempt_header: str | None = None,
        deadline_header: DeadlineHeader | None = None,
        repeatable: Iterable[str] = (),
        **pool: Unpack[PoolOptions],
    ) -> None:
        """Make the routes; connections are opened with the first request.

        Args:
            pipelines: The pipeline of the one downstream behind this transport, or several by
                origin or pattern, as in `{"https://api.example.com": payments}`.
            default: For hosts that no pattern fits: a pipeline they share, a `Keyed`, or a
                function of the origin such as `standard` that makes one pipeline per host, for
                64 hosts; all further ones share the one named "other".
            transport: Another transport of the same family to send through, in place of pools of
                our own. Its deadlines are kept as well as it lets us.
            owns_transport: Whether closing this transport closes that one.
            idempotency: Give unsafe requests a key, so that they may be retried.
            rejections: "raise" raises our refusals; "answer" turns them into responses 503.
            attempt_header: Name of a header with the number of the attempt, from 1 on.
            deadline_header: Tell the server how much time is left.
            repeatable: Methods that may be repeated here although HTTP does not say so, such as
                `("POST",)` for a service that is only ever asked by POST.
            pool: Options of the connection pools, as of the family's own transport: `verify`,
                `cert`, `trust_env`, `http1`, `http2`, `proxy`, `uds`, `local_address`,
                `socket_options`, `keepalive_expiry`. How many connections there are follows from
                the pipeline's bulkhead.

        Raises:
            TypeError: If the transport is of another family, or an argument of a wrong type.
            ConfigError: If a value is out of range.

        """
        settings = Settings(
            idempotency=idempotency,
            rejections=rejections,
            attempt_header=attempt_header,
            deadline_header=deadline_header,
            repeatable=repeatable,
        )
        self.core = Core(self.family, self.body, settings)
        self._pools = self._connections(transport, {**pool}, owns=owns_transport)
        self.routes = Routes(self.core, pipelines, default, self._pools.get, self.colour)

    def _connections(self, transport: Any, options: dict[str, Any], *, owns: bool) -> Any:  # noqa: ANN401
        raise NotImplementedError

    @staticmethod
    def _asked(request: Any, route: Route) -> tuple[CallOptions, Hops | None]:  # noqa: ANN401
        """Return what a request asks for itself, and what earlier hops of its call have left."""
        asked = request.extensions.get(EXTENSION)
        hops = Hops.of(request, route.env.now()) if Hops.KEY in request.extensions else None
        return DEFAULT if asked is None else parse(asked), hops

    def _woven(self, route: Route, options: CallOptions, hops: Hops | None) -> Callable[[Any], Any]:
        """Return the route's woven function with these limits."""
        woven = route.woven if options is DEFAULT else route.woven_for(options)
        end = NEVER if hops is None else hops.end
        if options.timeout is not None and route.whole == NEVER:
            end = min(end, route.env.now() + options.timeout)
        if end == NEVER:
            return woven
        return (awithin if self.colour == "async" else within)(end, woven)


class SyncTransport(Transport[_Inner]):
    """Sends the requests of a plain client, from any number of threads."""

    colour = "sync"

    def _connections(self, transport: Any, options: dict[str, Any], *, owns: bool) -> Connections | Wrapped:  # noqa: ANN401
        if transport is None:
            return Connections(self.family, options)
        self.family.refuse_other(transport, "BaseTransport")
        return Wrapped(transport, options, owns=owns)

    def handle_request(self, request: Any) -> Any:  # noqa: ANN401 -- of either family
        """Send a request through its pipeline; return the response, whose body is open."""
        extensions = request.extensions
        route = self.routes.only or self.routes.find(request.url)
        if len(extensions) != 1 or "timeout" not in extensions:
            options, hops = self._asked(request, route)
            exchange, woven = SyncExchange(route, request, options, hops), self._woven(route, options, hops)
        else:
            exchange, woven = SyncExchange(route, request, DEFAULT, None), route.woven
        return woven(exchange)

    def __enter__(self) -> Self:
        """Enter the wrapped transport, once, however often this one is mounted."""
        self._pools.enter()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Leave it with the last."""
        self._pools.leave(exc_type, exc_value, traceback)

    def close(self) -> None:
        """Close all connections; a request after that opens new ones."""
        self._pools.close()


class AsyncTransport(Transport[_Inner]):
    """Sends the requests of an async client, under asyncio and trio."""

    colour = "async"

    def _connections(
        self,
        transport: Any,  # noqa: ANN401
        options: dict[str, Any],
        *,
        owns: bool,
    ) -> AsyncConnections | AsyncWrapped:
        if transport is None:
            return AsyncConnections(self.family, options)
        self.family.refuse_other(transport, "AsyncBaseTransport")
        return AsyncWrapped(transport, options, owns=owns)

    def handle_async_request(self, request: Any) -> Any:  # noqa: ANN401
        """Send a request through its pipeline; the coroutine returns the response, whose body is open.

        Not a coroutine function itself: each layer of them is paid for by every call.
        """
        extensions = request.extensions
        route = self.routes.only or self.routes.find(request.url)
        if len(extensions) != 1 or "timeout" not in extensions:
            options, hops = self._asked(request, route)
            exchange, woven = AsyncExchange(route, request, options, hops), self._woven(route, options, hops)
        else:
            exchange, woven = AsyncExchange(route, request, DEFAULT, None), route.woven
        return woven(exchange)

    async def __aenter__(self) -> Self:
        """Enter the wrapped transport, once, however often this one is mounted."""
        await self._pools.enter()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Leave it with the last."""
        await self._pools.leave(exc_type, exc_value, traceback)

    async def aclose(self) -> None:
        """Close all connections; a request after that opens new ones."""
        await self._pools.close()
