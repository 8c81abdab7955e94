"""Connections of the server: so many at once, and so long for the head of a request; uvicorn would wait for ever."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from resilient import clock

__all__ = ["Impatient"]

SECONDS = 10.0
"""From the connection, or from the last answer, to the end of the next head."""

STUCK = 30.0
"""A reader that takes nothing for so long is gone; the rest of its answer is thrown away."""

MOST = 200
"""Connections at once; each takes a file descriptor, of which the record needs some too."""


class Impatient(H11Protocol):
    """A connection that is closed when it has nothing to say, or says it a sign at a time.

    Nobody needs a token to open one. Where there are too many, the one that has been silent for the longest time
    makes room; only where all are at work, the new one is turned away.
    """

    _late: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None
    _since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take a connection."""
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > MOST:
            waiting = [each for each in self.connections if isinstance(each, Impatient) and each.silent]
            min(waiting, key=lambda each: each._since).end()  # noqa: SLF001 -- of the same class

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._wait()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of a connection."""
        for timer in (self._late, self._stuck):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Give a reader so long to take what is there."""
        super().pause_writing()
        self._stuck = self.loop.call_later(STUCK, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: it has taken it."""
        if self._stuck is not None:
            self._stuck.cancel()
        super().resume_writing()

    @property
    def silent(self) -> bool:
        """Tell whether there is no request that is being answered."""
        cycle: Any = self.cycle  # None until there is a request, whatever its annotation says
        return (cycle is None or cycle.response_complete) and not self.transport.is_closing()

    def end(self) -> None:
        """Close the connection, unless it is at work."""
        if self.silent and self.transport.get_write_buffer_size():
            self.transport.close()
        elif self.silent:
            self.transport.abort()  # by TLS, to close politely waits for the other side

    def _wait(self) -> None:
        if self._late is not None:
            self._late.cancel()
        self._since = clock.SYSTEM.now()
        self._late = self.loop.call_later(SECONDS, self.end)
