"""What is left of the time goes along with every attempt, to the socket and to the server: C16, C17, C18."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from contextlib import nullcontext
from typing import Any

import pytest
import trio

from resilient import (
    Backoff,
    Bulkhead,
    CallTimeout,
    CircuitBreaker,
    DeadlineExceeded,
    Timeout,
    deadline,
    remaining,
)
from resilient.errors import ResilienceError
from tests.conformance._http_retry_kit import Answers, eager, nothing_sent, outcome, pipeline, respond
from tests.faults import FaultServer, answer, drip, nobody, redirect, reset, stall, stall_mid_body, unanswered
from tests.http._world import World, async_worlds, every_world

PAUSED = eager(3, backoff=Backoff(base=0.03, jitter="fixed"))
"""Between two attempts, 30 ms pass."""

URL = "http://a.test/"


def limits_of(request: Any) -> dict[str, float | None]:
    return request.extensions["timeout"]


# -- C16: the limits of each operation -----------------------------------------------------------------


@every_world
def test_C16_no_operation_may_take_longer_than_what_is_left_and_none_longer_than_the_user_said(world: World) -> None:
    handler = Answers(respond(world, 503))

    async def scenario() -> None:
        guarded = pipeline(Timeout(10), PAUSED, Timeout(3))
        async with world.client(guarded, transport=world.mock(handler)) as client:
            await client.get(URL, timeout=world.family.Timeout(5, connect=1, read=None, pool=2))
        assert len(handler.timeouts) == 3
        for limits in handler.timeouts:
            assert limits == {"connect": 1, "read": pytest.approx(3), "write": pytest.approx(3), "pool": 2}

    world.run(scenario)


@every_world
@pytest.mark.parametrize("whose", ["the pipeline's", "the caller's", "the request's"])
def test_C16_it_is_less_at_every_attempt(world: World, whose: str) -> None:
    handler = Answers(respond(world, 503))
    timeouts = [Timeout(2)] if whose == "the pipeline's" else []
    asked = {"resilient": {"timeout": 2}} if whose == "the request's" else {}

    async def scenario() -> None:
        async with world.client(pipeline(*timeouts, PAUSED), transport=world.mock(handler)) as client:
            with deadline(2) if whose == "the caller's" else nullcontext():
                await client.get(URL, timeout=None, extensions=asked)
        first, second, third = handler.timeouts
        for limits in handler.timeouts:
            assert set(limits) == {"connect", "read", "write", "pool"}
            assert len(set(limits.values())) == 1
        assert 1.5 < first["read"] <= 2
        assert first["read"] - second["read"] >= 0.029
        assert second["read"] - third["read"] >= 0.029

    world.run(scenario)


@every_world
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_C16_what_the_user_gave_stays_as_it_was(world: World, method: str) -> None:
    handler = Answers(respond(world, 503), respond(world, 503), lambda request: world.family.Response(200))

    async def scenario() -> None:
        async with world.client(pipeline(Timeout(1), PAUSED), transport=world.mock(handler)) as client:
            limits, extensions = world.family.Timeout(7, pool=None), {"mine": object(), "resilient": {"attempts": 3}}
            given = dict(extensions)
            request = client.real.build_request(method, URL, timeout=limits, extensions=extensions, content=b"x")
            own, mine, before = request.extensions, limits_of(request), dict(limits_of(request))
            headers, body = list(request.headers.raw), request.stream
            assert (await client.send(request)).status_code == 200
            assert limits == world.family.Timeout(7, pool=None)
            assert extensions == given
            assert request.extensions is own
            assert limits_of(request) is mine
            assert mine == before
            assert set(own) == {"mine", "resilient", "timeout"}
            assert (request.headers.raw, request.stream) == (headers, body)
            for extension in handler.extensions:
                assert extension is not own
                assert extension["mine"] is given["mine"]
                assert "resilient" not in extension
            assert len({id(each) for each in handler.extensions}) == 3

    world.run(scenario)


@every_world
@pytest.mark.parametrize("given", [{}, {"timeout": None}, {"timeout": {}}, {"timeout": {"read": 0.5}}], ids=str)
def test_C16_missing_limits_are_filled_in(world: World, given: dict[str, Any]) -> None:
    handler = Answers(respond(world))

    async def scenario() -> None:
        for method in ("GET", "POST"):
            transport = world.transport(pipeline(Timeout(1)), transport=world.mock(handler))
            request = world.family.Request(method, URL, extensions=dict(given))
            if world.is_async:
                await transport.handle_async_request(request)
            else:
                transport.handle_request(request)
            said = (given.get("timeout") or {}).get("read", 1)
            assert handler.timeouts[-1] == {
                "connect": pytest.approx(1, abs=0.1),
                "read": pytest.approx(said, abs=0.1),
                "write": pytest.approx(1, abs=0.1),
                "pool": pytest.approx(1, abs=0.1),
            }
            assert request.extensions == given

    world.run(scenario)


@every_world
def test_C16_without_a_deadline_the_users_limits_go_through(world: World) -> None:
    handler = Answers(respond(world))

    async def scenario() -> None:
        async with world.client(pipeline(eager()), transport=world.mock(handler)) as client:
            await client.get(URL, timeout=world.family.Timeout(5, read=None))
        assert handler.timeouts == [{"connect": 5, "read": None, "write": 5, "pool": 5}]

    world.run(scenario)


@every_world
@pytest.mark.parametrize("inner", [False, True], ids=["of the call", "of the attempt"])
def test_C16_a_connection_that_does_not_come_ends_on_time(world: World, inner: bool) -> None:
    policies = [eager(1), Timeout(0.1)] if inner else [Timeout(0.1), eager()]

    async def scenario() -> None:
        with unanswered() as url:
            async with world.client(pipeline(*policies), client={"timeout": 30}) as client:
                began = time.monotonic()
                with pytest.raises(CallTimeout):
                    await client.get(url)
                assert 0.09 <= time.monotonic() - began < 1

    world.run(scenario)


# -- C17: no time, no socket -----------------------------------------------------------------------------


@every_world
@pytest.mark.parametrize("policies", [(Timeout(5),), (eager(), Timeout(5)), (eager(), CircuitBreaker(), Bulkhead(1))])
def test_C17_a_deadline_that_has_passed_opens_no_socket(world: World, policies: tuple[Any, ...]) -> None:
    guarded = pipeline(*policies)

    async def scenario() -> None:
        with FaultServer() as server, nothing_sent(server):
            async with world.client(guarded) as client:
                with deadline(0), pytest.raises(DeadlineExceeded) as caught:
                    await client.get(server.url)
        error = caught.value
        assert isinstance(error, world.family.TransportError)
        assert not isinstance(error, (TimeoutError, world.family.TimeoutException))
        assert type(error) is world.door.DeadlineExceeded
        assert str(error.request.url) == server.url
        if Bulkhead(1) in policies:
            assert guarded.snapshot()["bulkhead"]["in_flight"] == 0

    world.run(scenario)


@every_world
def test_C17_nor_does_a_foreign_transport_hear_of_it(world: World) -> None:
    handler = Answers(respond(world))

    async def scenario() -> None:
        async with world.client(pipeline(eager()), transport=world.mock(handler)) as client:
            with deadline(0.02):
                await client.get(URL)
                await world.sleep(0.03)
                with pytest.raises(DeadlineExceeded):
                    await client.get(URL)
            await client.get(URL)
        assert len(handler.requests) == 2

    world.run(scenario)


@every_world
def test_C17_a_pause_that_would_outlast_the_deadline_is_not_begun(world: World) -> None:
    patient = eager(3, backoff=Backoff(base=5, jitter="none"))

    async def scenario() -> None:
        with FaultServer([answer(503, b"busy"), reset()]) as server:
            async with world.client(pipeline(Timeout(1), patient)) as client:
                began = time.monotonic()
                assert (await client.get(server.url)).content == b"busy"
                with pytest.raises(world.family.ReadError):
                    await client.get(server.url)
                assert time.monotonic() - began < 0.5
                assert server.requests == 2

    world.run(scenario)


@every_world
def test_C17_the_error_of_what_ran_comes_before_the_end_of_time(world: World) -> None:
    """An attempt that failed is what the caller hears of, though no time was left for the next one."""

    async def scenario() -> None:
        with nobody() as url:
            async with world.client(
                pipeline(Timeout(0.2), eager(1000, backoff=Backoff(base=0.02, jitter="none")))
            ) as client:
                began = time.monotonic()
                with pytest.raises(world.family.ConnectError):
                    await client.get(url)
                assert time.monotonic() - began < 0.5

    world.run(scenario)


# -- C18: whose time was up ------------------------------------------------------------------------------


ENDS = {
    "the call's": ((Timeout(0.1), eager(1)), {}, None),
    "the attempt's": ((eager(1), Timeout(0.1)), {}, None),
    "the caller's": ((eager(1),), {}, 0.1),
    "the request's": ((eager(1),), {"resilient": {"timeout": 0.1}}, None),
}


stops_between_chunks = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""Under trio: httpcore leaves its own generators to the collector where reading stops between two chunks."""


