"""What is put to the test: our clients with a cache, a gateway around one, a peer, or no cache at all."""

from __future__ import annotations

import importlib
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol
from unittest import mock

import h11
from anyio.from_thread import BlockingPortal, start_blocking_portal

from resilient import Pipeline, Timeout
from resilient.clock import current

Pairs = list[tuple[bytes, bytes]]

NOISE: Pairs = [(b"Pragma", b"foo"), (b"Cache-Control", b"nothing-to-see-here")]
"""What the public suite's own client sends with every request through a gateway; it means nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, the fields (those of one name as one), the body as it was sent."""

    status: int
    fields: dict[str, str]
    body: bytes
    early: tuple[tuple[int, dict[str, str]], ...] = ()


class Subject(Protocol):
    """Something that can be asked."""

    def ask(self, method: str, url: str, fields: Pairs, body: bytes | None) -> Answer:
        """Send a request. Whatever fails on the way is a 502, as of a gateway."""

    def idle(self) -> None:
        """Let it do what it does in the background, for a moment of real time."""


def failed(error: Exception) -> Answer:
    return Answer(502, {"suite-error": repr(error)}, repr(error).encode())


def answered(response: Any, body: bytes) -> Answer:
    fields: dict[str, str] = {}
    for name, value in response.headers.raw:
        key, text = name.decode("ascii").lower(), value.decode("latin-1")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return Answer(response.status_code, fields, body)


class Plain:
    """A client for threads."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def ask(self, method: str, url: str, fields: Pairs, body: bytes | None) -> Answer:
        self.client.cookies.clear()
        request = self.client.build_request(method, url, headers=fields, content=body)
        try:
            response = self.client.send(request, stream=True)
            try:
                return answered(response, b"".join(response.iter_raw()))
            finally:
                response.close()
        except Exception as error:
            return failed(error)

    def idle(self) -> None:
        time.sleep(0.02)


class Async:
    """A client for tasks, on an event loop in a thread of its own."""

    def __init__(self, client: Any, portal: BlockingPortal) -> None:
        self.client, self.portal = client, portal

    def ask(self, method: str, url: str, fields: Pairs, body: bytes | None) -> Answer:
        return self.portal.call(self._ask, method, url, fields, body)

    async def _ask(self, method: str, url: str, fields: Pairs, body: bytes | None) -> Answer:
        self.client.cookies.clear()
        request = self.client.build_request(method, url, headers=fields, content=body)
        try:
            response = await self.client.send(request, stream=True)
            try:
                return answered(response, b"".join([chunk async for chunk in response.aiter_raw()]))
            finally:
                await response.aclose()
        except Exception as error:
            return failed(error)

    def idle(self) -> None:
        time.sleep(0.02)


class Gateway:
    """A gateway on the loopback, asked over HTTP/1.1 as the public suite asks one."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, url: str, fields: Pairs, body: bytes | None) -> Answer:
        import socket

        target = "/" + url.split("/", 3)[3]
        framing = [(b"Host", b"gateway"), (b"Connection", b"close")]
        if body is not None:
            framing.append((b"Content-Length", str(len(body)).encode()))
        wire = h11.Connection(h11.CLIENT)
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(
                wire.send(h11.Request(method=method, target=target, headers=[*framing, *NOISE, *fields]))
            )
            if body:
                connection.sendall(wire.send(h11.Data(data=body)))
            wire.send(h11.EndOfMessage())
            return self._read(connection, wire)

    @staticmethod
    def _read(connection: Any, wire: h11.Connection) -> Answer:
        from tests.cache.suite.origin import joined

        head, body, early = None, b"", []
        while True:
            event = wire.next_event()
            if event is h11.NEED_DATA:
                wire.receive_data(connection.recv(65_536))
            elif isinstance(event, h11.InformationalResponse):
                early.append((event.status_code, joined(event.headers)))
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                assert isinstance(event, h11.EndOfMessage)
                assert head is not None
                return Answer(head.status_code, joined(head.headers), body, tuple(early))

    def idle(self) -> None:
        time.sleep(0.02)


# -- how each is made, for one case ------------------------------------------------------------------


def pipeline() -> Pipeline:
    """A downstream without retries, which the origin would see."""
    return Pipeline("suite", Timeout(30))


def cache(*, shared: bool, stale: float | None) -> Any:
    from resilient.cache import HttpCache

    return HttpCache(shared=shared, stale_if_error=stale)


@contextmanager
def ours(family: str, *, shared: bool, stale: float | None = None) -> Iterator[Plain]:
    """Our transport, for threads."""
    module, door = importlib.import_module(family), importlib.import_module(f"resilient.{family}")
    transport = door.ResilientTransport(pipeline(), cache=cache(shared=shared, stale=stale), verify=False)
    with module.Client(transport=transport) as client:
        yield Plain(client)


@contextmanager
def ours_async(family: str, *, shared: bool, stale: float | None = None, backend: str = "asyncio") -> Iterator[Async]:
    """Our transport, for tasks."""
    module, door = importlib.import_module(family), importlib.import_module(f"resilient.{family}")
    with start_blocking_portal(backend) as portal:
        transport = door.AsyncResilientTransport(pipeline(), cache=cache(shared=shared, stale=stale), verify=False)
        client = module.AsyncClient(transport=transport)
        try:
            yield Async(client, portal)
        finally:
            portal.call(client.aclose)


@contextmanager
def gateway(family: str, *, shared: bool, stale: float | None = None, origin: str = "") -> Iterator[Gateway]:
    """A gateway around our transport, for threads."""
    from tests.cache.transport.proxy import Proxy
    from tests.http._sockets import serving

    with ours(family, shared=shared, stale=stale) as subject, serving(Proxy(subject.client, origin).serve) as server:
        yield Gateway(server.port)


@contextmanager
def bare(family: str, *, shared: bool, stale: float | None = None) -> Iterator[Plain]:
    """A client without a cache."""
    del shared, stale
    module = importlib.import_module(family)
    with module.Client(verify=False) as client:
        yield Plain(client)


@contextmanager
def hishel(family: str, *, shared: bool, stale: float | None = None) -> Iterator[Plain]:
    """A peer: it reads the wall clock itself, so that has to be ours."""
    del stale
    module, peer = importlib.import_module(family), importlib.import_module(f"hishel.{family}")
    options = importlib.import_module("hishel").CacheOptions(shared=shared)
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    storage = importlib.import_module("hishel").SqliteStorage(connection=connection)
    transport = peer.CacheTransport(module.HTTPTransport(verify=False), storage, rfc=options)
    with mock.patch("time.time", new=current().wall), module.Client(transport=transport) as client:
        yield Plain(client)
    with suppress(sqlite3.Error):
        connection.close()


SUBJECTS = {
    "sync": ours,
    "async": ours_async,
    "trio": partial(ours_async, backend="trio"),
    "proxy": gateway,
    "hishel": hishel,
    "none": bare,
}
