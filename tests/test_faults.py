"""The fault server does to a client what each step says, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import httpx
import httpx2
import pytest
import trio
from h2.connection import H2Connection
from hyperframe.frame import Frame, SettingsFrame

from tests.faults import (
    Exchange,
    FaultServer,
    ProcessServer,
    Step,
    answer,
    burst_429,
    close,
    close_after,
    close_mid_body,
    close_on_reuse,
    drip,
    drip_headers,
    echo,
    event_stream,
    gated,
    goaway,
    hints,
    nobody,
    raw,
    redirect,
    refused_stream,
    reset,
    reset_mid_body,
    retry_after,
    rst,
    stall,
    stall_mid_body,
    step,
    unanswered,
    unauthorized,
    unread,
)

SHORT = 0.05
DESCRIPTORS = Path("/proc/self/fd")
both_families = pytest.mark.parametrize("family", [httpx, httpx2], ids=["httpx", "httpx2"])


@contextlib.contextmanager
def client(script, *, http2: bool = False, family=httpx, timeout: float = 5.0, **options) -> Iterator:
    with FaultServer(script, **options) as server:
        transport = family.HTTPTransport(verify=False, http1=not http2, http2=http2)
        with family.Client(transport=transport, base_url=server.url, timeout=timeout) as sender:
            yield server, sender


class Raw:
    """A client of bare bytes."""

    def __init__(self, server: FaultServer, data: bytes = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") -> None:
        host, port = server.url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=5)
        self.socket.sendall(data)

    def __enter__(self) -> socket.socket:
        return self.socket

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def until(sock: socket.socket, end: bytes) -> bytes:
    seen = b""
    while not seen.endswith(end):
        part = sock.recv(65536)
        assert part, seen
        seen += part
    return seen


def everything(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


# The script.


def test_steps_answer_one_request_after_another_and_the_last_repeats() -> None:
    with client([*burst_429(2), retry_after(503, "soon"), answer(201, b"at last", {"x-a": "1"})]) as (server, http):
        answers = [http.get("/") for _ in range(5)]
        assert [response.status_code for response in answers] == [429, 429, 503, 201, 201]
        assert answers[2].headers["retry-after"] == "soon"
        assert (answers[4].text, answers[4].headers["x-a"]) == ("at last", "1")
        assert (server.requests, server.connections, server.open) == (5, 1, 1)


def test_a_script_may_be_a_function_or_a_mapping_and_may_change() -> None:
    script = {
        "/line": [answer(500), answer()],
        "/look": lambda received: answer(201) if "authorization" in received.headers else unauthorized(),
        "/same": answer(202),
    }
    with client(script) as (server, http):
        assert [http.get("/line?a=1").status_code for _ in range(3)] == [500, 200, 200]
        assert http.get("/same").status_code == 202
        assert http.get("/other").status_code == 404
        assert http.get("/look", auth=httpx.DigestAuth("me", "secret")).status_code == 201
        assert 'nonce="nonce-1"' in server.received[-1].headers["Authorization"]
        server.play(lambda _: answer(203))
        assert http.get("/other").status_code == 203


def test_a_script_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="needs steps"), FaultServer([]):
        pass
    with pytest.raises(TypeError, match="stauts"):
        answer(stauts=500)


def test_what_fails_in_the_script_itself_is_raised_at_the_end() -> None:
    @step
    async def broken(exchange: Exchange) -> None:
        raise LookupError("of the script")

    @step
    async def lazy(exchange: Exchange) -> None:
        await exchange.head(200, [])

    with pytest.raises(BaseExceptionGroup) as caught, client([broken(), lazy(), rst()]) as (_, http):
        for _ in range(3):
            with pytest.raises(httpx.TransportError):
                http.get("/").read()
    assert [type(fault) for fault in caught.value.exceptions] == [LookupError, RuntimeError, RuntimeError]


# What it saw.


@both_families
@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_it_records_what_it_received(family, http2: bool) -> None:
    with client(echo(), family=family, http2=http2) as (server, http):
        before = time.monotonic()
        body = os.urandom(300_000)  # more than HTTP/2 lets go at once
        assert http.post("/a?b=c", content=body, headers=[("X-Two", "1"), ("x-two", "2")]).content == body
        assert http.put("/d", content=iter([b"one", b"two"])).content == b"onetwo"
        first, second = server.received
        assert (first.method, first.target, first.path, first.body) == ("POST", "/a?b=c", "/a", body)
        assert (first.headers["X-TWO"], first.headers.all("x-two")) == ("1, 2", ["1", "2"])
        assert (first.connection, second.connection, first.complete) == (1, 1, True)
        assert first.version == ("2" if http2 else "1.1")
        assert (first.stream, second.stream) == ((1, 3) if http2 else (0, 0))
        assert before <= first.time <= second.time <= time.monotonic()
        assert server.bodies == [body, b"onetwo"]


def test_a_body_that_breaks_off_is_no_request() -> None:
    def body() -> Iterator[bytes]:
        yield b"begun"
        raise LookupError("of the caller")

    with client(answer()) as (server, http):
        with pytest.raises(LookupError):
            http.post("/", content=body())
        server.wait_until(lambda: server.broken_off)
        assert (server.requests, server.broken_off[0].body, server.broken_off[0].complete) == (0, b"begun", False)


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_it_counts_requests_in_flight_and_opens_gates(http2: bool) -> None:
    gate = threading.Event()
    with client(gated(gate, then=answer(201)), http2=http2) as (server, http), ThreadPoolExecutor(8) as threads:
        if http2:  # one connection for all, once it has been seen to be HTTP/2
            gate.set()
            http.get("/")
            gate.clear()
        sent = [threads.submit(http.get, "/") for _ in range(8)]
        server.wait_until(lambda: server.in_flight == 8)
        assert not any(future.done() for future in sent)
        gate.set()
        assert {future.result().status_code for future in sent} == {201}
        server.wait_until(lambda: server.in_flight == 0)
        assert (server.most_in_flight, server.most_open) == (8, 1 if http2 else 8)
    assert server.open == 0


def test_it_never_counts_more_in_flight_than_the_client_has() -> None:
    def send(http: httpx.Client) -> None:
        for _ in range(30):
            http.get("/")

    with client([answer(), close_after(), drip(0.0, count=3)]) as (server, http), ThreadPoolExecutor(3) as threads:
        for future in [threads.submit(send, http) for _ in range(3)]:
            future.result()
        assert (server.requests, server.most_in_flight <= 3) == (90, True)


def test_waiting_for_what_never_comes_fails() -> None:
    with FaultServer() as server, pytest.raises(AssertionError, match=r"never came true: .*'requests': 0"):
        server.wait_until(lambda: server.requests, 0.01)


@pytest.mark.parametrize("run", [asyncio.run, lambda main: trio.run(lambda: main)], ids=["asyncio", "trio"])
def test_async_code_waits_without_blocking_its_loop(run: Callable) -> None:
    async def main() -> None:
        with FaultServer(stall()) as server:
            async with (
                httpx2.AsyncClient(verify=False, base_url=server.url) as http,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(http.get, "/")
                await server.until(lambda: server.in_flight == 1)
                tasks.cancel_scope.cancel()
            await server.until(lambda: server.in_flight == server.open == 0)

    run(main())


# Ways to fail.


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (reset(), httpx.ReadError, "reset"),
        (close(), httpx.RemoteProtocolError, "isconnected"),
        (stall(), httpx.ReadTimeout, "timed out"),
        (stall_mid_body(), httpx.ReadTimeout, "timed out"),
        (reset_mid_body(), httpx.ReadError, "reset"),
        (reset_mid_body(declared=None), httpx.ReadError, "reset"),
        (close_mid_body(), httpx.RemoteProtocolError, "closed|disconnected"),
        (close_mid_body(declared=None), httpx.RemoteProtocolError, "closed|disconnected"),
    ],
    ids=["reset", "close", "stall", "stall mid", "reset mid", "reset mid chunked", "close mid", "close mid chunked"],
)
def test_each_fault_is_seen_as_what_it_is(fault: Step, error: type[Exception], words: str, http2: bool) -> None:
    with client([fault, answer()], http2=http2, timeout=SHORT) as (server, http):
        with pytest.raises(error, match=words):
            http.get("/")
        assert http.get("/").text == "ok"
        assert server.requests == 2


def test_before_headers_means_that_not_a_byte_came() -> None:
    with FaultServer([close(), reset()]) as server:
        with Raw(server) as sock:
            assert sock.recv(100) == b""
        with Raw(server) as sock, pytest.raises(ConnectionResetError):
            sock.recv(100)


@pytest.mark.parametrize("end", [reset_mid_body(b"12345", 9), close_mid_body(b"12345", 9)], ids=repr)
def test_mid_body_means_that_a_part_came(end: Step) -> None:
    with client(end) as (_, http), http.stream("GET", "/") as response:
        assert (response.status_code, response.headers["content-length"]) == (200, "9")
        parts = response.iter_raw()
        assert next(parts) == b"12345"
        with pytest.raises(httpx.TransportError):
            next(parts)


def test_a_stall_may_end() -> None:
    script = [stall(SHORT), stall(SHORT, then=answer(503)), stall_mid_body(b"ab", 4, seconds=SHORT)]
    with client(script) as (_, http):
        start = time.monotonic()
        assert [(response.status_code, response.text) for response in (http.get("/") for _ in script)] == [
            (200, "ok"),
            (503, "ok"),
            (200, "ab.."),
        ]
        assert time.monotonic() - start >= 3 * SHORT


def test_a_client_that_leaves_ends_its_step() -> None:
    with FaultServer([stall(), drip(), event_stream(), drip_headers()]) as server:
        for count in range(1, 5):
            with Raw(server):
                server.wait_until(lambda count=count: server.requests == count)
                assert (server.in_flight, server.open) == (1, 1)
            server.wait_until(lambda: server.in_flight == server.open == 0)


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_a_body_drips(http2: bool) -> None:
    with client([drip(0.02, b"ab", 5), drip(0.02)], http2=http2) as (_, http):
        start = time.monotonic()
        response = http.get("/")
        assert (response.text, response.headers["content-length"]) == ("ab" * 5, "10")
        assert time.monotonic() - start >= 0.1
        with http.stream("GET", "/") as response:
            parts = response.iter_raw()
            assert [next(parts) for _ in range(3)] == [b"x"] * 3
            assert "content-length" not in response.headers


def test_headers_drip_past_every_timeout_of_one_read() -> None:
    with FaultServer(drip_headers(0.005)) as server, Raw(server) as sock:
        seen = [sock.recv(1) for _ in range(30)]
        assert b"".join(seen).startswith(b"HTTP/1.1 200 OK\r\nX-Drip-0: 1")


def test_events_come_one_by_one_for_ever_or_not() -> None:
    with client([event_stream(), event_stream(["a", "b"]), event_stream(["c"], ends=False)], timeout=SHORT) as (
        _,
        http,
    ):
        with http.stream("GET", "/") as response:
            assert response.headers["content-type"] == "text/event-stream"
            lines = response.iter_lines()
            assert [next(lines) for _ in range(5)] == ["data: 1", "", "data: 2", "", "data: 3"]
        assert http.get("/").text == "data: a\n\ndata: b\n\n"
        with pytest.raises(httpx.ReadTimeout):
            http.get("/")


def test_connections_close_after_an_answer_announced_or_silently() -> None:
    with FaultServer([close_after(body=b"bye"), close_after(silent=True)]) as server:
        with Raw(server) as sock:
            told = everything(sock)
        with Raw(server) as sock:
            silent = everything(sock)
    assert b"connection: close" in told
    assert told.endswith(b"\r\n\r\nbye")
    assert b"connection" not in silent
    assert silent.endswith(b"\r\n\r\nok")


@both_families
def test_a_connection_that_is_used_again_breaks(family) -> None:
    with client([close_on_reuse(), answer(201)], family=family) as (server, http):
        assert http.get("/").status_code == 200
        with pytest.raises(family.RemoteProtocolError, match="Server disconnected"):
            http.post("/")
        assert http.get("/").status_code == 201
        assert (server.requests, server.disappointed, server.connections) == (2, 1, 2)


@pytest.mark.parametrize("hard", [False, True], ids=["closed", "reset"])
def test_idle_connections_can_be_dropped(hard: bool) -> None:
    with client(answer()) as (server, http):
        http.get("/")
        server.drop(reset=hard)
        server.wait_until(lambda: server.open == 0)
        assert http.get("/").status_code == 200
        assert server.connections == 2


def test_redirects_hints_and_bytes_that_are_no_http() -> None:
    rough = raw(b"HTTP/1.1 503 No\r\nRetry-After: 1\r\nretry-after: \xff\r\n\r\n")
    script = {
        "/from": redirect("/to", 307),
        "/to": hints(103),
        "/rough": [rough, raw(b"?\r\n\r\n", closes=False)],
    }
    with client(script) as (server, http):
        moved = http.get("/from", follow_redirects=True)
        assert (moved.status_code, [hop.status_code for hop in moved.history]) == (200, [307])
        assert [received.path for received in server.received] == ["/from", "/to"]
        assert http.get("/rough").headers.get_list("retry-after") == ["1", "\xff"]
        with pytest.raises(httpx.RemoteProtocolError):
            http.get("/rough")
    with FaultServer(hints()) as server, Raw(server) as sock:
        assert sock.recv(1000).startswith(b"HTTP/1.1 103 ")


def test_bodiless_answers_have_no_body() -> None:
    with client([answer(), answer(204, b""), answer(304)]) as (server, http):
        assert [http.request(*what).content for what in (("HEAD", "/"), ("DELETE", "/"), ("GET", "/"))] == [b""] * 3
        assert server.connections == 1


UPLOAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"


def test_it_asks_for_a_body_that_waits() -> None:
    with FaultServer(echo()) as server, Raw(server, UPLOAD) as sock:
        assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"body")
        assert until(sock, b"\r\n\r\nbody").startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_early_server_answers_before_the_body() -> None:
    with FaultServer([answer(417), answer()], early=True) as server, Raw(server, UPLOAD) as sock:
        assert until(sock, b"ok").startswith(b"HTTP/1.1 417 ")
        assert not server.received[0].complete
        sock.sendall(b"bodyGET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert until(sock, b"ok").startswith(b"HTTP/1.1 200 ")
        assert (server.received[0].body, server.received[0].complete) == (b"body", True)


def test_a_server_that_stops_reading_fills_the_line() -> None:
    with client(unread(), early=True, timeout=SHORT) as (_, http), pytest.raises(httpx.WriteTimeout):
        http.post("/", content=bytes(20_000_000))


def test_nobody_refuses_and_a_full_line_does_not_answer() -> None:
    with nobody() as url, pytest.raises(httpx.ConnectError):
        httpx.get(url, verify=False)
    with unanswered() as url, pytest.raises(httpx.ConnectTimeout):
        httpx.get(url, verify=False, timeout=SHORT)


# HTTP/2 alone.


@both_families
@pytest.mark.parametrize(
    ("fault", "words", "dials"),
    [
        (refused_stream(), "error_code.*(7|REFUSED)", 1),
        (rst(0x2), "error_code.*(2|INTERNAL)", 1),
        (rst(0x8, sent=b"half"), "error_code.*(8|CANCEL)", 1),
        (goaway(), "last_stream_id:0", 2),
    ],
    ids=["refused", "reset", "reset mid-body", "goaway"],
)
def test_http2_breaks_one_stream_or_says_goodbye(family, fault: Step, words: str, dials: int) -> None:
    with client([fault, answer()], http2=True, family=family) as (server, http):
        with pytest.raises(family.RemoteProtocolError, match=words):
            http.get("/")
        assert http.get("/").text == "ok"
        assert (server.requests, server.connections) == (2, dials)


def test_http2_goaway_of_a_later_stream_is_sent_again_by_the_pool() -> None:
    with client([answer(), goaway(), answer(201)], http2=True) as (server, http):
        assert [http.get("/").status_code for _ in range(2)] == [200, 201]
        assert [(received.connection, received.stream) for received in server.received] == [(1, 1), (1, 3), (2, 1)]


class Raw2:
    """A client of HTTP/2 frames, because httpcore neither hears an answer after GOAWAY nor resets what it leaves."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.wire = H2Connection()
        self.wire.initiate_connection()
        self.flush()
        self.socket.sendall(SettingsFrame(flags=["ACK"]).serialize())
        self.buffer = b""

    def ask(self, stream: int) -> None:
        fields = {":method": "GET", ":path": "/", ":scheme": "http", ":authority": "x"}
        self.wire.send_headers(stream, fields.items(), end_stream=True)
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.wire.data_to_send())

    def frames(self) -> Iterator[Frame]:
        """Yield frames until the server closes."""
        while part := self.socket.recv(65536):
            self.buffer += part
            while len(self.buffer) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(self.buffer)[:9])
                if len(self.buffer) < 9 + length:
                    break
                frame.parse_body(memoryview(self.buffer)[9 : 9 + length])
                self.buffer = self.buffer[9 + length :]
                yield frame


