"""The reader of deadline headers for ASGI applications; for WSGI there is `resilient.wsgi`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from resilient import _check
from resilient._deadline_header import DeadlineHeader
from resilient._deadline_reader import BODY, FIELDS, STATUS, Reader, passed
from resilient.deadline import enter, leave

__all__ = ["DeadlineHeader", "DeadlineMiddleware"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_FIELDS = tuple((name.encode(), value.encode()) for name, value in FIELDS)


class DeadlineMiddleware:
    """Run each request inside the deadline that its caller sent.

    The deadline is that of `resilient.deadline`: it interrupts nothing by itself, and every
    pipeline and `remaining()` inside see it. A request whose deadline has passed is answered
    504 without asking the application. A websocket has a deadline only if its handshake sends one.

    Args:
        app: The ASGI 3 application.
        *headers: The headers that are read; the first one that makes sense counts. Left out:
            `grpc-timeout`, then `X-Request-Deadline`.
        default: Seconds, above 0, for a request that sends none; None sets no deadline.
        longest: Seconds, above 0, that a request gets at most, whatever it sends or leaves out.
        trust: Function of the scope that says whether the request's headers count. None: always.

    Raises:
        ConfigError: If a duration is not above 0, `default` exceeds `longest`, or a name comes twice.
        TypeError: If one of the values is of a wrong type.

    Example:
        >>> from resilient import remaining
        >>> async def app(scope, receive, send):
        ...     print(remaining())
        >>> served = DeadlineMiddleware(app, longest=30)

    """

    def __init__(
        self,
        app: App,
        *headers: DeadlineHeader,
        default: _check.Duration | None = None,
        longest: _check.Duration | None = None,
        trust: Callable[[Scope], object] | None = None,
    ) -> None:
        """Check every value."""
        if not callable(app):
            _check.refuse_type("app", app, "an ASGI 3 application")
        self.app = app
        self._reader: Reader[Scope] = Reader(headers, default, longest, trust, str.lower)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        end = self._reader.end(self._values(scope), scope, session=scope["type"] == "websocket")
        if end is None:
            return await self.app(scope, receive, send)
        if passed(end):
            return await _refuse(scope, send)
        token = enter(end)
        try:
            return await self.app(scope, receive, send)
        finally:
            with suppress(ValueError):  # thrown away in another context: nothing to restore there
                leave(token)

    def _values(self, scope: Scope) -> dict[str, str]:
        values: dict[str, str] = {}
        for raw, value in scope.get("headers", ()):
            name = raw.decode("latin-1").lower()
            if name in self._reader.fields:
                text = value.decode("latin-1")
                values[name] = f"{values[name]},{text}" if name in values else text
        return values


async def _refuse(scope: Scope, send: Send) -> None:
    prefix = "http"
    if scope["type"] == "websocket":
        prefix = "websocket.http"
        if f"{prefix}.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close"})  # before it was accepted: the server answers 403
            return
    body = b"" if scope.get("method") == "HEAD" else BODY
    await send({"type": f"{prefix}.response.start", "status": STATUS, "headers": list(_FIELDS)})
    await send({"type": f"{prefix}.response.body", "body": body, "more_body": False})
