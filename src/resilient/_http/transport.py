"""The transports, without a family: a door binds them to its own base classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, TypeVar, Unpack

from resilient._deadline_header import DeadlineHeader
from resilient._http.core import Core
from resilient._http.family import Family
from resilient._http.hops import Hops, awithin, within
from resilient._http.io import AsyncExchange, SyncExchange
from resilient._http.keys import IdempotencyKey
from resilient._http.options import DEFAULT, EXTENSION, CallOptions, parse
from resilient._http.owned import AsyncConnections, AsyncWrapped, Connections, Wrapped
from resilient._http.pool_plan import PoolOptions
from resilient._http.route import Route
from resilient._http.routes import Default, Routes
from resilient._http.settings import Settings
from resilient._policy import NEVER, Colour
from resilient.pipeline import Pipeline
from resilient.standard import standard

if TYPE_CHECKING:
    from resilient._http.cached import Cached
    from resilient.cache import HttpCache

__all__ = ["AsyncTransport", "SyncTransport"]


_Inner = TypeVar("_Inner")  # what can be wrapped: the family's BaseTransport or AsyncBaseTransport


class Transport(Generic[_Inner]):
    """What the two colours share: construction and the way of a refusal."""

    family: ClassVar[Family]
    body: ClassVar[Any]
    colour: ClassVar[Colour]
    exchange: ClassVar[type[SyncExchange | AsyncExchange]]

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
        cache: HttpCache | None = None,
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
            cache: Answer from what was stored before, where HTTP allows it, and when the service fails.
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
        self._cached = None if cache is None else self._caching(cache, self._pools.close)

    def _connections(self, transport: Any, options: dict[str, Any], *, owns: bool) -> Any:  # noqa: ANN401
        raise NotImplementedError

    def _caching(self, cache: HttpCache, close: Callable[[], Any]) -> Cached:
        from resilient._http.cached import Cached  # noqa: PLC0415 -- only who caches pays for it

        return Cached(self, self.core, cache, close)

    def _shut(self) -> None:
        if self._cached is not None:
            self._cached.shut()

    def begin(self, request: Any, *, whole: bool = False) -> tuple[Any, Callable[[Any], Any]]:  # noqa: ANN401
        """Return the exchange of a request, and the woven function to hand it to.

        With `whole` the body is read inside the attempt, as if the request asked for `buffer`.
        """
        extensions = request.extensions
        route = self.routes.only or self.routes.find(request.url)
        if whole or len(extensions) != 1 or "timeout" not in extensions:
            options, hops = self._asked(request, route)
            if whole and options.stream is None:
                options = replace(options, buffer=True)
            return self.exchange(route, request, options, hops), self._woven(route, options, hops)
        return self.exchange(route, request, DEFAULT, None), route.woven

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
    exchange = SyncExchange

    def _connections(self, transport: Any, options: dict[str, Any], *, owns: bool) -> Connections | Wrapped:  # noqa: ANN401
        if transport is None:
            return Connections(self.family, options)
        self.family.refuse_other(transport, "BaseTransport")
        return Wrapped(transport, options, owns=owns)

    def handle_request(self, request: Any) -> Any:  # noqa: ANN401 -- of either family
        """Send a request through its pipeline; return the response, whose body is open."""
        if self._cached is not None:
            return self._cached.handle(request)
        exchange, woven = self.begin(request)
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
        if self._pools.leave(exc_type, exc_value, traceback):
            self._shut()

    def close(self) -> None:
        """Close all connections; a request after that opens new ones."""
        self._shut()
        self._pools.close()


class AsyncTransport(Transport[_Inner]):
    """Sends the requests of an async client, under asyncio and trio."""

    colour = "async"
    exchange = AsyncExchange

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
        if self._cached is not None:
            return self._cached.ahandle(request)
        exchange, woven = self.begin(request)
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
        if await self._pools.leave(exc_type, exc_value, traceback):
            self._shut()

    async def aclose(self) -> None:
        """Close all connections; a request after that opens new ones."""
        self._shut()
        await self._pools.close()
