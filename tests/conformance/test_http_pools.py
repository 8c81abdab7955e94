"""C22 to C25 and T71: who is entered and closed, and what one downstream may cost another.

And what holds a place: an open body does, an endless stream does not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

import resilient
from resilient import Bulkhead, CircuitBreaker, Keyed, Pipeline, Retry, Timeout, deadline, standard
from resilient._http.pools import POOL_WAIT
from resilient.testing import force_open, isolated
from tests.conformance._http_pools_inner import recorder, shut
from tests.faults import FaultServer, answer, drip, event_stream, gated, raw, stall, stall_mid_body
from tests.http._world import World, every_world

UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: talk\r\n\r\nhello"


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    with isolated():
        yield


def in_flight(pipeline: Pipeline) -> int:
    state: Any = pipeline.snapshot()["bulkhead"]
    return int(state["in_flight"])


# -- C22, C23, C24, T71: entering and closing ----------------------------------------------------


@every_world
def test_C22_closing_is_idempotent_and_reaches_the_inner_transport_once(world: World) -> None:
    async def scenario() -> None:
        inner = recorder(world)
        transport = world.transport(Pipeline("closed twice", Retry()), transport=inner)
        await world.over(transport).get("http://a.test/")
        for _ in range(3):
            await shut(world, transport)
        assert inner.log == ["request", "close"]

    world.run(scenario)


@every_world
def test_C22_a_transport_that_was_mounted_three_times_is_entered_and_left_once(world: World) -> None:
    async def scenario() -> None:
        inner = recorder(world)
        transport = world.transport(Pipeline("mounted", Retry()), transport=inner)
        mounts = {"https://a.test": transport, "https://b.test": transport, "http://": transport}
        async with world.over(transport, mounts=mounts) as client:
            for url in ("https://a.test/", "https://b.test/", "http://c.test/", "https://d.test/"):
                assert (await client.get(url)).status_code == 200
            assert inner.log == ["enter", *["request"] * 4]
        assert inner.log == ["enter", *["request"] * 4, "exit"]
        await shut(world, transport)
        assert inner.log.count("close") == 0, "closed again, after it was left"

    world.run(scenario)


@every_world
def test_C22_a_transport_that_was_mounted_three_times_is_closed_once(world: World) -> None:
    async def scenario() -> None:
        inner = recorder(world)
        transport = world.transport(Pipeline("mounted", Retry()), transport=inner)
        client = world.over(transport, mounts={"https://a.test": transport, "http://": transport})
        await client.get("http://c.test/")
        await client.close()
        assert inner.log == ["request", "close"]

    world.run(scenario)


@every_world
def test_C22_two_clients_share_a_transport_that_is_left_with_the_last(world: World) -> None:
    async def scenario() -> None:
        inner = recorder(world)
        transport = world.transport(Pipeline("shared", Retry()), transport=inner)
        async with world.over(transport) as second:
            async with world.over(transport) as first:
                await first.get("http://a.test/")
            assert inner.log == ["enter", "request"]
            await second.get("http://a.test/")
        assert inner.log == ["enter", "request", "request", "exit"]

    world.run(scenario)


@every_world
def test_C22_closed_inside_its_block_it_is_still_left(world: World) -> None:
    async def scenario() -> None:
        inner = recorder(world)
        transport = world.transport(Pipeline("closed inside", Retry()), transport=inner)
        async with world.over(transport) as client:
            await client.get("http://a.test/")
            await shut(world, transport)
            assert inner.log == ["enter", "request", "close"]
        assert inner.log == ["enter", "request", "close", "exit"]

    world.run(scenario)


@every_world
def test_C22_an_inner_transport_that_cannot_be_entered_is_tried_again(world: World) -> None:
    async def scenario() -> None:
        inner = recorder(world)
        kind = type(inner)
        name = "__aenter__" if world.is_async else "__enter__"
        enters = getattr(kind, name)
        setattr(kind, name, _raising_async if world.is_async else _raising)
        transport = world.transport(Pipeline("not entered", Retry()), transport=inner)
        client = world.over(transport)
        with pytest.raises(OSError, match="not today"):
            await client.__aenter__()
        setattr(kind, name, enters)
        async with world.over(transport):
            assert inner.log == ["enter"]
        assert inner.log == ["enter", "exit"]

    world.run(scenario)


def _raising(_: Any) -> Any:
    raise OSError("not today")


async def _raising_async(_: Any) -> Any:
    raise OSError("not today")


@every_world
@pytest.mark.parametrize("entered", [True, False], ids=["entered", "closed"])
def test_C22_a_closed_transport_serves_the_next_client(world: World, entered: bool) -> None:
    # As python-telegram-bot does: its client is rebuilt after shutdown, with the same transport.
    async def scenario() -> None:
        with FaultServer() as server:
            transport = world.transport(Pipeline("reopened", Bulkhead(2)))
            for opened in (1, 2, 3):
                client = world.over(transport)
                if entered:
                    async with client:
                        assert (await client.get(server.url)).status_code == 200
                        assert (await client.get(server.url)).status_code == 200
                else:
                    assert (await client.get(server.url)).status_code == 200
                    await client.close()
                    await client.close()
                assert server.connections == opened
                await settled(world, lambda: server.open == 0)

    world.run(scenario)


@every_world
def test_C22_a_wrapped_transport_is_entered_and_left_for_each_client_in_turn(world: World) -> None:
    async def scenario() -> None:
        inner = recorder(world)
        transport = world.transport(Pipeline("in turn", Retry()), transport=inner)
        for _ in range(2):
            async with world.over(transport) as client:
                await client.get("http://a.test/")
        assert inner.log == ["enter", "request", "exit"] * 2

    world.run(scenario)


async def settled(world: World, predicate: Any, seconds: float = 5.0) -> None:
    """Wait until something is true, on a loop or in a thread."""
    latest = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < latest, "it never came true"
        await world.sleep(0.002)


@every_world
def test_C23_a_transport_that_is_not_ours_is_neither_entered_nor_closed(world: World) -> None:
    async def scenario() -> None:
        inner = recorder(world)
        transport = world.transport(Pipeline("not ours", Retry()), transport=inner, owns_transport=False)
        async with world.over(transport) as client:
            await client.get("http://a.test/")
        await shut(world, transport)
        assert inner.log == ["request"]

    world.run(scenario)


@every_world
def test_C23_a_transport_that_is_not_ours_keeps_its_connections(world: World) -> None:
    async def scenario() -> None:
        family = world.family
        with FaultServer() as server:
            inner = (family.AsyncHTTPTransport if world.is_async else family.HTTPTransport)(verify=False)
            pipeline = Pipeline("not ours", Retry())
            for _ in range(2):
                async with world.client(pipeline, transport=inner, owns_transport=False) as client:
                    await client.get(server.url)
                assert server.open == 1
            assert server.connections == 1
            await shut(world, inner)

    world.run(scenario)


@every_world
def test_C24_entering_enters_the_inner_transport_first_and_leaving_tells_it_the_error(world: World) -> None:
    async def scenario() -> None:
        inner = recorder(world)
        with pytest.raises(ZeroDivisionError):
            async with world.client(Pipeline("entered", Retry()), transport=inner) as client:
                assert inner.log == ["enter"]
                await client.get("http://a.test/")
                raise ZeroDivisionError
        assert inner.log == ["enter", "request", "exit ZeroDivisionError"]

    world.run(scenario)


@every_world
def test_T71_closing_the_client_closes_the_connections_of_the_wrapped_transport(world: World) -> None:
    async def scenario() -> None:
        family = world.family
        with FaultServer() as server:
            inner = (family.AsyncHTTPTransport if world.is_async else family.HTTPTransport)(verify=False)
            client = world.client(Pipeline("wrapped", Retry()), transport=inner)
            await client.get(server.url)
            assert server.open == 1
            await client.close()
            await settled(world, lambda: server.open == 0)

    world.run(scenario)


@every_world
def test_T71_closing_the_client_closes_every_pool(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(ports=3) as server:
            client = world.client({}, default=standard)
            for url in server.urls:
                await client.get(url)
            assert server.open == 3
            await client.close()
            await settled(world, lambda: server.open == 0)

    world.run(scenario)


# -- C25: one pool per downstream ----------------------------------------------------------------


def two(server: FaultServer) -> dict[str, Pipeline]:
    return {url: Pipeline(f"port {port}", Bulkhead(2)) for port, url in enumerate(server.urls)}


@every_world
@pytest.mark.parametrize("known", [True, False], ids=["by pattern", "by default"])
def test_C25_a_hung_downstream_never_delays_another(world: World, known: bool) -> None:
    async def scenario() -> None:
        hung = stall()
        with FaultServer(lambda received: hung if received.port == 0 else answer(), ports=2) as server:
            hosts = Keyed("hosts", Bulkhead(2))
            pipelines: Any = two(server) if known else {}
            async with world.client(pipelines, default=hosts, client={"timeout": 1.0}) as client:
                took: list[float] = []

                async def ask(port: int) -> Any:
                    if port == 0:
                        return await client.get(server.urls[0])
                    await settled(world, lambda: server.in_flight >= 2)
                    began = time.monotonic()
                    for _ in range(10):
                        assert (await client.get(server.urls[1])).status_code == 200
                    with pytest.raises(resilient.BulkheadFull):
                        await client.get(server.urls[0])
                    took.append(time.monotonic() - began)
                    server.drop()
                    return None

                first, second, rest = await world.together(lambda: ask(0), lambda: ask(0), lambda: ask(1))
                assert rest is None
                assert took, "the healthy one was never asked"
                assert took[0] < 0.5
                assert isinstance(first, world.family.TransportError)
                assert isinstance(second, world.family.TransportError)

    world.run(scenario)


@every_world
def test_C25_without_us_one_pool_for_all_is_exhausted_by_a_hung_host(world: World) -> None:
    async def scenario() -> None:
        family = world.family
        hung = stall()
        with FaultServer(lambda received: hung if received.port == 0 else answer(), ports=2) as server:
            kind = family.AsyncHTTPTransport if world.is_async else family.HTTPTransport
            inner = kind(verify=False, limits=family.Limits(max_connections=2))
            async with world.over(inner, timeout=family.Timeout(1.0, pool=0.05)) as client:

                async def healthy() -> Any:
                    await settled(world, lambda: server.in_flight >= 2)
                    try:
                        return await client.get(server.urls[1])
                    finally:
                        server.drop()

                def asking() -> Any:
                    return client.get(server.urls[0])

                *_, healthy_one = await world.together(asking, asking, healthy)
                assert isinstance(healthy_one, family.PoolTimeout)

    world.run(scenario)


@every_world
@pytest.mark.parametrize("kind", ["function", "family"])
def test_C25_the_pools_of_unknown_hosts_are_bounded(world: World, kind: str) -> None:
    async def scenario() -> None:
        with FaultServer(ports=70) as server:
            default: Any = standard if kind == "function" else Keyed("many", Bulkhead(2))
            async with world.client({}, default=default) as client:
                for url in (*server.urls, *server.urls):
                    assert (await client.get(url)).status_code == 200
                assert len(client.real._transport._pools._pools) <= 64
            await settled(world, lambda: server.open == 0)

    world.run(scenario)


@every_world
def test_C25_unknown_hosts_beyond_the_bound_share_a_limit_and_leave_the_others_alone(world: World) -> None:
    async def scenario() -> None:
        hung = stall()
        with FaultServer(lambda received: hung if received.port >= 64 else answer(), ports=68) as server:

            def make(name: str) -> Pipeline:
                return Pipeline(name, Bulkhead(2))

            async with world.client({}, default=make, client={"timeout": 5.0}) as client:
                for url in server.urls[:64]:
                    assert (await client.get(url)).status_code == 200

                async def rest() -> Any:
                    await settled(world, lambda: server.in_flight == 2)
                    with pytest.raises(resilient.BulkheadFull) as caught:
                        await client.get(server.urls[66])
                    assert caught.value.downstream == "other"
                    for url in server.urls[:64]:
                        assert (await client.get(url)).status_code == 200
                    server.drop()

                first, second, third = await world.together(
                    lambda: client.get(server.urls[64]), lambda: client.get(server.urls[65]), rest
                )
                assert third is None
                assert isinstance(first, world.family.TransportError)
                assert isinstance(second, world.family.TransportError)

    world.run(scenario)


@every_world
def test_C25_an_open_or_held_breaker_is_never_evicted(world: World) -> None:
    async def scenario() -> None:
        down = answer(500)
        with FaultServer(lambda received: down if received.port == 0 else answer(), ports=30) as server:
            hosts = Keyed("kept", CircuitBreaker(consecutive=1, open_for=60), most=4)
            async with world.client({}, default=hosts) as client:
                await client.get(server.urls[0])
                with force_open(hosts[server.urls[1]]):
                    for url in server.urls[2:]:
                        assert (await client.get(url)).status_code == 200
                    for url in server.urls[:2]:
                        with pytest.raises(resilient.BreakerOpen):
                            await client.get(url)
            assert len(hosts) <= 4
            assert sum(received.port < 2 for received in server.received) == 1

    world.run(scenario)


# -- waiting for a connection --------------------------------------------------------------------


@every_world
@pytest.mark.parametrize("timeout", [None, 30.0])
def test_C25_the_wait_for_a_connection_is_short_whatever_the_requests_timeout(
    world: World, timeout: float | None
) -> None:
    pipeline = Pipeline("pool wait", Retry(budget=None), Bulkhead(1))

    async def scenario() -> None:
        with FaultServer(event_stream(["1"], ends=False)) as server:
            async with world.client(pipeline, client={"timeout": timeout}) as client:
                route = client.real._transport.routes.find(world.family.URL(server.url))
                assert route.wait == POOL_WAIT == 1.0
                route.wait = 0.1
                route.pool._plan._streams = 2
                async with AsyncExitStack() as stack:
                    for _ in range(3):  # as many connections as there may be: all for streams
                        await stack.enter_async_context(client.stream("GET", server.url))
                    began = time.monotonic()
                    with pytest.raises(resilient.BulkheadFull) as caught:
                        await client.get(server.url)
                    took = time.monotonic() - began
                assert 0.09 <= took < 0.6
                assert caught.value.reason == "pool_wait"
                assert caught.value.downstream == "pool wait"
                assert isinstance(caught.value, world.family.TransportError)
                assert not isinstance(caught.value, world.family.TimeoutException)
                assert str(caught.value.request.url) == server.url
                assert server.requests == 3
                assert in_flight(pipeline) == 0
                assert client.real._transport.routes.find(world.family.URL(server.url)).pool.rebuilt == 0

    world.run(scenario)


@every_world
def test_C25_a_deadline_that_comes_first_ends_the_wait_for_a_connection(world: World) -> None:
    pipeline = Pipeline("pool wait, cut", Bulkhead(1))

    async def scenario() -> None:
        with FaultServer(event_stream(["1"], ends=False)) as server:
            async with world.client(pipeline, client={"timeout": None}) as client:
                route = client.real._transport.routes.find(world.family.URL(server.url))
                route.pool._plan._streams = 0
                async with client.stream("GET", server.url):
                    began = time.monotonic()
                    with deadline(0.1), pytest.raises(resilient.CallTimeout):
                        await client.get(server.url)
                    assert 0.09 <= time.monotonic() - began < 0.5
                assert in_flight(pipeline) == 0

    world.run(scenario)


# -- what holds a place: open bodies do ----------------------------------------------------------


@every_world
def test_C03_a_body_that_is_still_open_counts_in_flight(world: World) -> None:
    pipeline = Pipeline("open body", Bulkhead(1))

    async def scenario() -> None:
        with FaultServer([stall_mid_body(declared=100), answer()]) as server:
            async with world.client(pipeline) as client:
                async with client.stream("GET", server.url) as response:
                    assert response.status_code == 200
                    assert in_flight(pipeline) == 1
                    with pytest.raises(resilient.BulkheadFull):
                        await client.get(server.url)
                assert in_flight(pipeline) == 0
                assert (await client.get(server.url)).status_code == 200

    world.run(scenario)


# -- endless streams hold none -------------------------------------------------------------------

STREAMS = [
    pytest.param(event_stream(interval=0.01), {}, id="detected"),
    pytest.param(drip(0.01, b"{}\n"), {"stream": True}, id="declared"),
]
# Read to their end: under trio both families complain of streams that are left in the middle.
LONG_STREAMS = [
    pytest.param(event_stream(list("abcdefghijklmnopqrstuvwxyz"), interval=0.01), {}, id="detected"),
    pytest.param(drip(0.01, b"{}\n", count=26), {"stream": True}, id="declared"),
]


@every_world
@pytest.mark.parametrize(("step", "options"), LONG_STREAMS)
def test_C10_an_endless_stream_holds_no_place(world: World, step: Any, options: dict[str, Any]) -> None:
    pipeline = Pipeline("no place", Bulkhead(1))
    extensions = {"resilient": options} if options else {}

    async def scenario() -> None:
        with FaultServer({"/stream": step, "/": answer()}) as server:
            async with (
                world.client(pipeline) as client,
                client.stream("GET", f"{server.url}/stream", extensions=extensions) as response,
            ):
                chunks = client.chunks(response)
                assert await anext(chunks)
                assert in_flight(pipeline) == 0
                assert (await client.get(f"{server.url}/")).status_code == 200
                async for _ in chunks:
                    assert in_flight(pipeline) == 0
            await settled(world, lambda: server.open == 0)

    world.run(scenario)


@every_world
def test_C10_an_event_stream_that_was_declared_none_holds_its_place(world: World) -> None:
    pipeline = Pipeline("a place", Bulkhead(1))

    async def scenario() -> None:
        with FaultServer(event_stream(["1"], ends=False)) as server:
            async with (
                world.client(pipeline) as client,
                client.stream("GET", server.url, extensions={"resilient": {"stream": False}}),
            ):
                assert in_flight(pipeline) == 1
                with pytest.raises(resilient.BulkheadFull):
                    await client.get(server.url)
            assert in_flight(pipeline) == 0

    world.run(scenario)


@every_world
@pytest.mark.parametrize(("step", "options"), LONG_STREAMS)
def test_C10_an_endless_stream_is_no_slow_call(world: World, step: Any, options: dict[str, Any]) -> None:
    breaker = CircuitBreaker(slow_call=0.2, slow_rate=0.5, min_calls=1, consecutive=None)
    pipeline = Pipeline("not slow", breaker)

    async def scenario() -> None:
        with FaultServer({"/stream": step, "/slow": drip(0.05, count=5)}) as server:
            async with world.client(pipeline) as client:
                extensions = {"resilient": options} if options else {}
                async with client.stream("GET", f"{server.url}/stream", extensions=extensions) as response:
                    began = time.monotonic()
                    await client.read(response)
                    assert time.monotonic() - began >= 0.25
                state: Any = pipeline.snapshot()["circuit_breaker"]
                assert state["state"] == "closed"
                await client.get(f"{server.url}/slow")  # an ordinary answer that takes as long is one
                state = pipeline.snapshot()["circuit_breaker"]
                assert state["state"] == "open"

    world.run(scenario)


@every_world
@pytest.mark.parametrize(("step", "options"), LONG_STREAMS)
def test_C10_the_pipelines_timeouts_do_not_cut_an_endless_stream(
    world: World, step: Any, options: dict[str, Any]
) -> None:
    pipeline = Pipeline("never cut", Timeout(0.2), Retry(attempts=2), Timeout(0.15))

    async def scenario() -> None:
        with FaultServer(step) as server:
            extensions = {"resilient": options} if options else {}
            async with (
                world.client(pipeline) as client,
                client.stream("GET", server.url, extensions=extensions) as response,
            ):
                began = time.monotonic()
                assert await client.read(response)
                assert time.monotonic() - began >= 0.25

    world.run(scenario)


@every_world
def test_C10_an_event_stream_may_be_silent_for_longer_than_the_pipelines_timeouts(world: World) -> None:
    pipeline = Pipeline("silent", Timeout(0.15), Timeout(0.12))

    async def scenario() -> None:
        with FaultServer(event_stream(["1", "2"], interval=0.2)) as server:
            async with world.client(pipeline) as client:
                response = await client.get(server.url)
                assert response.content == b"data: 1\n\ndata: 2\n\n"

    world.run(scenario)


@every_world
@pytest.mark.parametrize(("step", "options"), STREAMS)
def test_C18_the_callers_own_deadline_cuts_an_endless_stream(world: World, step: Any, options: dict[str, Any]) -> None:
    pipeline = Pipeline("cut by the caller", Timeout(5), Bulkhead(1), Timeout(4))

    async def scenario() -> None:
        with FaultServer(step) as server:
            extensions = {"resilient": options} if options else {}
            async with world.client(pipeline) as client:
                began = time.monotonic()
                with deadline(0.15), pytest.raises(resilient.CallTimeout) as caught:
                    await client.get(server.url, extensions=extensions)
                assert 0.14 <= time.monotonic() - began < 0.6
                assert isinstance(caught.value, world.family.TimeoutException)
                assert in_flight(pipeline) == 0
            await settled(world, lambda: server.open == 0)

    world.run(scenario)


@every_world
def test_C18_the_callers_own_deadline_cuts_a_silent_event_stream(world: World) -> None:
    pipeline = Pipeline("silent, cut by the caller", Timeout(5), Timeout(4))

    async def scenario() -> None:
        with FaultServer(event_stream(["1"], ends=False)) as server:
            async with world.client(pipeline, client={"timeout": None}) as client:
                began = time.monotonic()
                with deadline(0.15), pytest.raises(resilient.CallTimeout):
                    await client.get(server.url)
                assert 0.14 <= time.monotonic() - began < 0.6

    world.run(scenario)


@every_world
@pytest.mark.parametrize("options", [{}, {"stream": True}], ids=["detected", "declared"])
def test_C10_the_silence_of_a_stream_is_bounded_by_the_clients_read_timeout(
    world: World, options: dict[str, Any]
) -> None:
    pipeline = Pipeline("read timeout", Timeout(0.15), Timeout(0.12))

    async def scenario() -> None:
        step = stall_mid_body(declared=None) if options else event_stream(["1"], ends=False)
        with FaultServer(step) as server:
            timeouts = world.family.Timeout(5.0, read=0.2)
            async with world.client(pipeline, client={"timeout": timeouts}) as client:
                began = time.monotonic()
                with pytest.raises(world.family.ReadTimeout) as caught:
                    await client.get(server.url, extensions={"resilient": options} if options else {})
                assert 0.19 <= time.monotonic() - began < 1.5
                assert not isinstance(caught.value, resilient.ResilienceError)

    world.run(scenario)


@every_world
def test_C10_an_upgraded_connection_holds_no_place_and_can_be_spoken_on(world: World) -> None:
    pipeline = Pipeline("upgraded", Timeout(0.2), Bulkhead(1))

    async def scenario() -> None:
        with FaultServer({"/talk": raw(UPGRADED, closes=False), "/": answer()}) as server:
            async with world.client(pipeline) as client:
                headers = {"connection": "upgrade", "upgrade": "talk"}
                async with client.stream("GET", f"{server.url}/talk", headers=headers) as response:
                    assert response.status_code == 101
                    assert in_flight(pipeline) == 0
                    assert (await client.get(f"{server.url}/")).status_code == 200
                    await world.sleep(0.22)  # past the pipeline's timeout
                    stream = response.extensions["network_stream"]
                    said = stream.read(100, timeout=5)
                    assert (await said if world.is_async else said) == b"hello"
                assert server.requests == 2

    world.run(scenario)


@every_world
def test_C25_many_open_streams_do_not_starve_ordinary_requests(world: World) -> None:
    pipeline = Pipeline("many streams", Bulkhead(2))

    async def scenario() -> None:
        open_gate = threading.Event()
        script = {"/stream": event_stream(["1"], ends=False), "/": answer(), "/gate": gated(open_gate)}
        with FaultServer(script) as server:
            async with world.client(pipeline) as client, AsyncExitStack() as stack:
                for _ in range(40):
                    await stack.enter_async_context(client.stream("GET", f"{server.url}/stream"))
                began = time.monotonic()
                for _ in range(10):
                    assert (await client.get(f"{server.url}/")).status_code == 200

                async def third() -> None:
                    await settled(world, lambda: in_flight(pipeline) == 2)
                    with pytest.raises(resilient.BulkheadFull) as caught:
                        await client.get(f"{server.url}/")
                    assert caught.value.reason == "bulkhead_full"  # by the bulkhead, not by the pool
                    open_gate.set()

                def gate() -> Any:
                    return client.get(f"{server.url}/gate")

                first, second, refused = await world.together(gate, gate, third)
                assert (first.status_code, second.status_code, refused) == (200, 200, None)
                assert time.monotonic() - began < 1.0

    world.run(scenario)
