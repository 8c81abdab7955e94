"""Hold back the response of an application until it is written down, then send it.

So no client sees a response that the server would forget in a crash. A response above a bound is
let go as it comes; then only the fact that there was one is written down.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from resilient.idempotency.answers import Answer, Message, Send

if TYPE_CHECKING:
    from resilient._runtime.awaiting import TaskWaiter

__all__ = ["Recorder"]

Record = Callable[[Answer | None], Awaitable[Answer | None]]
"""Writes down a response, or None for one that is not kept; returns what to send."""


class Recorder:
    """What an application sends to.

    Args:
        send: The server's.
        record: Called once, when the response is whole.
        most: Bytes of a body that are held back.

    """

    def __init__(self, send: Send, record: Record, most: int) -> None:
        self._send = send
        self._record = record
        self._most = most
        self._start: Message | None = None
        self._held = bytearray()  # not the parts themselves: there may be many without any content
        self._flows = False
        self._gone = False
        self.ended = False
        """Whether the response was whole, and was written down or tried to."""
        self.waiters: list[TaskWaiter[None]] = []
        """Who waits for that."""

    @property
    def flows(self) -> bool:
        """Whether the client has got a part of the response already."""
        return self._flows

    async def __call__(self, message: Message) -> None:
        """Take one message of the application.

        Raises:
            RuntimeError: If it is none that may come now.

        """
        kind = message["type"]
        if kind == "http.response.start" and self._start is None:
            self._start = message
        elif kind == "http.response.body" and self._start is not None and not self.ended:
            await self._take(message.get("body", b""), more=bool(message.get("more_body", False)))
        else:
            error = f"an application sent {kind!r} where that has no place"
            raise RuntimeError(error)

    async def _take(self, part: bytes, *, more: bool) -> None:
        if self._flows:
            await self._pass(part, more=more)
            return
        self._held += part
        if len(self._held) > self._most:
            self._flows = True
            assert self._start is not None  # noqa: S101 -- a body comes after the start
            await self._forward(self._start)
            held, self._held = bytes(self._held), bytearray()
            await self._pass(held, more=more)
        elif not more:
            await self.end(self._answer())

    async def _pass(self, part: bytes, *, more: bool) -> None:
        if not more:
            await self._written(None)
        await self._forward({"type": "http.response.body", "body": part, "more_body": more})

    def _answer(self) -> Answer:
        assert self._start is not None  # noqa: S101
        headers = [(bytes(name).lower(), bytes(value)) for name, value in self._start.get("headers", ())]
        return Answer(int(self._start["status"]), headers, bytes(self._held))

    async def end(self, answer: Answer) -> None:
        """Write the response down, then send it."""
        written = await self._written(answer)
        try:
            await (written or answer).send(self._send)
        except OSError:  # the client has left; it gets the same when it comes back
            self._gone = True

    async def cut(self) -> None:
        """Write down that a response of which the client has a part was not brought to its end."""
        await self._written(None)

    async def _written(self, answer: Answer | None) -> Answer | None:
        self.ended = True  # also if writing fails: there is no second try
        try:
            return await self._record(answer)
        finally:
            while self.waiters:
                self.waiters.pop().offer(None)

    async def _forward(self, message: Message) -> None:
        if not self._gone:
            try:
                await self._send(message)
            except OSError:
                self._gone = True
