"""What a hostile reading of the cache in the transports found: each of these was wrong once."""

from __future__ import annotations

import gc
import gzip
import threading
import time
from typing import Any

import pytest

from resilient import Pipeline, faults
from resilient.cache import HttpCache
from resilient.cache.filling import Filling
from resilient.testing import InstantClock, use
from tests.faults import FaultServer, Received, Step, answer, stall
from tests.http._world import Client, World, every_world

REVALIDATING = {"cache-control": "max-age=10, stale-while-revalidate=100", "etag": '"1"'}
FRESH = {"cache-control": "max-age=60"}


def source(response: Any) -> str:
    made = response.extensions.get("resilient.provenance")
    return "downstream" if made is None else made.source


def cached(world: World, cache: HttpCache | None = None, *policies: Any, **options: Any) -> Client:
    return world.client(Pipeline("reviewed", *policies, replace=True), cache=cache or HttpCache(), **options)


# -- whose answer it is ------------------------------------------------------------------------------------


@every_world
def test_hosts_behind_one_address_never_share_an_answer(world: World) -> None:
    def script(received: Received) -> Step:
        return answer(200, received.headers["host"].encode(), FRESH)

    async def scenario() -> None:
        with FaultServer(script) as server:
            async with cached(world) as client:
                for turn in range(2):
                    for host in ("a.example", "b.example"):
                        response = await client.get(server.url, headers={"Host": host})
                        assert (response.text, source(response)) == (host, "fresh" if turn else "downstream")
                    own = await client.get(server.url)
                    assert own.text in server.url
                    assert source(own) == ("fresh" if turn else "downstream")

    world.run(scenario)


@every_world
def test_a_target_beside_the_url_goes_past_the_cache(world: World) -> None:
    def script(received: Received) -> Step:
        return answer(200, received.path.encode(), FRESH)

    async def scenario() -> None:
        with FaultServer(script) as server:
            async with cached(world) as client:
                await client.get(server.url + "/c")
                for target in ("/a", "/b"):
                    response = await client.get(server.url + "/c", extensions={"target": target.encode()})
                    assert response.text == target
                    assert response.headers["cache-status"] == "resilient; fwd=bypass; detail=target"
                assert (await client.get(server.url + "/c")).text == "/c"

    world.run(scenario)


# -- many who ask the same ---------------------------------------------------------------------------------


def crowd(world: World, client: Client, url: str, size: int = 8) -> Any:
    return world.together(*[lambda: client.get(url)] * size)


@every_world
def test_after_an_error_a_crowd_is_one_request_again(world: World) -> None:
    steps = iter([answer(503, b"down"), stall(0.1, answer(200, b"up", FRESH)), answer(200, b"again", FRESH)])

    async def scenario() -> None:
        with FaultServer(lambda received: next(steps)) as server:
            async with cached(world) as client:
                assert (await client.get(server.url)).status_code == 503
                assert {response.text for response in await crowd(world, client, server.url)} == {"up"}
        assert server.requests == 2

    world.run(scenario)


@every_world
def test_what_was_not_stored_once_is_asked_for_together_again_when_it_is(world: World) -> None:
    cache = HttpCache()
    stored = [False]

    def script(received: Received) -> Step:
        return stall(0.1, answer(200, b"ok", FRESH if stored[0] else {"cache-control": "no-store"}))

    async def scenario() -> None:
        stored[0] = False
        with FaultServer(script) as server:
            async with cached(world, cache) as client:
                await client.get(server.url)
                stored[0] = True
                await client.get(server.url)
                cache.purge()
                await crowd(world, client, server.url)
        assert server.requests == 3

    world.run(scenario)


