"""C26, C28, C32, C34, C36: the company that a transport keeps.

Other transports and mocks, contexts, threads and loops, clients of the other family, and callbacks that raise.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import resilient
from resilient import (
    Backoff,
    Bulkhead,
    CircuitBreaker,
    Classifier,
    Fallback,
    Pipeline,
    Retry,
    Timeout,
    deadline,
    faults,
    standard,
    subscribe,
)
from resilient.testing import isolated
from tests.conformance._http_pools_inner import recorder
from tests.faults import FaultServer, answer, gated, retry_after
from tests.http._world import World, async_worlds, every_family, every_world

FAST = Retry(attempts=3, backoff=Backoff(base=0.001, throttled_base=0.001), budget=None)


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    with isolated():
        yield


def in_flight(pipeline: Pipeline) -> int:
    state: Any = pipeline.snapshot()["bulkhead"]
    return int(state["in_flight"])


async def settled(world: World, predicate: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until something is true, on a loop or in a thread."""
    latest = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < latest, "it never came true"
        await world.sleep(0.002)


# -- C26: other transports -----------------------------------------------------------------------


@every_world
def test_C26_around_a_mock_transport(world: World) -> None:
    pipeline = standard("mocked", retry=FAST)
    seen: list[bytes] = []

    def handle(request: Any) -> Any:
        seen.append(request.content)
        return world.family.Response(503 if len(seen) < 3 else 200, json={"n": len(seen)})

    async def scenario() -> None:
        async with world.client(pipeline, transport=world.mock(handle)) as client:
            response = await client.request("PUT", "http://a.test/", content=b"all of it")
            assert (response.status_code, response.json()) == (200, {"n": 3})
            assert seen == [b"all of it"] * 3
            assert in_flight(pipeline) == 0

    world.run(scenario)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application that fails at the first call of a path."""
    assert scope["type"] == "http"
    body, more = b"", True
    while more:
        part = await receive()
        body, more = body + part["body"], part["more_body"]
    calls.append(body)
    status = 503 if len(calls) == 1 else 200
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"got " + body})


def wsgi(environ: Any, start: Any) -> list[bytes]:
    """Do the same as a WSGI application."""
    body = environ["wsgi.input"].read()
    calls.append(body)
    start("503 Later" if len(calls) == 1 else "200 OK", [("content-type", "text/plain")])
    return [b"got ", body]


calls: list[bytes] = []


@every_world
def test_C26_around_an_application(world: World) -> None:
    pipeline = standard("application", retry=FAST)
    calls.clear()

    async def scenario() -> None:
        family = world.family
        inner = family.ASGITransport(app) if world.is_async else family.WSGITransport(wsgi)
        async with world.client(pipeline, transport=inner) as client:
            response = await client.request("PUT", "http://a.test/", content=b"all of it")
            assert (response.status_code, response.content) == (200, b"got all of it")
            assert calls == [b"all of it"] * 2
            assert in_flight(pipeline) == 0

    world.run(scenario)


@async_worlds
def test_C26_an_application_that_raises_is_a_failure_and_its_own_error(world: World) -> None:
    pipeline = Pipeline("raises", FAST, CircuitBreaker(), Bulkhead(1))

    async def broken(*_: Any) -> None:
        raise ZeroDivisionError

    async def scenario() -> None:
        async with world.client(pipeline, transport=world.family.ASGITransport(broken)) as client:
            with pytest.raises(ZeroDivisionError):
                await client.get("http://a.test/")
            state: Any = pipeline.snapshot()["circuit_breaker"]
            assert state["failures"] == 3
            assert in_flight(pipeline) == 0

    world.run(scenario)


@async_worlds
def test_C26_an_application_that_ignores_timeouts_is_cut_by_ours(world: World) -> None:
    pipeline = Pipeline("hangs", Timeout(0.1), Bulkhead(1))

    async def hangs(*_: Any) -> None:
        await world.sleep(5)

    async def scenario() -> None:
        async with world.client(pipeline, transport=world.family.ASGITransport(hangs)) as client:
            with pytest.raises(resilient.CallTimeout):
                await client.get("http://a.test/")
            assert in_flight(pipeline) == 0

    world.run(scenario)


@every_world
def test_C26_inside_and_outside_of_another_of_ours(world: World) -> None:
    outer, inner = Pipeline("outer", FAST), standard("inner", retry=FAST)

    async def scenario() -> None:
        with FaultServer([retry_after(503, 0), answer()]) as server:
            async with world.client(outer, transport=world.transport(inner)) as client:
                assert (await client.get(server.url)).status_code == 200
            assert server.requests == 2
            assert in_flight(inner) == 0

    world.run(scenario)


@pytest.fixture
def storage(world: World, tmp_path: Path) -> Iterator[Any]:
    """Hishel's own storage, new for each test: a port, and so a URL, may come again."""
    hishel = pytest.importorskip("hishel")
    if world.is_async:
        pytest.importorskip("anysqlite")
        yield hishel.AsyncSqliteStorage(database_path=tmp_path / "cache.db")
    else:
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        yield hishel.SqliteStorage(connection=connection)
        connection.close()