@stops_between_chunks
@every_world
@pytest.mark.parametrize("whose", ENDS)
@pytest.mark.parametrize("step", [drip(0.01), stall_mid_body()], ids=["drip", "silence"])
def test_C18_a_body_that_outlasts_the_deadline_raises_our_timeout(world: World, whose: str, step: Any) -> None:
    policies, extensions, seconds = ENDS[whose]
    guarded = pipeline(*policies, CircuitBreaker(consecutive=1), Bulkhead(1))

    async def scenario() -> None:
        with FaultServer(step) as server:
            async with world.client(guarded, client={"timeout": 5}) as client:
                began = time.monotonic()
                got: list[bytes] = []
                with deadline(seconds) if seconds else nullcontext():
                    async with client.stream("GET", server.url, extensions=extensions) as response:
                        assert response.status_code == 200
                        with pytest.raises(CallTimeout) as caught:
                            got.extend([chunk async for chunk in client.chunks(response)])
                            pytest.fail("it came to an end")
                assert 0.09 <= time.monotonic() - began < 2
                error = caught.value
                assert isinstance(error, world.family.TimeoutException)
                assert type(error) is world.door.CallTimeout
                assert not isinstance(error, world.family.ReadTimeout)
                assert str(error.request.url) == server.url
                assert 0.05 < error.ran < 1
                # It is the downstream's failure, and it holds nothing any more.
                assert guarded.snapshot()["circuit_breaker"]["state"] == "open"
                assert guarded.snapshot()["bulkhead"]["in_flight"] == 0
                await server.until(lambda: server.open == 0) if world.is_async else server.wait_until(
                    lambda: server.open == 0
                )

    world.run(scenario)


