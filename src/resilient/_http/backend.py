"""Network backends whose every operation ends by the ambient deadline.

A read timeout starts anew with every byte, so that a server which drips its header outlasts any of
them. Here each operation on a socket gets what is left of the deadline, if that is less than its
own timeout. Without a deadline an operation costs one look at a context variable more.

Not covered: looking up a name, and threads that speak TLS in TLS (an https proxy for an https
server), where one read may take several receives. The next operation is bounded again.
"""

from __future__ import annotations

import inspect
import socket
import sys
from collections.abc import Iterable
from functools import cache
from math import inf
from typing import Any, ClassVar

from resilient import faults
from resilient._http.async_backend import AsyncBackend, AsyncStream, SharedStream
from resilient._http.clamping import time_left
from resilient.deadline import ambient

_PIECE = 16_384
"""Bytes that a stream which is no plain socket writes before the deadline is looked at again."""


def clamp(transport: object, *, shared: bool = False) -> bool:
    """Put clamped streams under a family's own transport; tell whether that worked.

    The place is a private attribute of both families. Where it is missing, deadlines hold only as
    well as the timeouts of single operations do; this is reported once.

    Args:
        transport: An `HTTPTransport` or `AsyncHTTPTransport`, also one that goes through a proxy.
        shared: Whether a connection may carry several requests at once, as those of HTTP/2 do.

    """
    try:
        pool: Any = transport._pool  # type: ignore[attr-defined]  # noqa: SLF001 -- there is no public place
        inner = pool._network_backend  # noqa: SLF001
        if not isinstance(inner, (Backend, AsyncBackend)):
            core = sys.modules[type(pool).__module__.partition(".")[0]]
            tasks = inspect.iscoroutinefunction(inner.connect_tcp)
            pool._network_backend = _classes(core)[tasks + (tasks and shared)](inner)  # noqa: SLF001
    except (AttributeError, KeyError, TypeError) as fault:
        faults.report(clamp, fault)
        return False
    return True


class Stream:
    """A connection of threads. A family's class derives from this and from its `NetworkStream`."""

    core: ClassVar[Any]
    plain: ClassVar[object]

    def __init__(self, inner: Any) -> None:  # noqa: ANN401 -- of either family
        """Wrap a stream of the family."""
        self._inner = inner
        self._socket = inner.get_extra_info("socket") if type(inner) is self.plain else None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Receive once."""
        data: bytes = self._inner.read(max_bytes, timeout=time_left(timeout, self.core.ReadTimeout))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all; a reader that is slow gets no fresh timeout for each piece it takes."""
        if len(buffer) <= _PIECE:  # one send, or a few
            if buffer:
                self._inner.write(buffer, timeout=time_left(timeout, self.core.WriteTimeout))
            return
        rest = memoryview(buffer)
        while rest:
            sent = self._send(rest, time_left(timeout, self.core.WriteTimeout))
            rest = rest[sent:]

    def _send(self, rest: memoryview, timeout: float | None) -> int:
        if self._socket is None:
            piece = bytes(rest[:_PIECE])
            self._inner.write(piece, timeout=timeout)
            return len(piece)
        try:
            self._socket.settimeout(timeout)
            sent: int = self._socket.send(rest)
        except TimeoutError as error:
            raise self.core.WriteTimeout(error) from error
        except OSError as error:
            raise self.core.WriteError(error) from error
        return sent

    def close(self) -> None:
        """Close, whatever the time."""
        self._inner.close()

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> Stream:  # noqa: ANN401
        """Shake hands, all of it in the time that is left."""
        try:
            timeout = time_left(timeout, self.core.ConnectTimeout)
        except self.core.ConnectTimeout:
            self.close()  # as the family does after any failure here
            raise
        return type(self)(self._inner.start_tls(ssl_context, server_hostname=server_hostname, timeout=timeout))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401
        """Return what the stream knows of its socket."""
        return self._inner.get_extra_info(info)


class Backend:
    """Opens connections for threads."""

    core: ClassVar[Any]
    stream: ClassVar[type[Stream]]
    plain: ClassVar[object]

    def __init__(self, inner: Any) -> None:  # noqa: ANN401 -- of either family
        """Wrap the backend that a pool came with."""
        self._inner = inner

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> Stream:  # noqa: ANN401
        """Connect; several addresses of one name share the time that is left."""
        late = self.core.ConnectTimeout
        left = time_left(timeout, late)
        if ambient() == inf or type(self._inner) is not self.plain:
            return self.stream(self._inner.connect_tcp(host, port, timeout=left, **options))
        failure: Exception | None = None
        for address in self._addresses(host, port):
            try:
                return self.stream(self._inner.connect_tcp(address, port, timeout=time_left(timeout, late), **options))
            except (self.core.ConnectError, late) as error:
                failure = error
        raise failure or self.core.ConnectError(f"no address for {host!r}")

    def _addresses(self, host: str, port: int) -> Iterable[str]:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise self.core.ConnectError(error) from error
        return dict.fromkeys(f"{host}%{more[1]}" if any(more[1:]) else str(host) for *_, (host, _, *more) in found)

    def connect_unix_socket(self, path: str, timeout: float | None = None, **options: Any) -> Stream:  # noqa: ANN401
        """Connect."""
        left = time_left(timeout, self.core.ConnectTimeout)
        return self.stream(self._inner.connect_unix_socket(path, timeout=left, **options))

    def sleep(self, seconds: float) -> None:
        """Pause between two attempts to connect."""
        self._inner.sleep(time_left(seconds, self.core.ConnectTimeout))


@cache
def _classes(core: Any) -> tuple[type[Backend], type[AsyncBackend], type[AsyncBackend]]:  # noqa: ANN401 -- a module
    """Return the backends bound to `httpcore` or `httpcore2`, whose errors they raise and whose classes they are.

    For threads, for tasks, and for tasks on shared connections.
    """
    threads = sys.modules.get(f"{core.__name__}._backends.sync")

    def bound(mine: type, theirs: str, **more: object) -> Any:  # noqa: ANN401
        return type(mine.__name__, (mine, getattr(core, theirs)), {"__doc__": mine.__doc__, "core": core, **more})

    stream = bound(Stream, "NetworkStream", plain=getattr(threads, "SyncStream", None))
    backend = bound(Backend, "NetworkBackend", plain=getattr(threads, "SyncBackend", None), stream=stream)
    flows = [bound(kind, "AsyncNetworkStream") for kind in (AsyncStream, SharedStream)]
    alone, shared = (bound(AsyncBackend, "AsyncNetworkBackend", stream=flow) for flow in flows)
    return backend, alone, shared
