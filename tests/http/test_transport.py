"""The transports from end to end: one pipeline, both families, every way to run."""

from __future__ import annotations

import pytest

import resilient
from resilient import Backoff, Retry, deadline, standard
from resilient.testing import isolated
from tests.faults import FaultServer, answer, drip, drip_headers, retry_after, stall
from tests.http._world import World, every_world

FAST = Retry(attempts=4, backoff=Backoff(base=0.001, throttled_base=0.001), budget=None)


@every_world
def test_a_call_is_retried_and_answered(world: World) -> None:
    pipeline = standard("end-to-end", retry=FAST)

    async def scenario() -> None:
        with FaultServer([retry_after(503, 0), answer(200, b"hello" * 1000)]) as server:
            async with world.client(pipeline) as client:
                response = await client.get(server.url)
                assert (response.status_code, response.content) == (200, b"hello" * 1000)
                assert len(server.received) == 2
                assert server.connections == 1
                async with client.stream("GET", server.url) as response:
                    assert pipeline.snapshot()["bulkhead"]["in_flight"] == 1
                    assert b"".join([chunk async for chunk in client.chunks(response)]) == b"hello" * 1000
                    assert pipeline.snapshot()["bulkhead"]["in_flight"] == 0

    with isolated():
        world.run(scenario)


@every_world
@pytest.mark.parametrize("step", [drip(0.02, b"x"), drip_headers(0.02), stall()], ids=["body", "headers", "nothing"])
def test_no_server_outlasts_the_deadline(world: World, step) -> None:
    pipeline = standard("never-late", retry=FAST)

    async def scenario() -> None:
        with FaultServer(step) as server:
            async with world.client(pipeline) as client:
                with pytest.raises(resilient.CallTimeout) as caught, deadline(0.15):
                    await client.get(server.url)
                assert isinstance(caught.value, world.family.TimeoutException)
                assert str(caught.value.request.url) == server.url
        assert pipeline.snapshot()["bulkhead"]["in_flight"] == 0

    world.run(scenario)
