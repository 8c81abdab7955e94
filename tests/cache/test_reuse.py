"""When a stored answer is used, and what a request says about that (RFC 9111, 4 and 5.2.1)."""

from __future__ import annotations

import pytest

from tests.cache._world import URL, World

MINUTE = {"Cache-Control": "max-age=60"}


def asks(world: World, directives: str) -> str:
    return world.ask(headers={"Cache-Control": directives}).source


def test_a_fresh_answer_is_used_and_a_stale_one_is_not(world: World) -> None:
    world.gives(MINUTE)
    assert world.ask().source == "origin"
    world.sleep(59)
    assert world.ask().source == "fresh"
    world.sleep(1)
    assert world.ask().source == "origin"
    assert world.ask().source == "fresh"


def test_an_answer_is_used_for_its_own_address_only(world: World) -> None:
    world.gives(MINUTE)
    world.ask()
    for other in (
        "http://api.example/thing",
        "https://api.example/Thing",
        "https://api.example/thing/",
        "https://api.example/thing?",
        "https://api.example:8443/thing",
        "https://api.example.org/thing",
        "https://api.example/%74hing",
    ):
        assert world.ask(other).source == "origin"


@pytest.mark.parametrize(
    "same",
    [
        URL + "#part",
        "HTTPS://API.example/thing",
        "https://api.example:443/thing",
        "https://user:word@api.example/thing",
    ],
)
def test_addresses_that_mean_the_same_are_one(world: World, same: str) -> None:
    world.gives(MINUTE)
    world.ask()
    assert world.ask(same).source == "fresh"


def test_long_addresses_stay_apart_and_keys_stay_short(world: World) -> None:
    base = URL + "?q=" + "x" * 5000
    world.gives(MINUTE)
    world.ask(base + "a")
    assert world.ask(base + "b").source == "origin"
    assert world.ask(base + "a").source == "fresh"
    assert world.store.stats().size < 3000


@pytest.mark.parametrize(
    "url", ["", "nonsense", "a b", "http://", "http://[::1", "//x/y", "http://h/\ud800", "x" * 3000]
)
def test_any_text_is_an_address(world: World, url: str) -> None:
    world.gives(MINUTE)
    world.ask(url)
    assert world.ask(url).source == "fresh"
    assert world.cache.purge(url) == 1


# -- what the answer says --------------------------------------------------------------------------------


def test_no_cache_means_to_ask_before_each_use(world: World) -> None:
    world.gives({"Cache-Control": "no-cache, max-age=60", "ETag": '"a"'})
    world.ask()
    world.only().gives(status=304, headers={"ETag": '"a"'})
    for _ in range(2):
        again = world.ask()
        assert (again.source, again.status, again.body) == ("revalidated", 200, b"body")
        assert again.sent[0]["if-none-match"] == '"a"'


def test_must_revalidate_means_nothing_while_an_answer_is_fresh(world: World) -> None:
    world.gives({"Cache-Control": "max-age=60, must-revalidate"})
    world.ask()
    assert world.ask().source == "fresh"


def test_pragma_in_an_answer_means_nothing(world: World) -> None:
    world.gives({**MINUTE, "Pragma": "no-cache"})
    world.ask()
    assert world.ask().source == "fresh"


# -- what the request says -------------------------------------------------------------------------------


def test_no_cache_asks_although_the_answer_is_fresh(world: World) -> None:
    world.gives({**MINUTE, "ETag": '"a"'})
    world.ask()
    world.only().gives(status=304, headers={"ETag": '"a"'})
    assert asks(world, "no-cache") == "revalidated"
    assert asks(world, "No-Cache") == "revalidated"


def test_what_such_a_request_brings_is_stored(world: World) -> None:
    world.gives(MINUTE).gives(MINUTE, "new")
    world.ask()
    assert asks(world, "no-cache") == "origin"
    assert world.ask().body == b"new"


def test_no_store_goes_past_the_cache_both_ways(world: World) -> None:
    world.gives(MINUTE)
    assert asks(world, "no-store") == "origin"
    assert world.store.stats().entries == 0
    world.ask()
    assert asks(world, "no-store") == "origin"
    assert world.ask().source == "fresh"


@pytest.mark.parametrize(
    ("directive", "source"), [("max-age=31", "fresh"), ("max-age=30", "fresh"), ("max-age=29", "origin")]
)
def test_max_age_takes_nothing_older(world: World, directive: str, source: str) -> None:
    world.gives(MINUTE)
    world.ask()
    world.sleep(30)
    assert asks(world, directive) == source


