"""The callers of one side, in their own process: threads and asyncio tasks, on schedule.

Every call gets a thread or a task of its own, so that a stuck call holds up no other. A
service with a fixed number of threads would do worse without protection.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from examples.outage.phases import TOTAL, Timeline
from examples.outage.process import every, play, say, started
from examples.outage.tally import Tally
from examples.outage.traffic import Arrival, arrivals

__all__ = ["FAMILIES", "Side", "follow"]

FAMILIES = ("httpx2", "httpx")
"""The client libraries, the default first."""

THREADS = 2000


class Side(Protocol):
    """How one side calls the service: each method returns `FRESH` or `FALLBACK`, or raises."""

    def ask(self) -> str:
        """Call from this thread."""

    async def aask(self) -> str:
        """Call from this task."""

    async def close(self) -> None:
        """Close all connections."""

    def status(self) -> dict[str, Any]:
        """Return what an operator of the callers sees."""


async def follow(side: Side, schedule: list[Arrival], timeline: Timeline, tally: Tally) -> None:
    """Make every call of the schedule at its time, and wait for the last one.

    Args:
        side: How to call.
        schedule: When to call.
        timeline: Which phase a call belongs to.
        tally: Where results go; the wait counts from the scheduled time.

    """
    began = time.monotonic()

    def settle(arrival: Arrival, result: str) -> None:
        waited = time.monotonic() - began - arrival.at
        tally.end(timeline.at(arrival.at).phase.name, result, waited)

    def in_thread(arrival: Arrival) -> None:
        try:
            result = side.ask()
        except Exception as error:  # noqa: BLE001 -- whatever the caller sees is counted
            result = type(error).__name__
        settle(arrival, result)

    async def in_task(arrival: Arrival) -> None:
        try:
            result = await side.aask()
        except Exception as error:  # noqa: BLE001
            result = type(error).__name__
        settle(arrival, result)

    with ThreadPoolExecutor(THREADS) as threads:
        async with asyncio.TaskGroup() as tasks:
            for arrival in schedule:
                await asyncio.sleep(max(0.0, began + arrival.at - time.monotonic()))
                tally.begin()
                if arrival.kind == "threads":
                    threads.submit(in_thread, arrival)
                else:
                    tasks.create_task(in_task(arrival))
        await asyncio.to_thread(threads.shutdown)


def choose(name: str, url: str, family: str) -> Side:
    """Return the side of that name; the other one's needs are not imported."""
    if name == "protected":
        from examples.outage.protected import Protected  # noqa: PLC0415

        return Protected(url, family)
    from examples.outage.unprotected import Unprotected  # noqa: PLC0415

    return Unprotected(url, family)


async def _main(arguments: argparse.Namespace) -> None:
    timeline = Timeline(arguments.seconds)
    side = choose(arguments.side, arguments.url, arguments.family)
    schedule = arrivals(seed=arguments.seed, seconds=arguments.seconds, rate=arguments.rate)
    tally = Tally()
    say(ready=True)
    await started()
    async with every(0.5, lambda: say(**tally.report(), **side.status())):
        await follow(side, schedule, timeline, tally)
    say(**tally.total(), **side.status(), last=True)
    await side.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("side", choices=("protected", "unprotected"))
    parser.add_argument("url")
    parser.add_argument("--family", choices=FAMILIES, default=FAMILIES[0])
    parser.add_argument("--seconds", type=float, default=TOTAL)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=100.0)
    play(_main(parser.parse_args()))
