"""The body of a request, read before it is executed: to compare it, and to hand it on as it came."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from math import inf
from typing import Any

from resilient.clock import current
from resilient.idempotency.recording import Recorder

__all__ = ["Receive", "Scope", "Upload", "digest", "received"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class Upload:
    """What has come of a body.

    Attributes:
        body: The beginning; all of it, unless `more` is to come.
        more: Whether there is more to come.
        longer: Whether the body is longer than what is compared.

    """

    __slots__ = ("_handed", "body", "longer", "more")

    def __init__(self, body: bytes, *, more: bool, longer: bool) -> None:
        self.body = body
        self.more = more
        self.longer = longer
        self._handed = False

    def receiver(self, receive: Receive, recorder: Recorder | None) -> Receive:
        """Return what hands the body to the application, from its beginning.

        Args:
            receive: Where the rest comes from.
            recorder: Where the response goes. Until it is whole, the application does not hear
                that the client has left: what was begun is brought to its end, for the client
                that comes back. None: it hears all.

        """

        async def handed() -> Message:
            if not self._handed:
                self._handed = True
                return {"type": "http.request", "body": self.body, "more_body": self.more}
            if self.more or recorder is None:
                message = await receive()
                self.more = bool(message.get("more_body", False))
                return message
            await _ended(recorder)
            return {"type": "http.disconnect"}

        return handed


async def _ended(recorder: Recorder) -> None:
    """Wait until a response is whole."""
    from resilient._runtime.awaiting import TaskWaiter  # noqa: PLC0415 -- only async code loads asyncio

    waiter: TaskWaiter[None] = TaskWaiter()
    recorder.waiters.append(waiter)
    try:
        if not recorder.ended:
            await waiter.wait(current(), inf)
    finally:  # who only looks whether the client is still there leaves nothing behind
        with suppress(ValueError):
            recorder.waiters.remove(waiter)


async def received(receive: Receive, most: int) -> Upload | None:
    """Read a body, of one that is too long a little more than `most` bytes; None if the client left before its end."""
    body, more = bytearray(), True
    while more and len(body) <= most:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        more = bool(message.get("more_body", False))
    return Upload(bytes(body), more=more, longer=len(body) > most)


def digest(*parts: bytes) -> str:
    """Return a digest that no other parts have."""
    return hashlib.sha256(b"".join(len(part).to_bytes(8) + part for part in parts)).hexdigest()
