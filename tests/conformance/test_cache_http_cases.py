"""What HTTP caches of peers get wrong, over real sockets: T65, T66, C35."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hishel
import hishel.httpx
import pytest

from resilient import BreakerOpen, Bulkhead, BulkheadFull, CircuitBreaker, Pipeline, Timeout, deadline, provenance
from resilient.cache import HttpCache
from resilient.testing import InstantClock, force_open, use
from tests.conformance._http_retry_kit import pipeline
from tests.faults import FaultServer, Received, Step, answer, close_mid_body, reset, retry_after, stall
from tests.http._world import World, every_world

FRESH = {"cache-control": "max-age=60"}
SHORT = {"cache-control": "max-age=10"}
PATIENT = {"stale_if_error": 3600}


def whoami(received: Received) -> Step:
    """Answers with the caller's own secret."""
    return answer(200, received.headers.get("authorization", "nobody").encode(), {"cache-control": "max-age=60"})


def seen(server: FaultServer, path: str) -> int:
    return sum(received.path == path for received in server.received)


# -- T65: one user's answer never reaches another -----------------------------------------------------


@every_world
@pytest.mark.parametrize("shared", [False, True], ids=["private", "shared"])
@pytest.mark.parametrize("field", ["authorization", "cookie"])
def test_T65_one_users_answer_never_reaches_another(world: World, shared: bool, field: str) -> None:
    def mine(received: Received) -> Step:
        return answer(200, received.headers.get(field, "nobody").encode(), FRESH)

    async def scenario() -> None:
        with FaultServer(mine) as server:
            async with world.client(Pipeline("t65"), cache=HttpCache(shared=shared)) as client:
                for _ in range(2):
                    for user in ("alice=1", "bob=2", None):
                        headers = {} if user is None else {field: user}
                        response = await client.get(server.url, headers=headers)
                        assert response.text == (user or "nobody")

    world.run(scenario)


@every_world
def test_T65_private_and_no_store_are_obeyed(world: World) -> None:
    script = {
        "/no-store": answer(200, b"secret", {"cache-control": "private, no-store"}),
        "/private": answer(200, b"mine", {"cache-control": "private, max-age=60"}),
    }

    async def scenario() -> None:
        with FaultServer(script) as server:
            for shared in (False, True):
                async with world.client(Pipeline("t65"), cache=HttpCache(shared=shared)) as client:
                    for path in ("/no-store", "/private"):
                        before = seen(server, path)
                        await client.get(server.url + path)
                        await client.get(server.url + path)
                        stored = path == "/private" and not shared
                        assert seen(server, path) - before == (1 if stored else 2)

    world.run(scenario)


def test_T65_the_peer_serves_one_user_what_is_anothers(tmp_path: Path) -> None:
    with FaultServer(whoami) as server:
        storage = hishel.SqliteStorage(database_path=tmp_path / "hishel.db")
        with hishel.httpx.CacheClient(storage=storage) as client:
            client.get(server.url, headers={"authorization": "alice"})
            assert client.get(server.url, headers={"authorization": "bob"}).text == "alice"


def test_T66_the_peer_has_no_stale_answer_for_a_failure(tmp_path: Path) -> None:
    """The field is read there, and nothing follows from it."""
    script = [answer(200, b"good", {"cache-control": "max-age=0, stale-if-error=3600", "etag": '"1"'}), answer(503)]
    with FaultServer(script) as server:
        storage = hishel.SqliteStorage(database_path=tmp_path / "hishel.db")
        with hishel.httpx.CacheClient(storage=storage, rfc=True) as client:
            client.get(server.url)
            assert client.get(server.url).status_code == 503


# -- T66: all variants are kept, and the rules of time are kept ----------------------------------------


@every_world
def test_T66_every_variant_is_kept(world: World) -> None:
    def translated(received: Received) -> Step:
        language = received.headers["accept-language"]
        return answer(200, language.encode(), {**FRESH, "vary": "Accept-Language", "etag": f'"{language}"'})

    async def scenario() -> None:
        with FaultServer(translated) as server:
            async with world.client(Pipeline("t66"), cache=HttpCache()) as client:
                for _ in range(3):
                    for language in ("de", "en", "fr", "it"):
                        response = await client.get(server.url, headers={"accept-language": language})
                        assert response.text == language
                assert len(server.received) == 4

    world.run(scenario)