@every_world
def test_a_request_made_while_its_like_is_read_waits_for_nobody(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(answer(200, b"x" * 300_000, FRESH)) as server:
            async with cached(world) as client, client.stream("GET", server.url) as outer:
                began = time.monotonic()
                assert len((await client.get(server.url)).content) == 300_000
                assert time.monotonic() - began < 3
                assert len(await client.read(outer)) == 300_000

    world.run(scenario)


@every_world
def test_who_waited_in_vain_for_a_slow_reader_is_the_last(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from resilient._http import cached_flights

    monkeypatch.setattr(cached_flights, "LONGEST_WAIT", 0.5)
    took: list[float] = []

    async def scenario() -> None:
        with FaultServer(answer(200, b"x" * 300_000, FRESH)) as server:
            async with cached(world) as client:
                opened, done = threading.Event(), threading.Event()

                async def reads_slowly() -> None:
                    async with client.stream("GET", server.url) as response:
                        opened.set()
                        while not done.is_set():
                            await world.sleep(0.01)
                        await client.close(response)

                async def others() -> None:
                    while not opened.is_set():
                        await world.sleep(0.01)
                    for _ in range(2):
                        async with client.stream("GET", server.url) as response:
                            took.append(time.monotonic())
                            await client.close(response)
                    took.append(time.monotonic())
                    done.set()

                assert await world.together(reads_slowly, others) == [None, None]

    world.run(scenario)
    assert took[1] - took[0] < 0.4


@every_world
@pytest.mark.parametrize("limits", [None, {}, {"read": [1]}])
def test_limits_that_are_none_change_nothing(world: World, limits: Any) -> None:
    network = world.mock(lambda request: world.family.Response(200, headers=FRESH, content=b"ok"))

    async def scenario() -> None:
        async with cached(world, transport=network) as client:
            for origin in ("downstream", "fresh"):
                response = await client.get("http://h/", extensions={"timeout": limits})
                assert (response.text, source(response)) == ("ok", origin)

    world.run(scenario)


# -- transports that have read what they hand out ----------------------------------------------------------


def reader(world: World, headers: dict[str, str], body: bytes) -> tuple[Any, list[int]]:
    """A wrapped transport that reads each answer, as one that writes a log does."""
    asked: list[int] = []

    class Stream(world.family.SyncByteStream, world.family.AsyncByteStream):  # type: ignore[misc, name-defined]
        left = True

        def __iter__(self) -> Any:
            assert self.left, "it can be read once"
            self.left = False
            yield body

        async def __aiter__(self) -> Any:
            for chunk in self:
                yield chunk

    class Reader(world.family.BaseTransport):  # type: ignore[misc, name-defined]
        def handle_request(self, request: Any) -> Any:
            asked.append(1)
            response = world.family.Response(200, headers=headers, stream=Stream())
            response.read()
            return response

    class AsyncReader(world.family.AsyncBaseTransport):  # type: ignore[misc, name-defined]
        async def handle_async_request(self, request: Any) -> Any:
            asked.append(1)
            response = world.family.Response(200, headers=headers, stream=Stream())
            await response.aread()
            return response

    return (AsyncReader() if world.is_async else Reader()), asked


@every_world
def test_an_answer_that_was_read_on_its_way_is_stored(world: World) -> None:
    transport, asked = reader(world, FRESH, b"hello")

    async def scenario() -> None:
        async with cached(world, transport=transport) as client:
            for origin in ("downstream", "fresh"):
                response = await client.get("http://h/")
                assert (response.text, source(response)) == ("hello", origin)
        assert len(asked) == 1

    world.run(scenario)


@every_world
def test_one_whose_coding_is_gone_is_not_and_nobody_waits_for_it(world: World) -> None:
    headers = {**FRESH, "content-encoding": "gzip"}
    transport, asked = reader(world, headers, gzip.compress(b"hello"))

    async def scenario() -> None:
        async with cached(world, transport=transport) as client:
            began = time.monotonic()
            kept = [await client.get("http://h/") for _ in range(3)]
            assert [response.text for response in kept] == ["hello"] * 3
            assert time.monotonic() - began < 3
        assert len(asked) == 3

    world.run(scenario)


@every_world
@pytest.mark.parametrize("coding", [{}, {"content-encoding": "gzip"}])
def test_a_refresh_reads_what_was_read_on_its_way(world: World, coding: dict[str, str]) -> None:
    body = gzip.compress(b"hello") if coding else b"hello"
    transport, asked = reader(world, {**REVALIDATING, **coding}, body)
    cache = HttpCache()

    async def scenario() -> None:
        with use(InstantClock()) as clock:
            async with cached(world, cache, transport=world.mock(first)) as client:
                await client.get("http://h/")
            clock.sleep(50)
            async with cached(world, cache, transport=transport) as client:
                assert source(await client.get("http://h/")) == "stale"
                for _ in range(200):
                    if asked and not client.real._transport._cached._io._refreshing.running:
                        break
                    await world.sleep(0.01)
                assert cache.snapshot()["refresh_failed"] == 0
                assert source(await client.get("http://h/")) == ("stale" if coding else "fresh")

    def first(request: Any) -> Any:
        return world.family.Response(200, headers=REVALIDATING, content=b"old")

    world.run(scenario)
    assert faults.total() == 0


@every_world
def test_a_reader_that_is_cut_off_at_the_store_leaves_nobody_waiting(world: World) -> None:
    if not world.is_async:
        return
    from resilient._http.cached_bodies import AsyncKept

    class Whole:
        async def __aiter__(self) -> Any:
            yield b"x"

        async def aclose(self) -> None: ...

    async def cut(flow: object) -> None:
        raise KeyboardInterrupt

    told: list[bool] = []

    class Duty:
        def __del__(self) -> None:
            told.append(False)

    async def scenario() -> None:
        duty = Duty()
        kept = AsyncKept(Whole(), Filling(100, lambda body: iter(())), cut, lambda stored, duty=duty: None)  # type: ignore[misc]
        del duty
        with pytest.raises(KeyboardInterrupt):
            async for _ in kept:
                pass
        await kept.aclose()
        assert told == [False]

    world.run(scenario)


# -- what runs behind a closed client ----------------------------------------------------------------------


@every_world
def test_a_refresh_behind_a_client_that_is_closed_leaves_no_connection_open(world: World) -> None:
    cache = HttpCache()
    always_stale = {"cache-control": "max-age=0, stale-while-revalidate=100"}

    async def scenario() -> None:
        with FaultServer(answer(200, b"ok", always_stale)) as server:
            for _ in range(20):
                async with cached(world, cache, client={"timeout": 1}) as client:
                    await client.get(server.url)
                refreshing = client.real._transport._cached._io._refreshing
                for _ in range(1400):  # a thread whose socket is closed under it finds out by its read timeout
                    if not refreshing.running:
                        break
                    await world.sleep(0.005)
                assert not refreshing.running
                assert open_connections(client.real._transport) == 0

    world.run(scenario)
    gc.collect()  # what was left open says so, and a warning is an error


def open_connections(transport: Any) -> int:
    return sum(len(pool._inners) for pool in transport._pools._pools._pools.values())


@every_world
def test_a_client_that_is_used_again_refreshes_again(world: World) -> None:
    cache = HttpCache()

    async def scenario() -> None:
        with FaultServer(answer(200, b"ok", {"cache-control": "max-age=0, stale-while-revalidate=100"})) as server:
            transport = world.transport(Pipeline("reviewed", replace=True), cache=cache)
            for _ in range(2):
                async with world.over(transport) as client:
                    before = server.requests
                    await client.get(server.url)
                    for _ in range(200):
                        if server.requests > before:
                            break
                        await world.sleep(0.005)
                    assert server.requests > before

    world.run(scenario)
