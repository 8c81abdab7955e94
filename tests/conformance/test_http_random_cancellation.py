"""Calls that are cancelled at any moment leave nothing behind: C04 and C05 at random, seeded."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator
from itertools import count

import anyio
import pytest
import trio

from resilient import Backoff, Bulkhead, CircuitBreaker, Pipeline, RateLimit, Rejected, Retry, Timeout, deadline
from tests.conformance._http_cancelling import closed, leases, lost
from tests.conformance._http_cases import HALF_READ, NOTHING, books
from tests.faults import (
    FaultServer,
    Received,
    Step,
    answer,
    close,
    close_after,
    close_on_reuse,
    drip,
    event_stream,
    redirect,
    reset,
    reset_mid_body,
    stall,
    stall_mid_body,
)
from tests.http._world import Client, World, async_worlds

_number = count()

STEPS: list[Step] = [
    *[answer(200, b"whole")] * 4,
    answer(503, b"no"),
    answer(503, b"no" * 50_000),
    answer(429, b"slow"),
    close(),
    close_after(),
    close_on_reuse(),
    drip(0.002, count=5),
    event_stream(range(5), 0.002),
    redirect("/elsewhere"),
    reset(),
    reset_mid_body(),
    stall(0.01),
    stall_mid_body(seconds=0.01),
]


def fragile(shape: str) -> Pipeline:
    """A pipeline in which everything happens that can happen."""
    name = f"random-{shape}-{next(_number)}"
    retry = Retry(attempts=3, backoff=Backoff(base=0.003, throttled_base=0.003), budget=None)
    breaker = CircuitBreaker(
        consecutive=4, min_calls=10, open_for=0.004, max_open_for=0.008, probes=2, ramp=0.01, slow_call=0.05
    )
    bulkhead = Bulkhead(4, queue=20, max_wait=0.05)
    if shape == "plain":
        return Pipeline(name, retry, breaker, bulkhead)
    if shape == "timed":
        return Pipeline(name, Timeout(0.03), retry, breaker, bulkhead, Timeout(0.012))
    limit = RateLimit(2_000, burst=3, max_wait=0.02)
    return Pipeline(name, limit, bulkhead, Timeout(0.03), breaker, retry)


class Caller:
    """Makes one call of many kinds."""

    def __init__(self, world: World, client: Client, url: str, chance: random.Random) -> None:
        self.world, self.client, self.url, self.chance = world, client, url, chance

    async def call(self) -> None:
        """Call; whatever error comes is one of the family's or ours."""
        with contextlib.suppress(self.world.family.TransportError, Rejected), self._patience():
            await self.chance.choice([self._get, self._put, self._streamed, self._left, self._buffered])()

    @contextlib.contextmanager
    def _patience(self) -> Iterator[None]:
        if self.chance.random() < 0.3:
            with deadline(self.chance.uniform(0.001, 0.02)):
                yield
        else:
            yield

    async def _get(self) -> None:
        await self.client.get(self.url)

    async def _put(self) -> None:
        await self.client.request("PUT", self.url, content=b"x" * 100_000)

    async def _buffered(self) -> None:
        await self.client.get(self.url, extensions={"resilient": {"buffer": True}})

    async def _streamed(self) -> None:
        async with self.client.stream("GET", self.url) as response:
            async for _ in response.aiter_bytes():
                await self.world.sleep(0)

    async def _left(self) -> None:
        async with self.client.stream("GET", self.url) as response:
            await self.world.sleep(self.chance.random() * 0.005)
            async for _ in response.aiter_raw():
                break


async def cancelled(world: World, caller: Caller, chance: random.Random) -> None:
    """Make a call and cancel it at a random time, or after some steps of the loop; perhaps twice."""
    seconds = chance.choice([0.0, chance.random() * 0.004, chance.random() * 0.02])
    steps = 0 if seconds else chance.randrange(40)
    again = [chance.randrange(4) for _ in range(chance.choice([0, 0, 1, 2]))]

    async def moment() -> None:
        if seconds:
            await world.sleep(seconds)
        for _ in range(steps):
            await world.sleep(0)

    if world.colour == "asyncio":
        task = asyncio.ensure_future(caller.call())
        await moment()
        task.cancel()
        for more in again:
            for _ in range(more):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
        return
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_scoped, caller, [*range(len(again))], seconds)
        await moment()
        nursery.cancel_scope.cancel()


async def _scoped(caller: Caller, scopes: list[int], seconds: float) -> None:
    with contextlib.ExitStack() as stack:
        for number in scopes:
            stack.enter_context(trio.move_on_after(seconds * number / 2))
        await caller.call()


async def hunt(world: World, shape: str, seed: int, calls: int) -> None:
    chance = random.Random(seed)
    pipeline = fragile(shape)

    def script(_: Received) -> Step:
        return dice.choice(STEPS)

    dice = random.Random(seed + 1)  # the server's thread has its own
    with FaultServer(script) as server:
        async with world.client(pipeline, client={"follow_redirects": True, "timeout": 0.5}) as client:
            for _ in range(calls // 10):
                async with anyio.create_task_group() as group:
                    for _ in range(10):
                        caller = Caller(world, client, server.url, random.Random(chance.random()))
                        group.start_soon(cancelled, world, caller, random.Random(chance.random()))
                found = books(pipeline)
                assert (found.held, found.probes) == (NOTHING, 0), found.__dict__
                assert leases(client) == 0
            server.play(answer(200, b"fine"))
            await world.sleep(0.05)
            served = 0
            for _ in range(30):
                with contextlib.suppress(Rejected, world.family.TimeoutException):  # of a busy machine
                    served += (await client.get(server.url)).content == b"fine"
                await world.sleep(0.003)
            assert served >= 10, "it serves again"
            assert books(pipeline).held == NOTHING
            assert lost(client) == []
        await closed(world, server)


SHAPES = pytest.mark.parametrize("shape", ["plain", "timed", "limited"])


@async_worlds
@HALF_READ
@SHAPES
def test_C04_C05_calls_cancelled_at_random_leave_nothing_behind(world: World, shape: str) -> None:
    world.run(hunt, world, shape, 5, 60)


@async_worlds
@HALF_READ
@SHAPES
@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_C04_C05_soak(world: World, shape: str, seed: int) -> None:
    world.run(hunt, world, shape, seed, 1_000, seconds=55)
