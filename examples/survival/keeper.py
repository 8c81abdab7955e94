"""Who keeps the shop: starts it, makes it slow, kills it in the middle of an order and starts it again."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from examples.common.process import Child
from examples.survival.phases import KILLED, RESTARTED, spans

__all__ = ["Keeper"]

LONGEST = 0.3
"""Seconds that the crash waits for an order."""


class Keeper:
    """Plays the shop's part of the script.

    Args:
        folder: Where the shop keeps its ledger and its keys.
        seed: Of the shop's faults, and of the moment of the crash.
        stack: Ends the processes.

    """

    def __init__(self, folder: Path, seed: int, stack: contextlib.AsyncExitStack) -> None:
        """Start nothing yet."""
        self._folder, self._seed, self._stack = folder, seed, stack
        self._random = random.Random(seed)  # noqa: S311 -- the moment of a crash, not cryptography
        self._shop: Child
        self._next: Child
        self._port = 0
        self._words: list[dict[str, Any]] = []
        self._listening: asyncio.Task[None]
        self._busy = asyncio.Event()

    async def open(self) -> str:
        """Start the shop for the first time; return its address."""
        self._next = await self._prepare()
        return await self._serve()

    async def play(self, began: float, seconds: float) -> None:
        """Go through the phases; the first one has begun at that time."""
        for phase, begin, _ in spans(seconds):
            await asyncio.sleep(max(0.0, began + begin - time.monotonic()))
            if phase.name == KILLED:
                await self._crash()
                continue
            if phase.name == RESTARTED:
                await self._serve()
            self._shop.tell(delay=phase.service[0])
        await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))

    async def close(self) -> dict[str, dict[str, int]]:
        """Stop the shop; return what both of its processes have done."""
        self._shop.stop()
        await self._listening
        last: list[Counter[str]] = [Counter(), Counter()]
        for words in self._words:
            for total, each in zip(last, (words["answered"], words["mischief"]), strict=True):
                total.update(each)
        return {"answered": dict(last[0]), "mischief": dict(last[1])}

    async def _prepare(self) -> Child:
        """Start a process that is ready to serve at once, but does not yet."""
        given = ("--folder", self._folder, "--port", self._port, "--seed", self._seed + len(self._words))
        return await self._stack.enter_async_context(Child.running("examples.survival.shop", *given))

    async def _serve(self) -> str:
        self._shop = self._next
        self._shop.go()
        message = await self._shop.message()
        self._port = message["port"]
        self._listening = asyncio.create_task(self._listen(self._shop))
        url: str = message["url"]
        return url

    async def _listen(self, shop: Child) -> None:
        self._words.append({"answered": {}, "mischief": {}})
        with contextlib.suppress(EOFError):
            while True:
                message = await shop.message()
                if "begun" not in message:
                    self._words[-1] = message
                elif message["begun"].startswith("keyed"):
                    self._busy.set()

    async def _crash(self) -> None:
        """Kill the shop while it carries out an order: before, or just after, that took effect."""
        self._busy.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._busy.wait(), LONGEST)
        await asyncio.sleep(self._random.uniform(0.0, 0.06))
        await self._shop.kill()
        await self._listening
        self._next = await self._prepare()
