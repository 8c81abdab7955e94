"""Cancelling a call in the middle: a task, a scope, or a plain thread by an exception out of a signal handler."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import trio

from resilient import Pipeline
from tests.conformance._http_cases import NOTHING, books
from tests.faults import FaultServer, answer
from tests.http._world import Client, World, drive

SETTLED = 0.03
"""Seconds from the sight of a stage to the cancellation, so that the call really waits there."""

LONGEST = 10.0


class Interrupted(BaseException):
    """Raised by the signal handler in the middle of a plain call."""


@contextlib.contextmanager
def _signalled() -> Iterator[Callable[[], None]]:
    main = threading.get_ident()
    done = threading.Event()

    def handler(*_: object) -> None:
        if not done.is_set():
            done.set()
            raise Interrupted

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield lambda: signal.pthread_kill(main, signal.SIGUSR1)
    finally:
        done.set()
        signal.signal(signal.SIGUSR1, before)


async def cancel(
    world: World, act: Callable[[], Awaitable[Any]], reached: Callable[[], object], times: int = 1
) -> None:
    """Run a call, and cancel it once something is true; it must not swallow that.

    Args:
        world: How to run.
        act: The call.
        reached: Tells that the call is where it is to be cancelled.
        times: How often, one step of the loop after another; a plain thread is interrupted once.

    """
    if world.colour == "asyncio":
        task = asyncio.ensure_future(act())
        await _arrival(world, reached, task.done)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([task])
        assert task.cancelled(), task
    elif world.colour == "trio":
        await _cancel_scopes(world, act, reached, times)
    else:
        _interrupt(act, reached)


async def _arrival(world: World, reached: Callable[[], object], over: Callable[[], object]) -> None:
    latest = time.monotonic() + LONGEST
    while not reached():
        assert not over(), "the call was over before it got there"
        assert time.monotonic() < latest, "the call never got there"
        await world.sleep(0.002)
    await world.sleep(SETTLED)
    assert not over(), "the call was over before it was cancelled"


async def _cancel_scopes(
    world: World, act: Callable[[], Awaitable[Any]], reached: Callable[[], object], times: int
) -> None:
    scopes = [trio.CancelScope() for _ in range(times)]
    ended = trio.Event()

    async def run() -> None:
        with contextlib.ExitStack() as stack:
            for scope in scopes:
                stack.enter_context(scope)
            try:
                await act()
            finally:
                ended.set()
        assert any(scope.cancelled_caught for scope in scopes)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await _arrival(world, reached, ended.is_set)
        for scope in reversed(scopes):
            scope.cancel()
            await trio.lowlevel.cancel_shielded_checkpoint()


def _interrupt(act: Callable[[], Awaitable[Any]], reached: Callable[[], object]) -> None:
    faults: list[str] = []
    with _signalled() as interrupt:

        def watch() -> None:
            latest = time.monotonic() + LONGEST
            while not reached():
                if time.monotonic() > latest:
                    faults.append("the call never got there")
                    break
                time.sleep(0.002)
            time.sleep(SETTLED)
            interrupt()

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            drive(act())  # type: ignore[arg-type]
        except Interrupted:
            pass
        else:
            faults.append("the call swallowed it")
        watcher.join()
    assert not faults, faults


async def all_is_well(world: World, client: Client, pipeline: Pipeline, server: FaultServer) -> None:
    """Hold that nothing is held, and that the next calls are served, one after another and all places at once."""
    found = books(pipeline)
    assert (found.held, found.probes) == (NOTHING, 0)
    assert leases(client) == 0
    server.play(_fine)
    for _ in range(2):
        assert (await client.get(server.url)).content == b"fine"
    limit: int = pipeline.snapshot()["bulkhead"]["limit"]  # type: ignore[index,assignment]
    results = await world.together(*[lambda: client.get(server.url)] * limit)
    assert [getattr(each, "content", each) for each in results] == [b"fine"] * limit
    assert books(pipeline).held == NOTHING
    assert lost(client) == [], "every connection that is left is idle"


def _fine(_: object) -> Any:
    return answer(200, b"fine")


def pools(client: Client) -> list[Any]:
    """Return the families' own pools that are in use."""
    found = client.real._transport._pools._pools._all()
    return [inner.transport._pool for pool in found for inner in pool._inners.values()]


def leases(client: Client) -> int:
    return sum(pool.leases for pool in client.real._transport._pools._pools._all())


def lost(client: Client) -> list[Any]:
    """Return what takes up a place in a pool of the family while no call is in progress.

    A request whose connection is closed takes up none; a second cancellation may leave one behind.
    """
    found: list[Any] = []
    for pool in pools(client):
        busy = [each for each in pool.connections if not (each.is_idle() or each.is_closed())]
        found += busy + [each for each in pool._requests if each.connection is None or each.connection in busy]
    return found


async def closed(world: World, server: FaultServer) -> None:
    """Wait until the server has no connection any more."""
    if world.is_async:
        await server.until(lambda: server.open == 0)
    else:
        server.wait_until(lambda: server.open == 0)
