"""Refusals are errors of the client's family, or answers, and nothing was touched before them: C19, C20, C21."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import resilient
from resilient import (
    BudgetExhausted,
    Bulkhead,
    BulkheadFull,
    CallTimeout,
    CircuitBreaker,
    DeadlineExceeded,
    Fallback,
    Pipeline,
    RateLimit,
    Rejected,
    ThreadsExhausted,
    Timeout,
    deadline,
)
from resilient.errors import ResilienceError
from resilient.testing import capture_events, force_open
from tests.conformance._http_retry_kit import Answers, eager, nothing_sent, outcome, pipeline, respond
from tests.faults import FaultServer, answer, reset, stall
from tests.http._world import Client, World, drive, every_family, every_world

SECRET = "hunter2-secret"


async def refused(kind: type[Rejected], url: str, client_for: Callable[..., Client], **options: Any) -> Any:
    """Return how a call ended that a policy refused."""
    if kind is resilient.BreakerOpen:
        guarded = pipeline(eager(1), CircuitBreaker(consecutive=1, jitter=0.0))
        with pytest.raises(ZeroDivisionError):
            guarded.call(divmod, 1, 0)
        return await _ended(client_for(guarded), url, options)
    if kind is BulkheadFull:
        guarded = pipeline(eager(), Bulkhead(1))
        with guarded.permit():
            return await _ended(client_for(guarded), url, options)
    if kind is resilient.RateLimited:
        guarded = pipeline(eager(), RateLimit(0.01, burst=1))
        guarded.call(int)
        return await _ended(client_for(guarded), url, options)
    assert kind is DeadlineExceeded
    with deadline(0):
        return await _ended(client_for(pipeline(Timeout(1), eager())), url, options)


async def _ended(client: Client, url: str, options: dict[str, Any]) -> Any:
    async with client:
        return await outcome(client.request("POST", url, **options))


REFUSALS = (resilient.BreakerOpen, BulkheadFull, resilient.RateLimited, DeadlineExceeded)
every_refusal = pytest.mark.parametrize("kind", REFUSALS, ids=lambda kind: kind.__name__)


# -- C19: what a refusal is ---------------------------------------------------------------------------


@every_world
@every_refusal
def test_C19_a_refusal_is_a_transport_error_with_its_request(world: World, kind: type[Rejected]) -> None:
    family = world.family

    async def scenario() -> None:
        error = await refused(kind, "http://a.test/x?y=1", world.client)
        assert isinstance(error, kind)
        assert isinstance(error, family.TransportError)
        assert not isinstance(error, (family.ConnectError, family.TimeoutException, family.NetworkError))
        assert not isinstance(error, TimeoutError)
        assert type(error) is getattr(world.door, kind.__name__)
        assert error.request.method == "POST"
        assert str(error.request.url) == "http://a.test/x?y=1"
        assert error.downstream.startswith("http-retry-")
        assert error.reason
        assert error.retry_after is None or 0 < error.retry_after < 1000

    world.run(scenario)


@every_world
@every_refusal
def test_C19_no_credentials_leave_with_it(world: World, kind: type[Rejected]) -> None:
    def client_for(guarded: Pipeline) -> Client:
        return world.client(guarded, client={"headers": {"x-api-key": SECRET}})

    async def scenario() -> None:
        headers = {"authorization": f"Bearer {SECRET}", "cookie": SECRET}
        url = f"http://me:{SECRET}@a.test/?token={SECRET}"
        error = await refused(kind, url, client_for, headers=headers, content=SECRET.encode())
        assert error.request.headers["authorization"].startswith("B")
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            pickled = pickle.dumps(error, protocol)
            assert SECRET.encode() not in pickled
            again = pickle.loads(pickled)
            assert type(again) is type(error)
            assert (again.args, str(again), again.retry_after) == (error.args, str(error), error.retry_after)
            with pytest.raises(RuntimeError, match="request"):
                _ = again.request
        assert SECRET not in f"{error} {error!r} {error.args} {getattr(error, '__notes__', '')}"
        assert type(copy.copy(error)) is type(error)

    world.run(scenario)


@every_world
def test_C19_a_timeout_of_ours_is_one_of_the_familys_and_says_as_little(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(stall()) as server:
            async with world.client(pipeline(Timeout(0.05))) as client:
                url = server.url.replace("http://", f"http://me:{SECRET}@")
                with pytest.raises(CallTimeout) as caught:
                    await client.get(url, params={"token": SECRET})
                error = caught.value
                assert isinstance(error, (world.family.TimeoutException, TimeoutError))
                assert isinstance(error, world.family.TimeoutException)
                assert isinstance(error, TimeoutError)
                assert not isinstance(error, (Rejected, world.family.ReadTimeout, world.family.ConnectTimeout))
                assert error.request.url.path == "/"
                pickled = pickle.dumps(error)
                assert SECRET.encode() not in pickled
                again = pickle.loads(pickled)
                assert (type(again), again.args, str(again)) == (type(error), error.args, str(error))
                assert (again.seconds, again.ran, again.policy) == (error.seconds, error.ran, error.policy)
                assert SECRET not in f"{error} {error!r}"

    world.run(scenario)


@every_family
@pytest.mark.parametrize(
    "kind", [*REFUSALS, BudgetExhausted, ThreadsExhausted, CallTimeout], ids=lambda kind: kind.__name__
)
def test_C19_every_error_of_ours_has_a_twin_in_the_door(world: World, kind: type[ResilienceError]) -> None:
    twin = getattr(world.door, kind.__name__)
    wanted = world.family.TimeoutException if kind is CallTimeout else world.family.TransportError
    assert issubclass(twin, (kind,))
    assert issubclass(twin, wanted)
    assert twin.__module__ == world.door.__name__
    assert twin.__doc__ == kind.__doc__


@every_world
def test_C19_each_refusal_is_a_fresh_one(world: World) -> None:
    guarded = pipeline(CircuitBreaker())

    async def scenario() -> None:
        async with world.client(guarded) as client:
            errors = [await outcome(client.get("http://a.test/")) for _ in range(3)]
            assert len(set(map(id, errors))) == 3
            depths = {len(list(_links(each.__traceback__))) for each in errors}
            assert len(depths) == 1, "a traceback that grows is of one error that is raised again and again"

    with force_open(guarded):
        world.run(scenario)


def _links(traceback: Any) -> Any:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


@every_world
def test_C19_a_pipeline_around_the_client_does_not_retry_a_refusal(world: World) -> None:
    guarded, outer = pipeline(eager(), CircuitBreaker()), pipeline(eager(5))
    calls: list[int] = []

    async def scenario() -> None:
        async with world.client(guarded) as client:

            async def ask() -> Any:
                calls.append(1)
                return await client.get("http://a.test/")

            with pytest.raises(resilient.BreakerOpen), force_open(guarded):
                await around(world, outer, ask)
        assert len(calls) == 1

    world.run(scenario)


@every_world
def test_C19_nor_what_the_transport_has_given_up_on(world: World) -> None:
    async def scenario() -> None:
        for step, kind in ((reset(), world.family.ReadError), (stall(), CallTimeout)):
            outer = pipeline(eager(5))
            with FaultServer(step) as server:
                async with world.client(pipeline(eager(2), Timeout(0.05))) as client:
                    with pytest.raises(kind):
                        await around(world, outer, lambda client=client, server=server: client.get(server.url))
                    assert server.requests == 2

    world.run(scenario)


async def around(world: World, outer: Pipeline, ask: Callable[[], Any]) -> Any:
    """Call through a pipeline around the client, in the way of the world."""

    async def called() -> Any:
        return await ask()

    return await outer.acall(called) if world.is_async else outer.call(lambda: drive(called()))


@every_world
def test_C19_a_refusal_of_a_later_attempt_gives_way_to_what_really_happened(world: World) -> None:
    async def scenario() -> None:
        tripped = pipeline(eager(), CircuitBreaker(consecutive=1))
        with FaultServer(reset()) as server:
            async with world.client(tripped) as client:
                with pytest.raises(world.family.ReadError) as caught:
                    await client.get(server.url)
                assert server.requests == 1
                assert "attempt 2 was refused" in caught.value.__notes__[0]
        tripped = pipeline(eager(), CircuitBreaker(consecutive=1))
        with FaultServer(answer(503, b"really")) as server:
            async with world.client(tripped) as client:
                response = await client.get(server.url)
                assert (response.status_code, response.content, server.requests) == (503, b"really", 1)

    world.run(scenario)


# -- C20: before anything ------------------------------------------------------------------------------


class Untouchable:
    """A body nobody may look at."""

    def _touched(self, *_: Any) -> Any:
        raise AssertionError("the body was touched")

    __iter__ = __aiter__ = __enter__ = __aenter__ = close = aclose = _touched


@every_world
@every_refusal
def test_C20_nothing_is_sent_and_the_body_is_not_touched(world: World, kind: type[Rejected]) -> None:
    family = world.family
    body: Any = type("Body", (Untouchable, family.SyncByteStream, family.AsyncByteStream), {})()

    async def scenario() -> None:
        with FaultServer() as server, nothing_sent(server):

            def client_for(guarded: Pipeline) -> Client:
                client = world.client(guarded)
                request = family.Request("POST", server.url, stream=body)
                client.request = lambda *_args, **_options: client.send(request)  # type: ignore[method-assign]
                return client

            error = await refused(kind, server.url, client_for)
            assert isinstance(error, kind)
            assert error.request.stream is body

    world.run(scenario)


@every_world
@every_refusal
def test_C20_a_refusal_is_told_and_counted_nowhere_else(world: World, kind: type[Rejected]) -> None:
    handler = Answers(respond(world))

    async def scenario() -> None:
        with capture_events() as events:
            await refused(kind, "http://a.test/", lambda guarded: world.client(guarded, transport=world.mock(handler)))
        assert len(events.of("resilient.call.rejected")) == 1
        assert not events.of("resilient.retry.scheduled")
        assert handler.requests == []

    world.run(scenario)


@every_world
def test_C20_a_deadline_of_the_callers_is_told_too_where_no_timeout_stands(world: World) -> None:
    handler = Answers(respond(world))

    async def scenario() -> None:
        async with world.client(pipeline(eager()), transport=world.mock(handler)) as client:
            with capture_events() as events, deadline(0), pytest.raises(DeadlineExceeded):
                await client.get("http://a.test/")
            assert [each.fields["reason"] for each in events.of("resilient.call.rejected")] == ["deadline"]
        assert handler.requests == []

    world.run(scenario)


# -- C21: an answer in place of an error ---------------------------------------------------------------


@every_world
@every_refusal
def test_C21_a_refusal_may_be_an_answer(world: World, kind: type[Rejected]) -> None:
    heard: list[int] = []

    def on_response(response: Any) -> None:
        heard.append(response.status_code)

    async def aon_response(response: Any) -> None:
        heard.append(response.status_code)

    hooks = {"response": [aon_response if world.is_async else on_response]}

    def client_for(guarded: Pipeline) -> Client:
        return world.client(guarded, rejections="answer", client={"event_hooks": hooks})

    async def scenario() -> None:
        with FaultServer() as server, nothing_sent(server):
            response = await refused(kind, server.url, client_for)
        assert isinstance(response, world.family.Response)
        assert (response.status_code, heard) == (503, [503])
        assert response.headers["x-should-retry"] == "false"
        assert response.headers["content-type"] == "application/problem+json"
        assert (response.request.method, response.request.url) == ("POST", server.url)
        assert response.is_closed
        assert response.elapsed is not None
        assert len(response.content) == int(response.headers["content-length"])
        problem = response.json()
        assert (problem["status"], problem["reason"]) == (503, kind.default_reason)
        hint = response.headers.get("retry-after")
        assert hint == {resilient.BreakerOpen: "5", resilient.RateLimited: "100"}.get(kind)
        with pytest.raises(world.family.HTTPStatusError):
            response.raise_for_status()

    world.run(scenario)


@every_world
def test_C21_retry_after_is_what_the_policy_knows_in_whole_seconds(world: World) -> None:
    async def scenario() -> None:
        guarded = pipeline(RateLimit(0.4, burst=1))
        async with world.client(guarded, rejections="answer", transport=world.mock(Answers(respond(world)))) as client:
            assert (await client.get("http://a.test/")).status_code == 200
            response = await client.get("http://a.test/")
            assert response.headers["retry-after"] == str(math.ceil(2.5))

    world.run(scenario)


@every_world
def test_C21_no_breaker_counts_the_answer_and_no_retry_repeats_it(world: World) -> None:
    guarded = pipeline(eager(), CircuitBreaker(consecutive=2), Bulkhead(1))

    async def scenario() -> None:
        async with world.client(guarded, rejections="answer", transport=world.mock(Answers(respond(world)))) as client:
            with guarded.permit():
                for _ in range(5):
                    assert (await client.get("http://a.test/")).status_code == 503
            snapshot = guarded.snapshot()
            assert (snapshot["circuit_breaker"]["state"], snapshot["circuit_breaker"]["failures"]) == ("closed", 0)
            assert snapshot["bulkhead"]["in_flight"] == 0
            assert (await client.get("http://a.test/")).status_code == 200

    world.run(scenario)


@every_world
def test_C21_a_resilient_transport_outside_believes_it_and_asks_once(world: World) -> None:
    guarded = pipeline(CircuitBreaker())

    async def scenario() -> None:
        inner = world.transport(guarded, rejections="answer")
        with capture_events() as events:
            async with world.client(pipeline(eager(4)), transport=inner) as client:
                with force_open(guarded):
                    assert (await client.get("http://a.test/")).status_code == 503
        assert len(events.of("resilient.call.rejected")) == 1

    world.run(scenario)


@every_world
def test_C21_what_ran_is_never_turned_into_an_answer(world: World) -> None:
    async def scenario() -> None:
        for step, kind in ((reset(), world.family.ReadError), (stall(), CallTimeout)):
            with FaultServer(step) as server:
                async with world.client(pipeline(Timeout(0.05), eager(2)), rejections="answer") as client:
                    with pytest.raises(kind):
                        await client.get(server.url)

    world.run(scenario)


@every_world
def test_C21_a_fallback_comes_before_either(world: World) -> None:
    async def scenario() -> None:
        for rejections in ("raise", "answer"):
            kept = world.family.Response(200, content=b"kept")
            guarded = pipeline(Fallback(kept), CircuitBreaker())
            async with world.client(guarded, rejections=rejections) as client:
                with force_open(guarded):
                    for _ in range(2):
                        response = await client.get("http://a.test/")
                        assert response.content == b"kept"
                        assert response.headers["content-length"] == "4"
                        assert response.elapsed.total_seconds() >= 0

    world.run(scenario)
