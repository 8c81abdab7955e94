"""What goes wrong after an order took effect: late answers, broken connections, lost answers."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from examples.common.network import reset

__all__ = ["Application", "Mischief", "Receive", "Scope", "Send", "Unreliable"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LATE = 0.8
"""Seconds by which a late answer is late: longer than a client waits for one attempt."""

SHARES = {"late": 0.15, "reset": 0.1}
LOST = 0.1


class Mischief:
    """Draws what happens to an order that took effect, and does it.

    Args:
        seed: For the draws.

    Attributes:
        done: What was done, and how often.
        connections: The server's open connections, each with its `client` and `transport`.

    """

    def __init__(self, seed: int) -> None:
        """Prepare the draws."""
        self.done: Counter[str] = Counter()
        self._random = random.Random(seed)  # noqa: S311 -- simulated faults, not cryptography
        self.connections: Iterable[Any] = ()

    async def after_effect(self, scope: Scope) -> None:
        """Keep the answer back, break the connection, or do nothing."""
        drawn = self._random.random()
        if drawn < SHARES["late"]:
            self.done["late"] += 1
            await asyncio.sleep(LATE)
        elif drawn < SHARES["late"] + SHARES["reset"]:
            self.done["reset"] += 1
            self.break_off(scope)

    def loses(self) -> bool:
        """Draw whether an answer that was made gets lost."""
        return self._random.random() < LOST

    def break_off(self, scope: Scope) -> None:
        """Reset the connection of a request."""
        client = tuple(scope["client"])
        for connection in list(self.connections):
            if connection.client == client:
                reset(connection.transport)


class Unreliable:
    """A network between the clients and an application: it loses some answers to orders.

    Args:
        application: The application with all its middleware, so that answers it has recorded get lost, too.
        mischief: Draws which.

    """

    def __init__(self, application: Application, mischief: Mischief) -> None:
        """Stand in front of the application."""
        self._application = application
        self._mischief = mischief

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back, as a rule."""

        async def pass_on(message: Message) -> None:
            if scope["method"] == "POST" and message["type"] == "http.response.start" and self._mischief.loses():
                self._mischief.done["lost"] += 1
                self._mischief.break_off(scope)
            await send(message)

        await self._application(scope, receive, pass_on)
