"""Run both sides at once, each with its own service, and return what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from dataclasses import dataclass
from typing import Any

from examples.common.callers import FAMILIES
from examples.common.display import Show
from examples.common.process import Child
from examples.outage import verdict
from examples.outage.board import SIDES, Board
from examples.outage.operate import operated
from examples.outage.phases import TOTAL, Timeline

__all__ = ["Options", "compare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line can change.

    Attributes:
        seconds: Length of the run; the phases are scaled to it.
        rate: Calls per second on each side.
        seed: Of the arrivals and of the service's faults, the same for both sides.
        family: The client library of both sides.
        operate: Whether operators are let in.

    """

    seconds: float = TOTAL
    rate: float = 100.0
    seed: int = 1
    family: str = FAMILIES[0]
    operate: bool = False


class _Side:
    """The two processes of one side, and their last words."""

    def __init__(self, name: str, board: Board) -> None:
        self.name = name
        self.board = board
        self.server: Child
        self.clients: Child

    async def start(self, stack: contextlib.AsyncExitStack, options: Options) -> None:
        common = ("--seconds", options.seconds, "--seed", options.seed)
        self.server = await stack.enter_async_context(Child.running("examples.outage.server", *common))
        url = (await self.server.message())["url"]
        self.clients = await stack.enter_async_context(
            Child.running(
                "examples.outage.clients",
                self.name,
                url,
                *common,
                "--rate",
                options.rate,
                "--family",
                options.family,
            )
        )
        await self.clients.message()

    async def follow(self) -> dict[str, Any]:
        """Feed the board until the last call is over, and return the result."""
        listening = asyncio.create_task(self._listen())
        while True:
            client = await self.clients.message()
            self.board.from_client(self.name, client)
            if client.get("last"):
                break
        self.server.stop()
        return verdict.side(client, await listening)

    async def _listen(self) -> dict[str, Any]:
        message: dict[str, Any] = {}
        with contextlib.suppress(EOFError):
            while True:
                message = await self.server.message()
                self.board.from_server(self.name, message)
        return message


async def compare(options: Options, show: Show) -> dict[str, Any]:
    """Let both sides live through the same outage; return the figures and the verdict."""
    board = Board(Timeline(options.seconds))
    sides = [_Side(name, board) for name in SIDES]
    async with contextlib.AsyncExitStack() as stack:
        if options.operate:
            board.told = await stack.enter_async_context(operated())
            print(*board.told, sep="\n", file=sys.stderr, flush=True)
        await asyncio.gather(*(side.start(stack, options) for side in sides))
        began = time.monotonic()
        for side in sides:
            side.server.go()
            side.clients.go()

        async def keep_showing() -> None:
            while True:
                await asyncio.sleep(0.5)
                board.elapsed = time.monotonic() - began
                show(board)

        showing = asyncio.create_task(keep_showing())
        try:
            protected, unprotected = await asyncio.gather(*(side.follow() for side in sides))
        finally:
            showing.cancel()
        took = time.monotonic() - began
    found = verdict.checks(protected, unprotected)
    return {
        "family": options.family,
        "seconds": round(took, 2),
        "rate": options.rate,
        "seed": options.seed,
        "definitions": verdict.definitions(options.family),
        "protected": protected,
        "unprotected": unprotected,
        "checks": [check.as_dict() for check in found],
        "holds": all(check.holds for check in found),
    }
