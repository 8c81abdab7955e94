"""C31: many requests over one connection are many requests.

Each holds its own place and is judged by its own end; what an HTTP/2 server says it has not
looked at was not sent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

import resilient
from resilient import Backoff, Bulkhead, CircuitBreaker, Pipeline, Retry, Timeout, deadline
from resilient.testing import isolated
from tests.faults import FaultServer, Step, answer, gated, goaway, refused_stream, rst, stall, stall_mid_body
from tests.http._world import Client, World, async_worlds, every_world

FAST = Retry(attempts=3, backoff=Backoff(base=0.001, throttled_base=0.001), budget=None)

INTERNAL_ERROR = 0x2
CANCEL = 0x8


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    with isolated():
        yield


def http2(world: World, pipeline: Pipeline, **options: Any) -> Client:
    return world.client(pipeline, http1=False, http2=True, **options)


def state(pipeline: Pipeline, policy: str) -> dict[str, Any]:
    found: Any = pipeline.snapshot()[policy]
    return dict(found)


def in_flight(pipeline: Pipeline) -> int:
    return int(state(pipeline, "bulkhead")["in_flight"])


async def settled(world: World, predicate: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until something is true, on a loop or in a thread."""
    latest = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < latest, "it never came true"
        await world.sleep(0.002)


# -- what the server says it has not looked at ---------------------------------------------------


@every_world
@pytest.mark.parametrize(
    ("step", "connections"), [(refused_stream(), 1), (goaway(last=0), 2)], ids=["REFUSED_STREAM", "GOAWAY(0)"]
)
def test_C31_a_post_that_was_not_looked_at_is_sent_again(world: World, step: Step, connections: int) -> None:
    async def scenario() -> None:
        with FaultServer([step, step, answer(201)]) as server:
            async with http2(world, Pipeline("refused", FAST)) as client:
                response = await client.post(server.url, content=b"an order")
            assert response.status_code == 201
            assert response.http_version == "HTTP/2"
            assert server.bodies == [b"an order"] * 3
            assert {received.version for received in server.received} == {"2"}
            assert server.connections == (1 if connections == 1 else 3)

    world.run(scenario)


@every_world
def test_C31_a_later_post_that_goaway_left_out_is_sent_again(world: World) -> None:
    async def scenario() -> None:
        with FaultServer([answer(), goaway(), answer(201)]) as server:
            async with http2(world, Pipeline("left out", FAST)) as client:
                assert (await client.get(server.url)).status_code == 200
                assert (await client.post(server.url, content=b"an order")).status_code == 201
            assert [received.method for received in server.received] == ["GET", "POST", "POST"]
            assert server.bodies == [b"", b"an order", b"an order"]
            assert server.connections == 2

    world.run(scenario)


@every_world
@pytest.mark.parametrize(
    "step", [rst(INTERNAL_ERROR), rst(CANCEL), goaway(last=1)], ids=["INTERNAL_ERROR", "CANCEL", "GOAWAY(this)"]
)
def test_C31_a_post_that_may_have_been_processed_is_not_sent_again(world: World, step: Step) -> None:
    pipeline = Pipeline("perhaps processed", FAST, CircuitBreaker(), Bulkhead(1))

    async def scenario() -> None:
        with FaultServer([step, answer()]) as server:
            async with http2(world, pipeline) as client:
                with pytest.raises(world.family.TransportError):
                    await client.post(server.url, content=b"an order")
                assert server.requests == 1
                assert in_flight(pipeline) == 0
                assert state(pipeline, "circuit_breaker")["failures"] == 1

    world.run(scenario)


@every_world
@pytest.mark.parametrize(
    "step", [rst(INTERNAL_ERROR), rst(CANCEL), goaway(last=1)], ids=["INTERNAL_ERROR", "CANCEL", "GOAWAY(this)"]
)
def test_C31_a_get_is_sent_again_all_the_same(world: World, step: Step) -> None:
    async def scenario() -> None:
        with FaultServer([step, answer()]) as server:
            async with http2(world, Pipeline("safe", FAST)) as client:
                assert (await client.get(server.url)).status_code == 200
            assert server.requests == 2

    world.run(scenario)


@every_world
def test_C31_a_refusal_counts_against_the_breaker_only_as_often_as_it_happened(world: World) -> None:
    pipeline = Pipeline("refusing", CircuitBreaker(consecutive=3), Bulkhead(1))

    async def scenario() -> None:
        with FaultServer([refused_stream(), refused_stream(), refused_stream(), answer()]) as server:
            async with http2(world, pipeline) as client:
                for _ in range(3):
                    with pytest.raises(world.family.RemoteProtocolError):
                        await client.post(server.url, content=b"an order")
                with pytest.raises(resilient.BreakerOpen):
                    await client.post(server.url, content=b"an order")
                assert server.requests == 3
                assert in_flight(pipeline) == 0

    world.run(scenario)


