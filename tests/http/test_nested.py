"""Layers: a function with a pipeline of its own around a client with another."""

from __future__ import annotations

import pytest

from resilient import Backoff, CircuitBreaker, Pipeline, Retry, Timeout
from resilient.testing import isolated
from tests.faults import FaultServer, answer, reset, retry_after
from tests.http._world import World, every_world

QUICK = Backoff(base=0.001, throttled_base=0.001)


@pytest.fixture(autouse=True)
def _fresh():
    with isolated():
        yield


def outer(world: World, attempts: int = 3):
    """A pipeline of a plain or an async function, as the world needs it."""
    return Pipeline("outer", Retry(attempts=attempts, backoff=QUICK, budget=None))


def inner(attempts: int = 3) -> Pipeline:
    return Pipeline("inner", Retry(attempts=attempts, backoff=QUICK, budget=None), CircuitBreaker(consecutive=None))


async def call(world: World, pipeline: Pipeline, function):
    """Call through a pipeline, in the world's own way."""
    if world.is_async:
        return await pipeline.acall(function)
    from tests.http._world import drive

    return pipeline.call(lambda: drive(function()))


@every_world
def test_an_answer_that_the_transport_gave_up_on_is_not_retried_outside(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(answer(503)) as server:
            async with world.client(inner()) as client:

                async def fetch() -> None:
                    (await client.get(server.url)).raise_for_status()

                with pytest.raises(world.family.HTTPStatusError):
                    await call(world, outer(world), fetch)
            assert len(server.received) == 3

    world.run(scenario)


@every_world
def test_an_answer_of_the_callers_own_making_is_still_retried_outside(world: World) -> None:
    async def scenario() -> None:
        with FaultServer([answer(200, b"not yet"), answer(200, b"ready")]) as server:
            async with world.client(inner()) as client:

                async def fetch() -> bytes:
                    response = await client.get(server.url)
                    if response.content != b"ready":
                        raise ValueError("not ready")
                    return response.content

                assert await call(world, outer(world), fetch) == b"ready"

    world.run(scenario)


@every_world
def test_T49_an_outer_retry_sends_the_key_of_its_first_attempt(world: World) -> None:
    async def scenario() -> None:
        keys = world.door.IdempotencyKey()
        with FaultServer(answer(200)) as server:
            async with world.client(inner(1), idempotency=keys) as client:
                tries = 0

                async def order() -> None:
                    nonlocal tries
                    tries += 1
                    await client.post(server.url + "/a", content=b"1")
                    await client.post(server.url + "/a", content=b"1")
                    await client.post(server.url + "/b", content=b"2")
                    if tries < 3:
                        raise ValueError("lost the answer")

                await call(world, outer(world), order)
                sent = [each.headers["idempotency-key"] for each in server.received]
                assert len(sent) == 9
                assert len(set(sent[:3])) == 3
                assert sent[3:6] == sent[6:] == sent[:3]
                tries = 2
                await call(world, outer(world), order)  # another order gets keys of its own
                again = [each.headers["idempotency-key"] for each in server.received][9:]
                assert not set(again) & set(sent)

    world.run(scenario)


@every_world
def test_T49_another_body_gets_another_key(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(answer(200)) as server:
            async with world.client(inner(1), idempotency=world.door.IdempotencyKey()) as client:
                bodies = iter((b"1", b"2"))

                async def order() -> None:
                    body = next(bodies)
                    await client.post(server.url, content=body)
                    if body == b"1":
                        raise ValueError("again")

                await call(world, outer(world), order)
                first, second = (each.headers["idempotency-key"] for each in server.received)
                assert first != second

    world.run(scenario)


@every_world
def test_the_key_is_the_same_in_every_attempt(world: World) -> None:
    async def scenario() -> None:
        with FaultServer([reset(), retry_after(503, 0), answer(200)]) as server:
            async with world.client(inner(), idempotency=world.door.IdempotencyKey()) as client:
                response = await client.post(server.url, content=b"1")
            assert response.status_code == 200
            keys = {each.headers["idempotency-key"] for each in server.received}
            assert (len(server.received), len(keys)) == (3, 1)

    world.run(scenario)


@every_world
def test_a_transport_around_a_transport_leaves_alone_what_that_gave_up_on(world: World) -> None:
    async def scenario() -> None:
        with FaultServer([answer(503)] * 3 + [answer(200)] * 9) as server:
            inside = world.transport(inner(3))
            around = Pipeline("around", Retry(attempts=3, backoff=QUICK, budget=None))
            async with world.client(around, transport=inside) as client:
                assert (await client.get(server.url)).status_code == 503
            assert len(server.received) == 3

    world.run(scenario)


@every_world
def test_an_old_mark_of_the_same_answer_object_stops_no_new_call(world: World) -> None:
    answers = []

    def handler(request):
        answers.append(request)
        return always

    always = world.family.Response(503, content=b"busy", extensions={})

    async def scenario() -> None:
        async with world.client(inner(2), transport=world.mock(handler)) as client:
            for sends in (2, 4):
                await client.get("http://a.test")
                assert len(answers) == sends

    world.run(scenario)


@every_world
def test_a_deadline_header_of_the_callers_own_is_only_ever_shortened(world: World) -> None:
    async def scenario() -> None:
        header = world.door.DeadlineHeader("x-left", format="milliseconds", reserve=0)
        limited = Pipeline("limited", Timeout(2.0))
        with FaultServer(answer(200)) as server:
            async with world.client(limited, deadline_header=header) as client:
                for given in ("50", "999999", "nonsense"):
                    await client.get(server.url, headers={"x-left": given})
            short, cut, replaced = (each.headers["x-left"] for each in server.received)
        assert short == "50"
        assert 0 < int(cut) <= 2000
        assert 0 < int(replaced) <= 2000

    world.run(scenario)
