"""What a server sends beyond its answer is never taken for the answer to the next request."""

from __future__ import annotations

import pytest

from resilient import Pipeline, Retry
from resilient.cache import HttpCache
from tests.conformance._http_retry_kit import eager
from tests.faults import FaultServer, answer, raw
from tests.http._world import World, every_world

REST = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncache-control: max-age=60\r\n\r\nevil"
FRAMED = b"HTTP/1.1 %b\r\ncontent-length: 2\r\n\r\nok" + REST


@every_world
@pytest.mark.parametrize("status", [b"200 OK", b"404 Not Found"])
@pytest.mark.parametrize("cached", [False, True], ids=["plain", "cached"])
def test_a_rest_reaches_nobody(world: World, status: bytes, cached: bool) -> None:
    options = {"cache": HttpCache()} if cached else {}

    async def scenario() -> None:
        with FaultServer({"/one": raw(FRAMED % status, closes=False), "*": answer(200, b"mine")}) as server:
            async with world.client(Pipeline("surplus"), **options) as client:
                assert (await client.get(server.url + "/one")).text == "ok"
                assert (await client.get(server.url + "/two")).text == "mine"

    world.run(scenario)


@every_world
@pytest.mark.parametrize("way", ["discarded", "buffered"])
def test_a_rest_of_an_answer_that_was_read_inside_reaches_nobody(world: World, way: str) -> None:
    guarded = Pipeline("surplus", eager(2) if way == "discarded" else Retry(attempts=1), replace=True)
    script = [raw(FRAMED % (b"500 No" if way == "discarded" else b"200 OK"), closes=False), answer(200, b"mine")]

    async def scenario() -> None:
        with FaultServer(script) as server:
            async with world.client(guarded) as client:
                if way == "buffered":
                    asked = {"extensions": {"resilient": {"buffer": True}}}
                    assert (await client.get(server.url, **asked)).text == "ok"
                assert (await client.get(server.url)).text == "mine"

    world.run(scenario)
