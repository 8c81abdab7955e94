"""HTTP/1.1 of the server, parsed and framed by h11."""

from __future__ import annotations

import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, NoReturn

import h11

from tests.faults.record import Headers, Received

if TYPE_CHECKING:
    from tests.faults.connection import Connection

BODILESS = {204, 304}
REASONS = {int(status): status.phrase.encode() for status in HTTPStatus}


class Http1:
    """Requests of one connection, one after another."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.wire = h11.Connection(h11.SERVER)
        self._exchange: Exchange1 | None = None
        self._playing = False

    def feed(self, data: bytes) -> None:
        self.wire.receive_data(data)
        self._read()

    def _read(self) -> None:
        while not self.connection.closing:
            try:
                event = self.wire.next_event()
            except h11.RemoteProtocolError:
                self.connection.silence()
                self.connection.close()
                return
            if event is h11.PAUSED:
                return
            if event is h11.NEED_DATA:
                if self.wire.they_are_waiting_for_100_continue and not self.connection.hub.early:
                    self.send(h11.InformationalResponse(status_code=100, headers=[]))
                return
            self._take(event)

    def _take(self, event: object) -> None:
        if isinstance(event, h11.Request):
            self._exchange = Exchange1(self, event)
            if self.connection.hub.early:
                self._play(self._exchange)
        elif isinstance(event, h11.Data):
            assert self._exchange is not None
            self._exchange.received.parts += event.data
        elif isinstance(event, h11.EndOfMessage):
            exchange, self._exchange = self._exchange, None
            assert exchange is not None
            exchange.received.complete = True
            if not self.connection.hub.early:
                self._play(exchange)
            elif not self._playing:
                self._next()

    def _play(self, exchange: Exchange1) -> None:
        self._playing = True
        self.connection.play(exchange)

    def over(self, exchange: Exchange1) -> None:
        self._playing = False
        if self.wire.our_state not in {h11.DONE, h11.MUST_CLOSE}:
            self.connection.hub.record.failed(RuntimeError(f"a step left {exchange.received} without an answer"))
            self.connection.reset()
        else:
            self._next()

    def _next(self) -> None:
        if self.wire.our_state is h11.DONE and self.wire.their_state is h11.DONE:
            self.wire.start_next_cycle()
            self._read()
        elif h11.MUST_CLOSE in {self.wire.our_state, self.wire.their_state}:
            self.connection.close()

    async def ready(self) -> None:
        """Need nothing before a step may play."""

    def unfinished(self) -> list[Received]:
        return [] if self._exchange is None else [self._exchange.received]

    def send(self, event: h11.Event) -> None:
        self.connection.write(self.wire.send(event) or b"")


class Exchange1:
    """One request of HTTP/1.1 and the means to answer it."""

    def __init__(self, speaker: Http1, request: h11.Request) -> None:
        connection = speaker.connection
        self._speaker = speaker
        self._bodiless = request.method == b"HEAD"
        self.close, self.reset = connection.close, connection.reset
        self.doom, self.deafen = connection.doom, connection.deafen
        self.received = Received(
            method=request.method.decode(),
            target=request.target.decode(),
            headers=Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers),
            connection=connection.number,
            port=connection.port,
            version=request.http_version.decode(),
        )

    async def hint(self, status: int, headers: list[tuple[str, str]]) -> None:
        self._speaker.send(h11.InformationalResponse(status_code=status, headers=headers))

    async def head(self, status: int, headers: list[tuple[str, str]]) -> None:
        self._bodiless = self._bodiless or status in BODILESS
        self._speaker.send(h11.Response(status_code=status, headers=headers, reason=REASONS.get(status, b"")))

    async def send(self, data: bytes) -> None:
        if data and not self._bodiless:
            self._speaker.send(h11.Data(data=data))
        await self._speaker.connection.drain()

    async def end(self) -> None:
        self._speaker.send(h11.EndOfMessage())

    async def raw(self, data: bytes) -> None:
        self._speaker.connection.write(data)
        await self._speaker.connection.drain()

    async def opened(self, event: threading.Event) -> None:
        await self._speaker.connection.opened(event)

    def rst(self, code: int) -> NoReturn:
        raise RuntimeError("a stream can be reset only in HTTP/2")

    def goaway(self, last: int, code: int) -> NoReturn:
        raise RuntimeError("GOAWAY exists only in HTTP/2")