# -- permits count requests ----------------------------------------------------------------------


@every_world
def test_C31_permits_count_requests_not_connections(world: World) -> None:
    pipeline = Pipeline("by request", Bulkhead(3))
    gate = threading.Event()

    async def scenario() -> None:
        with FaultServer({"/": answer(), "/gate": gated(gate)}) as server:
            async with http2(world, pipeline) as client:
                await client.get(f"{server.url}/")  # there is a connection

                async def fourth() -> None:
                    await settled(world, lambda: server.in_flight == 3)
                    assert in_flight(pipeline) == 3
                    with pytest.raises(resilient.BulkheadFull) as caught:
                        await client.get(f"{server.url}/")
                    assert caught.value.reason == "bulkhead_full"
                    gate.set()

                def gated_one() -> Awaitable[Any]:
                    return client.get(f"{server.url}/gate")

                *held, refused = await world.together(gated_one, gated_one, gated_one, fourth)
                assert refused is None
                assert [response.status_code for response in held] == [200] * 3
                assert server.connections == 1
                assert in_flight(pipeline) == 0

    world.run(scenario)


@every_world
def test_C31_a_slow_stream_holds_its_own_place_alone(world: World) -> None:
    pipeline = Pipeline("one slow", Bulkhead(2))

    async def scenario() -> None:
        with FaultServer({"/slow": stall_mid_body(declared=100), "/": answer(body=b"x" * 1000)}) as server:
            async with http2(world, pipeline) as client:
                async with client.stream("GET", f"{server.url}/slow") as response:
                    assert response.status_code == 200
                    for _ in range(5):
                        assert in_flight(pipeline) == 1
                        assert len((await client.get(f"{server.url}/")).content) == 1000
                    async with client.stream("GET", f"{server.url}/"):
                        assert in_flight(pipeline) == 2
                        with pytest.raises(resilient.BulkheadFull):
                            await client.get(f"{server.url}/")
                    assert in_flight(pipeline) == 1
                assert in_flight(pipeline) == 0
                assert (await client.get(f"{server.url}/")).status_code == 200
                assert server.connections == 1

    world.run(scenario)


@every_world
def test_C31_a_stream_that_breaks_settles_its_own_permit_alone(world: World) -> None:
    pipeline = Pipeline("one breaks", CircuitBreaker(), Bulkhead(2))

    async def scenario() -> None:
        script = {"/slow": stall_mid_body(declared=100), "/broken": rst(INTERNAL_ERROR, sent=b"half")}
        with FaultServer(script) as server:
            async with http2(world, pipeline) as client:
                async with client.stream("GET", f"{server.url}/slow"):
                    with pytest.raises(world.family.RemoteProtocolError):
                        await client.get(f"{server.url}/broken")
                    assert in_flight(pipeline) == 1
                    assert state(pipeline, "circuit_breaker")["failures"] == 1
                assert in_flight(pipeline) == 0
                assert state(pipeline, "circuit_breaker")["failures"] == 1
                assert server.connections == 1

    world.run(scenario)


@async_worlds
@pytest.mark.parametrize("path", ["hung", "half"])
@pytest.mark.parametrize("by", ["deadline", "timeout"])
def test_C31_a_deadline_that_ends_one_stream_leaves_the_others_alone(world: World, path: str, by: str) -> None:
    pipeline = Pipeline("one cut", Timeout(5), Bulkhead(4))
    gate = threading.Event()

    async def scenario() -> None:
        script = {"/": answer(), "/hung": stall(), "/half": stall_mid_body(declared=9), "/gate": gated(gate)}
        with FaultServer(script) as server:
            async with http2(world, pipeline, client={"timeout": 5.0}) as client:
                await client.get(f"{server.url}/")

                async def hung() -> float:
                    began = time.monotonic()
                    options = {"extensions": {"resilient": {"timeout": 0.1}}} if by == "timeout" else {}
                    with deadline(5 if options else 0.1), pytest.raises(resilient.CallTimeout):
                        await client.get(f"{server.url}/{path}", **options)
                    return time.monotonic() - began

                async def healthy() -> int:
                    await settled(world, lambda: server.in_flight >= 1)
                    response = await client.get(f"{server.url}/gate")
                    return int(response.status_code)

                async def opener() -> None:
                    await world.sleep(0.25)
                    gate.set()

                took, status, _ = await world.together(hung, healthy, opener)
                assert status == 200
                assert took < 0.3
                assert in_flight(pipeline) == 0
                assert server.connections == 1

    world.run(scenario)
