"""Server-sent events over plain ASGI: while the reader is there, never silent for longer than ten seconds."""

from __future__ import annotations

import random
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from resilient import clock
from resilient.admin.problems import Problem

__all__ = ["EventStream", "leaving"]

_HEARTBEAT = 10.0
_STUCK = 30.0
"""Seconds that one write may take; a reader that takes nothing for so long is gone."""

HEADERS: Mapping[str, str] = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class EventStream(Response):
    """An answer that goes on until the reader leaves, the server stops, or the source ends.

    Args:
        source: Yields what is to be sent, and an empty text at least twice a second.
        seat: A place for the stream: a context that says whether there is one.

    """

    media_type = "text/event-stream"

    def __init__(self, source: AsyncIterator[bytes], seat: Callable[[], AbstractContextManager[bool]]) -> None:
        super().__init__(None, 200, dict(HEADERS))
        del self.headers["content-length"]
        self._source = source
        self._seat = seat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send, or refuse when all places are taken."""
        with self._seat() as taken:
            if not taken:
                full = Problem("streams", "All places for streams are taken; poll instead.", retry_after=5).response()
                for name, value in self.headers.items():
                    full.headers.setdefault(name, value)
                await full(scope, receive, send)
                return
            async with anyio.create_task_group() as group:
                group.start_soon(self._send, send, group.cancel_scope)
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

    async def _send(self, send: Send, scope: anyio.CancelScope) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            # Not all readers at once, when a server comes back.
            await self._write(send, f"retry: {random.randint(2000, 5000)}\n\n".encode())  # noqa: S311 -- no secret
            last = clock.SYSTEM.now()
            async for data in self._source:
                if data or clock.SYSTEM.now() - last >= _HEARTBEAT:
                    await self._write(send, data or b": still here\n\n")
                    last = clock.SYSTEM.now()
                if leaving():
                    break
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (OSError, TimeoutError):  # the reader has left, or takes nothing
            pass
        scope.cancel()

    async def _write(self, send: Send, data: bytes) -> None:
        with anyio.fail_after(_STUCK):
            await send({"type": "http.response.body", "body": data, "more_body": True})


def leaving() -> bool:
    """Tell whether the uvicorn server of this process was told to stop; it would wait for us.

    Neither ASGI nor a mounted application is told so. The server's own handler of SIGTERM knows.
    """
    handler = signal.getsignal(signal.SIGTERM)
    return getattr(getattr(handler, "__self__", None), "should_exit", False) is True
