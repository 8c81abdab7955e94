"""HttpCache as its users see it: settings, caps against poisoned answers, purging, a store that fails."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import Any

import pytest
import trio

from resilient import ConfigError, faults
from resilient.cache import HttpCache
from resilient.cache.claims import Claims
from resilient.cache.messages import Fields
from resilient.stores import MemoryStore, Record
from tests.cache._world import URL, World

FRESH = {"Cache-Control": "max-age=60"}
DAY = 86400.0
YEAR = 365 * DAY


# -- settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"store": MemoryStore}, TypeError, "store"),
        ({"store": {}}, TypeError, "store"),
        ({"shared": 1}, TypeError, "shared"),
        ({"shared": "no"}, TypeError, "shared"),
        ({"stale_if_error": -1}, ConfigError, "stale_if_error"),
        ({"stale_if_error": float("nan")}, ConfigError, "stale_if_error"),
        ({"stale_while_revalidate": "1"}, TypeError, "stale_while_revalidate"),
        ({"longest_fresh": -1}, ConfigError, "longest_fresh"),
        ({"longest_stale": float("inf")}, ConfigError, "longest_stale"),
        ({"heuristic": 1.1}, ConfigError, "heuristic"),
        ({"heuristic": -0.1}, ConfigError, "heuristic"),
        ({"heuristic_most": -1}, ConfigError, "heuristic_most"),
        ({"max_body": 0}, ConfigError, "max_body"),
        ({"max_body": 1.5}, TypeError, "max_body"),
        ({"max_variants": 0}, ConfigError, "max_variants"),
        ({"partition": "authorization"}, TypeError, "partition"),
        ({"tags": ["a"]}, TypeError, "tags"),
        ({"patience": 0}, ConfigError, "patience"),
        ({"stale_statuses": (200,)}, ConfigError, "stale_statuses"),
        ({"stale_statuses": (600,)}, ConfigError, "stale_statuses"),
        ({"stale_statuses": ("503",)}, TypeError, "stale_statuses"),
        ({"stale_statuses": (True,)}, TypeError, "stale_statuses"),
        ({"secret": "x" * 32}, TypeError, "secret"),
        ({"secret": b"x"}, ConfigError, "secret"),
        ({"secret": b"x" * 65}, ConfigError, "secret"),
        ({"name": ""}, ConfigError, "name"),
    ],
)
def test_bad_settings_are_refused_by_name(settings: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        HttpCache(**settings)
    assert "xxxx" not in str(caught.value)


def test_async_functions_are_refused() -> None:
    async def later(*_: object) -> None: ...

    for name in ("partition", "tags"):
        with pytest.raises(TypeError, match=name):
            HttpCache(**{name: later})  # type: ignore[arg-type]


def test_durations_may_be_timedeltas_and_zero_is_honoured(clock: object) -> None:
    cache = HttpCache(stale_if_error=timedelta(minutes=1), longest_fresh=0, longest_stale=0, stale_while_revalidate=0)
    assert (cache.stale_if_error, cache.rules.longest, cache.longest_stale) == (60, 0, 0)
    world = World(longest_fresh=0)
    world.gives(FRESH)
    world.ask()
    assert world.ask().source == "origin"


def test_it_shows_what_it_is() -> None:
    assert repr(HttpCache(name="orders")).startswith(
        "<HttpCache 'orders': private, <resilient.stores.memory.MemoryStore"
    )
    assert "shared" in repr(HttpCache(shared=True))


# -- caps ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Expires": "Thu, 31 Dec 2099 23:59:59 GMT"},
        {"Cache-Control": "max-age=2147483648"},
        {"Cache-Control": "max-age=99999999999999999999"},
        {"Cache-Control": "immutable, max-age=31536000"},
    ],
)
def test_an_answer_that_never_expires_does(world: World, headers: dict[str, str]) -> None:
    world.gives(headers)
    world.ask()
    world.sleep(30 * DAY - 1)
    assert world.ask().source == "fresh"
    world.sleep(1)
    assert world.ask().source == "origin"


def test_its_stale_life_is_capped_too(clock: object) -> None:
    world = World(longest_fresh=100, longest_stale=50, stale_if_error=YEAR)
    world.gives({"Cache-Control": "max-age=99999999, stale-if-error=99999999, stale-while-revalidate=99999999"})
    world.ask()
    world.sleep(150)
    assert world.ask().source == "stale"
    world.sleep(2)
    assert world.store.stats().entries == 0


def test_a_last_modified_of_long_ago_is_no_licence(world: World) -> None:
    world.gives({"Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"})
    world.ask()
    world.sleep(DAY)
    assert world.ask().source == "origin"


def test_a_date_in_the_future_makes_nothing_fresh_for_longer(world: World) -> None:
    world.gives({"Cache-Control": "max-age=60", "Date": "Thu, 31 Dec 2099 23:59:59 GMT"})
    world.ask()
    world.sleep(60)
    assert world.ask().source == "origin"


# -- purging ---------------------------------------------------------------------------------------------


def filled(world: World) -> World:
    world.gives({**FRESH, "Vary": "Foo"})
    for path in ("/users/1", "/users/2", "/users?q=1", "/usersettings", "/orders/1"):
        for headers in ({}, {"Foo": "1"}, {"Cookie": "a=1"}):
            world.ask(f"https://api.example{path}", headers)
    return world


@pytest.mark.parametrize(
    ("arguments", "removed"),
    [
        ({}, 15),
        ({"url": "https://api.example/users/1"}, 3),
        ({"url": "HTTPS://API.EXAMPLE:443/users/1#x"}, 3),
        ({"url": "https://api.example/users"}, 0),
        ({"prefix": "https://api.example/users/"}, 6),
        ({"prefix": "https://API.example/users"}, 12),
        ({"prefix": "https://api.example"}, 15),
        ({"prefix": "https://api.exampl"}, 0),
        ({"prefix": "https://"}, 15),
        ({"prefix": ""}, 15),
    ],
)
def test_purging_reaches_all_variants_and_identities(world: World, arguments: dict[str, str], removed: int) -> None:
    filled(world)
    world.store.put("mine", Record("", b"", b""), lifetime=100)
    assert world.cache.purge(**arguments) == removed
    assert world.store.stats().entries == 16 - removed
    assert world.store.get("mine") != ()


def test_purging_by_tag(clock: object) -> None:
    def tags(asked: Any, status: int, fields: Fields) -> list[str]:
        return [f"status-{status}", *(value.decode() for name, value in fields if name == b"X-Tag")]

    world = World(tags=tags)
    world.gives({**FRESH, "X-Tag": "a"}).gives({**FRESH, "X-Tag": "b"}).gives(FRESH, status=404)
    for path in "123":
        world.ask(URL + path)
    assert world.cache.purge(tag="a") == 1
    assert world.cache.purge(tag="status-404", prefix="https://other") == 0
    assert world.cache.purge(tag="status-404", prefix=URL) == 1
    assert world.cache.purge(tag="unknown") == 0
    assert world.cache.purge() == 1


def test_tags_of_an_answer_stay_with_it_when_it_is_confirmed(clock: object) -> None:
    world = World(tags=lambda asked, status, fields: ["all"])
    world.gives({**FRESH, "ETag": '"a"'})
    world.ask()
    world.sleep(60)
    world.only().gives({"ETag": '"a"'}, status=304)
    world.ask()
    assert world.cache.purge(tag="all") == 1


@pytest.mark.parametrize("bad", [ZeroDivisionError("mine"), [1], None])
def test_an_answer_whose_tags_are_unknown_is_not_stored_and_the_fault_is_reported(clock: object, bad: Any) -> None:
    def tags(*_: object) -> Any:
        if isinstance(bad, Exception):
            raise bad
        return bad

    world = World(tags=tags)
    world.gives(FRESH)
    assert world.ask().body == b"body"
    assert world.store.stats().entries == 0
    assert faults.total() >= 1


def test_purging_refuses_what_cannot_be_meant(world: World) -> None:
    with pytest.raises(ConfigError, match="prefix"):
        world.cache.purge(URL, prefix=URL)
    with pytest.raises(ConfigError, match="prefix"):
        world.cache.purge(prefix="https://api.example/" + "x" * 1000)


@pytest.mark.parametrize("run", [asyncio.run, trio.run])
def test_purging_works_in_tasks(world: World, run: Any) -> None:
    filled(world)

    async def purge() -> int:
        return await world.cache.apurge(prefix="https://api.example/users/")

    assert run(purge() if run is asyncio.run else purge) == 6


def test_what_was_asked_for_before_a_purge_is_not_stored_after_it(world: World) -> None:
    from resilient.cache.flow import answer
    from tests.cache._world import Asked

    for purge in ({"url": URL}, {"prefix": "https://"}, {}):
        world.only().gives(FRESH, "old")
        asked = Asked("GET", URL, [])
        passed = world.drive(answer(world.cache, asked, world.now), asked)
        world.cache.purge(**purge)
        world._consume(passed)
        assert world.store.stats().entries == 0
    world.ask()
    assert world.ask().source == "fresh"


# -- stores ----------------------------------------------------------------------------------------------


class Torn(MemoryStore):
    """Fails when it is told to."""

    fails = frozenset[str]()

    def get(self, key: str) -> Any:
        return self._or_fail("get", lambda: MemoryStore.get(self, key))

    def put(self, *arguments: Any, **settings: Any) -> Any:
        return self._or_fail("put", lambda: MemoryStore.put(self, *arguments, **settings))

    def delete(self, *arguments: Any, **settings: Any) -> Any:
        return self._or_fail("delete", lambda: MemoryStore.delete(self, *arguments, **settings))

    def purge(self, **settings: Any) -> Any:
        return self._or_fail("purge", lambda: MemoryStore.purge(self, **settings))

    def _or_fail(self, name: str, act: Any) -> Any:
        if name in self.fails:
            raise OSError("the disk is gone")
        return act()


@pytest.mark.parametrize("broken", ["get", "put", "delete", "purge"])
def test_a_store_that_fails_costs_no_answer(clock: object, broken: str) -> None:
    store = Torn()
    world = World(store=store, stale_if_error=100)
    world.gives({**FRESH, "ETag": '"a"', "Vary": "Foo"})
    world.ask()
    store.fails = frozenset({broken})
    for headers in ({}, {"Foo": "1"}, {"Cookie": "x"}, {"Cache-Control": "no-cache"}, {"Range": "bytes=0-1"}):
        assert world.ask(headers=headers).status in (200, 206)
    assert world.ask(method="POST").status == 200
    world.sleep(61)
    assert world.ask().status == 200


def test_a_store_that_is_full_costs_no_answer(clock: object) -> None:
    world = World(store=MemoryStore(max_bytes=100))
    world.gives(FRESH, b"x" * 1000)
    assert world.ask().body == b"x" * 1000
    assert world.ask().source == "origin"


def test_a_cache_makes_a_store_of_its_own_if_it_is_given_none() -> None:
    one, two = HttpCache(), HttpCache()
    assert isinstance(one.front.store, MemoryStore)
    assert one.front.store is not two.front.store


# -- claims ----------------------------------------------------------------------------------------------


def test_a_claim_is_for_one_until_it_is_given_back_or_over() -> None:
    claims = Claims()
    assert claims.take("a", 0)
    assert not claims.take("a", 59.9)
    assert claims.take("b", 0)
    claims.give_back("a")
    assert claims.take("a", 1)
    assert claims.take("a", 61.1)
    assert claims.take("a", -1000)  # the clock was set back


def test_claims_that_nobody_gives_back_are_bounded() -> None:
    claims = Claims()
    for number in range(5000):
        claims.take(number, number)
    assert len(claims._ends) < 1200


def test_addresses_that_are_remembered_are_bounded(world: World) -> None:
    from resilient.cache.flow import quick
    from tests.cache._world import Asked

    for number in range(5000):
        quick(world.cache, Asked("GET", f"{URL}/{number}", []), world.now)
    assert len(world.cache.addresses) <= 4096


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_fork_changes_nothing_for_a_cache_in_memory(world: World) -> None:
    world.gives(FRESH)
    world.ask()
    child = os.fork()
    if child == 0:
        os._exit(0 if world.ask().source == "fresh" else 1)
    assert os.waitpid(child, 0)[1] == 0
