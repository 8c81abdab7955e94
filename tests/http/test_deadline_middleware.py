"""Servers take over the deadline of their callers: the application runs inside it, and nobody else does."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import http.client
import io
import json
import math
import threading
import time
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import anyio
import httpx
import httpx2
import pytest

from resilient import ConfigError, DeadlineExceeded, Pipeline, Timeout, asgi, deadline, faults, remaining, wsgi
from resilient.asgi import DeadlineHeader
from resilient.testing import FakeClock, use

every_family = pytest.mark.parametrize("family", [httpx, httpx2], ids=lambda each: each.__name__)
every_loop = pytest.mark.parametrize("backend", ["asyncio", "trio"])
every_door = pytest.mark.parametrize("door", [asgi, wsgi], ids=["asgi", "wsgi"])

Headers = list[tuple[str, str]]


async def tell(scope: Any, receive: Any, send: Any) -> None:
    """Answer with what is left, as JSON."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(remaining()).encode()})


def tell_plainly(environ: Any, start_response: Any) -> list[bytes]:
    """Answer with what is left, as JSON."""
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(remaining()).encode()]


def serve(door: Any, headers: Headers, *given: Any, method: str = "GET", **settings: Any) -> tuple[int, Any]:
    """Send one request to the application that tells what is left; return status and answer."""
    if door is asgi:

        async def ask() -> Any:
            transport = httpx.ASGITransport(asgi.DeadlineMiddleware(tell, *given, **settings))
            async with httpx.AsyncClient(transport=transport) as client:
                return await client.request(method, "http://app/", headers=headers)

        response = asyncio.run(ask())
    else:
        with httpx.Client(
            transport=httpx.WSGITransport(wsgi.DeadlineMiddleware(tell_plainly, *given, **settings))
        ) as c:
            response = c.request(method, "http://app/", headers=headers)
    assert remaining() is None
    return response.status_code, response.json() if response.content else None


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    """Stop the clock."""
    with use(FakeClock(auto=False)) as standing:
        yield standing


@every_door
@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("headers", "left"),
    [
        ([], None),
        ([("grpc-timeout", "1500m")], 1.5),
        ([("X-Request-Deadline", "1500")], 1.5),
        ([("x-request-deadline", " 250 ")], 0.25),
        ([("X-Request-Deadline", "1"), ("grpc-timeout", "2S")], 2.0),
        ([("X-Request-Deadline", "1500"), ("grpc-timeout", "2s")], 1.5),
        ([("X-Request-Deadline", "-1")], None),
        ([("X-Request-Deadline", "9" * 400)], None),
        ([("X-Request-Deadline", "2000, x, 1000")], 1.0),
        ([("X-Request-Deadline", "1000, 2000")], 1.0),
        ([("X-Request-Deadline", ",")], None),
        ([("X-Other", "2000")], None),
    ],
)
def test_the_first_header_that_makes_sense_counts(door: Any, headers: Headers, left: float | None) -> None:
    assert serve(door, headers) == (200, left)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("sent", [("2000", "1000"), ("1000", "2000"), ("x", "1000"), ("1000", "x")])
def test_of_a_header_that_comes_twice_the_shorter_time_counts(sent: tuple[str, str]) -> None:
    # Under WSGI it is the server that joins them, so that case is shown on a real one below.
    assert serve(asgi, [("X-Request-Deadline", each) for each in sent]) == (200, 1.0)


@every_door
@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("sent", "settings", "left"),
    [
        (None, {"default": 5}, 5.0),
        ("x", {"default": 5}, 5.0),
        ("1000", {"default": 5}, 1.0),
        ("9000", {"default": 5}, 9.0),
        ("9000", {"longest": 5}, 5.0),
        ("1000", {"longest": 5}, 1.0),
        (None, {"longest": 5}, 5.0),
        (None, {"default": 3, "longest": 5}, 3.0),
        ("1000", {"default": 3, "trust": lambda _: False}, 3.0),
        ("1000", {"default": 3, "trust": lambda _: True}, 1.0),
        ("0", {"trust": lambda _: False}, None),
    ],
)
def test_default_longest_and_trust(door: Any, sent: str | None, settings: Any, left: float | None) -> None:
    headers = [] if sent is None else [("X-Request-Deadline", sent)]
    assert serve(door, headers, **settings) == (200, left)


