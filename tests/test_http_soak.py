"""Requests cancelled at any point, also twice in a row, leave neither connection nor permit behind.

The suite plays a seeded hundredth of it; `nox -s soak` sends 100 000 requests with each family.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from collections import Counter
from random import Random

import pytest
import trio

from resilient import Backoff, BreakerOpen, Bulkhead, CircuitBreaker, Pipeline, Retry, Timeout, deadline, events
from tests import _http_load, _scripts
from tests._stage import name, nothing_left
from tests.faults import ProcessServer
from tests.http._world import async_worlds, every_family, every_world

FULL = 100_000
SHARES = {"asyncio": 0.6, "trio": 0.4, "threads": 0.5}
CROWD = 60
"""Requests at the same time; more than may be in flight, so that some wait in line."""

sizes = pytest.mark.parametrize(
    "requests",
    [
        pytest.param(FULL // 100, id="seeded hundredth"),
        pytest.param(FULL, id="in full", marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
    ],
)

SCRIPT = """{
    "/fast": answer(),
    "/large": answer(body=b"x" * 200_000),
    "/headers": stall(0.004),
    "/body": stall_mid_body(seconds=0.004),
    "/drip": drip(0.001, b"x" * 50, 5),
    "/never": stall(),
    "/reset": reset(),
    "/half": reset_mid_body(),
    "/closed": close_after(),
    "/busy": retry_after(503, 0),
    "/down": answer(500),
}"""
SOUND = ("/fast", "/fast", "/large", "/headers", "/body", "/drip", "/closed")
UNSOUND = ("/never", "/reset", "/half", "/busy", "/down")


def pipeline_of(prefix):
    return Pipeline(
        name(prefix),
        Timeout(2),
        Retry(3, backoff=Backoff(base=0.001, cap=0.002), budget=None),
        CircuitBreaker(
            failure_rate=0.5, consecutive=4, min_calls=10, window=1, open_for=0.02, max_open_for=0.04, ramp=0.02
        ),
        Bulkhead(CROWD // 2, queue=CROWD, max_wait=1),
        Timeout(0.05),
    )


class Storm:
    """Requests of every kind, some of which are cancelled, and what became of them."""

    def __init__(self, world, url, seed):
        self.world, self.url = world, url
        self.random = Random(seed)
        self.tally = Counter()
        self.rebuilt = 0
        self.weather = 0.0
        self.begun = self.cancellations = self.crowds = 0

    def heard(self, event):
        self.rebuilt += event.name == "resilient.http.pool_rebuilt"

    def plan(self):
        """Draw where a request goes, how its answer is read, and the points where it is cancelled."""
        draw = self.random.random
        path = self.random.choice(UNSOUND if draw() < self.weather else SOUND)
        how = self.random.choice(("get", "get", "post", "chunks", "leave"))
        cancels = []
        if draw() < (
            0.95 if self.weather < 0.5 else 0.3
        ):  # turns of the loop, or seconds; and the second time soon after the first
            cancels.append(self.random.randrange(40) if draw() < 0.5 else draw() * 0.06)
            if draw() < 0.4:
                cancels.append(self.random.randrange(6))
        return path, how, cancels, draw() * 0.03 if draw() < 0.1 else None

    async def request(self, client, path, how):
        if how == "get":
            await client.get(self.url + path)
        elif how == "post":
            await client.post(self.url + path, content=b"y" * 1000)
        else:
            async with (
                client.stream("GET", self.url + path) as response,
                contextlib.aclosing(response.aiter_raw()) as chunks,
            ):
                async for _ in chunks:
                    if how == "leave":
                        break

    async def bounded(self, client, path, how, seconds):
        ending = "done"
        self.begun += 1  # a task may be cancelled before that
        try:
            if seconds is None:
                await self.request(client, path, how)
            else:
                with deadline(seconds):
                    await self.request(client, path, how)
        except self.world.family.TransportError as error:
            ending = type(error).__name__
        except BaseException as error:  # under trio it may be a group
            parts = error.exceptions if isinstance(error, BaseExceptionGroup) else [error]
            if all(isinstance(each, asyncio.CancelledError | trio.Cancelled) for each in parts):
                self.tally["cancelled"] += 1
            raise
        self.tally[ending] += 1

    async def crowd(self, client, count):
        self.crowds += 1
        self.weather = 0.95 if self.crowds % 8 == 5 else 0.05
        plans = [self.plan() for _ in range(count)]
        if self.world.colour == "trio":
            async with trio.open_nursery() as nursery:
                for plan in plans:
                    nursery.start_soon(self.trio_one, client, plan)
            return
        tasks = []
        for path, how, cancels, seconds in plans:
            task = asyncio.create_task(self.bounded(client, path, how, seconds))
            tasks.append(task)
            if cancels:
                tasks.append(asyncio.create_task(self.cancel(task, cancels)))
        done, _ = await asyncio.wait(tasks)
        for task in done:
            if not task.cancelled() and task.exception() is not None:
                raise task.exception()

    async def cancel(self, task, cancels):
        for each in cancels:
            if isinstance(each, float):
                await asyncio.sleep(each)
            else:
                for _ in range(each):
                    await asyncio.sleep(0)
            if not task.done():
                self.cancellations += 1
                task.cancel()

    async def trio_one(self, client, plan):
        path, how, cancels, seconds = plan
        scopes = [trio.CancelScope() for _ in cancels]
        over = trio.Event()

        async def cancel():
            for each, scope in zip(cancels, scopes, strict=True):
                if isinstance(each, float):
                    await trio.sleep(each)
                else:
                    for _ in range(each):
                        await trio.lowlevel.checkpoint()
                if not over.is_set():
                    self.cancellations += 1
                    scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel)
            first, second = [*scopes, trio.CancelScope(), trio.CancelScope()][:2]
            with second, first:
                await self.bounded(client, path, how, seconds)
            over.set()


def report(capsys, full, storm, seconds):
    if full:
        world = storm.world
        _http_load.say(
            capsys,
            f"{world.name} {world.colour}: {storm.tally.total()} requests in {seconds:.0f} s, "
            f"{storm.cancellations} cancellations, pools rebuilt {storm.rebuilt}\n  {dict(storm.tally.most_common())}",
        )


def finished(transport, pipeline):
    """Demand that no request of this transport holds anything."""
    nothing_left(pipeline)
    state = pipeline.snapshot()
    assert state["bulkhead"]["in_flight"] == state["bulkhead"]["queued"] == 0
    assert state["circuit_breaker"]["in_flight"] == 0
    left = _http_load.leftovers(transport)
    # A pool may remember requests that nobody waits for: `task.cancel()` interrupts what anyio shields.
    assert left.pop("requests") <= 100
    # Closing what was retired may be interrupted too: the next request goes on with it.
    assert left.pop("to_close") <= 5
    assert not any(left.values()), left


# Both families leave it to the collector to close the generators of a body that is not read to its end.
@pytest.mark.filterwarnings(
    "ignore:Async generator .* was garbage collected before it had been exhausted:ResourceWarning"
)
@sizes
@async_worlds
def test_a_storm_of_cancelled_requests_leaves_nothing_behind(world, requests, capsys):
    full, requests, began = requests == FULL, int(requests * SHARES[world.colour]), time.monotonic()
    pipeline = pipeline_of("cancelled")
    files = _http_load.open_files()
    with ProcessServer(SCRIPT) as server:
        storm = Storm(world, server.urls[0], requests)

        async def scenario():
            transport = world.transport(pipeline)
            files_at_start = _http_load.open_files()
            async with world.over(transport, timeout=None) as client:
                while storm.tally["cancelled"] < requests:
                    await storm.crowd(client, CROWD)
                    finished(transport, pipeline)
                assert len(_http_load.connections(transport)) <= CROWD
                await world.sleep(0.05)  # the breaker may have to be asked
                response = await until_answered(client)
                assert response.text == "ok"
                finished(transport, pipeline)
            assert _http_load.connections(transport) == []
            assert not any(_http_load.leftovers(transport).values())
            if world.colour == "asyncio":
                await _http_load.until(lambda: not _http_load.other_tasks(), _http_load.other_tasks)
            await _http_load.until(lambda: _http_load.open_files() <= files_at_start, _http_load.open_files)

        async def until_answered(client):
            for _ in range(100):
                try:
                    return await client.get(server.urls[0] + "/fast")
                except world.family.TransportError:
                    await world.sleep(0.02)
            raise AssertionError(pipeline.snapshot())

        unsubscribe = events.subscribe(storm.heard)
        try:
            world.run(scenario, seconds=3000)
        finally:
            unsubscribe()
        wait_for(lambda: server.counts()["open"] == 0, server.counts)
    gc.collect()
    assert _http_load.open_files() <= files
    assert storm.tally.total() == storm.begun, (storm.tally, storm.begun)
    for kind in ("done", "cancelled", "CallTimeout", "BreakerOpen"):
        assert storm.tally[kind] > requests / 500, (kind, storm.tally)
    report(capsys, full, storm, time.monotonic() - began)


def wait_for(condition, what):
    latest = time.monotonic() + _http_load.PATIENCE
    while not condition():
        assert time.monotonic() < latest, what()
        time.sleep(0.005)


@sizes
@every_family
def test_a_storm_of_deadlines_in_threads_leaves_nothing_behind(world, requests, capsys):
    full, requests, began = requests == FULL, int(requests * SHARES[world.colour]), time.monotonic()
    pipeline = pipeline_of("overdue")
    files, rebuilt, problems, tallies = _http_load.open_files(), [], [], [Counter() for _ in range(8)]

    def work(client, url, seed):
        generator, tally = Random(seed), tallies[seed]
        draw = generator.random
        while tally.total() - tally["BreakerOpen"] < requests // len(tallies):
            path = generator.choice(UNSOUND if draw() < (0.9 if tally.total() % 60 > 50 else 0.1) else SOUND)
            try:
                with deadline(draw() ** 2 * 0.05):
                    if draw() < 0.6:
                        client.request("POST" if draw() < 0.3 else "GET", url + path)
                    else:
                        with client.stream("GET", url + path) as response:
                            for _ in response.iter_raw():
                                if draw() < 0.3:
                                    break
                tally["done"] += 1
            except world.family.TransportError as error:
                tally[type(error).__name__] += 1
                if isinstance(error, BreakerOpen):
                    time.sleep(0.01)
            except BaseException as error:
                problems.append(error)
                return

    with ProcessServer(SCRIPT) as server:
        unsubscribe = events.subscribe(
            lambda event: rebuilt.append(event) if event.name == "resilient.http.pool_rebuilt" else None
        )
        transport = world.transport(pipeline)
        with world.over(transport, timeout=None).real as client:
            crowd = [
                threading.Thread(target=work, args=(client, server.urls[0], seed), daemon=True)
                for seed in range(len(tallies))
            ]
            for each in crowd:
                each.start()
            for each in crowd:
                each.join(3000)
                assert not each.is_alive()
            finished(transport, pipeline)
        unsubscribe()
        wait_for(lambda: server.counts()["open"] == 0, server.counts)
    assert problems == []
    gc.collect()
    assert _http_load.open_files() <= files
    tally = sum(tallies, Counter())
    assert tally.total() - tally["BreakerOpen"] == requests // len(tallies) * len(tallies)
    for kind in ("done", "CallTimeout", "BreakerOpen"):
        assert tally[kind] > requests / 500, (kind, tally)
    storm = Storm(world, "", 0)
    storm.tally, storm.rebuilt = tally, len(rebuilt)
    report(capsys, full, storm, time.monotonic() - began)


@every_world
def test_an_answer_that_is_forgotten_goes_without_the_collector(world):
    """Else connections and permits of answers that nobody closed would come back at its leisure."""
    if world.name == "httpx":
        pytest.skip("its responses refer to themselves by their streams")
    pipeline = pipeline_of("forgotten")

    async def scenario():
        transport = world.transport(pipeline)
        async with world.over(transport, timeout=None) as client:
            real, url = client.real, server.urls[0] + "/drip"
            response = real.send(real.build_request("GET", url), stream=True)
            if world.is_async:
                response = await response
            assert pipeline.snapshot()["bulkhead"]["in_flight"] == 1
            gc.disable()
            try:
                with pytest.warns(ResourceWarning):
                    del response
                assert pipeline.snapshot()["bulkhead"]["in_flight"] == 0
                assert _http_load.leases(transport) == 0
            finally:
                gc.enable()

    with ProcessServer(SCRIPT) as server:
        world.run(scenario)


@every_family
def test_a_place_that_another_lease_covered_for_is_found_when_that_one_ends(world):
    """A request has its lease before its pool knows it, and may so stand for one that was lost."""
    pipeline = pipeline_of("covered")
    with ProcessServer(SCRIPT) as server:
        url = server.urls[0]
        transport = world.transport(pipeline)
        with world.over(transport).real as client:
            client.get(url + "/fast")
            (pool,) = _http_load.pools(transport)
            first, second = pool.lease(), pool.lease()
            answer = first.transport.handle_request(client.build_request("GET", url + "/large"))
            first.release(ok=False)
            assert (pool.rebuilt, pool.leases) == (0, 1), "it cannot be told yet"
            second.release()
            assert (pool.rebuilt, pool.leases) == (1, 0)
            answer.close()


FORK = """
import asyncio, importlib, os, signal, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside the server's thread is what is tested
from resilient import *
from tests.faults import ProcessServer

