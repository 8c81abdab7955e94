"""What one request asks for itself holds for this request, and a mistake in it is told before anything is sent."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest

from resilient import Bulkhead, CallTimeout, CircuitBreaker, ConfigError, Retry, Timeout
from tests.conformance._http_retry_kit import Answers, eager, nothing_sent, pipeline, respond
from tests.faults import FaultServer, answer, drip, event_stream, reset, reset_mid_body, stall, stall_mid_body
from tests.http._world import World, every_world


def asking(**options: Any) -> dict[str, Any]:
    return {"resilient": options}


# -- attempts, retry -------------------------------------------------------------------------------------


@every_world
@pytest.mark.parametrize(
    ("asked", "sends"),
    [({}, 3), ({"attempts": 1}, 1), ({"attempts": 2}, 2), ({"attempts": 5}, 5), ({"retry": False}, 1)],
    ids=str,
)
def test_attempts_are_those_the_request_asks_for(world: World, asked: dict[str, Any], sends: int) -> None:
    async def scenario() -> None:
        with FaultServer(answer(503)) as server:
            async with world.client(pipeline(eager(3))) as client:
                for options in (asked, world.door.CallOptions(**asked)):
                    before = server.requests
                    await client.get(server.url, extensions={"resilient": options})
                    assert server.requests - before == sends
                # The next request is as the pipeline says.
                before = server.requests
                await client.get(server.url)
                assert server.requests - before == 3

    world.run(scenario)


@every_world
def test_attempts_still_share_the_pipelines_budget(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(answer(503)) as server:
            async with world.client(pipeline(Retry(attempts=3, backoff=eager().backoff))) as client:
                await client.get(server.url, extensions=asking(attempts=50))
                assert server.requests <= 4

    world.run(scenario)


@every_world
def test_attempts_need_a_retry_and_no_retry_needs_none(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(answer(503)) as server:
            async with world.client(pipeline(Timeout(5))) as client:
                with nothing_sent(server), pytest.raises(ConfigError, match="attempts"):
                    await client.get(server.url, extensions=asking(attempts=2))
                assert (await client.get(server.url, extensions=asking(retry=False))).status_code == 503
                assert server.requests == 1

    world.run(scenario)


@every_world
def test_the_caller_may_know_better_what_can_be_repeated(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(answer(503)) as server:
            async with world.client(pipeline(eager(3))) as client:
                for method, repeatable, sends in (
                    ("POST", True, 3),
                    ("POST", False, 1),
                    ("GET", False, 1),
                    ("GET", True, 3),
                ):
                    before = server.requests
                    await client.request(method, server.url, extensions=asking(repeatable=repeatable))
                    assert server.requests - before == sends, (method, repeatable)
                # What the server refused for sure is another matter.
                server.play(answer(429))
                before = server.requests
                await client.post(server.url, extensions=asking(repeatable=False))
                assert server.requests - before == 3

    world.run(scenario)


# -- timeout ---------------------------------------------------------------------------------------------


@every_world
@pytest.mark.parametrize(
    "policies", [(Timeout(30), eager()), (eager(), Timeout(30)), (eager(),)], ids=["call", "attempt", "none"]
)
@pytest.mark.parametrize("seconds", [0.15, timedelta(milliseconds=150)], ids=["float", "timedelta"])
def test_a_timeout_is_for_the_whole_call_whatever_the_pipeline_has(
    world: World, policies: tuple[Any, ...], seconds: Any
) -> None:
    async def scenario() -> None:
        with FaultServer([stall(0.03, answer(503)), stall()]) as server:
            async with world.client(pipeline(*policies)) as client:
                began = time.monotonic()
                with pytest.raises(CallTimeout) as caught:
                    await client.get(server.url, extensions=asking(timeout=seconds))
                assert 0.14 <= time.monotonic() - began < 2
                assert isinstance(caught.value, world.family.TimeoutException)
                assert server.requests == 2

    world.run(scenario)


@every_world
def test_a_timeout_only_shortens(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(stall()) as server:
            for policies in ((Timeout(0.05), eager()), (eager(1), Timeout(0.05))):
                async with world.client(pipeline(*policies)) as client:
                    began = time.monotonic()
                    with pytest.raises(CallTimeout):
                        await client.get(server.url, extensions=asking(timeout=30))
                    assert time.monotonic() - began < 2

    world.run(scenario)


@every_world
def test_a_hang_that_a_requests_timeout_cuts_is_the_downstreams_failure(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(stall()) as server:
            for policies in ((Timeout(30),), ()):
                guarded = pipeline(*policies, eager(1), CircuitBreaker(consecutive=1))
                async with world.client(guarded) as client:
                    with pytest.raises(CallTimeout):
                        await client.get(server.url, extensions=asking(timeout=0.05))
                assert guarded.snapshot()["circuit_breaker"]["state"] == "open"

    world.run(scenario)


# -- stream, buffer --------------------------------------------------------------------------------------


@every_world
@pytest.mark.parametrize("asked", [None, True], ids=["by its type", "asked for"])
def test_a_stream_holds_no_place_and_outlives_the_timeout(world: World, asked: bool | None) -> None:
    guarded = pipeline(Timeout(0.1), Bulkhead(1))
    step = event_stream(["1", "2", "3"], 0.08) if asked is None else _slowly(0.08)

    async def scenario() -> None:
        with FaultServer(step) as server:
            async with world.client(guarded, client={"timeout": 5}) as client:
                extensions = {} if asked is None else asking(stream=asked)
                async with client.stream("GET", server.url, extensions=extensions) as response:
                    assert guarded.snapshot()["bulkhead"]["in_flight"] == 0
                    body = b"".join([chunk async for chunk in client.chunks(response)])
                assert body in (b"data: 1\n\ndata: 2\n\ndata: 3\n\n", b"xxx")

    world.run(scenario)


def _slowly(interval: float) -> Any:
    return drip(interval, b"x", 3)


@every_world
def test_what_is_no_stream_in_spite_of_its_type_keeps_place_and_deadline(world: World) -> None:
    guarded = pipeline(Timeout(0.1), Bulkhead(1))

    async def scenario() -> None:
        with FaultServer(event_stream(["1"], 0.01, ends=False)) as server:
            async with world.client(guarded, client={"timeout": 5}) as client:
                async with client.stream("GET", server.url, extensions=asking(stream=False)) as response:
                    assert guarded.snapshot()["bulkhead"]["in_flight"] == 1
                    with pytest.raises(CallTimeout):
                        await client.read(response)
                assert guarded.snapshot()["bulkhead"]["in_flight"] == 0

    world.run(scenario)


@every_world
@pytest.mark.parametrize("step", [reset_mid_body(), stall_mid_body()], ids=["reset", "silence"])
def test_a_failing_body_is_retried_only_where_it_is_buffered(world: World, step: Any) -> None:
    async def scenario() -> None:
        with FaultServer() as server:
            async with world.client(pipeline(eager(), Timeout(0.1))) as client:
                for method, asked, sends in (("GET", True, 2), ("GET", False, 1), ("POST", True, 1)):
                    server.play([step, answer(200, b"whole")])
                    before = server.requests
                    if sends == 2:
                        response = await client.request(method, server.url, extensions=asking(buffer=asked))
                        assert response.content == b"whole"
                    else:
                        with pytest.raises((world.family.ReadError, CallTimeout)):
                            await client.request(method, server.url, extensions=asking(buffer=asked))
                    assert server.requests - before == sends

    world.run(scenario)


@every_world
def test_a_buffered_answer_is_like_any_other(world: World) -> None:
    guarded = pipeline(eager(), Bulkhead(1))

    async def scenario() -> None:
        big = b"x" * 3_000_000  # beyond what is buffered
        with FaultServer() as server:
            async with world.client(guarded) as client:
                for body in (b"small", b"", big):
                    server.play(answer(200, body, [("Set-Cookie", "a=1"), ("X-Two", "1"), ("X-Two", "2")]))
                    async with client.stream("GET", server.url, extensions=asking(buffer=True)) as response:
                        assert response.headers.get_list("x-two") == ["1", "2"]
                        assert b"".join([chunk async for chunk in client.chunks(response)]) == body
                    assert response.elapsed.total_seconds() > 0
                    assert guarded.snapshot()["bulkhead"]["in_flight"] == 0
                assert server.connections == 1

    world.run(scenario)


# -- mistakes --------------------------------------------------------------------------------------------


MISTAKES = {
    "an unknown option": (asking(atempts=2), ConfigError, "attempts"),
    "no attempts": (asking(attempts=0), ConfigError, "attempts"),
    "half an attempt": (asking(attempts=1.5), TypeError, "attempts"),
    "attempts as a flag": (asking(attempts=True), TypeError, "attempts"),
    "no time": (asking(timeout=0), ConfigError, "timeout"),
    "time that runs backwards": (asking(timeout=-1), ConfigError, "timeout"),
    "no number": (asking(timeout=float("nan")), ConfigError, "timeout"),
    "time as text": (asking(timeout="1"), TypeError, "timeout"),
    "retry as a number": (asking(retry=0), TypeError, "retry"),
    "a key that no header carries": (asking(idempotency_key="new\nline"), ConfigError, "idempotency_key"),
    "an empty key": (asking(idempotency_key=""), ConfigError, "idempotency_key"),
    "a key that is too long": (asking(idempotency_key="x" * 256), ConfigError, "idempotency key"),
    "a key as a number": (asking(idempotency_key=7), TypeError, "idempotency_key"),
    "stream as text": (asking(stream="yes"), TypeError, "stream"),
    "buffer as text": (asking(buffer="yes"), TypeError, "buffer"),
    "no retry and two attempts": (asking(retry=False, attempts=2), ConfigError, "attempts"),
    "an endless body in memory": (asking(stream=True, buffer=True), ConfigError, "buffer"),
    "no mapping": ({"resilient": 3}, TypeError, "resilient"),
    "a list": ({"resilient": ["attempts"]}, TypeError, "resilient"),
}


@every_world
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_before_anything_is_sent(world: World, mistake: str) -> None:
    extensions, kind, named = MISTAKES[mistake]
    guarded = pipeline(eager(), CircuitBreaker(consecutive=1), Bulkhead(1))

    async def scenario() -> None:
        with FaultServer() as server, nothing_sent(server):
            for rejections in ("raise", "answer"):
                async with world.client(guarded, rejections=rejections) as client:
                    with pytest.raises(kind, match=named) as caught:
                        await client.post(server.url, extensions=extensions)
                    # The caller's own mistake, not a trouble of transport that somebody might retry.
                    assert not isinstance(caught.value, world.family.TransportError)
        snapshot = guarded.snapshot()
        assert (snapshot["circuit_breaker"]["state"], snapshot["bulkhead"]["in_flight"]) == ("closed", 0)

    world.run(scenario)


@every_world
def test_none_and_nothing_are_no_mistakes(world: World) -> None:
    handler = Answers(respond(world))

    async def scenario() -> None:
        async with world.client(pipeline(eager()), transport=world.mock(handler)) as client:
            for value in (None, {}, world.door.CallOptions()):
                assert (await client.get("http://a.test/", extensions={"resilient": value})).status_code == 200
        assert all("resilient" not in each for each in handler.extensions)

    world.run(scenario)


@every_world
def test_an_answer_that_was_refused_says_so_in_its_extensions(world: World) -> None:
    guarded = pipeline(eager(1), CircuitBreaker(consecutive=1))

    async def scenario() -> None:
        with FaultServer(reset()) as server:
            async with world.client(guarded, rejections="answer") as client:
                with pytest.raises(world.family.ReadError):
                    await client.get(server.url)
                response = await client.get(server.url)
                assert response.extensions["resilient"] == {"rejected": "breaker_open"}

    world.run(scenario)
