"""HTTP/2 of the server, framed by h2: many requests at once over one connection."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, NoReturn

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from hyperframe.frame import GoAwayFrame

from tests.faults.record import Headers, Received

if TYPE_CHECKING:
    from tests.faults.connection import Connection

SETTLING = 0.2
"""Seconds that a client has to acknowledge our settings."""

UNKNOWN_HERE = {"connection", "keep-alive", "transfer-encoding"}


class Http2:
    """The streams of one connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.wire = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self._streams: dict[int, Exchange2] = {}
        self._moved = asyncio.Event()
        self._settled = asyncio.Event()
        self.wire.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.connection.write(self.wire.data_to_send())

    def feed(self, data: bytes) -> None:
        try:
            for event in self.wire.receive_data(data):
                self._take(event)
        except h2.exceptions.ProtocolError:
            self.connection.silence()
            self.flush()
            self.connection.close()
        else:
            self.flush()

    def _take(self, event: h2.events.Event) -> None:
        early = self.connection.hub.early
        if isinstance(event, h2.events.RequestReceived):
            exchange = self._streams[event.stream_id] = Exchange2(self, event)
            if early:
                self.connection.play(exchange)
        elif isinstance(event, h2.events.DataReceived):
            self.wire.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if event.stream_id in self._streams:
                self._streams[event.stream_id].received.parts += event.data
        elif isinstance(event, h2.events.StreamEnded) and event.stream_id in self._streams:
            exchange = self._streams[event.stream_id]
            exchange.received.complete = True
            if not early:
                self.connection.play(exchange)
        elif isinstance(event, h2.events.StreamReset) and event.stream_id in self._streams:
            self._broken_off(self._streams.pop(event.stream_id))
        elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            self._moved.set()
            self._moved = asyncio.Event()
        elif isinstance(event, h2.events.SettingsAcknowledged):
            self._settled.set()
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.connection.silence()
            self.connection.close()

    def _broken_off(self, exchange: Exchange2) -> None:
        if not exchange.received.complete:
            self.connection.hub.record.broke_off(exchange.received)
        self.connection.silence(exchange)

    def over(self, exchange: Exchange2) -> None:
        self._streams.pop(exchange.received.stream, None)

    async def ready(self) -> None:
        """Wait until the client has acknowledged our settings.

        A step that ends the connection before would meet a client that is still writing, and which error
        that client sees would be chance.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), SETTLING)

    def unfinished(self) -> list[Received]:
        return [exchange.received for exchange in self._streams.values() if not exchange.received.complete]

    async def moved(self) -> None:
        """Wait until the client lets more bytes come."""
        await self._moved.wait()


class Exchange2:
    """One request of HTTP/2 and the means to answer it."""

    def __init__(self, speaker: Http2, request: h2.events.RequestReceived) -> None:
        connection = speaker.connection
        pairs = [(str(name), str(value)) for name, value in request.headers]
        pseudo = Headers(pairs)
        self._speaker = speaker
        self._bodiless = pseudo[":method"] == "HEAD"
        self.close, self.reset = connection.close, connection.reset
        self.deafen = connection.deafen
        self.received = Received(
            method=pseudo[":method"],
            target=pseudo[":path"],
            headers=Headers([pair for pair in pairs if not pair[0].startswith(":")]),
            connection=connection.number,
            port=connection.port,
            version="2",
            stream=request.stream_id,
        )

    async def hint(self, status: int, headers: list[tuple[str, str]]) -> None:
        await self.head(status, headers)

    async def head(self, status: int, headers: list[tuple[str, str]]) -> None:
        fields = [(name.lower(), value) for name, value in headers if name.lower() not in UNKNOWN_HERE]
        self._speaker.wire.send_headers(self.received.stream, [(":status", str(status)), *fields])
        self._speaker.flush()

    async def send(self, data: bytes) -> None:
        wire, stream = self._speaker.wire, self.received.stream
        while data and not self._bodiless:
            room = min(wire.local_flow_control_window(stream), wire.max_outbound_frame_size)
            if room > 0:
                wire.send_data(stream, data[:room])
                self._speaker.flush()
                data = data[room:]
            else:
                await self._speaker.moved()
            await self._speaker.connection.drain()

    async def end(self) -> None:
        self._speaker.wire.end_stream(self.received.stream)
        self._speaker.flush()

    async def raw(self, data: bytes) -> NoReturn:
        raise RuntimeError("bare bytes are for HTTP/1.1")

    def doom(self) -> NoReturn:
        raise RuntimeError("a connection of HTTP/2 has always something to say")

    async def opened(self, event: threading.Event) -> None:
        await self._speaker.connection.opened(event)

    def rst(self, code: int) -> None:
        self._speaker.wire.reset_stream(self.received.stream, error_code=code)
        self._speaker.flush()

    def goaway(self, last: int, code: int) -> None:
        # Written by hand: h2 would let nothing follow, but the streams before it are still served.
        self._speaker.connection.write(GoAwayFrame(0, last_stream_id=last, error_code=code).serialize())
