"""What is never buffered, and nothing is sent again once a part was handed out: C10 and the option `buffer`."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from resilient import CallTimeout, deadline
from tests.conformance._http_cases import HALF_READ, NOTHING, books, guarded, in_two
from tests.faults import (
    Exchange,
    FaultServer,
    Step,
    answer,
    close_mid_body,
    event_stream,
    hints,
    reset_mid_body,
    stall_mid_body,
    step,
)
from tests.http._world import Client, World, every_world

BUFFERED = {"resilient": {"buffer": True}}
EITHER = pytest.mark.parametrize("options", [{}, BUFFERED], ids=["as usual", "buffer"])


def broken(world: World) -> tuple[type[Exception], ...]:
    return world.family.ReadError, world.family.RemoteProtocolError


@step
async def upgraded(exchange: Exchange, head: bytes) -> None:
    """Switch to a protocol of a few words."""
    await exchange.raw(head + b"\r\n\r\nhello")
    await exchange.opened(threading.Event())


async def say(client: Client, response: Any) -> bytes:
    """Speak the other protocol, as far as it goes."""
    stream = response.extensions["network_stream"]
    if client.world.is_async:
        await stream.write(b"anything")
        return await stream.read(100, timeout=2)
    stream.write(b"anything")
    return stream.read(100, timeout=2)


@every_world
@EITHER
@pytest.mark.parametrize("method", ["GET", "CONNECT"])
def test_C10_what_speaks_another_protocol_is_handed_out_as_it_is(
    world: World, method: str, options: dict[str, Any]
) -> None:
    pipeline = guarded(3, limit=1)
    heads = {
        "GET": b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: words",
        "CONNECT": b"HTTP/1.1 200 Connection established",
    }

    async def scenario() -> None:
        with FaultServer(upgraded(heads[method])) as server:
            headers = {"connection": "upgrade", "upgrade": "words"} if method == "GET" else {}
            extensions = dict(options) if method == "GET" else {**options, "target": b"elsewhere:443"}
            async with world.client(pipeline) as client:
                async with client.stream(method, server.url, headers=headers, extensions=extensions) as response:
                    assert response.status_code == (101 if method == "GET" else 200)
                    assert await say(client, response) == b"hello"
                    assert not response.is_closed
                assert books(pipeline).held == NOTHING
                assert server.requests == 1
            await server_rests(world, server)

    world.run(scenario)


async def server_rests(world: World, server: FaultServer) -> None:
    if world.is_async:
        await server.until(lambda: server.open == 0)
    else:
        server.wait_until(lambda: server.open == 0)


@every_world
@HALF_READ
@EITHER
def test_C10_events_come_one_by_one_and_hold_no_place(world: World, options: dict[str, Any]) -> None:
    pipeline = guarded(3, limit=1)

    async def scenario() -> None:
        with FaultServer({"/events": event_stream(["1", "2"], ends=False), "*": answer()}) as server:
            async with world.client(pipeline) as client:
                async with client.stream("GET", server.url + "/events", extensions=options) as response:
                    found = b""
                    chunks = client.chunks(response)
                    while not found.endswith(b"2\n\n"):
                        found += await anext(chunks)
                    assert found == b"data: 1\n\ndata: 2\n\n"
                    assert books(pipeline).held == NOTHING
                    assert books(pipeline).settled == (1, 0)
                    assert (await client.get(server.url)).status_code == 200
                    await chunks.aclose()
                assert server.requests == 2
                assert books(pipeline).settled == (2, 0)

    world.run(scenario)


@every_world
@EITHER
def test_C10_events_that_break_off_are_not_asked_for_again(world: World, options: dict[str, Any]) -> None:
    @step
    async def breaks(exchange: Exchange) -> None:
        await exchange.head(200, [("content-type", "text/event-stream; charset=utf-8")])
        await exchange.send(b"data: 1\n\n")
        exchange.close()

    async def scenario() -> None:
        with FaultServer(breaks()) as server:
            async with world.client(guarded(3)) as client:
                async with client.stream("GET", server.url, extensions=options) as response:
                    chunks = client.chunks(response)
                    assert await anext(chunks) == b"data: 1\n\n"
                    with pytest.raises(broken(world)):
                        await anext(chunks)
                assert server.requests == 1

    world.run(scenario)


@every_world
@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("first", [answer(503), answer(417)], ids=["503", "417"])
def test_C10_a_request_that_expects_to_go_on_arrives_whole(world: World, early: bool, first: Step) -> None:
    """The clients never wait for the 100, and hand none out."""
    pipeline = guarded(3)

    async def scenario() -> None:
        with FaultServer([first, answer()], early=early) as server:
            async with world.client(pipeline) as client:
                response = await client.request("PUT", server.url, content=b"body", headers={"expect": "100-continue"})
                if first.name == "answer" and response.status_code == 417:
                    assert server.requests == 1, "a refusal of that kind is no reason to try again"
                    return
                assert (response.status_code, response.content) == (200, b"ok")
                server_bodies = server.bodies
                assert len(server_bodies) == 2
                if not early:
                    assert server_bodies == [b"body", b"body"]

    world.run(scenario)


@every_world
def test_C10_interim_answers_are_no_answers(world: World) -> None:
    pipeline = guarded(3)

    async def scenario() -> None:
        with FaultServer([hints(then=answer(503)), hints(102, (), then=answer())]) as server:
            async with world.client(pipeline) as client:
                assert (await client.get(server.url)).status_code == 200
                assert books(pipeline).settled == (2, 1)

    world.run(scenario)


BREAKING = pytest.mark.parametrize(
    "first", [reset_mid_body(), close_mid_body(), reset_mid_body(declared=None)], ids=["reset", "closed", "chunked"]
)


@every_world
@BREAKING
def test_C10_without_buffer_nothing_is_sent_again_after_the_headers(world: World, first: Step) -> None:
    pipeline = guarded(3)

    async def scenario() -> None:
        with FaultServer([first, answer()]) as server:
            async with world.client(pipeline) as client:
                with pytest.raises(broken(world)):
                    await client.get(server.url)
                assert server.requests == 1
                assert books(pipeline).settled == (1, 1)

    world.run(scenario)


@every_world
@BREAKING
def test_buffer_retries_what_fails_while_it_is_read(world: World, first: Step) -> None:
    pipeline = guarded(3)

    async def scenario() -> None:
        with FaultServer([first, first, answer(200, b"whole", {"x-a": "b"})]) as server:
            async with world.client(pipeline) as client:
                response = await client.get(server.url, extensions=BUFFERED)
                assert (response.status_code, response.content, response.headers["x-a"]) == (200, b"whole", "b")
                assert response.elapsed.total_seconds() > 0
                assert response.num_bytes_downloaded == 5
                assert server.requests == 3
                assert books(pipeline).settled == (3, 2)
                assert books(pipeline).held == NOTHING
            await server_rests(world, server)

    world.run(scenario)


@every_world
def test_buffer_gives_up_with_the_last_error_and_leaves_unsafe_methods_alone(world: World) -> None:
    pipeline = guarded(3)

    async def scenario() -> None:
        with FaultServer(reset_mid_body()) as server:
            async with world.client(pipeline) as client:
                with pytest.raises(broken(world)) as caught:
                    await client.get(server.url, extensions=BUFFERED)
                assert str(caught.value.request.url) == server.url
                assert server.requests == 3
                with pytest.raises(broken(world)):
                    await client.post(server.url, content=b"order", extensions=BUFFERED)
                assert server.requests == 4
                assert books(pipeline).settled == (4, 4)
                assert books(pipeline).held == NOTHING

    world.run(scenario)


@every_world
def test_buffer_is_settled_before_the_answer_is_read_and_can_be_iterated_over(world: World) -> None:
    pipeline = guarded(3)

    async def scenario() -> None:
        with FaultServer(answer(200, b"0123456789" * 10_000, chunked=True)) as server:
            async with world.client(pipeline) as client:
                async with client.stream("GET", server.url, extensions=BUFFERED) as response:
                    assert books(pipeline).settled == (1, 0)
                    assert books(pipeline).held == NOTHING
                    assert b"".join([each async for each in client.chunks(response)]) == b"0123456789" * 10_000
                assert (await client.get(server.url)).status_code == 200
                assert server.connections == 1

    world.run(scenario)


LARGE = 1_048_576


@every_world
@pytest.mark.parametrize("good", [True, False])
def test_buffer_has_an_end_and_what_is_larger_is_handed_out_as_it_comes(world: World, good: bool) -> None:
    pipeline = guarded(3)
    gate = threading.Event()
    first = b"x" * (LARGE + 200_000)

    async def scenario() -> None:
        large = in_two(first, gate, b"end") if good else close_mid_body(first, len(first) + 3)
        with FaultServer([large, answer()]) as server:
            async with world.client(pipeline) as client:
                async with client.stream("GET", server.url, extensions=BUFFERED) as response:
                    assert books(pipeline).settled == (0, 0)
                    assert books(pipeline).held[1] == 1
                    gate.set()
                    if good:
                        assert await client.read(response) == first + b"end"
                        assert response.num_bytes_downloaded == len(first) + 3
                    else:
                        with pytest.raises(broken(world)):
                            await client.read(response)
                assert server.requests == 1, "a part was handed out"
                assert books(pipeline).settled == (1, 0 if good else 1)
                assert books(pipeline).held == NOTHING
            await server_rests(world, server)

    world.run(scenario)


@every_world
def test_buffer_keeps_the_deadline(world: World) -> None:
    pipeline = guarded(3)

    async def scenario() -> None:
        with FaultServer(stall_mid_body()) as server:
            async with world.client(pipeline) as client:
                began = time.monotonic()
                with pytest.raises(CallTimeout) as caught, deadline(0.1):
                    await client.get(server.url, extensions=BUFFERED)
                assert isinstance(caught.value, world.family.TimeoutException)
                assert 0.08 < time.monotonic() - began < 0.5
                assert books(pipeline).held == NOTHING
            await server_rests(world, server)

    world.run(scenario)


@every_world
def test_a_bad_answer_whose_body_breaks_off_is_retried_all_the_same(world: World) -> None:
    """Its body was of no use to anybody."""
    pipeline = guarded(3)

    @step
    async def breaks(exchange: Exchange) -> None:
        await exchange.head(503, [("content-length", "10")])
        await exchange.send(b"half")
        exchange.close()

    async def scenario() -> None:
        with FaultServer([breaks(), answer()]) as server:
            async with world.client(pipeline) as client:
                assert (await client.get(server.url)).content == b"ok"
                assert server.requests == 2
                assert books(pipeline).settled == (2, 1)
                assert books(pipeline).held == NOTHING

    world.run(scenario)
