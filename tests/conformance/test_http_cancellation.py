"""A cancelled call gives everything back, wherever it was: C04, C05, C06."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from resilient import Pipeline, Timeout
from resilient.testing import capture_events
from tests.conformance._http_cancelling import all_is_well, cancel, closed, leases, lost, pools
from tests.conformance._http_cases import HALF_READ, NOTHING, books, guarded, quick, unfinished
from tests.faults import FaultServer, answer, close_after, stall, stall_mid_body, unanswered, unread
from tests.http._world import Client, World, async_worlds, every_world

BIG = b"0123456789" * 2_000_000
"""More than all buffers between client and server hold."""


class Stage:
    """Where a call is cancelled: what the server does, what is called, and how one sees that it is there."""

    def __init__(
        self,
        script: Any,
        act: Callable[[World, Client, str], Awaitable[Any]],
        *,
        requests: int = 1,
        early: bool = False,
        failures: int = 0,
        base: float = 0.001,
    ) -> None:
        self.script = script
        self.act = act
        self.requests = requests
        self.early = early
        self.failures = failures
        self.base = base


async def _get(world: World, client: Client, url: str) -> None:
    await client.get(url)


async def _buffered(world: World, client: Client, url: str) -> None:
    await client.get(url, extensions={"resilient": {"buffer": True}})


async def _put(world: World, client: Client, url: str) -> None:
    await client.request("PUT", url, content=BIG)


async def _raw(world: World, client: Client, url: str) -> None:
    async with client.stream("GET", url) as response:
        async for _ in client.chunks(response):
            pass


async def _idle(world: World, client: Client, url: str) -> None:
    """Wait for something else while a body is open."""
    async with client.stream("GET", url):
        await world.sleep(10)


STAGES = {
    "in backoff": Stage(answer(503, b"no"), _get, failures=1, base=5.0),
    "in send": Stage(unread(1.5), _put, early=True),
    "in headers": Stage(stall(), _get),
    "in the headers of another attempt": Stage([answer(503, b"no"), stall()], _get, requests=2, failures=1),
    "in body": Stage(stall_mid_body(), _get),
    "in a body that is iterated over": Stage(stall_mid_body(), _raw),
    "in a body that is buffered": Stage(stall_mid_body(), _buffered),
    "between two chunks": Stage(stall_mid_body(), _idle),
    "in draining": Stage(unfinished(), _get, failures=1, base=5.0),
}


@every_world
@HALF_READ
@pytest.mark.parametrize("timed", [False, True], ids=["untimed", "timed"])
@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_C04_everything_is_given_back(world: World, stage: Stage, timed: bool) -> None:
    pipeline = guarded(limit=1, retry=quick(3, base=stage.base))
    if timed:
        pipeline = Pipeline(f"{pipeline.name}-timed", Timeout(30), *pipeline.policies, Timeout(20))

    async def scenario() -> None:
        with FaultServer(stage.script, early=stage.early) as server:
            async with world.client(pipeline, client={"timeout": None}) as client:
                await cancel(
                    world,
                    lambda: stage.act(world, client, server.url),
                    lambda: server.requests >= stage.requests,
                )
                assert books(pipeline).failures == stage.failures, "who cancels says nothing of the downstream"
                await all_is_well(world, client, pipeline, server)
            await closed(world, server)

    world.run(scenario)


@every_world
def test_C04_while_it_waits_for_a_permit(world: World) -> None:
    pipeline = guarded(limit=1, queue=5)

    async def scenario() -> None:
        with FaultServer({"/first": stall_mid_body(), "*": answer(200, b"fine")}) as server:
            async with world.client(pipeline) as client:
                async with client.stream("GET", server.url + "/first") as response:
                    assert books(pipeline).held[1:] == (1, 0)
                    await cancel(world, lambda: client.get(server.url), lambda: books(pipeline).held[2] == 1)
                    assert books(pipeline).held[1:] == (1, 0), "the other still has its own"
                    assert server.requests == 1
                    await client.close(response)
                await all_is_well(world, client, pipeline, server)
            await closed(world, server)

    world.run(scenario)


@every_world
@pytest.mark.filterwarnings(
    "ignore:unclosed <socket:ResourceWarning"
)  # the standard library's, in an interrupted thread
def test_C04_while_it_connects(world: World) -> None:
    pipeline = guarded(limit=1)

    async def scenario() -> None:
        with unanswered() as url:
            async with world.client(pipeline, client={"timeout": None}) as client:
                for _ in range(2):
                    await cancel(world, lambda: client.get(url), lambda: books(pipeline).held[1] == 1)
                    assert books(pipeline).held == NOTHING
                    assert books(pipeline).settled == (0, 0)
                    assert leases(client) == 0
                    assert lost(client) == []

    world.run(scenario)
    gc.collect()


@async_worlds
@HALF_READ
@pytest.mark.parametrize("read", [False, True], ids=["half-read", "read"])
def test_C04_while_it_closes_a_body(world: World, read: bool) -> None:
    """The task is cancelled already as it closes."""
    pipeline = guarded(limit=1)

    async def scenario() -> None:
        with FaultServer(answer(200, b"whole") if read else stall_mid_body()) as server:
            async with world.client(pipeline) as client:

                async def act() -> None:
                    async with client.stream("GET", server.url) as response:
                        if read:
                            await client.read(response)
                        try:
                            await world.sleep(10)
                        finally:
                            await response.aclose()

                await cancel(world, act, lambda: server.requests == 1)
                assert books(pipeline).settled == (1, 0)
                await all_is_well(world, client, pipeline, server)
            await closed(world, server)

    world.run(scenario)


@every_world
@HALF_READ
@pytest.mark.parametrize("act", [_get, _idle], ids=["in headers", "between two chunks"])
def test_C04_a_probe_that_is_cancelled_makes_room_for_another(
    world: World, act: Callable[[World, Client, str], Awaitable[Any]]
) -> None:
    pipeline = guarded(1, consecutive=1, open_for=0.02, probes=1, ramp=0)

    async def scenario() -> None:
        steps = [answer(503), stall() if act is _get else stall_mid_body(), answer()]
        with FaultServer(steps) as server:
            async with world.client(pipeline) as client:
                assert (await client.get(server.url)).status_code == 503
                await world.sleep(0.03)
                await cancel(world, lambda: act(world, client, server.url), lambda: server.requests == 2)
                if act is _get:
                    assert (books(pipeline).state, books(pipeline).probes) == ("half_open", 0)
                else:
                    assert books(pipeline).state == "closed", "it was closed by its own hand, after good headers"
                await all_is_well(world, client, pipeline, server)
                assert books(pipeline).state == "closed"

    world.run(scenario)


@async_worlds
@HALF_READ
@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_C05_cancelled_twice_and_in_nested_scopes(world: World, stage: Stage, times: int) -> None:
    pipeline = guarded(limit=2, retry=quick(3, base=stage.base))

    async def scenario() -> None:
        with FaultServer(stage.script, early=stage.early) as server:
            async with world.client(pipeline, client={"timeout": None}) as client:
                for number in range(2):
                    server.play(stage.script)
                    wanted = server.requests + stage.requests
                    await cancel(
                        world,
                        lambda: stage.act(world, client, server.url),
                        lambda wanted=wanted: server.requests >= wanted,
                        times,
                    )
                    assert books(pipeline).held == NOTHING
                    assert books(pipeline).failures == stage.failures * (number + 1)
                    assert leases(client) == 0
                await all_is_well(world, client, pipeline, server)
            await closed(world, server)

    world.run(scenario)


@async_worlds
def test_C05_nothing_is_left_in_the_pool(world: World) -> None:
    pipeline = guarded(limit=4)

    async def scenario() -> None:
        with FaultServer(stall()) as server:
            async with world.client(pipeline) as client:
                for number in range(4):
                    await cancel(
                        world, lambda: client.get(server.url), lambda number=number: server.requests > number, 2
                    )
                    assert lost(client) == []
                    await server.until(lambda: server.open == 0)

    world.run(scenario)


@async_worlds
def test_C06_a_waiter_that_is_cancelled_as_its_turn_comes_leaves_no_place_behind(world: World) -> None:
    """Classic httpx alone loses the place for ever: a connection that nobody connects."""
    pipeline = guarded(limit=10)

    async def scenario() -> None:
        with FaultServer(close_after()) as server, capture_events() as events:
            async with world.client(pipeline) as client:
                for _ in range(5):
                    await client.get(server.url)
                    (pool,) = pools(client)
                    pool._max_connections = 1  # so that requests wait inside of the pool
                    await turned_away(world, client, server)
                for _ in range(3):
                    assert (await client.get(server.url)).content == b"ok"
                assert books(pipeline).held == NOTHING
                assert leases(client) == 0
                assert lost(client) == []
            await closed(world, server)
        rebuilt = len(events.of("resilient.http.pool_rebuilt"))
        if world.name == "httpx2":
            assert rebuilt == 0
        elif world.colour == "asyncio":  # trio lets the other go on before it can be cancelled
            assert rebuilt == 5

    world.run(scenario)


async def turned_away(world: World, client: Client, server: FaultServer) -> None:
    """Cancel a request that waits for a connection, in the moment in which it is given one."""
    async with client.stream("GET", server.url) as response:
        waiting = [False]

        async def wait() -> None:
            waiting[0] = True
            await client.get(server.url)

        if world.colour == "asyncio":
            task = asyncio.ensure_future(wait())
            await asyncio.sleep(0.02)
            await client.read(response)
            await response.aclose()
            task.cancel()
            await asyncio.wait([task])
        else:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await trio.sleep(0.02)
                await client.read(response)
                await response.aclose()
                nursery.cancel_scope.cancel()