def caching(world: World) -> Any:
    """Hishel's transport of a family."""
    import importlib

    module = pytest.importorskip(f"hishel.{world.name}")
    assert importlib.import_module(world.name) is world.family
    return module.AsyncCacheTransport if world.is_async else module.CacheTransport


@every_world
def test_C26_hishel_inside(world: World, storage: Any) -> None:
    pipeline = standard("hishel inside", retry=FAST)

    async def scenario() -> None:
        family = world.family
        with FaultServer([retry_after(503, 0), answer(body=b"cached" * 100)]) as server:
            bare = (family.AsyncHTTPTransport if world.is_async else family.HTTPTransport)(verify=False)
            async with world.client(pipeline, transport=caching(world)(bare, storage)) as client:
                for place in range(3):
                    response = await client.get(server.url)
                    assert response.content == b"cached" * 100
                    assert response.extensions["caching"]["from_cache"] is (place > 0)
                    assert in_flight(pipeline) == 0
            assert server.requests == 2

    world.run(scenario)


@every_world
def test_C26_hishel_outside(world: World, storage: Any) -> None:
    pipeline = standard("hishel outside", retry=FAST)

    async def scenario() -> None:
        with FaultServer([retry_after(503, 0), answer(body=b"cached" * 100), answer(500)]) as server:
            async with world.over(caching(world)(world.transport(pipeline), storage)) as client:
                for _ in range(3):
                    assert (await client.get(server.url)).content == b"cached" * 100
                    assert in_flight(pipeline) == 0
            assert server.requests == 2

    world.run(scenario)


@pytest.mark.parametrize("colour", ["threads", "asyncio", "trio"])
def test_C26_under_pytest_httpx(colour: str, request: pytest.FixtureRequest) -> None:
    pytest.importorskip("pytest_httpx")
    world = World("httpx", colour)
    mock = request.getfixturevalue("httpx_mock")
    mock.add_response(status_code=503, headers={"retry-after": "0"})
    mock.add_response(content=b"mocked")
    pipeline = standard("pytest-httpx", retry=FAST)

    async def scenario() -> None:
        async with world.client(pipeline) as client:  # our own pools: the mock stands in their place
            response = await client.request("PUT", "http://a.test/", content=b"all of it")
            assert (response.status_code, response.content) == (200, b"mocked")
        assert [each.content for each in mock.get_requests()] == [b"all of it"] * 2
        assert in_flight(pipeline) == 0

    world.run(scenario)