@stops_between_chunks
@every_world
def test_C18_the_time_of_the_reader_is_not_the_servers_failure(world: World) -> None:
    guarded = pipeline(eager(1), CircuitBreaker(consecutive=1), Timeout(0.25))

    async def scenario() -> None:
        with FaultServer(drip(0.001, b"x" * 10)) as server:
            async with world.client(guarded) as client, client.stream("GET", server.url) as response:
                with pytest.raises(CallTimeout):
                    async for _ in client.chunks(response):
                        await world.sleep(0.3)
        assert guarded.snapshot()["circuit_breaker"]["state"] == "closed"

    world.run(scenario)


@every_world
def test_C18_a_body_that_is_here_before_the_end_is_read_though_the_deadline_block_is_left(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(answer(200, b"whole" * 1000)) as server:
            async with world.client(pipeline(Timeout(5))) as client, client.stream("GET", server.url) as response:
                assert remaining() is None
                body = b""
                async for chunk in client.chunks(response):
                    assert remaining() is None, "the reader's code must not see the deadline of the read"
                    body += chunk
                assert body == b"whole" * 1000
                assert remaining() is None

    world.run(scenario)


@every_world
@pytest.mark.parametrize("step", [stall(), stall_mid_body()], ids=["before headers", "in the body"])
def test_C18_the_users_own_read_timeout_stays_one(world: World, step: Any) -> None:
    guarded = pipeline(Timeout(5), eager(1), CircuitBreaker(consecutive=1))

    async def scenario() -> None:
        with FaultServer(step) as server:
            async with world.client(guarded, client={"timeout": 0.05}) as client:
                error = await outcome(client.get(server.url))
                assert type(error) is world.family.ReadTimeout
                assert not isinstance(error, (ResilienceError, TimeoutError))
                assert guarded.snapshot()["circuit_breaker"]["state"] == "open"

    world.run(scenario)


@every_world
def test_C18_a_timeout_error_of_the_users_body_comes_out_as_it_is(world: World) -> None:
    own = TimeoutError("of the user's database")

    def body() -> Any:
        yield b"first"
        raise own

    async def abody() -> Any:
        yield b"first"
        raise own

    guarded = pipeline(Timeout(5), eager(3, on=Exception), CircuitBreaker(consecutive=1))

    async def scenario() -> None:
        with FaultServer() as server:
            async with world.client(guarded) as client:
                with pytest.raises(TimeoutError) as caught:
                    await client.post(server.url, content=abody() if world.is_async else body())
                assert caught.value is own
                assert server.requests <= 1
                assert guarded.snapshot()["circuit_breaker"]["state"] == "closed"

    world.run(scenario)


@every_world
def test_C18_and_so_does_one_of_the_transport_below(world: World) -> None:
    own = TimeoutError("of the handler")

    def fail(_request: Any) -> Any:
        raise own

    handler = Answers(fail)

    async def scenario() -> None:
        async with world.client(pipeline(Timeout(5), eager(2)), transport=world.mock(handler)) as client:
            with pytest.raises(TimeoutError) as caught:
                await client.get(URL)
            assert caught.value is own
            assert len(handler.requests) == 2

    world.run(scenario)


@stops_between_chunks
@every_world
def test_C18_and_one_that_the_reader_raises(world: World) -> None:
    own = TimeoutError("of the reader")
    guarded = pipeline(Timeout(5), CircuitBreaker(consecutive=1), Bulkhead(1))

    async def scenario() -> None:
        with FaultServer(drip(0.001)) as server:
            async with world.client(guarded) as client:
                with pytest.raises(TimeoutError) as caught:
                    async with client.stream("GET", server.url) as response:
                        async for _ in client.chunks(response):
                            raise own
                assert caught.value is own
                assert guarded.snapshot()["bulkhead"]["in_flight"] == 0
                assert guarded.snapshot()["circuit_breaker"]["state"] == "closed"

    world.run(scenario)


@async_worlds
@pytest.mark.parametrize("step", [stall(), drip(0.01)], ids=["before headers", "in the body"])
def test_C18_a_timeout_around_the_client_is_the_callers(world: World, step: Any) -> None:
    guarded = pipeline(Timeout(5), eager(), CircuitBreaker(consecutive=1), Bulkhead(1), Timeout(3))

    async def scenario() -> None:
        with FaultServer(step) as server:
            async with world.client(guarded) as client:
                kind = TimeoutError if world.colour == "asyncio" else trio.TooSlowError
                with pytest.raises(kind) as caught:
                    async with asyncio.timeout(0.05) if world.colour == "asyncio" else _fail_after(0.05):
                        await client.get(server.url)
                assert not isinstance(caught.value, ResilienceError)
                snapshot = guarded.snapshot()
                assert (snapshot["circuit_breaker"]["state"], snapshot["bulkhead"]["in_flight"]) == ("closed", 0)

    world.run(scenario)


class _fail_after:
    """`trio.fail_after`, as an async context manager."""

    def __init__(self, seconds: float) -> None:
        self._limit = trio.fail_after(seconds)

    async def __aenter__(self) -> None:
        self._limit.__enter__()

    async def __aexit__(self, *error: object) -> Any:
        return self._limit.__exit__(*error)


# -- the outgoing header ---------------------------------------------------------------------------------


def told(server: FaultServer, name: str = "x-request-deadline") -> list[str | None]:
    return [each.headers.get(name) for each in server.received]


@every_world
@pytest.mark.parametrize("whose", ["the pipeline's", "the caller's", "the request's"])
def test_the_header_tells_at_every_attempt_and_hop_what_is_left(world: World, whose: str) -> None:
    timeouts = [Timeout(2)] if whose == "the pipeline's" else []
    asked = {"resilient": {"timeout": 2}} if whose == "the request's" else {}
    header = world.door.DeadlineHeader(reserve=0)
    script = {"/": [reset(), answer(503), stall(0.03, redirect("/there"))], "/there": answer(200)}

    async def scenario() -> None:
        with FaultServer(script) as server:
            guarded = pipeline(*timeouts, PAUSED)
            async with world.client(guarded, deadline_header=header, client={"follow_redirects": True}) as client:
                with deadline(2) if whose == "the caller's" else nullcontext():
                    assert (await client.get(server.url + "/", extensions=asked)).status_code == 200
                left = [int(each) for each in told(server)]
                assert len(left) == 4
                assert 1500 < left[0] <= 2000
                assert all(one - other >= 29 for one, other in itertools.pairwise(left))

    world.run(scenario)


@every_world
def test_the_header_tells_of_the_attempts_own_end_where_that_comes_first(world: World) -> None:
    async def scenario() -> None:
        with FaultServer([answer(503), answer(200)]) as server:
            header = world.door.DeadlineHeader(reserve=0)
            async with world.client(pipeline(Timeout(60), PAUSED, Timeout(1)), deadline_header=header) as client:
                await client.get(server.url)
                assert all(900 < int(each) <= 1000 for each in told(server))
                assert len(told(server)) == 2

    world.run(scenario)


FORMATS = {
    "grpc-timeout": ("grpc", r"[0-9]{1,8}[HMSmun]"),
    "x-ms": ("milliseconds", r"[0-9]{3}"),
    "x-seconds": ("seconds", r"0\.[0-9]+"),
    "x-unix": ("unix", r"[0-9]{10}\.[0-9]{3}"),
    "x-date": ("rfc3339", r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}Z"),
}


@every_world
@pytest.mark.parametrize("name", FORMATS)
def test_the_header_has_the_name_and_the_format_that_were_asked_for(world: World, name: str) -> None:
    kind, pattern = FORMATS[name]
    header = world.door.DeadlineHeader(name, format=kind)

    async def scenario() -> None:
        with FaultServer() as server:
            async with world.client(pipeline(Timeout(1)), deadline_header=header) as client:
                await client.get(server.url)
                (value,) = told(server, name)
                assert _matches(pattern, value), value
                # 5 % of it are kept back for the way of the answer.
                assert 0.8 < header.decode(value) <= 0.951

    world.run(scenario)


def _matches(pattern: str, value: str) -> bool:
    return re.fullmatch(pattern, value) is not None


@every_world
def test_without_a_deadline_there_is_no_header(world: World) -> None:
    async def scenario() -> None:
        with FaultServer() as server:
            async with world.client(pipeline(eager()), deadline_header=world.door.DeadlineHeader()) as client:
                await client.get(server.url)
                assert told(server) == [None]

    world.run(scenario)


@every_world
def test_the_users_headers_stay_as_they_were(world: World) -> None:
    async def scenario() -> None:
        with FaultServer([answer(503), answer(200)]) as server:
            async with world.client(
                pipeline(Timeout(1), eager()), deadline_header=world.door.DeadlineHeader()
            ) as client:
                request = client.real.build_request("GET", server.url)
                before = list(request.headers.raw)
                await client.send(request)
                assert request.headers.raw == before
                assert None not in told(server)

    world.run(scenario)


@every_world
@pytest.mark.parametrize("bad", ["x-deadline", 5, True])
def test_a_deadline_header_is_no_string(world: World, bad: Any) -> None:
    with pytest.raises(TypeError, match="deadline_header"):
        world.transport(pipeline(eager()), deadline_header=bad)
