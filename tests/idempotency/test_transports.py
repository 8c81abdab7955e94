"""Transports send the key of the block, with every unsafe request and all of its repetitions, and with no other."""

from __future__ import annotations

from typing import Any

import pytest

from resilient import ConfigError, Fallback, Pipeline, Retry, Timeout
from resilient.breaker import CircuitBreaker
from resilient.idempotency import idempotency_key
from tests.conformance._http_retry_kit import eager, nothing_sent, pipeline
from tests.faults import FaultServer, answer, reset
from tests.http._world import World, drive, every_family, every_world

KEY = "idempotency-key"


def keys(server: FaultServer) -> list[str | None]:
    return [each.headers.get(KEY) for each in server.received]


@every_world
@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
def test_an_unsafe_request_gets_the_key_and_is_repeated_with_it(world: World, method: str) -> None:
    async def scenario() -> None:
        with FaultServer([reset(), answer(503), answer(200)]) as server:
            async with world.client(pipeline(eager())) as client:
                with idempotency_key("order-1"):
                    assert (await client.request(method, server.url)).status_code == 200
            assert keys(server) == ["order-1"] * 3

    world.run(scenario)


@every_world
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_safe_request_gets_none_and_names_nothing(world: World, method: str) -> None:
    async def scenario() -> None:
        with FaultServer(answer(200)) as server:
            async with world.client(pipeline(eager())) as client:
                with idempotency_key("order-1"):
                    await client.request(method, server.url + "/a")
                    await client.request(method, server.url + "/b")
                    await client.post(server.url + "/c")
                await client.post(server.url + "/d")
            assert keys(server) == [None, None, "order-1", None]

    world.run(scenario)


@every_family
def test_style_and_header_are_those_of_the_transport(world: World) -> None:
    async def scenario() -> None:
        style = world.door.IdempotencyKey(style="quoted", header="X-Request-Id", methods=())
        with FaultServer(answer(200)) as server:
            async with world.client(pipeline(eager()), idempotency=style) as client:
                with idempotency_key("order-1"):
                    await client.post(server.url)
            assert server.received[0].headers["x-request-id"] == '"order-1"'
            assert keys(server) == [None]

    world.run(scenario)


