"""One request on the server and what a step may do with it; and what a step is."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, Protocol

from tests.faults.record import Received

P = ParamSpec("P")


class Exchange(Protocol):
    """One request and the means to answer it, the same for HTTP/1.1 and HTTP/2."""

    received: Received

    async def hint(self, status: int, headers: list[tuple[str, str]]) -> None:
        """Send an interim answer (1xx)."""

    async def head(self, status: int, headers: list[tuple[str, str]]) -> None:
        """Send status and headers."""

    async def send(self, data: bytes) -> None:
        """Send a part of the body."""

    async def end(self) -> None:
        """Send the end of the body."""

    async def raw(self, data: bytes) -> None:
        """Send bytes as they are; HTTP/1.1 only."""

    async def opened(self, event: threading.Event) -> None:
        """Wait until an event of another thread is set."""

    def rst(self, code: int) -> None:
        """Break off this stream alone; HTTP/2 only."""

    def goaway(self, last: int, code: int) -> None:
        """Announce that streams after `last` are not served; HTTP/2 only."""

    def close(self) -> None:
        """End the connection in order (FIN), after what was sent."""

    def reset(self) -> None:
        """Tear the connection down (RST)."""

    def doom(self) -> None:
        """Close the connection as soon as another byte comes by it."""

    def deafen(self) -> None:
        """Read nothing more from this connection."""


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to one request."""

    name: str
    play: Callable[[Exchange], Awaitable[None]]

    def __repr__(self) -> str:
        return self.name


def step(function: Callable[Concatenate[Exchange, P], Awaitable[None]]) -> Callable[P, Step]:
    """Turn an async function of an exchange and more into a maker of steps."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def make(*args: P.args, **kwargs: P.kwargs) -> Step:
        signature.bind(None, *args, **kwargs)  # a wrong argument fails where it is written
        return Step(function.__name__, lambda exchange: function(exchange, *args, **kwargs))

    return make