@every_world
def test_T66_age_and_a_missing_date_are_seen(world: World) -> None:
    script = {
        "/aged": answer(200, b"", {"cache-control": "max-age=60", "age": "59"}),
        "/dateless": answer(200, b"", {"cache-control": "max-age=60"}),
    }

    async def scenario() -> None:
        with FaultServer(script) as server, use(InstantClock()) as clock:
            async with world.client(Pipeline("t66"), cache=HttpCache()) as client:
                for path, seconds in (("/aged", 2), ("/dateless", 61)):
                    await client.get(server.url + path)
                    assert (await client.get(server.url + path)).extensions["resilient.provenance"].source == "fresh"
                    clock.sleep(seconds)
                    await client.get(server.url + path)
                    assert seen(server, path) == 2

    world.run(scenario)


@every_world
def test_T66_what_a_request_asks_of_the_cache_is_obeyed(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(answer(200, b"", FRESH)) as server:
            async with world.client(Pipeline("t66"), cache=HttpCache()) as client:
                url = server.url
                response = await client.get(url, headers={"cache-control": "only-if-cached"})
                assert response.status_code == 504
                assert server.received == []
                await client.get(url, headers={"cache-control": "no-store"})
                await client.get(url)
                assert len(server.received) == 2
                assert (await client.get(url, headers={"cache-control": "only-if-cached"})).status_code == 200

    world.run(scenario)


# -- C35: a stale answer in place of a failure ---------------------------------------------------------

FAILURES = {
    "500": answer(500, b"broken"),
    "502": answer(502, b"broken"),
    "503": answer(503, b"broken"),
    "504": answer(504, b"broken"),
    "throttled": retry_after(503, 30),
    "reset": reset(),
    "slow": stall(),
}


@every_world
@pytest.mark.parametrize("failure", FAILURES)
def test_C35_a_stale_answer_stands_in_for_a_failure(world: World, failure: str) -> None:
    async def scenario() -> None:
        with FaultServer([answer(200, b"good", SHORT), FAILURES[failure]]) as server, use(InstantClock()) as clock:
            cache = HttpCache(**PATIENT)
            async with world.client(pipeline(Timeout(0.3)), cache=cache) as client:
                await client.get(server.url)
                clock.sleep(100)
                with provenance() as told:
                    response = await client.get(server.url)
                assert (response.status_code, response.text) == (200, "good")
                assert int(response.headers["age"]) >= 100
                assert "stale" in response.headers["cache-status"] or "ttl=-" in response.headers["cache-status"]
                made = response.extensions["resilient.provenance"]
                assert made.stale
                assert made.age >= 100
                assert made.reason
                assert told.last == made
                assert len(server.received) == 2

    world.run(scenario)


@every_world
def test_C35_a_stale_answer_stands_in_for_a_refusal(world: World) -> None:
    guarded = pipeline(CircuitBreaker(), Bulkhead(1))

    async def scenario() -> None:
        with FaultServer([answer(200, b"good", SHORT), answer(200, b"new")]) as server, use(InstantClock()) as clock:
            async with world.client(guarded, cache=HttpCache(**PATIENT)) as client:
                await client.get(server.url)
                clock.sleep(100)
                with guarded.permit():
                    response = await client.get(server.url)
                    assert response.extensions["resilient.provenance"].reason == "BulkheadFull"
                    with pytest.raises(BulkheadFull):
                        await client.get(server.url + "/other")
                with force_open(guarded):
                    response = await client.get(server.url)
                    assert response.extensions["resilient.provenance"].reason == "BreakerOpen"
                    assert response.text == "good"
                    with pytest.raises(BreakerOpen):
                        await client.post(server.url)
                assert len(server.received) == 1

    world.run(scenario)


@every_world
def test_C35_a_stale_answer_stands_in_when_the_deadline_has_passed(world: World) -> None:
    async def scenario() -> None:
        with FaultServer([answer(200, b"good", SHORT), stall()]) as server, use(InstantClock()) as clock:
            async with world.client(pipeline(Timeout(5)), cache=HttpCache(**PATIENT)) as client:
                await client.get(server.url)
                clock.sleep(100)
                with deadline(0.2):
                    response = await client.get(server.url)
                assert response.text == "good"

    world.run(scenario)


BOUNDS: dict[str, tuple[dict[str, str], dict[str, Any], float, bool]] = {
    # stored with, cache, seconds later, served
    "within": (SHORT, {"stale_if_error": 100}, 105, True),
    "too old": (SHORT, {"stale_if_error": 100}, 111, False),
    "must-revalidate": ({"cache-control": "max-age=10, must-revalidate"}, PATIENT, 100, False),
    "no-cache": ({"cache-control": "max-age=10, no-cache"}, PATIENT, 5, False),
    "off": (SHORT, {}, 100, False),
    "the server's own leave": ({"cache-control": "max-age=10, stale-if-error=500"}, {}, 500, True),
    "the server's own leave is over": ({"cache-control": "max-age=10, stale-if-error=500"}, {}, 511, False),
}


@every_world
@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("failure", ["503", "reset"])
def test_C35_a_stale_answer_has_bounds(world: World, bound: str, failure: str) -> None:
    stored, options, seconds, served = BOUNDS[bound]

    async def scenario() -> None:
        with FaultServer([answer(200, b"good", stored), FAILURES[failure]]) as server, use(InstantClock()) as clock:
            async with world.client(Pipeline("c35"), cache=HttpCache(**options)) as client:
                await client.get(server.url)
                clock.sleep(seconds)
                if served:
                    assert (await client.get(server.url)).text == "good"
                elif failure == "503":
                    assert (await client.get(server.url)).status_code == 503
                else:
                    with pytest.raises(world.family.TransportError):
                        await client.get(server.url)

    world.run(scenario)


@every_world
@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_C35_the_callers_own_error_is_never_covered(world: World, status: int) -> None:
    async def scenario() -> None:
        with FaultServer([answer(200, b"good", SHORT), answer(status)]) as server, use(InstantClock()) as clock:
            async with world.client(Pipeline("c35"), cache=HttpCache(**PATIENT)) as client:
                await client.get(server.url)
                clock.sleep(100)
                assert (await client.get(server.url)).status_code == status

    world.run(scenario)


@every_world
def test_C35_a_stale_answer_stays_with_its_user_and_its_variant(world: World) -> None:
    down: list[bool] = []

    def script(received: Received) -> Step:
        mark = received.headers.get("authorization", "") + received.headers.get("accept-language", "")
        return answer(503) if down else answer(200, mark.encode(), {**SHORT, "vary": "accept-language"})

    async def scenario() -> None:
        down.clear()
        with FaultServer(script) as server, use(InstantClock()) as clock:
            async with world.client(Pipeline("c35"), cache=HttpCache(**PATIENT)) as client:
                alice = {"authorization": "alice", "accept-language": "de"}
                await client.get(server.url, headers=alice)
                clock.sleep(100)
                down.append(True)
                for other in ({**alice, "authorization": "bob"}, {**alice, "accept-language": "en"}, {}):
                    assert (await client.get(server.url, headers=other)).status_code == 503
                assert (await client.get(server.url, headers=alice)).text == "alicede"

    world.run(scenario)


@every_world
def test_C35_a_body_that_breaks_is_not_stored(world: World) -> None:
    script = [close_mid_body(b"half", 100), answer(200, b"whole", FRESH)]

    async def scenario() -> None:
        with FaultServer(script) as server:
            async with world.client(Pipeline("c35"), cache=HttpCache(**PATIENT)) as client:
                with pytest.raises(world.family.TransportError):
                    await client.get(server.url)
                assert (await client.get(server.url)).text == "whole"

    world.run(scenario)
