"""One connection of the server: bytes in and out, the steps that play on it, and its ways to end."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, Protocol

from tests.faults.exchange import Exchange
from tests.faults.http1 import Http1
from tests.faults.http2 import Http2
from tests.faults.record import Received

if TYPE_CHECKING:
    from tests.faults.server import Hub

PREFACE = b"PRI * HTTP/2.0"
RST_ON_CLOSE = struct.pack("ii", 1, 0)


class Speaker(Protocol):
    """The protocol spoken on a connection."""

    def feed(self, data: bytes) -> None:
        """Take bytes of the client."""

    def over(self, exchange: Any) -> None:
        """Learn that a step has played."""

    async def ready(self) -> None:
        """Wait until a step may play."""

    def unfinished(self) -> list[Received]:
        """Return the requests whose body is still on its way."""


class Connection(asyncio.Protocol):
    """Bytes and tasks of one client's connection."""

    transport: asyncio.Transport
    number: int

    def __init__(self, hub: Hub, port: int) -> None:
        self.hub = hub
        self.port = port
        self.closing = False
        self._early = b""
        self._speaker: Speaker | None = None
        self._doomed = False
        self._tasks: dict[asyncio.Task[None], Exchange] = {}
        self._writable = asyncio.Event()
        self._writable.set()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        # asyncio sets it only for sockets that know their protocol, which ours do not.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = self.hub.record.connected()
        self.hub.open.add(self)

    def data_received(self, data: bytes) -> None:
        if self.closing:
            return
        if self._doomed:
            self.hub.record.disappointed()
            self.close()
            return
        if self._speaker is None:
            self._early += data
            begun = self._early[: len(PREFACE)]
            if len(begun) < len(PREFACE) and PREFACE.startswith(begun):
                return  # it may still become either
            data, self._early = self._early, b""
            self._speaker = Http2(self) if begun == PREFACE else Http1(self)
        self._speaker.feed(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.closing = True
        self.silence()
        self._writable.set()
        self.hub.open.discard(self)
        if self._speaker is not None:
            for received in self._speaker.unfinished():
                self.hub.record.broke_off(received)
        self.hub.record.disconnected()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # What speakers and steps call.

    def play(self, exchange: Exchange) -> None:
        """Play the script's step for a request."""
        assert self._speaker is not None
        self.hub.record.began(exchange.received)
        task = self.hub.loop.create_task(self._play(self._speaker, exchange))
        self._tasks[task] = exchange
        task.add_done_callback(self._played)

    async def _play(self, speaker: Speaker, exchange: Exchange) -> None:
        try:
            step = self.hub.choose(exchange.received)
            await speaker.ready()
            await step.play(exchange)
        except ConnectionError:
            self.close()
        except Exception as fault:  # of the script, which is for the test to see
            self.hub.record.failed(fault)
            self.reset()

    def _played(self, task: asyncio.Task[None]) -> None:
        exchange = self._tasks.pop(task)
        self.hub.record.ended()
        if not self.closing and self._speaker is not None:
            self._speaker.over(exchange)

    def silence(self, only: Exchange | None = None) -> None:
        """End the steps that still play, or that of one exchange."""
        for task, exchange in list(self._tasks.items()):
            if only is None or exchange is only:
                task.cancel()

    def write(self, data: bytes) -> None:
        if data and not self.transport.is_closing():
            self.transport.write(data)

    async def drain(self) -> None:
        if self.closing or self.transport.is_closing():
            raise ConnectionResetError
        await self._writable.wait()

    def close(self) -> None:
        """End in order, after what was written."""
        self.closing = True
        self.transport.close()

    def reset(self) -> None:
        """End by a reset, at once."""
        if not self.transport.is_closing():
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
        self.closing = True
        self.transport.abort()

    def doom(self) -> None:
        self._doomed = True

    def deafen(self) -> None:
        self.transport.pause_reading()

    async def opened(self, event: threading.Event) -> None:
        await self.hub.opened(event)
