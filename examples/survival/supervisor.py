"""Who looks after a writer: kills it in the middle of an order, and starts it again from its journal."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from examples.common.process import Child
from examples.survival.journal import DONE, Journal

if TYPE_CHECKING:
    from examples.survival.board import Board
    from examples.survival.run import Options

__all__ = ["CRASHES", "Supervisor"]

CRASHES = 3
"""How often a writer is killed."""

SHARE = 0.7
"""Orders are new for this share of the run, so that there is time to end them all."""


class Supervisor:
    """Runs the processes of one writer, one after the other.

    Args:
        kind: "keyed" or "plain".
        url: Address of the shop.
        folder: Where the journal is kept.
        options: Of the run.
        board: Gets the news.

    """

    def __init__(self, kind: str, url: str, folder: Path, options: Options, board: Board) -> None:
        """Draw the orders during which the writer is killed."""
        self._kind, self._board = kind, board
        self._journal = folder / f"{kind}.jsonl"
        self._total = max(CRASHES + 1, int(options.orders * options.seconds * SHARE))
        self._command = (
            *("examples.survival.writer", kind, url, "--journal", self._journal, "--orders", self._total),
            *("--rate", options.orders, "--family", options.family),
        )
        self._random = random.Random(options.seed)  # noqa: S311 -- moments of crashes, not cryptography
        numbers = range(self._total // 10, self._total * 9 // 10)
        self._due = {f"{kind}-{number}" for number in self._random.sample(numbers, CRASHES)}
        self._sums: Counter[str] = Counter()
        self.in_doubt: dict[str, str] = {}

    async def write(self) -> None:
        """Let the writer work, through its crashes, until each order is done or in doubt."""
        while (last := await self._run()) is None:
            self._sums["kills"] += 1
            self._board.from_writer(self._kind, {"kills": self._sums["kills"]})
        self.in_doubt = last["in_doubt"]

    async def once_more(self) -> None:
        """Let it send again what was in doubt and is resolved."""
        self._due.clear()
        await self._run()

    def result(self, effects: Counter[str]) -> dict[str, Any]:
        """Compare the journal with the ledger of the shop."""
        states = Journal(self._journal).states
        mine = {order: effects[order] for order in (f"{self._kind}-{number}" for number in range(self._total))}
        return {
            "orders": self._total,
            "acknowledged": sum(state == DONE for state in states.values()),
            "lost": [order for order, state in states.items() if state == DONE and not mine[order]],
            "once": sum(times == 1 for times in mine.values()),
            "more_than_once": sum(times > 1 for times in mine.values()),
            "never": sum(times == 0 for times in mine.values()),
            "in_doubt": len(self.in_doubt),
            **self._sums,
        }

    async def _run(self) -> dict[str, Any] | None:
        """Run one process; return its last words, or None if it was killed."""
        async with Child.running(*self._command) as writer:
            ready = await writer.message()
            self._sums["reopened"] += ready["reopened"]
            writer.go()
            seen: dict[str, Any] = {}
            while not seen.get("last"):
                message = await writer.message()
                if "begun" not in message:
                    seen = message
                    self._board.from_writer(self._kind, seen)
                elif message["begun"] in self._due:
                    self._due.remove(message["begun"])
                    await asyncio.sleep(self._random.uniform(0.0, 0.05))
                    await writer.kill()
                    break
        for name in ("repeated", "replayed"):
            self._sums[name] += seen.get(name, 0)
        return seen if seen.get("last") else None