@pytest.mark.parametrize("directive", ["max-age=0", "max-age=x", "max-age"])
def test_max_age_0_takes_nothing_stored_at_all(world: World, directive: str) -> None:
    world.gives(MINUTE)
    world.ask()
    assert asks(world, directive) == "origin"


@pytest.mark.parametrize(
    ("directive", "source"), [("min-fresh=29", "fresh"), ("min-fresh=30", "fresh"), ("min-fresh=31", "origin")]
)
def test_min_fresh_takes_only_what_is_fresh_for_so_long(world: World, directive: str, source: str) -> None:
    world.gives(MINUTE)
    world.ask()
    world.sleep(30)
    assert asks(world, directive) == source


@pytest.mark.parametrize(
    ("directive", "source"),
    [
        ("max-stale", "stale"),
        ("max-stale=30", "stale"),
        ("max-stale=29", "origin"),
        ("max-stale=x", "origin"),
        ("max-stale=0", "origin"),
        ("max-stale=30, max-age=60", "stale"),
        ("max-stale=30, max-age=59", "origin"),
        ("max-stale=30, no-cache", "origin"),
        ("max-stale=30, min-fresh=1", "origin"),
    ],
)
def test_max_stale_takes_what_is_past_its_time(world: World, directive: str, source: str) -> None:
    world.gives(MINUTE)
    world.ask()
    world.sleep(90)
    seen = world.ask(headers={"Cache-Control": directive})
    assert seen.source == source
    if source == "stale":
        assert (seen["age"], seen.reason) == ("90", "max-stale")
        assert seen["cache-status"] == "resilient; hit; ttl=-30; detail=max-stale"


@pytest.mark.parametrize("forbidden", ["must-revalidate", "no-cache"])
def test_max_stale_does_not_take_what_must_not_be_stale(world: World, forbidden: str) -> None:
    world.gives({"Cache-Control": f"max-age=60, {forbidden}"})
    world.ask()
    world.sleep(90)
    assert asks(world, "max-stale") == "origin"


def test_max_stale_takes_nothing_beyond_the_longest_stale_of_the_cache(clock: object) -> None:
    world = World(longest_stale=20)
    world.gives({**MINUTE, "ETag": '"a"'})
    world.ask()
    world.sleep(80)
    assert asks(world, "max-stale") == "stale"
    world.sleep(1)
    assert asks(world, "max-stale") == "origin"


def test_only_if_cached_never_asks(world: World) -> None:
    world.gives(MINUTE)
    missed = world.ask(headers={"Cache-Control": "only-if-cached"})
    assert (missed.status, missed.body, missed.source, missed.sent) == (504, b"", "made up", [])
    world.ask()
    assert asks(world, "only-if-cached") == "fresh"
    world.sleep(60)
    assert world.ask(headers={"Cache-Control": "only-if-cached"}).status == 504
    assert asks(world, "only-if-cached, max-stale") == "stale"


def test_pragma_no_cache_counts_where_there_is_no_cache_control(world: World) -> None:
    world.gives(MINUTE)
    world.ask()
    assert world.ask(headers={"Pragma": "no-cache"}).source == "origin"
    assert world.ask(headers={"Pragma": "x"}).source == "fresh"
    assert world.ask(headers={"Pragma": "no-cache", "Cache-Control": "max-age=60"}).source == "fresh"


@pytest.mark.parametrize("header", ["nothing-to-see-here", "", "immutable, x=y", ",;=\x01"])
def test_directives_that_are_unknown_or_nonsense_change_nothing(world: World, header: str) -> None:
    world.gives(MINUTE)
    world.ask()
    assert asks(world, header) == "fresh"


# -- the short way ---------------------------------------------------------------------------------------


def test_the_short_way_answers_plain_requests_and_leaves_all_others_to_the_flow(world: World) -> None:
    from resilient.cache.flow import quick
    from tests.cache._world import Asked, raw

    def fast(headers: dict[str, str] | None = None, method: str = "GET", *, bodied: bool = False) -> bool:
        return quick(world.cache, Asked(method, URL, raw(headers), bodied), world.now) is not None

    world.gives({**MINUTE, "ETag": '"a"'})
    assert not fast()
    world.ask()
    assert fast()
    assert fast({"Accept": "*/*", "User-Agent": "x"})
    for name in ("Cache-Control", "Pragma", "Range", "If-Range", "If-None-Match", "IF-MODIFIED-SINCE", "upgrade"):
        assert not fast({name: "x"})
    assert not fast(method="HEAD")
    assert not fast(bodied=True)
    assert not fast({"Authorization": "x"})
    world.sleep(60)
    assert not fast()
