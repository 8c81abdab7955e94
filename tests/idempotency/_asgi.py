"""An ASGI server of a few lines, and applications that count what they do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import anyio

from resilient.clock import current
from resilient.stores import Stats
from resilient.stores.contract import Record

Headers = dict[str, str]


class Got(NamedTuple):
    """A response."""

    status: int
    headers: Headers
    body: bytes

    @property
    def replayed(self) -> bool:
        return self.headers.get("idempotency-replayed") == "true"

    @property
    def problem(self) -> str:
        import json

        assert self.headers["content-type"] == "application/problem+json"
        problem = json.loads(self.body)
        assert problem["status"] == self.status
        assert problem["title"]
        assert problem["detail"]
        return str(problem["type"]).rpartition(":")[2].rpartition("#")[2]

    @property
    def key_id(self) -> str:
        import json

        return str(json.loads(self.body)["key_id"])


class Gone(OSError):
    """The client has left."""


async def ask(
    app: Any,
    key: str | bytes | None = "order-1",
    body: bytes | list[bytes] = b"1250",
    *,
    method: str = "POST",
    path: str = "/charges",
    query: bytes = b"",
    headers: list[tuple[bytes, bytes]] | None = None,
    leaves: bool = False,
    sent: list[Any] | None = None,
    **scope: Any,
) -> Got:
    """Send one request, and return the response.

    With `leaves`, the client is gone once the request is sent: the server's `send` raises then.
    """
    chunks = [body] if isinstance(body, bytes) else list(body)
    fields = [(b"content-type", b"application/json"), *(headers or [])]
    if key is not None:
        fields.append((b"idempotency-key", key if isinstance(key, bytes) else key.encode()))
    messages: list[Any] = [] if sent is None else sent
    whole = anyio.Event()

    async def receive() -> dict[str, Any]:
        if chunks:
            part = chunks.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(chunks)}
        if not leaves:
            await whole.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if leaves:
            raise Gone("the client has left")
        messages.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            whole.set()

    full = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "query_string": query,
        "headers": fields,
        "extensions": {"http.response.pathsend": {}, "tls": {}},
        **scope,
    }
    await app(full, receive, send)
    return got(messages)


def got(messages: list[Any]) -> Got:
    if not messages:
        return Got(0, {}, b"")
    start, *rest = messages
    assert start["type"] == "http.response.start"
    assert all(each["type"] == "http.response.body" for each in rest)
    assert [each.get("more_body", False) for each in rest[:-1]] == [True] * (len(rest) - 1)
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return Got(start["status"], headers, b"".join(each.get("body", b"") for each in rest))


class Shop:
    """An application that counts its charges: its ledger."""

    def __init__(self, status: int = 201, work: Callable[[], Awaitable[object]] | None = None) -> None:
        self.status = status
        self.work = work
        self.ledger: list[bytes] = []
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        body, more = b"", True
        while more:
            message = await receive()
            assert message["type"] == "http.request"
            body += message["body"]
            more = message["more_body"]
        self.ledger.append(body)
        status = self.status
        if self.work is not None:
            await self.work()
        number = str(len(self.ledger)).encode()
        headers = [(b"Content-Type", b"text/plain"), (b"date", b"today"), (b"connection", b"x-hop"), (b"x-hop", b"1")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"charge ", "more_body": True})
        await send({"type": "http.response.body", "body": number})


class Store:
    """A store like any other, that fails on command, and remembers what it was asked."""

    def __init__(self, inner: Any, *, blocking: bool | None = None) -> None:
        self.inner = inner
        self.blocking = inner.blocking if blocking is None else blocking
        self.asked: list[str] = []
        self.fails: Callable[[str], object] = lambda _: None
        """Called with the name of each method; what it raises is what the store raises."""

    def _ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        self.asked.append(method)
        self.fails(method)
        return getattr(self.inner, method)(*args, **kwargs)

    def get(self, key: str) -> Any:
        return self._ask("get", key)

    def put(self, key: str, record: Record, **options: Any) -> Any:
        return self._ask("put", key, record, **options)

    def delete(self, key: str, variant: str | None = None, **options: Any) -> int:
        return int(self._ask("delete", key, variant, **options))

    def purge(self, **options: Any) -> int:
        return int(self._ask("purge", **options))

    def stats(self) -> Stats:
        return self.inner.stats()

    def close(self) -> None:
        self.inner.close()


def failing(*methods: str) -> Callable[[str], None]:
    def fails(method: str) -> None:
        if not methods or method in methods:
            raise OSError("disk is gone")

    return fails


async def asleep(seconds: float) -> None:
    await current().asleep(seconds)