@every_world
def test_what_a_request_says_itself_comes_first(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(answer(200)) as server:
            async with world.client(pipeline(eager()), idempotency=world.door.IdempotencyKey()) as client:
                with idempotency_key("order-1"):
                    for number, options in enumerate(
                        (
                            {"headers": {"Idempotency-Key": "mine"}},
                            {"extensions": {"resilient": {"idempotency_key": "asked"}}},
                            {"extensions": {"resilient": {"idempotency_key": False}}},
                            {"extensions": {"resilient": {"idempotency_key": True}}},
                            {"extensions": {"resilient": {"attempts": 2}}},
                        )
                    ):
                        await client.post(f"{server.url}/{number}", **options)
                    with idempotency_key(None):
                        await client.post(server.url)
            found = keys(server)
            assert found[:3] == ["mine", "asked", None]
            assert found[4] == "order-1"
            for made in (found[3], found[5]):  # by the transport's own setting
                assert made is not None
                assert len(made) == 36

    world.run(scenario)


@every_world
@pytest.mark.parametrize(
    "second",
    [{"url": "/b"}, {"method": "PATCH"}, {"content": b"2"}, {"url": "/a?x=1"}],
    ids=lambda each: next(iter(each)),
)
def test_a_second_operation_under_the_key_is_refused_before_anything_is_sent(
    world: World, second: dict[str, Any]
) -> None:
    async def scenario() -> None:
        first = {"method": "POST", "url": "/a", "content": b"1"}
        guard = pipeline(Fallback(lambda _: world.family.Response(200)), eager(), CircuitBreaker(consecutive=1))
        with FaultServer(answer(200)) as server:
            async with world.client(guard, rejections="answer") as client:

                async def send(**change: Any) -> None:
                    options = {**first, **change}
                    await client.request(options.pop("method"), server.url + options.pop("url"), **options)

                with idempotency_key("order-1"):
                    await send()
                    with nothing_sent(server), pytest.raises(ConfigError, match="'order-1' already names POST"):
                        await send(**second)
                    await send()  # no breaker has opened
                    with idempotency_key("order-2"):
                        await send(**second)
            assert keys(server) == ["order-1", "order-1", "order-2"]
            assert guard[CircuitBreaker].snapshot()["state"] == "closed"

    world.run(scenario)


@every_family
def test_a_key_too_long_to_be_sent_bare_is_refused_before_anything_is_sent(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(answer(200)) as server:
            async with world.client(pipeline(eager())) as client:
                with idempotency_key("k" * 256), nothing_sent(server), pytest.raises(ConfigError, match="at most 255"):
                    await client.post(server.url)

    world.run(scenario)


@every_world
def test_a_stream_is_compared_by_method_and_url(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(answer(200)) as server:
            async with world.client(pipeline(eager())) as client:

                def body(text: bytes) -> Any:
                    async def chunks() -> Any:
                        yield text

                    return chunks() if world.is_async else iter([text])

                with idempotency_key("order-1"):
                    await client.post(server.url, content=body(b"1"))
                    await client.post(server.url, content=body(b"2"))
                    with pytest.raises(ConfigError):
                        await client.post(server.url + "/b", content=body(b"1"))
            assert keys(server) == ["order-1"] * 2

    world.run(scenario)


@every_world
def test_hops_of_a_call_are_no_second_operation(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(answer(200)) as abroad:
            moved = {"/a": answer(307, headers={"location": "/b"}), "/b": answer(307, headers={"location": abroad.url})}
            with FaultServer(moved) as home:
                async with world.client(pipeline(eager()), client={"follow_redirects": True}) as client:
                    with idempotency_key("order-1"):
                        assert (await client.post(home.url + "/a", content=b"1")).status_code == 200
                assert keys(home) == ["order-1"] * 2
            assert keys(abroad) == [None], "another origin does not learn the key"

    world.run(scenario)


@every_world
def test_rounds_of_authentication_are_no_second_operation(world: World) -> None:
    async def scenario() -> None:
        challenge = answer(401, headers={"www-authenticate": 'Digest realm="a", nonce="b", qop="auth"'})
        with FaultServer([challenge, answer(200)]) as server:
            async with world.client(pipeline(eager())) as client:
                with idempotency_key("order-1"):
                    auth = world.family.DigestAuth("user", "password")
                    assert (await client.post(server.url, content=b"1", auth=auth)).status_code == 200
            assert keys(server) == ["order-1"] * 2

    world.run(scenario)


@every_world
def test_an_outer_retry_sends_the_blocks_key_from_threads_and_tasks_of_its_own(world: World) -> None:
    """What notes of a context cannot do: a sync Timeout runs each attempt in a worker thread."""

    async def scenario() -> None:
        outer = Pipeline(f"outer-{world.name}-{world.colour}", Retry(backoff=eager().backoff, budget=None), Timeout(9))
        with FaultServer(answer(200)) as server:
            async with world.client(pipeline(eager()), idempotency=world.door.IdempotencyKey()) as client:
                tries = 0

                async def order() -> None:
                    nonlocal tries
                    tries += 1
                    await client.post(server.url, content=b"1")
                    if tries < 3:
                        raise ValueError("lost the answer")

                with idempotency_key() as key:
                    if world.is_async:
                        await outer.acall(order)
                    else:
                        outer.call(lambda: drive(order()))
            assert keys(server) == [key] * 3

    world.run(scenario)


@every_family
def test_a_transport_inside_a_transport_sends_the_same_key(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(answer(200)) as server:
            inner = world.transport(pipeline(eager()), idempotency=world.door.IdempotencyKey())
            async with world.client(pipeline(eager()), transport=inner) as client:
                with idempotency_key("order-1"):
                    await client.post(server.url)
            assert keys(server) == ["order-1"]

    world.run(scenario)