@every_world
def test_C26_under_respx(world: World) -> None:
    respx = pytest.importorskip("respx")
    if world.name == "httpx2":
        pytest.importorskip("pytest_httpx2")  # which teaches it the other family
    pipeline = standard("respx", retry=FAST)
    import httpx

    async def scenario() -> None:
        using = "httpcore" if world.name == "httpx" else "httpcore2"
        with respx.mock(using=using, assert_all_called=True) as router:
            route = router.put("http://a.test/x")
            later = httpx.Response(503, headers={"retry-after": "0"})
            route.side_effect = [later, httpx.Response(200, content=b"mocked")]
            async with world.client(pipeline) as client:
                response = await client.request("PUT", "http://a.test/x", content=b"all of it")
                assert (response.status_code, response.content) == (200, b"mocked")
            assert [call.request.content for call in route.calls] == [b"all of it"] * 2
            assert in_flight(pipeline) == 0

    world.run(scenario)


@every_world
def test_C26_respx_simulates_errors_that_are_retried(world: World) -> None:
    respx = pytest.importorskip("respx")
    if world.name == "httpx2":
        pytest.importorskip("pytest_httpx2")
    import importlib

    core = importlib.import_module("httpcore" if world.name == "httpx" else "httpcore2")
    import httpx

    pipeline = standard("respx errors", retry=FAST)

    async def scenario() -> None:
        with respx.mock(using=core.__name__) as router:
            route = router.post("http://a.test/x")
            route.side_effect = [core.ConnectError("nobody"), httpx.Response(201)]
            async with world.client(pipeline) as client:
                assert (await client.post("http://a.test/x", content=b"order")).status_code == 201
            assert route.call_count == 2

    world.run(scenario)


# -- C28: context variables ----------------------------------------------------------------------

TRACE: contextvars.ContextVar[str] = contextvars.ContextVar("TRACE", default="lost")


@every_world
def test_C28_context_variables_of_the_caller_are_seen_everywhere(world: World) -> None:
    seen: dict[str, list[str]] = {}

    def look(place: str, answered: Any = None) -> Any:
        seen.setdefault(place, []).append(TRACE.get())
        return answered

    def handle(request: Any) -> Any:
        look("transport")
        return world.family.Response(503 if len(seen["transport"]) % 2 else 200, content=b"ok")

    classifier = Classifier(result=lambda _: look("classifier"))
    quick = Backoff(base=0.001, throttled_base=0.001)
    retry = Retry(attempts=3, backoff=quick, budget=None, on_result=lambda _: look("on_result", False))
    pipeline = Pipeline("contexts", Timeout(5), retry, Bulkhead(2), Timeout(3), classifier=classifier)

    async def hook(_: Any) -> None:
        look("hook")

    hooks = {kind: [hook if world.is_async else lambda _: look("hook")] for kind in ("request", "response")}

    async def scenario() -> None:
        inner = recorder(world, handle)
        stop = subscribe(lambda _: look("listener"))
        try:
            async with world.client(pipeline, transport=inner, client={"event_hooks": hooks}) as client:
                for trace in ("first", "second"):
                    TRACE.set(trace)
                    with deadline(5):
                        assert (await client.get("http://a.test/")).status_code == 200
                    assert TRACE.get() == trace
        finally:
            stop()

    contextvars.copy_context().run(world.run, scenario)
    assert seen["transport"] == ["first", "first", "second", "second"]
    assert seen["hook"] == ["first", "first", "second", "second"]
    assert set(seen) == {"transport", "hook", "listener", "classifier", "on_result"}
    for places in seen.values():
        assert places == sorted(places)
        assert {"first", "second"} == set(places)


@every_world
def test_C28_each_of_several_concurrent_calls_sees_its_own(world: World) -> None:
    pipeline = Pipeline("own contexts", Timeout(5), FAST, Bulkhead(10), Timeout(3))

    def handle(request: Any) -> Any:
        return world.family.Response(200, text=TRACE.get())

    async def scenario() -> None:
        async with world.client(pipeline, transport=recorder(world, handle)) as client:

            def asking(name: str) -> Callable[[], Any]:
                async def ask() -> list[str]:
                    TRACE.set(name)
                    texts = []
                    for _ in range(5):
                        texts.append((await client.get("http://a.test/")).text)
                        await world.sleep(0.001)
                    return texts

                return ask

            names = [f"caller {number}" for number in range(6)]
            assert await world.together(*map(asking, names)) == [[name] * 5 for name in names]

    world.run(scenario)


