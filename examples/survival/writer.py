"""A writer in its own process, which is killed now and then: it works off orders, and keeps a journal.

`python -m examples.survival.writer KIND URL --journal FILE --orders N` takes up what the journal
says is open, and then the orders that follow. It prints each order that it begins, and ends when
all of them are done or in doubt.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

from examples.common.callers import FAMILIES
from examples.common.process import every, play, say, started
from examples.survival.journal import BEGUN, DONE, DOUBT, Journal
from examples.survival.orders import End, Keyed, Plain

__all__ = ["KINDS", "Writer"]

KINDS: dict[str, type[Plain]] = {"keyed": Keyed, "plain": Plain}

WORKERS = 2
"""Threads, and tasks: orders on their way at a time are twice as many."""

PAUSE = 0.3
"""Seconds until an order whose end is open is sent again."""


class Writer:
    """Works off the orders of one journal.

    Args:
        name: Begins the name of each order.
        way: How to place an order.
        journal: What is known from before.
        total: Number of orders.
        rate: New orders per second.

    """

    def __init__(self, name: str, way: Plain, journal: Journal, *, total: int, rate: float) -> None:
        """Take up what is open."""
        self.way, self.journal = way, journal
        self.reopened = journal.within(BEGUN, DOUBT)
        self._new = [f"{name}-{number}" for number in range(len(journal.states), total)]
        self._rate, self._left = rate, len(self.reopened) + len(self._new)
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._finished = asyncio.Event()
        self.repeated = self.replayed = 0

    async def work(self) -> None:
        """Place all orders; return when each is done or in doubt."""
        for order in self.reopened:
            self._queue.put_nowait(order)
        if not self._left:
            return
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(self._take_in())]
            for _ in range(WORKERS):
                running.append(tasks.create_task(self._place(self.way.aplace)))
                running.append(tasks.create_task(self._place(self._in_thread)))
            await self._finished.wait()
            for task in running:
                task.cancel()

    async def _in_thread(self, order: str) -> End | None:
        return await asyncio.to_thread(self.way.place, order)

    async def _take_in(self) -> None:
        for order in self._new:
            self._queue.put_nowait(order)
            await asyncio.sleep(1 / self._rate)

    async def _place(self, place: Any) -> None:  # noqa: ANN401 -- one of the two ways
        while True:
            order = await self._queue.get()
            if self.journal.states.get(order) != BEGUN:
                self.journal.note(order, BEGUN)
            say(begun=order)
            try:
                end = await place(order)
            except Exception:  # noqa: BLE001 -- whatever it was, nobody knows what became of the order
                end = None
            if end is None:
                self.repeated += 1
                asyncio.get_running_loop().call_later(PAUSE, self._queue.put_nowait, order)
                continue
            self.replayed += end.replayed
            self.journal.note(order, end.state, end.key_id)
            self._left -= 1
            if not self._left:
                self._finished.set()

    def report(self) -> dict[str, Any]:
        """Return how far it is."""
        states = self.journal.within
        return {
            "done": len(states(DONE)),
            "open": len(states(BEGUN)),
            "in_doubt": self.journal.doubts,
            "repeated": self.repeated,
            "replayed": self.replayed,
        }


async def _main(arguments: argparse.Namespace) -> None:
    way = KINDS[arguments.kind](arguments.url, arguments.family)
    journal = Journal(arguments.journal)
    writer = Writer(arguments.kind, way, journal, total=arguments.orders, rate=arguments.rate)
    say(reopened=len(writer.reopened))
    await started()
    async with every(0.5, lambda: say(**writer.report())):
        await writer.work()
    say(**writer.report(), last=True)
    await way.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("url")
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--orders", type=int, required=True)
    parser.add_argument("--family", choices=FAMILIES, default=FAMILIES[0])
    parser.add_argument("--rate", type=float, default=8.0)
    play(_main(parser.parse_args()))