@every_door
@pytest.mark.usefixtures("clock")
def test_other_headers_than_the_usual_ones(door: Any) -> None:
    envoy, connect = DeadlineHeader("x-envoy-expected-rq-timeout-ms"), DeadlineHeader("connect-timeout-ms")
    headers = [("connect-timeout-ms", "125"), ("x-envoy-expected-rq-timeout-ms", "250"), ("grpc-timeout", "1S")]
    assert serve(door, headers, envoy, connect) == (200, 0.25)
    assert serve(door, headers[2:], envoy, connect) == (200, None)


@every_door
@pytest.mark.usefixtures("clock")
def test_what_one_side_writes_the_other_takes_over(door: Any) -> None:
    header = DeadlineHeader(reserve=0.5)
    assert serve(door, [(header.name, header.encode(2.0))]) == (200, 1.5)


@every_door
@pytest.mark.usefixtures("clock")
def test_trust_is_asked_about_the_request_and_may_break(door: Any) -> None:
    asked: list[Any] = []

    def broken(request: Any) -> bool:
        asked.append(request)
        raise RuntimeError("out of order")

    assert serve(door, [("grpc-timeout", "1S")], trust=broken, default=3) == (200, 3.0)
    assert serve(door, [], trust=broken, default=3) == (200, 3.0)
    assert len(asked) == 1
    assert asked[0]["type" if door is asgi else "REQUEST_METHOD"] in {"http", "GET"}
    assert faults.total() == 1


@every_door
@pytest.mark.parametrize("sent", [("X-Request-Deadline", "0"), ("grpc-timeout", "1n")])
def test_a_passed_deadline_is_answered_without_the_application(door: Any, sent: tuple[str, str]) -> None:
    called: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        called.append(1)

    def plain(environ: Any, start_response: Any) -> list[bytes]:
        called.append(1)
        return []

    if door is asgi:

        async def ask(method: str) -> Any:
            async with httpx2.AsyncClient(transport=httpx2.ASGITransport(asgi.DeadlineMiddleware(app))) as client:
                return await client.request(method, "http://app/", headers=[sent])

        got, head = asyncio.run(ask("GET")), asyncio.run(ask("HEAD"))
    else:
        transport = httpx2.WSGITransport(validator(wsgi.DeadlineMiddleware(validator(plain))))
        with httpx2.Client(transport=transport) as client:
            got, head = (client.request(method, "http://app/", headers=[sent]) for method in ("GET", "HEAD"))
    for response in (got, head):
        assert response.status_code == 504
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-should-retry"] == "false"
        assert int(response.headers["content-length"]) == len(got.content)
    assert got.json()["status"] == 504
    assert head.content == b""
    assert called == []


@every_door
def test_an_absolute_end_that_has_passed(door: Any) -> None:
    status, problem = serve(door, [("X-End", "1600000000")], DeadlineHeader("X-End", format="unix"))
    assert (status, problem["title"]) == (504, "Gateway Timeout")


@every_door
@pytest.mark.usefixtures("clock")
def test_a_deadline_around_the_server_still_holds(door: Any) -> None:
    with deadline(1):
        app = [("X-Request-Deadline", "9000")]
        seen: list[Any] = []
        if door is asgi:
            seen.append(drive_asgi(app, lambda: seen.append(remaining())))
        else:
            list(wsgi.DeadlineMiddleware(tell_plainly)(environ_of(app), lambda *_: seen.append(remaining())))
        assert seen[0] == 1.0
        assert remaining() == 1.0


