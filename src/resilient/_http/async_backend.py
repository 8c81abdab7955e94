"""Network backends for tasks, whose every operation ends by the ambient deadline; see `backend`."""

from __future__ import annotations

from math import inf
from typing import Any, ClassVar

from resilient import clock
from resilient._http.clamping import time_left
from resilient.deadline import ambient

_GRACE = 1.0
"""Seconds that a read for several requests may outlast the deadline of the one that does it."""


class AsyncStream:
    """A connection of tasks: the family bounds each operation as a whole."""

    core: ClassVar[Any]

    def __init__(self, inner: Any) -> None:  # noqa: ANN401 -- of either family
        """Wrap a stream of the family."""
        self._inner = inner

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 -- the family's word
        """Receive once."""
        data: bytes = await self._inner.read(max_bytes, timeout=time_left(timeout, self.core.ReadTimeout))
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Send all."""
        await self._inner.write(buffer, timeout=time_left(timeout, self.core.WriteTimeout))

    async def aclose(self) -> None:
        """Close, whatever the time."""
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: Any,  # noqa: ANN401
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> AsyncStream:
        """Shake hands, all of it in the time that is left."""
        try:
            timeout = time_left(timeout, self.core.ConnectTimeout)
        except self.core.ConnectTimeout:
            await self.aclose()
            raise
        return type(self)(await self._inner.start_tls(ssl_context, server_hostname=server_hostname, timeout=timeout))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401
        """Return what the stream knows of its socket."""
        return self._inner.get_extra_info(info)


class SharedStream(AsyncStream):
    """A connection that several requests of tasks share: whoever reads does so for all of them.

    A read that times out breaks the connection, and so every request on it. The deadline of one is
    kept by the timer of its own task, which ends that task's waiting only and has to come first.
    """

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Receive once; a timeout of the client's own holds as it is."""
        end = ambient()
        if timeout is not None and end < inf and timeout >= end - clock.current().now():
            timeout += _GRACE
        data: bytes = await self._inner.read(max_bytes, timeout=timeout)
        return data


class AsyncBackend:
    """Opens connections for tasks."""

    core: ClassVar[Any]
    stream: ClassVar[type[AsyncStream]]

    def __init__(self, inner: Any) -> None:  # noqa: ANN401 -- of either family
        """Wrap the backend that a pool came with."""
        self._inner = inner

    async def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> AsyncStream:  # noqa: ANN401, ASYNC109
        """Connect."""
        left = time_left(timeout, self.core.ConnectTimeout)
        return self.stream(await self._inner.connect_tcp(host, port, timeout=left, **options))

    async def connect_unix_socket(self, path: str, timeout: float | None = None, **options: Any) -> AsyncStream:  # noqa: ANN401, ASYNC109
        """Connect."""
        left = time_left(timeout, self.core.ConnectTimeout)
        return self.stream(await self._inner.connect_unix_socket(path, timeout=left, **options))

    async def sleep(self, seconds: float) -> None:
        """Pause between two attempts to connect."""
        await self._inner.sleep(time_left(seconds, self.core.ConnectTimeout))
