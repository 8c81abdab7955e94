"""A server of a few lines, for tests that decide about every byte."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import httpx
import httpx2
import pytest

from resilient._http.family import Family

HTTPX = Family(httpx, "resilient.httpx")
HTTPX2 = Family(httpx2, "resilient.httpx2")
every_family = pytest.mark.parametrize("family", [HTTPX, HTTPX2], ids=lambda family: family.name)

Script = Callable[[socket.socket, int], None]


class Server:
    """Plays a script on each connection, in a thread of its own."""

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None, path: str | None = None) -> None:
        self._script = script
        self._tls = tls
        self._listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self._listener.bind(path or ("127.0.0.1", 0))
        self._listener.listen(128)
        self.port = 0 if path else self._listener.getsockname()[1]
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://localhost:{self.port}/" if tls else f"http://127.0.0.1:{self.port}/"
        self.accepted: list[socket.socket] = []
        self.ended = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted.append(connection)
            number = len(self.accepted)
            thread = threading.Thread(target=self._play, args=(connection, number), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _play(self, connection: socket.socket, number: int) -> None:
        connection.settimeout(10)
        with suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self.accepted[number - 1] = connection
            self._script(connection, number)
        connection.close()
        self.ended += 1

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.accepted:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(5)


@contextmanager
def serving(script: Script, **options) -> Iterator[Server]:
    server = Server(script, **options)
    try:
        yield server
    finally:
        server.close()


def read_head(connection: socket.socket) -> bytes:
    """Return a request's head, or nothing at the end of the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = connection.recv(1)
        if not data:
            return b""
        head += data
    return head


def answering(connection: socket.socket, number: int) -> None:
    """Answer every request, and keep the connection."""
    while read_head(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


def half(connection: socket.socket, number: int) -> None:
    """Answer with a body of which the second half never comes."""
    while read_head(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha")


def dripping(what: bytes, every: float) -> Script:
    """Send something byte by byte, for ever if need be."""

    def script(connection: socket.socket, number: int) -> None:
        read_head(connection)
        for byte in what:
            connection.sendall(bytes([byte]))
            time.sleep(every)

    return script


def until(condition: Callable[[], object], seconds: float = 5) -> None:
    latest = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < latest, "it never came true"
        time.sleep(0.002)


def request(family: Family, url: str, *, content=None, method="GET", **timeouts: float | None):
    """Return a request with timeouts that alone would last far too long."""
    patient = {"connect": 8.0, "read": 8.0, "write": 8.0, "pool": 0.3, **timeouts}
    return family.request(method, url, content=content, extensions={"timeout": patient})
