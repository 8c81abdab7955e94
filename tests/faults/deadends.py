"""Addresses where no connection comes to be."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator


def _url(sock: socket.socket) -> str:
    return f"http://127.0.0.1:{sock.getsockname()[1]}"


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    """Give the URL of a port where connections are refused, because nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # held, so that nobody else gets it
        yield _url(sock)


@contextlib.contextmanager
def unanswered() -> Iterator[str]:
    """Give the URL of a port where connecting hangs, because its line is full (Linux)."""
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
        yield _url(sock)
