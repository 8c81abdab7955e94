"""A transport with a cache: what reaches the server, what the caller sees, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import gzip
import threading
from typing import Any

import pytest
import trio

from resilient import Bulkhead, CircuitBreaker, Event, Fallback, Pipeline, Timeout, faults, provenance
from resilient.cache import HttpCache
from resilient.stores import MemoryStore, Record
from resilient.testing import InstantClock, capture_events, use
from tests.faults import FaultServer, Received, Step, answer, drip, event_stream, gated, redirect, stall, unauthorized
from tests.http._world import Client, World, async_worlds, every_family, every_world

FRESH = {"cache-control": "max-age=60"}
REVALIDATING = {"cache-control": "max-age=10, stale-while-revalidate=100", "etag": '"1"'}


def source(response: Any) -> str:
    """Where a response came from."""
    made = response.extensions.get("resilient.provenance")
    return "downstream" if made is None else made.source


def cached(world: World, cache: HttpCache | None = None, *policies: Any, **options: Any) -> Client:
    """A client with a cache, on a pipeline of its own."""
    return world.client(Pipeline("cached", *policies, replace=True), cache=cache or HttpCache(), **options)


# -- hits --------------------------------------------------------------------------------------------------


@every_world
def test_a_fresh_answer_is_served_without_asking(world: World) -> None:
    headers = {**FRESH, "content-type": "text/plain; charset=utf-8", "x-extra": "1"}

    async def scenario() -> None:
        with FaultServer(answer(200, "süß".encode(), headers)) as server:
            async with cached(world) as client:
                first = await client.get(server.url)
                with provenance() as told:
                    second = await client.get(server.url)
        assert (first.text, second.text) == ("süß", "süß")
        assert (source(first), source(second)) == ("downstream", "fresh")
        assert told.source == "fresh"
        assert told.last.downstream == "cached"
        assert second.headers["x-extra"] == "1"
        assert second.headers["age"] == "0"
        assert "hit" in second.headers["cache-status"]
        assert second.elapsed.total_seconds() >= 0
        assert server.requests == 1

    world.run(scenario)


@every_world
def test_an_encoded_body_is_decoded_each_time(world: World) -> None:
    body = gzip.compress(b"plain " * 50)

    async def scenario() -> None:
        with FaultServer(answer(200, body, {**FRESH, "content-encoding": "gzip"})) as server:
            async with cached(world) as client:
                for _ in range(3):
                    assert (await client.get(server.url)).content == b"plain " * 50
        assert server.requests == 1

    world.run(scenario)


@every_world
def test_a_hit_needs_no_permit_and_asks_no_breaker(world: World) -> None:
    guarded = Pipeline("cached", CircuitBreaker(), Bulkhead(1), replace=True)

    async def scenario() -> None:
        with FaultServer(answer(200, b"ok", FRESH)) as server:
            async with world.client(guarded, cache=HttpCache()) as client:
                await client.get(server.url)
                with guarded.permit():
                    assert source(await client.get(server.url)) == "fresh"

    world.run(scenario)


@every_world
def test_two_transports_share_a_cache(world: World) -> None:
    cache = HttpCache()

    async def scenario() -> None:
        with FaultServer(answer(200, b"ok", FRESH)) as server:
            async with cached(world, cache) as one, cached(world, cache) as other:
                await one.get(server.url)
                assert source(await other.get(server.url)) == "fresh"

    world.run(scenario)


def test_the_families_share_a_cache() -> None:
    cache = HttpCache()
    with FaultServer(answer(200, b"ok", FRESH)) as server:
        for family in ("httpx", "httpx2"):
            with World(family, "threads").transport(Pipeline("cached"), cache=cache) as transport:
                client = World(family, "threads").over(transport).real
                assert client.get(server.url).text == "ok"
        assert server.requests == 1


# -- what is stored, and when -------------------------------------------------------------------------------


@every_world
def test_a_body_that_is_left_half_way_is_not_stored(world: World) -> None:
    def script(received: Received) -> Step:
        return answer(200, b"x" * 200_000, FRESH)

    async def scenario() -> None:
        with FaultServer(script) as server:
            async with cached(world) as client:
                async with client.stream("GET", server.url) as response:
                    await client.close(response)
                assert source(await client.get(server.url)) == "downstream"
                assert source(await client.get(server.url)) == "fresh"

    world.run(scenario)


@every_world
def test_a_body_over_the_bound_is_handed_on_and_not_stored(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(answer(200, b"x" * 50_000, FRESH)) as server:
            async with cached(world, HttpCache(max_body=10_000)) as client:
                for _ in range(2):
                    assert len((await client.get(server.url)).content) == 50_000
        assert server.requests == 2

    world.run(scenario)


@every_world
def test_a_stream_of_events_is_never_held_back_or_stored(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(event_stream(["a", "b", "c"], interval=0.05)) as server:
            async with cached(world) as client:
                for _ in range(2):
                    async with client.stream("GET", server.url) as response:
                        chunks = [chunk async for chunk in client.chunks(response)]
                    assert len(chunks) > 1
        assert server.requests == 2

    world.run(scenario)


@every_world
def test_a_fallback_is_never_stored(world: World) -> None:
    stand_in = world.family.Response(200, headers=FRESH, content=b"stand-in")

    async def scenario() -> None:
        with FaultServer([answer(500, b"broken"), answer(200, b"real", FRESH)]) as server:
            async with cached(world, None, Fallback(stand_in)) as client:
                assert (await client.get(server.url)).text == "stand-in"
                assert (await client.get(server.url)).text == "real"
        assert server.requests == 2

    world.run(scenario)


@every_world
def test_a_refusal_as_an_answer_is_never_stored(world: World) -> None:
    guarded = Pipeline("cached", Bulkhead(1), replace=True)

    async def scenario() -> None:
        with FaultServer(answer(200, b"ok", FRESH)) as server:
            async with world.client(guarded, cache=HttpCache(), rejections="answer") as client:
                with guarded.permit():
                    assert (await client.get(server.url)).status_code == 503
                assert (await client.get(server.url)).status_code == 200

    world.run(scenario)


@every_world
def test_a_write_forgets_what_it_changed(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(answer(200, b"ok", FRESH)) as server:
            async with cached(world) as client:
                for user in ({}, {"authorization": "alice"}):
                    await client.get(server.url + "/a", headers=user)
                await client.post(server.url + "/a", content=b"new")
                for user in ({}, {"authorization": "alice"}):
                    assert source(await client.get(server.url + "/a", headers=user)) == "downstream"

    world.run(scenario)


@every_world
def test_hops_are_stored_each_by_itself(world: World) -> None:
    async def scenario() -> None:
        with FaultServer({"/new": answer(200, b"ok", FRESH), "*": redirect("/new", 308)}) as server:
            async with cached(world, client={"follow_redirects": True}) as client:
                await client.get(server.url + "/old")
                await client.get(server.url + "/new")
                assert [received.path for received in server.received] == ["/old", "/new"]

    world.run(scenario)


@every_world
def test_a_round_of_authentication_passes_through(world: World) -> None:
    def script(received: Received) -> Step:
        return answer(200, b"ok", FRESH) if "authorization" in received.headers else unauthorized()

    async def scenario() -> None:
        with FaultServer(script) as server:
            async with cached(world) as client:
                for _ in range(2):
                    auth = world.family.DigestAuth("user", "secret")
                    assert (await client.get(server.url, auth=auth)).text == "ok"

    world.run(scenario)


@every_world
def test_one_response_for_all_calls_is_stored_and_stays_as_it_is(world: World) -> None:
    """A mock hands out an object that has been read, perhaps the same one each time."""
    body = gzip.compress(b"plain")
    always = world.family.Response(200, headers={**FRESH, "content-encoding": "gzip", "vary": "x-user"}, content=body)
    before = always.headers.raw

    async def scenario() -> None:
        async with cached(world, transport=world.mock(lambda _: always)) as client:
            for user in ("alice", "bob"):
                for wanted in ("downstream", "fresh", "fresh"):
                    response = await client.get("http://mock.test", headers={"x-user": user})
                    assert (response.text, source(response)) == ("plain", wanted)
                    assert len(response.headers.get_list("cache-status")) == 1
        assert always.headers.raw == before

    world.run(scenario)


# -- revalidation ------------------------------------------------------------------------------------------


@every_world
def test_a_stale_answer_is_confirmed(world: World) -> None:
    stored = answer(200, b"body", {"cache-control": "max-age=10", "etag": '"1"', "x-count": "1"})
    confirmed = answer(304, b"", {"cache-control": "max-age=20", "etag": '"1"', "x-count": "2"})

    async def scenario() -> None:
        with FaultServer([stored, confirmed]) as server, use(InstantClock()) as clock:
            async with cached(world, None, Bulkhead(1)) as client:
                await client.get(server.url)
                clock.sleep(11)
                response = await client.get(server.url)
                assert (response.status_code, response.text, response.headers["x-count"]) == (200, "body", "2")
                assert source(response) == "revalidated"
                assert server.received[-1].headers["if-none-match"] == '"1"'
                clock.sleep(15)
                assert source(await client.get(server.url)) == "fresh"
        assert server.requests == 2

    world.run(scenario)


@every_world
def test_a_stale_answer_is_refreshed_behind_the_callers_back(world: World) -> None:
    opened = threading.Event()
    script = [answer(200, b"old", REVALIDATING), gated(opened, answer(200, b"new", REVALIDATING))]

    async def scenario() -> None:
        opened.clear()
        with FaultServer(script) as server, use(InstantClock()) as clock:
            async with cached(world, None, Bulkhead(5)) as client:
                await client.get(server.url)
                clock.sleep(50)
                for _ in range(5):
                    response = await client.get(server.url)
                    assert (response.text, source(response)) == ("old", "stale")
                    assert response.extensions["resilient.provenance"].reason == "revalidating"
                await server.until(lambda: server.requests == 2) if world.is_async else server.wait_until(
                    lambda: server.requests == 2
                )
                opened.set()
                for _ in range(200):
                    response = await client.get(server.url)
                    if response.text == "new":
                        break
                    await world.sleep(0.01)
                assert (response.text, source(response)) == ("new", "fresh")
        assert server.requests == 2

    world.run(scenario)


# -- what fails --------------------------------------------------------------------------------------------


class Broken(MemoryStore):
    """A store whose every method raises, or hangs."""

    def __init__(self, *, hangs: bool = False) -> None:
        super().__init__()
        self.hangs = hangs
        self.calls = 0

    @property
    def blocking(self) -> bool:  # type: ignore[override]
        return self.hangs

    def get(self, key: str) -> list[Record]:
        self.calls += 1
        if self.hangs:
            threading.Event().wait(2)
        raise OSError("the disk is gone")

    def put(self, *arguments: Any, **options: Any) -> int | None:
        self.get("")
        return None


@every_world
@pytest.mark.parametrize("hangs", [False, True], ids=["fails", "hangs"])
def test_a_store_never_fails_or_delays_a_call(world: World, hangs: bool) -> None:
    heard: list[Event] = []
    store = Broken(hangs=hangs)

    async def scenario() -> None:
        with FaultServer(answer(200, b"ok", FRESH)) as server, capture_events() as events:
            async with cached(world, HttpCache(store, patience=0.05)) as client:
                for _ in range(5):
                    response = await client.get(server.url)
                    assert response.text == "ok"
                    assert response.elapsed.total_seconds() < 1
            heard.extend(events)
        assert server.requests == 5

    world.run(scenario)
    assert [event.name for event in heard].count("resilient.store.bypassed") == 1
    assert store.calls == 1
    assert faults.total() >= 1


@every_world
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_fault_of_the_cache_itself_never_costs_an_answer(
    world: World, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resilient.cache import flow, messages

    def faulty(*arguments: Any) -> Any:
        if when == "after":
            yield messages.Send(None)
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(flow, "answer", faulty)
    monkeypatch.setattr(flow, "quick", lambda *_, **__: None)

    async def scenario() -> None:
        with FaultServer(answer(200, b"ok", FRESH)) as server:
            async with cached(world) as client:
                assert (await client.get(server.url)).text == "ok"
        assert server.requests == 1

    world.run(scenario)
    assert faults.total() == 1


@every_world
def test_an_error_of_the_server_reaches_the_caller_as_it_is(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(stall()) as server:
            async with cached(world, None, Timeout(0.1)) as client:
                with pytest.raises(world.door.CallTimeout) as caught:
                    await client.get(server.url)
                assert caught.value.request.url == server.url

    world.run(scenario)


@every_family
def test_what_is_no_cache_is_refused(world: World) -> None:
    with pytest.raises(TypeError, match="cache must be an HttpCache or None, got 'memory'"):
        world.transport(Pipeline("cached"), cache="memory")


@every_family
def test_a_client_takes_a_cache(world: World) -> None:
    script = answer(200, b"ok", FRESH)
    with (
        FaultServer(script) as server,
        world.door.client(Pipeline("cached"), cache=HttpCache(), verify=False) as client,
    ):
        client.get(server.url)
        assert source(client.get(server.url)) == "fresh"


# -- nothing is left behind --------------------------------------------------------------------------------


@async_worlds
def test_cancelled_requests_leave_nothing_behind(world: World) -> None:
    guarded = Pipeline("cached", Bulkhead(3), replace=True)

    def script(received: Received) -> Step:
        return drip(0.002, b"x" * 10, count=20) if received.path.endswith("slow") else answer(200, b"ok", FRESH)

    async def scenario() -> None:
        with FaultServer(script) as server:
            async with world.client(guarded, cache=HttpCache()) as client:
                for turn in range(60):
                    path = f"/{turn}/slow" if turn % 2 else f"/{turn % 7}"
                    if world.colour == "asyncio":
                        task = asyncio.ensure_future(client.get(server.url + path))
                        await asyncio.sleep(0.0007 * turn)
                        task.cancel()
                        await asyncio.gather(task, return_exceptions=True)
                    else:
                        with trio.move_on_after(0.0007 * turn):
                            await client.get(server.url + path)
                assert guarded.snapshot()["bulkhead"]["in_flight"] == 0
                for path in ("/0", "/1"):
                    assert (await client.get(server.url + path)).text == "ok"

    world.run(scenario)


# -- many at once ------------------------------------------------------------------------------------------


@every_world
def test_a_crowd_that_asks_the_same_is_one_request(world: World) -> None:
    crowd, opened = 1000 if world.is_async else 200, threading.Event()

    async def scenario() -> None:
        opened.clear()
        with FaultServer(gated(opened, answer(200, b"ok", FRESH))) as server:
            async with cached(world, None, Bulkhead(1)) as client:

                async def ask() -> str:
                    return str((await client.get(server.url)).text)

                async def let_go() -> str:
                    await world.sleep(0.3)
                    opened.set()
                    return "ok"

                assert await world.together(*[ask] * crowd, let_go) == ["ok"] * (crowd + 1)
        assert server.requests == 1

    world.run(scenario)


@every_world
def test_a_crowd_that_asks_for_what_is_not_stored_waits_once(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(answer(200, b"ok", {"cache-control": "no-store"})) as server:
            async with cached(world, None, Bulkhead(50)) as client:
                for round_of in range(1, 3):
                    answers = await world.together(*[lambda: client.get(server.url)] * 10)
                    assert [response.text for response in answers] == ["ok"] * 10
                    assert server.requests == 10 * round_of

    world.run(scenario)


@every_world
def test_a_crowd_shares_a_failure(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(stall()) as server:
            async with cached(world, None, Timeout(0.4), Bulkhead(50)) as client:
                ended = await world.together(*[lambda: client.get(server.url)] * 20)
                assert all(isinstance(error, world.door.CallTimeout) for error in ended)
        assert server.requests == 1

    world.run(scenario)


@every_world
def test_a_crowd_goes_on_when_its_leader_reads_no_further(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(answer(200, b"x" * 300_000, FRESH)) as server:
            async with cached(world, None, Bulkhead(50)) as client:
                began = threading.Event()

                async def lead() -> int:
                    async with client.stream("GET", server.url) as response:
                        began.set()
                        await world.sleep(0.2)
                        await client.close(response)
                    return 300_000

                async def follow() -> int:
                    while not began.is_set():
                        await world.sleep(0.005)
                    return len((await client.get(server.url)).content)

                assert await world.together(lead, *[follow] * 8) == [300_000] * 9
        assert server.requests == 2

    world.run(scenario)


@every_world
def test_different_users_never_share_a_request(world: World) -> None:
    def script(received: Received) -> Step:
        return stall(0.1, answer(200, received.headers["authorization"].encode(), FRESH))

    async def scenario() -> None:
        with FaultServer(script) as server:
            async with cached(world, None, Bulkhead(50)) as client:

                def asking(user: str) -> Any:
                    return lambda: client.get(server.url, headers={"authorization": user})

                answers = await world.together(*(asking(f"user {number % 5}") for number in range(20)))
                assert [response.text for response in answers] == [f"user {number % 5}" for number in range(20)]
        assert server.requests == 5

    world.run(scenario)


@every_world
def test_a_refresh_that_grew_too_large_leaves_what_was_stored(world: World) -> None:
    large = answer(200, b"x" * 5000, REVALIDATING)

    async def scenario() -> None:
        with FaultServer([answer(200, b"old", REVALIDATING), large]) as server, use(InstantClock()) as clock:
            async with cached(world, HttpCache(max_body=1000)) as client:
                await client.get(server.url)
                clock.sleep(50)
                assert (await client.get(server.url)).text == "old"
                for _ in range(200):
                    if server.requests == 2 and not server.in_flight:
                        break
                    await world.sleep(0.01)
                await world.sleep(0.02)
                assert server.requests == 2

    world.run(scenario)
    assert faults.total() == 0