def environ_of(headers: Headers) -> dict[str, Any]:
    return {"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers}


def scope_of(kind: str, headers: Headers, **more: Any) -> dict[str, Any]:
    return {"type": kind, "headers": [(name.lower().encode(), value.encode()) for name, value in headers], **more}


def drive_asgi(headers: Headers, look: Callable[[], object]) -> None:
    """Run the middleware around an application that never suspends."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        look()

    with contextlib.suppress(StopIteration):
        asgi.DeadlineMiddleware(app)(scope_of("http", headers), None, None).send(None)  # type: ignore[arg-type, attr-defined]


@every_family
@every_loop
def test_pipelines_inside_are_cut_to_the_deadline_of_the_caller(family: Any, backend: str) -> None:
    inner = Pipeline(f"middleware-{family.__name__}-{backend}", Timeout(10))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def inside() -> None:
            nested = remaining()
            assert nested is not None
            assert nested <= 0.2
            await anyio.sleep(5)

        try:
            await inner.acall(inside)
        except TimeoutError:
            await tell(scope, receive, send)

    async def ask() -> Any:
        transport = family.ASGITransport(asgi.DeadlineMiddleware(app))
        async with family.AsyncClient(transport=transport) as client:
            response = await client.get("http://app/", headers={"grpc-timeout": "200m"})
        assert remaining() is None
        return response.json()

    began = time.monotonic()
    assert anyio.run(ask, backend=backend) == 0.0
    assert 0.19 < time.monotonic() - began < 4


@every_loop
def test_requests_at_the_same_time_do_not_see_each_other(backend: str) -> None:
    seen: dict[str, list[float | None]] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        mine = seen[scope["path"]] = []
        for _ in range(5):
            mine.append(remaining())
            await anyio.sleep(0)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(5):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            mine.append(remaining())
            await anyio.sleep(0)
        await send({"type": "http.response.body", "body": b""})

    async def main() -> None:
        transport = httpx.ASGITransport(asgi.DeadlineMiddleware(app))
        async with httpx.AsyncClient(transport=transport) as client, anyio.create_task_group() as group:
            for left in (1, 10, 100, 1000):
                headers = {"grpc-timeout": f"{left}S"}
                group.start_soon(lambda left=left, headers=headers: client.get(f"http://app/{left}", headers=headers))
            group.start_soon(client.get, "http://app/none")

    anyio.run(main, backend=backend)
    assert seen.pop("/none") == [None] * 10
    assert len(seen) == 4
    for path, mine in seen.items():
        limit = float(path[1:])
        assert len(mine) == 10
        assert all(left is not None and limit - 0.9 < left <= limit for left in mine)


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, asyncio.CancelledError])
def test_nothing_is_left_behind_when_the_application_fails(failure: type[BaseException]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert remaining() is not None
        raise failure

    async def main() -> None:
        with pytest.raises(failure):
            await asgi.DeadlineMiddleware(app)(scope_of("http", [("grpc-timeout", "9S")]), None, None)  # type: ignore[arg-type]
        assert remaining() is None

    asyncio.run(main())


def test_a_request_that_is_thrown_away_elsewhere_complains_about_nothing() -> None:
    """A loop that dies leaves its coroutines to the collector, which runs in another context."""

    @types.coroutine
    def stop() -> Iterator[None]:
        yield

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await stop()

    request = asgi.DeadlineMiddleware(app)(scope_of("http", [("grpc-timeout", "9S")]), None, None)  # type: ignore[arg-type]
    contextvars.copy_context().run(request.send, None)  # type: ignore[attr-defined]
    request.close()  # type: ignore[attr-defined]
    gc.collect()
    assert remaining() is None


@pytest.mark.usefixtures("clock")
def test_a_lifespan_is_none_of_our_business() -> None:
    scope = scope_of("lifespan", [("grpc-timeout", "0S"), ("X-Request-Deadline", "0")])
    seen: list[Any] = []

    async def app(*args: Any) -> None:
        seen.extend([remaining(), *args])

    receive, send = object(), object()
    asyncio.run(asgi.DeadlineMiddleware(app, default=5, longest=5)(scope, receive, send))  # type: ignore[arg-type]
    assert seen == [None, scope, receive, send]


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("headers", "left"),
    [([], None), ([("grpc-timeout", "1S")], 1.0), ([("grpc-timeout", "9S")], 5.0)],
)
def test_a_websocket_ends_early_only_if_it_says_so(headers: Headers, left: float | None) -> None:
    seen: list[Any] = []

    async def app(*args: Any) -> None:
        seen.append(remaining())

    middleware = asgi.DeadlineMiddleware(app, default=3, longest=5)
    asyncio.run(middleware(scope_of("websocket", headers), None, None))  # type: ignore[arg-type]
    assert seen == [left]


@pytest.mark.parametrize(
    ("extensions", "types"),
    [
        ({}, ["websocket.close"]),
        ({"extensions": None}, ["websocket.close"]),
        (
            {"extensions": {"websocket.http.response": {}}},
            ["websocket.http.response.start", "websocket.http.response.body"],
        ),
    ],
)
def test_a_websocket_that_comes_too_late_is_refused(extensions: Any, types: list[str]) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def app(*args: Any) -> None:
        raise AssertionError

    scope = scope_of("websocket", [("X-Request-Deadline", "0")], **extensions)
    asyncio.run(asgi.DeadlineMiddleware(app)(scope, None, send))  # type: ignore[arg-type]
    assert [each["type"] for each in sent] == types
    assert sent[0].get("status", 504) == 504


@every_family
def test_a_body_is_streamed_inside_the_deadline_and_read_outside(family: Any, clock: FakeClock) -> None:
    closed: list[float | None] = []

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        try:
            for _ in range(3):
                yield f"{remaining()} ".encode()
        finally:
            closed.append(remaining())

    inside = wsgi.DeadlineMiddleware(app)
    with family.Client(transport=family.WSGITransport(inside)) as client:
        with client.stream("GET", "http://app/", headers={"grpc-timeout": "3S"}) as response:
            got = []
            for chunk in response.iter_raw():
                assert remaining() is None
                got.append(chunk)
                clock.advance(1)
        assert got == [b"3.0 ", b"2.0 ", b"1.0 "]
        with client.stream("GET", "http://app/", headers={"grpc-timeout": "3S"}) as response:
            assert next(response.iter_raw()) == b"3.0 "
    assert closed == [0.0, 3.0]
    assert remaining() is None


@pytest.mark.usefixtures("clock")
def test_two_bodies_read_in_turns_keep_their_own_deadlines() -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        for _ in range(3):
            yield str(remaining()).encode()

    served = wsgi.DeadlineMiddleware(app)
    bodies = [iter(served(environ_of([("grpc-timeout", f"{left}S")]), lambda *_: None)) for left in (2, 5)]  # type: ignore[arg-type]
    assert [next(body) for _ in range(3) for body in bodies] == [b"2.0", b"5.0"] * 3
    for body in bodies:
        with pytest.raises(StopIteration):
            next(body)
    assert remaining() is None


def test_a_body_keeps_its_deadline_in_whatever_thread_reads_it() -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        yield b"" if remaining() is None else b"inside"

    body = wsgi.DeadlineMiddleware(app)(environ_of([("grpc-timeout", "9S")]), lambda *_: None)  # type: ignore[arg-type]
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.extend(body))
    reader.start()
    reader.join(5)
    assert got == [b"inside"]


def test_a_body_is_closed_once_and_one_without_close_is_left_alone() -> None:
    class Body:
        closed = 0

        def __iter__(self) -> Iterator[bytes]:
            return iter([str(remaining() is not None).encode()])

        def close(self) -> None:
            self.closed += 1

    made = Body()
    served = wsgi.DeadlineMiddleware(lambda *_: made)
    body: Any = served(environ_of([("grpc-timeout", "9S")]), lambda *_: None)  # type: ignore[arg-type]
    assert list(body) == [b"True"]
    assert made.closed == 0
    body.close()
    assert made.closed == 1
    served = wsgi.DeadlineMiddleware(lambda *_: iter([b"x"]))
    body = served(environ_of([("grpc-timeout", "9S")]), lambda *_: None)  # type: ignore[arg-type]
    body.close()
    assert list(body) == [b"x"]


def test_a_body_that_fails_leaves_nothing_behind() -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        yield b"x"
        raise ValueError

    body = iter(wsgi.DeadlineMiddleware(app)(environ_of([("grpc-timeout", "9S")]), lambda *_: None))  # type: ignore[arg-type]
    next(body)
    with pytest.raises(ValueError):
        next(body)
    assert remaining() is None
    with pytest.raises(ValueError):
        wsgi.DeadlineMiddleware(lambda *_: int("x"))(environ_of([("grpc-timeout", "9S")]), lambda *_: None)  # type: ignore[arg-type]
    assert remaining() is None


@pytest.mark.parametrize("body", [[b"one"], (b"one",), FileWrapper(io.BytesIO(b"file"))], ids=["list", "tuple", "file"])
def test_what_a_server_treats_specially_reaches_it_as_it_is(body: Any) -> None:
    environ = environ_of([("grpc-timeout", "9S")]) | {"wsgi.file_wrapper": FileWrapper}
    assert wsgi.DeadlineMiddleware(lambda *_: body)(environ, lambda *_: None) is body  # type: ignore[arg-type]


class Silent(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def listening(app: Any) -> Iterator[int]:
    with make_server("127.0.0.1", 0, app, WSGIServer, Silent) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join(5)


def test_a_real_server(clock: FakeClock) -> None:
    calls = Pipeline("middleware-wsgiref", Timeout(10, cooperative=True))

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        for _ in range(2):
            yield json.dumps(calls.call(remaining)).encode() + b" "
            clock.advance(1)
        try:
            calls.call(remaining)
        except DeadlineExceeded:
            yield b"late"

    def ask(port: int, *headers: tuple[str, str]) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.putrequest("GET", "/")
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    with listening(validator(wsgi.DeadlineMiddleware(validator(app)))) as port:
        assert ask(port, ("grpc-timeout", "2S")) == (200, b"2.0 1.0 late")
        assert ask(port, ("X-Request-Deadline", "2000"), ("X-Request-Deadline", "9000")) == (200, b"2.0 1.0 late")
        assert ask(port, ("X-Request-Deadline", "20000")) == (200, b"10.0 10.0 ")
        assert ask(port) == (200, b"10.0 10.0 ")
        status, body = ask(port, ("X-Request-Deadline", "0"))
        assert (status, json.loads(body)["status"]) == (504, 504)


@every_door
@pytest.mark.parametrize(
    ("given", "settings", "text"),
    [
        ((), {"default": 0}, "default must be"),
        ((), {"default": math.inf}, "default must be"),
        ((), {"longest": -1}, "longest must be"),
        ((), {"longest": "5"}, "longest must be"),
        ((), {"default": 5, "longest": 3}, "default must be at most longest, which is 3 s"),
        ((), {"trust": "everybody"}, "trust must be"),
        (("grpc-timeout",), {}, "headers must be DeadlineHeader objects, got 'grpc-timeout'"),
        ((DeadlineHeader("X-A"), DeadlineHeader("x-a", format="unix")), {}, "headers must be different names"),
    ],
)
def test_bad_settings(door: Any, given: Any, settings: Any, text: str) -> None:
    with pytest.raises((ConfigError, TypeError), match=text):
        door.DeadlineMiddleware(tell if door is asgi else tell_plainly, *given, **settings)


@every_door
def test_an_async_trust_is_refused(door: Any) -> None:
    async def trust(request: Any) -> bool:
        return True

    with pytest.raises(TypeError, match="trust must be"):
        door.DeadlineMiddleware(tell if door is asgi else tell_plainly, trust=trust)


def test_an_application_of_the_other_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="app must be a WSGI application"):
        wsgi.DeadlineMiddleware(tell)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="app must be an ASGI 3 application"):
        asgi.DeadlineMiddleware(None)  # type: ignore[arg-type]


def test_both_doors_import_nothing_but_the_core() -> None:
    import subprocess
    import sys

    script = (
        "import sys, resilient.asgi, resilient.wsgi;"
        "print(sorted({'httpx', 'httpx2', 'anyio', 'asyncio', 'logging', 'trio', 'starlette'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert found.stdout.strip() == "[]"