family, door = importlib.import_module({family!r}), importlib.import_module("resilient." + {family!r})
pipeline = Pipeline("forked", Timeout(20), CircuitBreaker(), Bulkhead(2), Timeout(10))

def in_child(function):
    "Fork, run there; a child that stands still is killed."
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(15)
            function()
            status = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, f"the child ended with {{status}}"

def in_flight():
    return pipeline.snapshot()["bulkhead"]["in_flight"]

def sockets():
    return sum(os.readlink("/proc/self/fd/" + each).startswith("socket") for each in os.listdir("/proc/self/fd")
               if os.path.exists("/proc/self/fd/" + each))

SCRIPT = "lambda r: drip(0.01, b'x', 30) if r.path == '/drip' else answer()"
"""


@every_family
def test_a_fork_gives_the_child_connections_of_its_own_and_leaves_the_parents_alone(world):
    _scripts.run(
        FORK.format(family=world.name)
        + """
with ProcessServer(SCRIPT) as server:
    url, counts = server.urls[0], server.counts
    with door.client(pipeline, verify=False) as client:
        assert client.get(url).text == "ok"
        with client.stream("GET", url + "/drip") as response:  # one busy, one idle connection cross the fork
            chunks = response.iter_raw()
            next(chunks)
            client.get(url)
            assert (in_flight(), counts()["connections"], sockets()) == (1, 2, 2)

            def child():
                assert in_flight() == 0, pipeline.snapshot()
                assert sockets() == 0, "the parent's connections are open here too"
                for _ in range(3):
                    assert client.get(url).text == "ok"
                with client.stream("GET", url + "/drip") as one, client.stream("GET", url + "/drip") as two:
                    assert in_flight() == 2, "the child has not its two permits"
                    assert (one.read(), two.read()) == (b"x" * 30, b"x" * 30)
                assert in_flight() == 0
                client.close()

            in_child(child)
            assert counts()["connections"] == 4, counts()  # two of the child's
            assert b"".join(chunks) == b"x" * 29, "the parent's body goes on"
        assert in_flight() == 0
        in_child(lambda: client.get(url))
        assert counts()["connections"] == 5
        for _ in range(3):
            assert client.get(url).text == "ok"
        assert counts()["connections"] == 5, "the parent uses the connections it had"
        assert sockets() == 2
    assert sockets() == 0
""",
        seconds=40,
    )


@every_family
def test_a_fork_between_two_steps_of_a_loop_gives_the_childs_loop_connections_of_its_own(world):
    _scripts.run(
        FORK.format(family=world.name)
        + """
with ProcessServer(SCRIPT) as server, asyncio.Runner() as runner:
    url, counts = server.urls[0], server.counts
    client = door.async_client(pipeline, verify=False)

    async def get(path=""):
        return (await client.get(url + path)).text

    assert runner.run(get()) == "ok"

    def child():
        asyncio.events._set_running_loop(None)
        assert in_flight() == 0

        async def several():
            assert await get() == "ok"
            assert await asyncio.gather(get("/drip"), get("/drip")) == ["x" * 30] * 2
            await client.aclose()

        with asyncio.Runner() as fresh:
            fresh.run(several())

    in_child(child)
    assert counts()["connections"] == 3, counts()
    assert runner.run(get()) == "ok"
    assert counts()["connections"] == 3, "the parent uses the connection it had"
    runner.run(client.aclose())
""",
        seconds=40,
    )