def test_http2_goaway_lets_the_stream_before_it_finish() -> None:
    with FaultServer(goaway(then=answer(201, b"last"))) as server, Raw(server, b"") as sock:
        http = Raw2(sock)
        http.ask(1)
        seen = [frame for frame in http.frames() if frame.type in {0x0, 0x1, 0x7}]
    assert [type(frame).__name__ for frame in seen] == ["GoAwayFrame", "HeadersFrame", "DataFrame", "DataFrame"]
    assert (seen[0].last_stream_id, seen[0].error_code, seen[2].data) == (1, 0, b"last")


def test_http2_sees_one_stream_cancelled_while_others_go_on() -> None:
    with FaultServer([stall(), stall(), answer(), close()]) as server, Raw(server, b"") as sock:
        http = Raw2(sock)
        http.ask(1)
        http.ask(3)
        server.wait_until(lambda: server.in_flight == 2)
        http.wire.reset_stream(1)
        http.flush()
        server.wait_until(lambda: server.in_flight == 1)
        assert (server.most_in_flight, server.open) == (2, 1)
        http.ask(5)
        assert next(frame.stream_id for frame in http.frames() if frame.type == 0x1) == 5
        http.ask(7)
        assert not [frame for frame in http.frames() if frame.type == 0x1]
        server.wait_until(lambda: server.in_flight == server.open == 0)


