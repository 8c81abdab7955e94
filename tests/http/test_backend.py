"""Every operation on a socket of ours ends by the ambient deadline, however slowly the other end goes on."""

from __future__ import annotations

import logging
import socket
import ssl
import sys
import time
from contextlib import contextmanager, nullcontext

import anyio
import pytest
import trustme

from resilient import deadline
from resilient._http.backend import clamp
from tests._stage import VirtualClock, installed
from tests.http._sockets import answering, dripping, every_family, read_head, request, serving, until

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: bcdefghijklmnopqrstuvwxyz" + 10_000 * b"z" + b"\r\n\r\nok"
BODY = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"
SOON = 0.15
LATE = 1.5
"""Far more than a deadline needs on a busy machine, far less than the timeouts of the requests."""


@contextmanager
def ending(seconds=SOON):
    """Demand that the block is over when its deadline is."""
    began = time.monotonic()
    try:
        with deadline(seconds):
            yield
    finally:
        took = time.monotonic() - began
        assert seconds * 0.9 <= took < LATE


@contextmanager
def threads(family, **options):
    transport = family.module.HTTPTransport(**options)
    assert clamp(transport)
    with transport:
        yield transport


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
def tls(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def trusting(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@every_family
def test_a_dripped_header_cannot_outlast_the_deadline(family):
    with (
        serving(dripping(HEAD, 0.01)) as server,
        threads(family) as transport,
        pytest.raises(family.module.ReadTimeout),
        ending(),
    ):
        transport.handle_request(request(family, server.url))


@every_family
@pytest.mark.anyio
async def test_a_dripped_header_cannot_outlast_the_deadline_of_a_task(family, anyio_backend):
    with serving(dripping(HEAD, 0.01)) as server:
        transport = family.module.AsyncHTTPTransport()
        assert clamp(transport)
        async with transport:
            with pytest.raises(family.module.ReadTimeout), ending():
                await transport.handle_async_request(request(family, server.url))


@every_family
def test_the_drip_alone_is_no_error(family):
    slow = dripping(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 0.001)
    with serving(slow) as server, threads(family) as transport:
        assert transport.handle_request(request(family, server.url)).read() == b"ok"
    with serving(slow) as server, threads(family) as transport, deadline(5):
        assert transport.handle_request(request(family, server.url)).read() == b"ok"


@every_family
def test_a_dripped_body_cannot_outlast_the_deadline_around_each_read(family):
    with serving(dripping(BODY + 10_000 * b"z", 0.005)) as server, threads(family) as transport:
        response = transport.handle_request(request(family, server.url))
        parts = iter(response.stream)
        with pytest.raises(family.module.ReadTimeout), ending():
            while True:
                next(parts)
        response.close()


@every_family
@pytest.mark.anyio
async def test_a_dripped_body_cannot_outlast_the_deadline_of_a_task(family, anyio_backend):
    with serving(dripping(BODY + 10_000 * b"z", 0.005)) as server:
        transport = family.module.AsyncHTTPTransport()
        assert clamp(transport)
        async with transport:
            response = await transport.handle_async_request(request(family, server.url))
            parts = response.stream.__aiter__()
            with pytest.raises(family.module.ReadTimeout), ending():
                while True:
                    await parts.__anext__()
            await response.aclose()


def sipping(connection: socket.socket, number: int) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    read_head(connection)
    while connection.recv(2048):
        time.sleep(0.01)


@every_family
def test_a_reader_that_sips_cannot_stretch_one_write_beyond_the_deadline(family):
    with (
        serving(sipping) as server,
        threads(family) as transport,
        pytest.raises(family.module.WriteTimeout),
        ending(),
    ):
        transport.handle_request(request(family, server.url, method="POST", content=bytes(30_000_000)))


@every_family
def test_nor_over_tls(family, tls, trusting):
    with (
        serving(sipping, tls=tls) as server,
        threads(family, verify=trusting) as transport,
        pytest.raises(family.module.WriteTimeout),
        ending(0.3),
    ):
        transport.handle_request(request(family, server.url, method="POST", content=bytes(30_000_000)))


@every_family
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # classic httpx leaves its body open
@pytest.mark.anyio
async def test_nor_the_write_of_a_task(family, anyio_backend):
    with serving(sipping) as server:
        transport = family.module.AsyncHTTPTransport()
        assert clamp(transport)
        async with transport:
            with pytest.raises(family.module.WriteTimeout), ending():
                await transport.handle_async_request(
                    request(family, server.url, method="POST", content=bytes(30_000_000))
                )


@every_family
@pytest.mark.parametrize("seconds", [None, 5])
def test_a_large_body_arrives_whole_with_and_without_a_deadline(family, seconds, tls, trusting):
    content, received = bytes(range(256)) * 8_000, []

    def script(connection, number):
        read_head(connection)
        body = b""
        while len(body) < len(content):
            body += connection.recv(65_536)
        received.append(body)
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    for options, trust in (({}, {}), ({"tls": tls}, {"verify": trusting})):
        with serving(script, **options) as server, threads(family, **trust) as transport:
            sent = request(family, server.url, method="POST", content=content)
            with nullcontext() if seconds is None else deadline(seconds):
                assert transport.handle_request(sent).status_code == 204
    assert received == [content, content]


def mute(connection: socket.socket, number: int) -> None:
    while connection.recv(1000):
        pass


@every_family
def test_a_handshake_that_is_never_answered_ends_in_time(family, trusting):
    with (
        serving(mute) as server,
        threads(family, verify=trusting) as transport,
        pytest.raises(family.module.ConnectTimeout),
        ending(),
    ):
        transport.handle_request(request(family, f"https://localhost:{server.port}/"))


@every_family
@pytest.mark.anyio
async def test_a_handshake_of_a_task_ends_in_time(family, trusting, anyio_backend):
    with serving(mute) as server:
        transport = family.module.AsyncHTTPTransport(verify=trusting)
        assert clamp(transport)
        async with transport:
            with pytest.raises(family.module.ConnectTimeout), ending():
                await transport.handle_async_request(request(family, f"https://localhost:{server.port}/"))


@every_family
def test_streams_over_tls_are_clamped_too(family, tls, trusting):
    with (
        serving(dripping(HEAD, 0.01), tls=tls) as server,
        threads(family, verify=trusting) as transport,
        pytest.raises(family.module.ReadTimeout),
        ending(),
    ):
        transport.handle_request(request(family, server.url))


@every_family
def test_C17_past_the_deadline_no_socket_is_opened(family):
    with serving(answering) as server, threads(family) as transport:
        with pytest.raises(family.module.ConnectTimeout, match="deadline"), deadline(0):
            transport.handle_request(request(family, server.url))
        assert server.accepted == []


@every_family
@pytest.mark.anyio
async def test_C17_past_the_deadline_no_socket_is_opened_by_a_task(family, anyio_backend):
    with serving(answering) as server:
        transport = family.module.AsyncHTTPTransport()
        assert clamp(transport)
        async with transport:
            with pytest.raises(family.module.ConnectTimeout, match="deadline"), deadline(0):
                await transport.handle_async_request(request(family, server.url))
        assert server.accepted == []


@every_family
def test_past_the_deadline_nothing_is_sent_on_a_kept_connection(family):
    heads = []

    def script(connection, number):
        while head := read_head(connection):
            heads.append(head)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    with serving(script) as server, threads(family) as transport:
        transport.handle_request(request(family, server.url)).read()
        with pytest.raises(family.module.WriteTimeout), deadline(0):
            transport.handle_request(request(family, server.url))
        transport.handle_request(request(family, server.url)).read()
    assert len(heads) == 2


@every_family
def test_several_addresses_of_a_name_share_the_time(family, monkeypatch):
    clock, tried = VirtualClock(), []

    def connect(address, timeout=None, **options):
        tried.append((address[0], round(timeout, 6)))
        clock.time += min(timeout, 0.6)
        raise TimeoutError

    found = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", 80, 0, 3))]
    found += [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.0.2.{last}", 80)) for last in (1, 1, 2)]
    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
    with installed(clock), threads(family) as transport, deadline(1.0), pytest.raises(family.module.ConnectTimeout):
        transport.handle_request(request(family, "http://many.example/"))
    assert tried == [("fe80::1%3", 1.0), ("192.0.2.1", 0.4)]


@every_family
def test_a_name_without_an_address_is_the_familys_own_error(family, monkeypatch):
    def unknown(*args, **options):
        raise socket.gaierror(-2, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with (
        threads(family) as transport,
        deadline(1.0),
        pytest.raises(family.module.ConnectError, match="no such name"),
    ):
        transport.handle_request(request(family, "http://none.example/"))


@every_family
def test_the_second_address_serves_when_the_first_refuses(family, monkeypatch):
    with serving(answering) as server, threads(family) as transport, deadline(5), socket.socket() as refusing:
        refusing.bind(("127.0.0.2", server.port))  # bound, and never listening
        answers = [(socket.AF_INET, 1, 6, "", (host, server.port)) for host in ("127.0.0.2", "127.0.0.1")]
        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda host, *a, **k: answers if host == "two.example" else real(host, *a, **k)
        )
        sent = request(family, f"http://two.example:{server.port}/")
        assert transport.handle_request(sent).read() == b"ok"


@every_family
@pytest.mark.parametrize(
    ("timeout", "seconds", "given"),
    [(None, None, None), (5.0, None, 5.0), (5.0, 2.0, 2.0), (1.0, 2.0, 1.0), (None, 2.0, 2.0), (None, 1e12, 1e6)],
)
@pytest.mark.anyio
async def test_an_operation_gets_the_smaller_of_its_timeout_and_what_is_left(
    family, timeout, seconds, given, anyio_backend
):
    seen = []

    class Fake:
        def get_extra_info(self, info):
            return f"{info}!"

        def __getattr__(self, name):
            def note(*args, timeout=None, **options):
                seen.append((name, args[0] if name == "sleep" else timeout))
                return self

            return note

        def connect_tcp(self, host, port, timeout=None, **options):
            seen.append(("connect_tcp", timeout))
            return self

    class Later(Fake):
        def __getattr__(self, name):
            note = super().__getattr__(name)

            async def later(*args, **options):
                return note(*args, **options)

            return later

        async def connect_tcp(self, host, port, timeout=None, **options):
            return super().connect_tcp(host, port, timeout, **options)

    def over(fake, kind):
        transport = getattr(family.module, kind)()
        transport._pool._network_backend = fake()
        assert clamp(transport)
        return transport._pool._network_backend

    async def play(backend, step):
        stream = await step(backend.connect_tcp("host", 80, timeout=timeout))
        await step(stream.read(10, timeout=timeout))
        await step(stream.write(b"abc", timeout=timeout))
        stream = await step(stream.start_tls(None, timeout=timeout))
        stream = await step(backend.connect_unix_socket("path", timeout=timeout))
        assert stream.get_extra_info("socket") == "socket!"
        if timeout is not None:
            await step(backend.sleep(timeout))

    async def done(value):
        return value

    async def awaited(value):
        return await value

    for fake, kind, step in ((Fake, "HTTPTransport", done), (Later, "AsyncHTTPTransport", awaited)):
        seen.clear()
        with installed(VirtualClock()):
            if seconds is None:
                await play(over(fake, kind), step)
            else:
                with deadline(seconds):
                    await play(over(fake, kind), step)
        assert [name for name, _ in seen][:5] == ["connect_tcp", "read", "write", "start_tls", "connect_unix_socket"]
        assert {value for _, value in seen} == {given}


@every_family
def test_what_is_no_plain_socket_is_written_in_pieces_each_with_what_is_left(family):
    clock, pieces = VirtualClock(), []

    class Tunnel:
        def connect_tcp(self, *args, **options):
            return self

        def get_extra_info(self, info):
            return None

        def write(self, buffer, timeout=None):
            pieces.append((len(buffer), round(timeout, 6)))
            clock.time += 0.4

    transport = family.module.HTTPTransport()
    transport._pool._network_backend = Tunnel()
    assert clamp(transport)
    with installed(clock), deadline(1.0):
        stream = transport._pool._network_backend.connect_tcp("host", 80)
        late = sys.modules[type(transport._pool).__module__.partition(".")[0]].WriteTimeout
        with pytest.raises(late):
            stream.write(bytes(1_000_000))
    assert pieces == [(16_384, 1.0), (16_384, 0.6), (16_384, 0.2)]


@every_family
def test_each_send_on_a_socket_gets_what_is_left(family):
    clock, timeouts = VirtualClock(), []

    class Full:
        """A socket whose reader takes ten bytes now and then."""

        def settimeout(self, seconds):
            timeouts.append(round(seconds, 6))

        def send(self, buffer):
            if timeouts[-1] < 0.4:
                clock.time += timeouts[-1]
                raise TimeoutError
            clock.time += 0.4
            return 10

    transport = family.module.HTTPTransport()
    core = sys.modules[type(transport._pool).__module__.partition(".")[0]]
    assert clamp(transport)
    backend = transport._pool._network_backend
    with installed(clock), deadline(1.0), pytest.raises(core.WriteTimeout):
        backend.stream(core._backends.sync.SyncStream(Full())).write(bytes(100_000), timeout=5.0)
    assert timeouts == [1.0, 0.6, 0.2]


@every_family
def test_streams_stay_streams_of_the_family_and_tell_of_their_socket(family):
    with serving(answering) as server, threads(family) as transport:
        response = transport.handle_request(request(family, server.url))
        stream = response.extensions["network_stream"]
        core = sys.modules[type(transport._pool).__module__.partition(".")[0]]
        assert isinstance(stream, core.NetworkStream)
        assert isinstance(transport._pool._network_backend, core.NetworkBackend)
        assert stream.get_extra_info("server_addr") == ("127.0.0.1", server.port)
        response.read()


@every_family
def test_a_socket_of_the_file_system_is_clamped_too(family, tmp_path):
    path = str(tmp_path / "s")
    with (
        serving(dripping(HEAD, 0.01), path=path),
        threads(family, uds=path) as transport,
        pytest.raises(family.module.ReadTimeout),
        ending(),
    ):
        transport.handle_request(request(family, "http://here/"))


def forwarding(connection: socket.socket, number: int) -> None:
    """A proxy of all three kinds that accepts everything and then drips."""
    first = connection.recv(1, socket.MSG_PEEK)
    if first == b"\x05":
        connection.recv(100)
        connection.sendall(b"\x05\x00")
        connection.recv(100)
        connection.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")
    dripping(HEAD, 0.01)(connection, number)


@every_family
@pytest.mark.parametrize(
    ("proxy", "url"),
    [("http", "http://far.example/"), ("http", "https://far.example/"), ("socks5", "http://far.example/")],
)
@pytest.mark.anyio
async def test_pools_that_go_through_a_proxy_are_clamped(family, proxy, url, anyio_backend):
    with serving(forwarding) as server:
        through = f"{proxy}://127.0.0.1:{server.port}"
        with threads(family, proxy=through) as transport, pytest.raises(family.module.ReadTimeout), ending():
            transport.handle_request(request(family, url))
        transport = family.module.AsyncHTTPTransport(proxy=through)
        assert clamp(transport)
        async with transport:
            with pytest.raises(family.module.ReadTimeout), ending():
                await transport.handle_async_request(request(family, url))


@every_family
def test_clamping_twice_is_clamping_once(family):
    with threads(family) as transport:
        before = transport._pool._network_backend
        assert clamp(transport)
        assert transport._pool._network_backend is before


@every_family
def test_where_the_place_is_missing_it_is_said_once_and_nothing_breaks(family, caplog):
    with caplog.at_level(logging.ERROR, "resilient"):
        assert not clamp(family.module.MockTransport(lambda request: None))
        changed = family.module.HTTPTransport()
        del changed._pool._network_backend
        assert not clamp(changed)
    assert len(caplog.records) == 1


@every_family
def test_a_closed_stream_is_closed_whatever_the_time(family):
    with serving(answering) as server, threads(family) as transport:
        transport.handle_request(request(family, server.url)).read()
        with deadline(0):
            transport.close()
        until(lambda: server.ended == 1)


@every_family
@pytest.mark.anyio
async def test_the_deadline_of_one_task_is_not_that_of_another(family, anyio_backend):
    with serving(dripping(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 0.01)) as server:
        transport = family.module.AsyncHTTPTransport()
        assert clamp(transport)
        seen = {}

        async def call(name, seconds):
            with deadline(seconds):
                try:
                    response = await transport.handle_async_request(request(family, server.url))
                    seen[name] = await response.aread()
                except family.module.ReadTimeout as error:
                    seen[name] = type(error).__name__

        async with transport, anyio.create_task_group() as group:
            group.start_soon(call, "short", 0.1)
            group.start_soon(call, "long", 5)
        assert seen == {"short": "ReadTimeout", "long": b"ok"}
