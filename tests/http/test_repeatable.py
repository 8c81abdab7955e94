"""Requests that may be repeated because the caller knows more than HTTP does."""

from __future__ import annotations

import pytest

from resilient import Backoff, CallTimeout, ConfigError, Pipeline, Retry, Timeout
from resilient.testing import isolated
from tests.faults import FaultServer, answer, unanswered
from tests.http._world import World, every_family, every_world

THREE = Retry(attempts=3, backoff=Backoff(base=0.001, throttled_base=0.001), budget=None)


@pytest.fixture(autouse=True)
def _fresh():
    with isolated():
        yield


@every_world
@pytest.mark.parametrize(
    ("transport", "options", "sends"),
    [
        ((), {}, 1),
        (("post",), {}, 3),
        ((), {"repeatable": True}, 3),
        (("POST",), {"repeatable": False}, 1),
        (("PUT",), {}, 1),
    ],
)
def test_a_post_is_repeated_where_it_only_asks(world: World, transport, options, sends: int) -> None:
    async def scenario() -> None:
        with FaultServer(answer(500)) as server:
            async with world.client(Pipeline("asks", THREE), repeatable=transport) as client:
                response = await client.post(server.url, content=b"?", extensions={"resilient": options})
            assert (response.status_code, len(server.received)) == (500, sends)
            assert not any("idempotency-key" in each.headers for each in server.received)

    world.run(scenario)


@every_world
def test_a_get_is_sent_once_where_the_caller_says_so(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(answer(500)) as server:
            async with world.client(Pipeline("asks", THREE)) as client:
                await client.get(server.url, extensions={"resilient": {"repeatable": False}})
            assert len(server.received) == 1

    world.run(scenario)


@every_family
@pytest.mark.parametrize("bad", ["POST", 7, ["PO ST"], [7]])
def test_bad_methods_are_refused(world: World, bad) -> None:
    with pytest.raises((ConfigError, TypeError), match="repeatable"):
        world.transport(Pipeline("asks", THREE), repeatable=bad)


@every_family
@pytest.mark.parametrize("bad", ["two words", "", 7, "x:"])
def test_a_bad_attempt_header_is_refused(world: World, bad) -> None:
    with pytest.raises((ConfigError, TypeError), match="attempt_header"):
        world.transport(Pipeline("asks", THREE), attempt_header=bad)


@every_family
def test_a_post_that_never_got_a_connection_is_repeated(world: World) -> None:
    """Our own deadline cut it while it was connecting: nothing was sent."""
    attempts = []

    def connecting(request):
        attempts.append(request)
        import time

        time.sleep(request.extensions["timeout"]["connect"])
        raise world.family.ConnectTimeout("no answer")

    with (
        pytest.raises(CallTimeout),
        world.family.Client(
            transport=world.transport(Pipeline("asks", THREE, Timeout(0.02)), transport=world.mock(connecting))
        ) as client,
    ):
        client.post("http://a.test", content=b"order")
    assert len(attempts) == 3


@every_family
def test_the_same_on_a_real_socket(world: World) -> None:
    from resilient import events

    heard = []
    stop = events.subscribe(heard.append)
    try:
        with (
            unanswered() as url,
            world.family.Client(transport=world.transport(Pipeline("asks", THREE, Timeout(0.05)))) as client,
            pytest.raises(CallTimeout),
        ):
            client.post(url, content=b"order")
    finally:
        stop()
    assert [each.name for each in heard].count("resilient.retry.scheduled") == 2