@every_world
def test_C28_what_is_set_in_the_transport_does_not_outlive_a_deadline_of_ours(world: World) -> None:
    pipeline = Pipeline("deadline of ours", Timeout(5), FAST, Timeout(3))
    left: list[float | None] = []

    def handle(_: Any) -> Any:
        left.append(resilient.remaining())
        return world.family.Response(200)

    async def scenario() -> None:
        async with world.client(pipeline, transport=recorder(world, handle)) as client:
            before = resilient.remaining()
            await client.get("http://a.test/")
            assert resilient.remaining() == before

    world.run(scenario)
    assert len(left) == 1


# -- C32: threads and loops ----------------------------------------------------------------------


@every_family
def test_C32_threads_and_two_loops_share_one_limit(world: World) -> None:
    pipeline = Pipeline("everywhere", CircuitBreaker(), Bulkhead(3))
    gate = threading.Event()
    plain, tasks = World(world.name, "threads"), World(world.name, "asyncio")
    answers: list[int] = []

    with FaultServer({"/": answer(), "/gate": gated(gate)}) as server:
        transport = tasks.transport(pipeline)  # one for both loops
        client = plain.client(pipeline)

        def by_thread() -> None:
            answers.append(client.real.get(f"{server.url}/gate").status_code)

        def by_loop() -> None:
            async def ask() -> None:
                async with tasks.over(transport) as own:
                    answers.append((await own.get(f"{server.url}/gate")).status_code)

            asyncio.run(ask())

        threads = [threading.Thread(target=target) for target in (by_thread, by_loop, by_loop)]
        for thread in threads:
            thread.start()
        server.wait_until(lambda: server.in_flight == 3)
        assert in_flight(pipeline) == 3

        with pytest.raises(resilient.BulkheadFull):
            client.real.get(f"{server.url}/")

        async def refused() -> None:
            async with tasks.client(pipeline) as own:
                with pytest.raises(resilient.BulkheadFull):
                    await own.get(f"{server.url}/")

        asyncio.run(refused())
        gate.set()
        for thread in threads:
            thread.join(10)
        assert answers == [200] * 3
        assert in_flight(pipeline) == 0
        assert client.real.get(f"{server.url}/").status_code == 200
        client.real.close()


@every_family
def test_C32_a_loop_that_closes_its_client_leaves_the_requests_of_another_loop_alone(world: World) -> None:
    tasks = World(world.name, "asyncio")
    transport = tasks.transport(Pipeline("two loops", Bulkhead(3)))
    gate = threading.Event()
    answers: list[int] = []

    async def waiting() -> None:
        async with tasks.over(transport) as client:
            answers.append((await client.get(f"{server.url}/gate")).status_code)
            answers.append((await client.get(f"{server.url}/")).status_code)

    async def passing() -> None:
        async with tasks.over(transport) as client:
            answers.append((await client.get(f"{server.url}/")).status_code)
            assert server.open == 2
        await server.until(lambda: server.open == 1)  # its own connection, and that alone

    with FaultServer({"/": answer(), "/gate": gated(gate)}) as server:
        thread = threading.Thread(target=asyncio.run, args=(waiting(),))
        thread.start()
        server.wait_until(lambda: server.in_flight == 1)
        asyncio.run(passing())
        gate.set()
        thread.join(10)
        assert answers == [200] * 3
        assert server.connections == 2
        server.wait_until(lambda: server.open == 0)


