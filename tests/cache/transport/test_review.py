"""What a hostile reading of the cache in the transports found: each of these was wrong once."""

from __future__ import annotations

from typing import Any

from resilient import Pipeline
from resilient.cache import HttpCache
from tests.faults import FaultServer, Received, Step, answer
from tests.http._world import Client, World, every_world

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
