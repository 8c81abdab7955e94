"""Policies in unusual orders, and calls that end in unusual ways."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import cycle
from typing import Any

import pytest

from resilient import Backoff, Bulkhead, BulkheadFull, CircuitBreaker, Fallback, Pipeline, RateLimit, Retry, Timeout
from resilient.testing import capture_events, force_open, isolated
from tests.http._world import FAMILIES, Client, World, drive, every_family, every_world

URL = "http://downstream.test/"


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    with isolated():
        yield


def again(**options: Any) -> Retry:
    return Retry(**{"attempts": 3, "backoff": Backoff(base=0.001), "budget": None, **options})


def server(world: World, *answers: int | str) -> tuple[Any, list[Any]]:
    """Return a transport that answers with a status, or fails with an error of that name; and what it got."""
    seen: list[Any] = []
    script = cycle(answers)

    def handle(request: Any) -> Any:
        seen.append(request)
        answer = next(script)
        if isinstance(answer, str):
            raise getattr(world.family, answer)("scripted")
        return world.family.Response(answer)

    return world.mock(handle), seen


@every_world
@pytest.mark.parametrize("failing", [503, 429, "ConnectError", "ReadError"])
@pytest.mark.parametrize("fixed", [True, False])
def test_a_retry_around_a_fallback_sees_a_good_answer(world: World, failing: int | str, fixed: bool) -> None:
    """As with functions: what a fallback has answered is not repeated, and no failure to what is around it."""
    spare = world.family.Response(200, text="spare")
    outer = RateLimit(100)
    pipeline = Pipeline("outer-retry", again(), outer, Fallback(spare if fixed else lambda _: spare))
    network, seen = server(world, failing)

    async def scenario() -> None:
        async with world.client(pipeline, transport=network) as client:
            for _ in range(2):
                response = await client.get(URL)
                assert (response.status_code, response.text) == (200, "spare")
        assert len(seen) == 2
        assert pipeline[RateLimit].rate == 100, "the server throttled, but not what the rate limit is around"

    world.run(scenario)


@every_world
@pytest.mark.parametrize("status", [302, 401, 403])
def test_a_fallback_may_answer_with_a_status_that_leads_to_another_hop(world: World, status: int) -> None:
    """Also where nothing was sent, so that no attempt ever began."""
    answer = world.family.Response(status, headers={"location": "http://elsewhere.test/"})
    pipeline = Pipeline("elsewhere", Timeout(5), Fallback(lambda _: answer), CircuitBreaker())
    network, seen = server(world, 200)

    async def scenario() -> None:
        async with world.client(pipeline, transport=network) as client:
            with force_open(pipeline):
                assert (await client.get(URL)).status_code == status
        assert not seen

    world.run(scenario)


@every_world
def test_each_call_gets_a_copy_of_a_fixed_answer(world: World) -> None:
    """Also a call whose first attempt had an answer that needed no further care."""
    spare = world.family.Response(200, text="spare")
    stream = spare.stream
    pipeline = Pipeline("fixed", Fallback(spare), again(attempts=2, on_result=lambda _: True))
    network, _ = server(world, 200, "ConnectError")

    async def scenario() -> None:
        async with world.client(pipeline, transport=network) as client:
            for _ in range(2):
                response = await client.get(URL)
                assert response is not spare
                assert response.text == "spare"
                assert spare.stream is stream

    world.run(scenario)


@every_world
def test_two_retries_send_once_where_a_request_asks_for_one_attempt(world: World) -> None:
    pipeline = Pipeline("two", again(retry_given_up=True), Bulkhead(5), again())
    network, seen = server(world, "ConnectError")

    async def scenario() -> None:
        async with world.client(pipeline, transport=network) as client:
            for options, sent in [({"retry": False}, 1), ({"attempts": 2}, 2), ({"attempts": 1}, 1)]:
                with pytest.raises(world.family.ConnectError):
                    await client.get(URL, extensions={"resilient": options})
                assert len(seen) == sent
                seen.clear()

    world.run(scenario)


@every_world
def test_options_count_on_a_request_without_timeouts(world: World) -> None:
    """Such as one that another transport has made."""
    network, seen = server(world, 503)
    transport = world.transport(Pipeline("bare", again()), transport=network)
    request = world.family.Request("GET", URL, extensions={"resilient": {"retry": False}})

    async def scenario() -> None:
        response = (
            await transport.handle_async_request(request) if world.is_async else transport.handle_request(request)
        )
        assert response.status_code == 503
        await world.over(transport).close(response)
        assert len(seen) == 1

    world.run(scenario)


@every_world
@pytest.mark.parametrize("entered", [True, False])
def test_a_wrapped_transport_is_closed_again_after_it_was_used_again(world: World, entered: bool) -> None:
    closed = []
    base = world.family.AsyncBaseTransport if world.is_async else world.family.BaseTransport

    class Counting(base):  # type: ignore[misc, valid-type]
        def handle_request(self, request: Any) -> Any:
            return world.family.Response(200)

        async def handle_async_request(self, request: Any) -> Any:
            return world.family.Response(200)

        def close(self) -> None:
            closed.append(1)

        async def aclose(self) -> None:
            closed.append(1)

    transport = world.transport(Pipeline("closing", again()), transport=Counting())

    async def scenario() -> None:
        if entered:
            async with world.over(transport) as client:
                await client.get(URL)
        else:
            client = world.over(transport)
            await client.get(URL)
            await client.close()
        assert len(closed) == 1
        client = world.over(transport)
        await client.get(URL)
        await client.close()
        await client.close()
        assert len(closed) == 2

    world.run(scenario)


@every_family
@pytest.mark.parametrize("kind", ["refused", "cut", "cut in the body", "broken body"])
def test_an_error_of_ours_is_freed_without_the_collector(world: World, kind: str) -> None:
    """Refusals come in numbers, when there is no time to spare."""
    error: Callable[[], Exception] = lambda: world.family.ReadTimeout("scripted")  # noqa: E731

    def broken() -> Iterator[bytes]:
        yield b"x"
        threading.Event().wait(0.003)
        raise error()

    def handle(_: Any) -> Any:
        if "body" in kind:
            return world.family.Response(200, content=broken())
        threading.Event().wait(0.003)
        raise error()

    def left(client: Client) -> int:
        for _ in range(3):
            with pytest.raises(world.family.TransportError):
                world.run(client.get, URL)
        gc.collect()
        for _ in range(5):
            with contextlib.suppress(world.family.TransportError):
                world.run(client.get, URL)
        return gc.collect()

    pipeline = Pipeline("freed", Timeout(0.002 if "cut" in kind else 9), CircuitBreaker(consecutive=None))
    transport = world.mock(handle)
    if kind == "refused":
        pipeline.hold("forced_open", reason="for this test", expires=None)
    gc.disable()
    try:
        bare = left(world.over(transport)) if "body" in kind else 0  # the families' own cycle
        ours = left(world.client(pipeline, transport=transport))
    finally:
        gc.enable()
    assert ours <= bare + 5 * 5, "more than our watch over the body, in the family's own cycle"


@every_world
def test_a_full_pool_is_told_as_every_other_refusal_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def handle(*_: Any) -> Any:
        raise world.family.PoolTimeout("scripted")

    kind = "AsyncHTTPTransport" if world.is_async else "HTTPTransport"
    name = "handle_async_request" if world.is_async else "handle_request"
    monkeypatch.setattr(getattr(world.family, kind), name, handle if world.is_async else lambda *_: drive(handle()))

    async def scenario() -> None:
        async with world.client(Pipeline("full")) as client:
            with capture_events() as told, pytest.raises(BulkheadFull):
                await client.get(URL)
        rejected = [each.fields for each in told if each.name == "resilient.call.rejected"]
        assert rejected == [{"policy": "connection_pool", "reason": "pool_wait", "retry_after": None}]

    world.run(scenario)


def stream(world: World, *, reading: bool) -> Any:
    """Return a body that fails at once, when it is read or when it is closed."""
    base = world.family.AsyncByteStream if world.is_async else world.family.SyncByteStream

    class Failing(base):  # type: ignore[misc, valid-type]
        def __iter__(self) -> Iterator[bytes]:
            if reading:
                raise world.family.ReadError("scripted")
            return iter([b"x"])

        def __aiter__(self) -> AsyncIterator[bytes]:
            if reading:
                raise world.family.ReadError("scripted")
            return aiter(Stuck())

        def close(self) -> None:
            if not reading:
                raise world.family.CloseError("scripted")

        async def aclose(self) -> None:
            self.close()

    return Failing()


@every_world
def test_a_discarded_answer_may_fail_at_its_closing(world: World) -> None:
    pipeline = Pipeline("closing", again(), CircuitBreaker(), Bulkhead(1))
    answers = iter([world.family.Response(503, stream=stream(world, reading=False)), world.family.Response(200)])

    async def scenario() -> None:
        async with world.client(pipeline, transport=world.mock(lambda _: next(answers))) as client:
            assert (await client.get(URL)).status_code == 200
        snapshot: Any = pipeline.snapshot()
        assert snapshot["bulkhead"]["in_flight"] == 0
        assert snapshot["circuit_breaker"]["failures"] == 1

    world.run(scenario)


@every_world
def test_a_body_that_fails_before_its_first_step_is_a_failure(world: World) -> None:
    pipeline = Pipeline("reading", CircuitBreaker(), Bulkhead(1))
    network = world.mock(lambda _: world.family.Response(200, stream=stream(world, reading=True)))

    async def scenario() -> None:
        async with world.client(pipeline, transport=network) as client:
            with pytest.raises(world.family.ReadError):
                await client.get(URL)
        assert pipeline[CircuitBreaker].snapshot()["failures"] == 1

    world.run(scenario)


class Stuck:
    """A body whose closing never ends."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"x"

    async def aclose(self) -> None:
        await Never()


class Never:
    def __await__(self) -> Iterator[None]:
        while True:
            yield None


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("discarded", [True, False])
def test_a_closing_that_is_thrown_away_takes_no_lock(family: str, discarded: bool) -> None:
    """The collector throws away what a dead event loop has left, perhaps inside of our own locks."""
    world = World(family, "asyncio")
    body = type("Body", (Stuck, world.family.AsyncByteStream), {})
    network = world.mock(lambda _: world.family.Response(503, headers={"content-length": "99999"}, stream=body()))
    pipeline = Pipeline("stuck", *([again()] if discarded else []), CircuitBreaker(), Bulkhead(1))
    transport = world.transport(pipeline, transport=network)
    sending = transport.handle_async_request(world.family.Request("GET", URL))
    if discarded:
        closing = sending
    else:
        with pytest.raises(StopIteration) as answered:
            sending.send(None)
        closing = answered.value.value.stream.aclose()
    closing.send(None)
    ended = threading.Event()

    def collected() -> None:
        with pipeline[CircuitBreaker].machine._lock:
            closing.close()
        ended.set()

    threading.Thread(target=collected, daemon=True).start()
    assert ended.wait(5), "it waits for itself"
    assert pipeline[Bulkhead].snapshot()["in_flight"] == 0
