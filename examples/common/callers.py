"""Callers in one process: threads and asyncio tasks, on schedule.

Every call gets a thread or a task of its own, so that a stuck call holds up no other. A
service with a fixed number of threads would do worse without protection.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from examples.common.traffic import Arrival

__all__ = ["FAMILIES", "Caller", "Log", "follow"]

FAMILIES = ("httpx2", "httpx")
"""The client libraries, the default first."""

THREADS = 2000

T = TypeVar("T")
S_co = TypeVar("S_co", covariant=True)
S_contra = TypeVar("S_contra", contravariant=True)


class Caller(Protocol[S_co]):
    """How one side calls the service: each method returns what it got, or raises."""

    def ask(self) -> S_co:
        """Call from this thread."""

    async def aask(self) -> S_co:
        """Call from this task."""


class Log(Protocol[S_contra]):
    """Where calls are written down; used by threads and tasks at once."""

    def begin(self) -> None:
        """Note that a user makes a call."""

    def end(self, arrival: Arrival, result: S_contra | Exception, waited: float) -> None:
        """Note how it ended, and how many seconds after its scheduled time."""


async def follow(caller: Caller[T], schedule: list[Arrival], log: Log[T]) -> None:
    """Make every call of the schedule at its time, and wait for the last one.

    Args:
        caller: How to call.
        schedule: When to call.
        log: Where results go.

    """
    began = time.monotonic()

    def settle(arrival: Arrival, result: T | Exception) -> None:
        log.end(arrival, result, time.monotonic() - began - arrival.at)

    def in_thread(arrival: Arrival) -> None:
        try:
            result: T | Exception = caller.ask()
        except Exception as error:  # noqa: BLE001 -- whatever the caller sees is counted
            result = error
        settle(arrival, result)

    async def in_task(arrival: Arrival) -> None:
        try:
            result: T | Exception = await caller.aask()
        except Exception as error:  # noqa: BLE001
            result = error
        settle(arrival, result)

    with ThreadPoolExecutor(THREADS) as threads:
        async with asyncio.TaskGroup() as tasks:
            for arrival in schedule:
                await asyncio.sleep(max(0.0, began + arrival.at - time.monotonic()))
                log.begin()
                if arrival.kind == "threads":
                    threads.submit(in_thread, arrival)
                else:
                    tasks.create_task(in_task(arrival))
        await asyncio.to_thread(threads.shutdown)