# Many ports, many connections, and nothing left.


def test_one_thread_serves_many_ports_and_hundreds_of_connections() -> None:
    async def main(server: FaultServer) -> None:
        async def send(url: str) -> None:
            host, port = url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.read(1000)).startswith(b"HTTP/1.1 200 ")
            writer.close()
            await writer.wait_closed()

        async with asyncio.TaskGroup() as tasks:
            for url in server.urls[5:]:
                for _ in range(8):
                    tasks.create_task(send(url))

    threads = threading.active_count()
    with FaultServer(lambda received: stall() if received.port < 5 else answer(), ports=50) as server:
        assert (threading.active_count(), len(set(server.urls))) == (threads + 1, 50)
        hanging = [Raw(server) for _ in range(3)]
        asyncio.run(main(server))
        assert (server.requests, server.connections) == (363, 363)
        assert {received.port for received in server.received} == {0, *range(5, 50)}
        server.wait_until(lambda: server.open == server.in_flight == 3)
    for one in hanging:
        one.socket.close()


def descriptors() -> int:
    return len(list(DESCRIPTORS.iterdir()))


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="counts descriptors in /proc")
def test_nothing_is_left_of_a_server_that_stopped_and_it_stops_at_once() -> None:
    gc.collect()
    threads, files = threading.active_count(), descriptors()
    sockets = []
    never = threading.Event()
    script = [stall(), drip(), gated(never), drip_headers(0.0), event_stream(interval=0), stall_mid_body()]
    with FaultServer(script, ports=3) as server:
        sockets += [Raw(server).socket for _ in range(30)]
        server.wait_until(lambda: server.in_flight == 30)
        sockets += [Raw(server).socket for _ in range(30)]  # it stops while these come
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 1.0
    assert (server.open, server.in_flight) == (0, 0)
    server.stop()
    for sock in sockets:
        sock.close()
    del sockets
    gc.collect()
    assert (threading.active_count(), descriptors()) == (threads, files)


def test_it_starts_and_stops_in_milliseconds() -> None:
    start = time.monotonic()
    for _ in range(20):
        with FaultServer():
            pass
    assert (time.monotonic() - start) / 20 < 0.05


def test_a_process_of_its_own_serves_the_same_script() -> None:
    with ProcessServer("lambda r: answer(503) if r.port == 1 else answer()", ports=2) as server:
        assert [httpx.get(url, verify=False).status_code for url in server.urls] == [200, 503]
        assert server.counts()["requests"] == 2
    assert server._process.returncode == 0