@every_family
def test_C32_many_threads_of_one_client_never_exceed_the_limit(world: World) -> None:
    pipeline = Pipeline("many threads", Bulkhead(4))
    outcomes: list[Any] = []

    with FaultServer() as server:
        with world.family.Client(transport=world.transport(pipeline)) as client:

            def ask() -> None:
                for _ in range(20):
                    try:
                        outcomes.append(client.get(server.url).status_code)
                    except resilient.BulkheadFull as error:
                        outcomes.append(error.reason)

            threads = [threading.Thread(target=ask) for _ in range(16)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
        assert len(outcomes) == 320
        assert set(outcomes) <= {200, "bulkhead_full"}
        assert outcomes.count(200) >= 20
        assert server.most_in_flight <= 4
        assert server.most_open <= 5
        assert in_flight(pipeline) == 0


@every_world
@pytest.mark.parametrize("where", ["server", "listener", "classifier", "default"])
def test_C32_no_lock_is_held_while_somebody_is_stalled(world: World, where: str) -> None:
    gate, stalled = threading.Event(), threading.Event()

    def stall_once(*_: Any) -> None:
        if not stalled.is_set():
            stalled.set()
            assert gate.wait(10)

    classifier = Classifier(result=stall_once) if where == "classifier" else None
    retry = Retry(attempts=2, backoff=Backoff(base=0.001, throttled_base=0.001), budget=None)

    def make(name: str) -> Pipeline:
        if where == "default" and name.endswith("1.test"):
            stall_once()
        return Pipeline(name, retry, CircuitBreaker(), Bulkhead(5), classifier=classifier)

    shared = make("stalled")
    stop = subscribe(stall_once) if where == "listener" else lambda: None
    script = {"/first": gated(gate) if where == "server" else retry_after(503, 0), "/": answer()}

    def first() -> None:
        # In a thread of its own, whatever the colour: the callback of a task stalls its loop.
        async def ask() -> None:
            async with world.over(transport) as client:
                await client.get(first_url)

        World(world.name, world.colour).run(ask)

    with FaultServer(script) as server:

        def handle(request: Any) -> Any:
            return world.family.Response(200)

        if where == "default":
            transport = world.transport({}, default=make, transport=recorder(world, handle), owns_transport=False)
            first_url, url = "http://host1.test/", "http://host2.test/"
        else:
            transport = world.transport(shared)
            first_url, url = f"{server.url}/first", f"{server.url}/"
        thread = threading.Thread(target=first)
        thread.start()
        try:
            if where == "server":
                server.wait_until(lambda: server.in_flight == 1)
            else:
                assert stalled.wait(5)

            async def others() -> float:
                began = time.monotonic()
                async with world.over(transport) as client:
                    for _ in range(3):
                        assert (await client.get(url)).status_code == 200
                    return time.monotonic() - began

            assert world.run(others) < 1.0
        finally:
            stop()
            gate.set()
            thread.join(10)
        assert not thread.is_alive()


# -- C34: families and colours do not mix --------------------------------------------------------


@every_world
def test_C34_a_transport_of_the_other_family_is_refused(world: World) -> None:
    other = World("httpx2" if world.name == "httpx" else "httpx", world.colour)
    kind = "AsyncHTTPTransport" if world.is_async else "HTTPTransport"
    pipeline = Pipeline("mixed", Retry())
    for wrong in (getattr(other.family, kind)(verify=False), other.mock(print), other.transport(pipeline)):
        with pytest.raises(TypeError) as caught:
            world.transport(pipeline, transport=wrong)
        text = str(caught.value)
        assert f"of {other.name}: the two families do not mix" in text
        assert f"use resilient.{other.name} with an {other.name} client" in text


@every_world
def test_C34_the_other_family_is_known_by_its_classes_whatever_they_call_themselves(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The openai package gives classes of httpx2 its own name as their module.
    other = World("httpx2" if world.name == "httpx" else "httpx", world.colour)
    for name in ("BaseTransport", "AsyncBaseTransport"):
        monkeypatch.setattr(getattr(other.family, name), "__module__", "openai")
    pipeline = Pipeline("mixed", Retry())
    with pytest.raises(TypeError, match=f"of {other.name}: the two families do not mix"):
        world.transport(pipeline, transport=other.transport(pipeline))


@every_world
def test_C34_a_transport_of_the_other_colour_is_refused(world: World) -> None:
    other = World(world.name, "threads" if world.is_async else "asyncio")
    kind = "HTTPTransport" if world.is_async else "AsyncHTTPTransport"
    pipeline = Pipeline("mixed", Retry())
    for wrong in (getattr(world.family, kind)(verify=False), other.transport(pipeline)):
        with pytest.raises(TypeError) as caught:
            world.transport(pipeline, transport=wrong)
        base = "AsyncBaseTransport" if world.is_async else "BaseTransport"
        assert f"{world.name}.{base}" in str(caught.value)
        door = "ResilientTransport" if world.is_async else "AsyncResilientTransport"
        assert f"use {door}" in str(caught.value)


@every_world
@pytest.mark.parametrize("wrong", ["https://a.test", 3, object(), World])
def test_C34_what_is_no_transport_is_refused(world: World, wrong: Any) -> None:
    with pytest.raises(TypeError, match="transport must be an"):
        world.transport(Pipeline("no transport", Retry()), transport=wrong)


@every_world
def test_C34_the_class_of_a_transport_is_none(world: World) -> None:
    kind = world.family.AsyncHTTPTransport if world.is_async else world.family.HTTPTransport
    with pytest.raises(TypeError, match="transport must be an"):
        world.transport(Pipeline("a class", Retry()), transport=kind)


@every_world
def test_C34_a_client_of_the_other_family_is_told_with_its_first_request(world: World) -> None:
    other = World("httpx2" if world.name == "httpx" else "httpx", world.colour)
    pipeline = Pipeline("wrong client", FAST, CircuitBreaker(), Bulkhead(1))

    async def scenario() -> None:
        with FaultServer() as server:
            for pipelines in (pipeline, {server.url: pipeline}, {}):
                async with other.over(world.transport(pipelines, default=pipeline)) as client:
                    with pytest.raises(TypeError, match=rf"use resilient.{other.name} with an {other.name} client"):
                        await client.get(server.url)
            assert server.requests == 0
            assert in_flight(pipeline) == 0

    world.run(scenario)


# -- C36: faulty callbacks -----------------------------------------------------------------------


class Faulty:
    """Callbacks that raise, and count how often they did."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *_: Any) -> Any:
        self.calls += 1
        raise ZeroDivisionError("the callback's own fault")


def faulty(where: str, callback: Faulty) -> dict[str, Any]:
    """A pipeline in which one callback raises."""
    fast: dict[str, Any] = {"attempts": 3, "backoff": Backoff(base=0.001, throttled_base=0.001), "budget": None}
    policies: dict[str, Any] = {
        "retry": Retry(**fast),
        "breaker": CircuitBreaker(consecutive=50),
        "bulkhead": Bulkhead(1),
        "classifier": None,
    }
    if where == "on":
        policies["retry"] = Retry(**fast, on=callback)
    elif where == "on_result":
        policies["retry"] = Retry(**fast, on_result=callback)
    elif where == "classify error":
        policies["classifier"] = Classifier(error=callback)
    elif where == "classify result":
        policies["classifier"] = Classifier(result=callback)
    elif where == "fallback":
        policies["fallback"] = Fallback(callback)
    elif where == "fallback on":
        policies["fallback"] = Fallback(3, on=callback)
    return policies


@every_world
@pytest.mark.parametrize("where", ["on_result", "classify result", "listener"])
def test_C36_a_callback_that_raises_changes_no_answer(
    world: World, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    callback = Faulty()
    pipeline = standard("faulty", **faulty(where, callback))
    stop = subscribe(callback) if where == "listener" else lambda: None

    async def scenario() -> None:
        with FaultServer([retry_after(503, 0), answer(body=b"whole" * 1000)]) as server:
            async with world.client(pipeline) as client:
                for _ in range(3):
                    response = await client.get(server.url)
                    assert (response.status_code, response.content) == (200, b"whole" * 1000)
                    assert in_flight(pipeline) == 0
                assert server.requests == 4
                assert server.connections == 1

    with caplog.at_level(logging.ERROR, "resilient"):
        try:
            world.run(scenario)
        finally:
            stop()
    reported_once(callback, caplog)


def reported_once(callback: Faulty, caplog: pytest.LogCaptureFixture) -> None:
    assert callback.calls >= 1, "the callback was never called"
    assert faults.total() == callback.calls
    reports = [record for record in caplog.records if record.name == "resilient"]
    assert len(reports) == 1
    assert "Faulty raised ZeroDivisionError" in reports[0].getMessage()


@every_world
@pytest.mark.parametrize("where", ["on", "classify error", "fallback", "listener"])
def test_C36_a_callback_that_raises_changes_no_error(
    world: World, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    callback = Faulty()
    pipeline = standard("faulty", **faulty(where, callback))
    stop = subscribe(callback) if where == "listener" else lambda: None

    def handle(request: Any) -> Any:
        raise world.family.ReadError("the downstream's own fault", request=request)

    async def scenario() -> None:
        inner = recorder(world, handle)
        async with world.client(pipeline, transport=inner) as client:
            for _ in range(2):
                with pytest.raises(world.family.ReadError, match="the downstream's own fault"):
                    await client.get("http://a.test/")
                assert in_flight(pipeline) == 0
        state: Any = pipeline.snapshot()["circuit_breaker"]
        attempts = 1 if where == "on" else 3
        assert inner.log.count("request") == 2 * attempts
        assert state["failures"] == 2 * attempts

    with caplog.at_level(logging.ERROR, "resilient"):
        try:
            world.run(scenario)
        finally:
            stop()
    reported_once(callback, caplog)


@every_world
def test_C36_a_fallback_that_raises_leaves_the_bad_answer_readable(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    callback = Faulty()
    pipeline = standard("faulty", **faulty("fallback", callback))

    async def scenario() -> None:
        with FaultServer(answer(500, b"why it failed" * 1000)) as server:
            async with world.client(pipeline) as client:
                for _ in range(2):
                    response = await client.get(server.url)
                    assert (response.status_code, response.content) == (500, b"why it failed" * 1000)
                    assert in_flight(pipeline) == 0

    with caplog.at_level(logging.ERROR, "resilient"):
        world.run(scenario)
    reported_once(callback, caplog)


@every_world
def test_C36_a_fallback_of_a_wrong_kind_is_told_and_leaks_nothing(world: World) -> None:
    pipeline = standard("wrong fallback", **{**faulty("", Faulty()), "fallback": Fallback(lambda _: "sorry")})

    async def scenario() -> None:
        with FaultServer(answer(500, b"why" * 10_000)) as server:
            async with world.client(pipeline) as client:
                for _ in range(2):
                    with pytest.raises(TypeError, match=r"a Fallback must answer with an httpx2?.Response"):
                        await client.get(server.url)
                    assert in_flight(pipeline) == 0

    world.run(scenario)


@every_world
def test_C36_an_event_hook_that_raises_leaks_no_place(world: World) -> None:
    pipeline = standard("raising hook", bulkhead=1)

    def raising(_: Any) -> None:
        raise ZeroDivisionError

    async def araising(_: Any) -> None:
        raise ZeroDivisionError

    async def scenario() -> None:
        hooks = {"response": [araising if world.is_async else raising]}
        with FaultServer(answer(body=b"x" * 100_000)) as server:
            async with world.client(pipeline, client={"event_hooks": hooks}) as client:
                for _ in range(3):
                    with pytest.raises(ZeroDivisionError):
                        await client.get(server.url)
                    assert in_flight(pipeline) == 0

    world.run(scenario)
