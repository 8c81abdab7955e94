"""Run the shop, its readers and its writers, and return what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.common.callers import FAMILIES
from examples.common.display import Show
from examples.common.process import Child
from examples.survival import verdict
from examples.survival.board import Board
from examples.survival.keeper import Keeper
from examples.survival.keys import resolve
from examples.survival.ledger import Ledger
from examples.survival.phases import TOTAL
from examples.survival.readers import READERS
from examples.survival.supervisor import Supervisor
from examples.survival.writer import KINDS

__all__ = ["Options", "survive"]

LONGER = 30.0
"""Seconds that the writers may need after the last phase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line can change.

    Attributes:
        seconds: Length of the run; the phases are scaled to it.
        rate: Calls per second of each reader.
        orders: New orders per second of each writer.
        seed: Of arrivals, faults and crashes.
        family: The client library.

    """

    seconds: float = TOTAL
    rate: float = 40.0
    orders: float = 8.0
    seed: int = 1
    family: str = FAMILIES[0]


async def _reader(name: str, url: str, options: Options, stack: contextlib.AsyncExitStack) -> Child:
    """Start a reader; return it when it is ready to go."""
    given = ("--seconds", options.seconds, "--seed", options.seed, "--rate", options.rate, "--family", options.family)
    child = await stack.enter_async_context(Child.running("examples.survival.readers", name, url, *given))
    await child.message()
    return child


async def _follow(name: str, child: Child, board: Board) -> dict[str, Any]:
    """Feed the board until the last call of a reader is over; return its last words."""
    while True:
        message = await child.message()
        board.from_reader(name, message)
        if message.get("last"):
            return message


async def survive(options: Options, show: Show) -> dict[str, Any]:
    """Play the script with everybody; return the figures and the verdict."""
    with tempfile.TemporaryDirectory(prefix="survival-") as name:
        began = time.monotonic()
        happened = await _play(options, Path(name), Board(options.seconds), show)
    result = {
        "family": options.family,
        "seconds": options.seconds,
        "took": round(time.monotonic() - began, 2),
        "rate": options.rate,
        "seed": options.seed,
        **happened,
    }
    found = verdict.checks(result)
    return {**result, "checks": [check.as_dict() for check in found], "holds": all(check.holds for check in found)}


async def _play(options: Options, folder: Path, board: Board, show: Show) -> dict[str, Any]:
    """Start all processes, and let them live through the script."""
    async with contextlib.AsyncExitStack() as stack:
        keeper = Keeper(folder, options.seed, stack)
        url = await keeper.open()
        children = await asyncio.gather(*(_reader(each, url, options, stack) for each in READERS))
        writers = {kind: Supervisor(kind, url, folder, options, board) for kind in KINDS}
        began = time.monotonic()
        for child in children:
            child.go()
        showing = asyncio.create_task(_keep_showing(board, show, began))
        try:
            playing = asyncio.create_task(keeper.play(began, options.seconds))
            writing = asyncio.create_task(_write(writers, folder))
            following = (_follow(*each, board) for each in zip(READERS, children, strict=True))
            readers = dict(zip(READERS, await asyncio.gather(*following), strict=True))
            await playing
            resolved = await asyncio.wait_for(writing, LONGER)
        except TimeoutError:  # the verdict says what is missing
            resolved = {}
        finally:
            showing.cancel()
        shop = await keeper.close()
    effects = Ledger(folder / "ledger.jsonl").effects()
    written = {kind: each.result(effects) for kind, each in writers.items()}
    written["keyed"]["resolved"] = resolved
    return {"readers": readers, "writers": written, "shop": shop}


async def _write(writers: dict[str, Supervisor], folder: Path) -> dict[str, int]:
    """Place all orders, and resolve by hand what is in doubt; return how often it was what."""
    await asyncio.gather(*(each.write() for each in writers.values()))
    resolved = await asyncio.to_thread(resolve, folder, writers["keyed"].in_doubt)
    await writers["keyed"].once_more()
    return resolved


async def _keep_showing(board: Board, show: Show, began: float) -> None:
    while True:
        await asyncio.sleep(0.5)
        board.elapsed = time.monotonic() - began
        show(board)
