"""Answers past their time: while a fresh one is fetched, and when none can be had (RFC 5861; RFC 9111, 4.2.4)."""

from __future__ import annotations

import pytest

from resilient import BreakerOpen, CallTimeout, ConfigError, events
from resilient.errors import Unguardable
from tests.cache._world import Answer, Sent, Unreachable, World


def stale(world: World, directives: str, after: float = 0, status: int = 200, **headers: str) -> World:
    """Store an answer that is fresh for 10 s, and go to so many seconds past that."""
    world.gives({"Cache-Control": f"max-age=10, {directives}", **headers}, "old", status)
    world.ask()
    world.sleep(10 + after)
    return world.only()


# -- stale-if-error --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        Unreachable("reset"),
        OSError("unreachable"),
        TimeoutError("too late"),
        CallTimeout("api", "timeout", 1.0, 1.0),
        BreakerOpen("api", "circuit_breaker", 5.0),
    ],
)
def test_it_stands_in_for_errors_timeouts_and_refusals(world: World, error: Exception) -> None:
    stale(world, "stale-if-error=60", 20).fails(error)
    seen = world.ask()
    assert (seen.status, seen.body, seen.source) == (200, b"old", "stale")
    assert (seen.reason, seen["age"]) == (type(error).__name__, "30")


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_it_stands_in_for_these_statuses(world: World, status: int) -> None:
    stale(world, "stale-if-error=60").gives({"Retry-After": "5"}, "sorry", status)
    seen = world.ask()
    assert (seen.status, seen.body, seen.source, seen.reason) == (200, b"old", "stale", str(status))
    assert [got.status for got in world.closed] == [status]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 410, 421, 429, 501, 505, 599])
def test_it_stands_in_for_no_other_status(world: World, status: int) -> None:
    stale(world, "stale-if-error=60").gives({}, "sorry", status)
    assert (world.ask().status, world.ask().source) == (status, "origin")


def test_which_statuses_is_configured_such_as_429(clock: object) -> None:
    world = World(stale_statuses=(429, 503))
    stale(world, "stale-if-error=60").gives(status=429)
    assert world.ask().source == "stale"
    world.only().gives(status=500)
    assert world.ask().source == "origin"


@pytest.mark.parametrize("error", [ConfigError("wrong"), Unguardable("wrong")])
def test_mistakes_of_the_caller_come_through(world: World, error: Exception) -> None:
    stale(world, "stale-if-error=60").fails(error)
    with pytest.raises(type(error)):
        world.ask()


def test_what_the_driver_does_not_call_a_failure_comes_through(world: World) -> None:
    from resilient.cache.flow import answer
    from tests.cache._world import URL, Asked

    stale(world, "stale-if-error=60").fails(ValueError("a body that raised"))
    asked = Asked("GET", URL, [])
    with pytest.raises(ValueError, match="a body"):
        world.drive(answer(world.cache, asked, world.now, lambda error: isinstance(error, OSError)), asked)


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, SystemExit])
def test_what_is_no_exception_passes_untouched(world: World, error: type[BaseException]) -> None:
    from resilient.cache.flow import answer
    from tests.cache._world import URL, Asked

    stale(world, "stale-if-error=60")
    flow = answer(world.cache, Asked("GET", URL, []), world.now)
    command = flow.send(None)
    assert flow.send(world._do(command, None)).fields is None
    with pytest.raises(error):
        flow.throw(error())


@pytest.mark.parametrize(("after", "source"), [(59, "stale"), (60, "stale"), (61, None)])
def test_it_ends_when_the_origin_said(world: World, after: float, source: str | None) -> None:
    stale(world, "stale-if-error=60", after).fails()
    if source is None:
        with pytest.raises(Unreachable):
            world.ask()
    else:
        assert world.ask().source == source


def test_without_a_word_of_origin_client_or_configuration_errors_surface(world: World) -> None:
    stale(world, "").gives(status=503)
    assert world.ask().status == 503
    world.sleep(61)
    world.only().fails()
    with pytest.raises(Unreachable):
        world.ask()


@pytest.mark.parametrize("word", ["", "must-revalidate", "no-cache"])
@pytest.mark.parametrize("most", [30, None], ids=["up to 30 s", "never"])
def test_who_cannot_reach_the_origin_may_serve_stale_for_a_while(clock: object, word: str, most: float | None) -> None:
    world = World(stale_if_unreachable=most)
    stale(world, word, 30, ETag='"a"').fails()
    if most is None or word:
        with pytest.raises(Unreachable):
            world.ask()
    else:
        assert world.ask().source == "stale"
        world.sleep(1)
        with pytest.raises(Unreachable):
            world.ask()


def test_the_client_may_ask_for_it(world: World) -> None:
    stale(world, "", 20).fails()
    with pytest.raises(Unreachable):
        world.ask(headers={"Cache-Control": "stale-if-error=19"})
    assert world.ask(headers={"Cache-Control": "stale-if-error=20"}).source == "stale"
    assert world.ask(headers={"Cache-Control": "no-cache, stale-if-error=20"}).source == "stale"


def test_it_may_be_configured_bounded_by_age(clock: object) -> None:
    world = World(stale_if_error=100)
    stale(world, "", 100).fails()
    assert world.ask().source == "stale"
    world.sleep(1)
    with pytest.raises(Unreachable):
        world.ask()


@pytest.mark.parametrize("where", ["origin", "configured"])
def test_it_never_goes_beyond_the_longest_stale_of_the_cache(clock: object, where: str) -> None:
    world = World(longest_stale=50, stale_if_error=1000 if where == "configured" else None)
    stale(world, "stale-if-error=1000" if where == "origin" else "", 50, ETag='"a"').fails()
    assert world.ask().source == "stale"
    world.sleep(1)
    with pytest.raises(Unreachable):
        world.ask()


@pytest.mark.parametrize("forbidden", ["must-revalidate", "no-cache", "Must-Revalidate"])
@pytest.mark.parametrize("mode", ["private", "shared"])
def test_C35_what_must_not_be_stale_is_not(clock: object, forbidden: str, mode: str) -> None:
    world = World(shared=mode == "shared", stale_if_error=1000)
    stale(world, f"{forbidden}, stale-if-error=60", ETag='"a"').fails()
    with pytest.raises(Unreachable):
        world.ask()
    with pytest.raises(Unreachable):
        world.ask(headers={"Cache-Control": "stale-if-error=1000, max-stale"})


@pytest.mark.parametrize("forbidden", ["proxy-revalidate", "s-maxage=10"])
def test_C35_in_a_shared_cache_these_forbid_it_too(clock: object, forbidden: str) -> None:
    for shared in (True, False):
        world = World(shared=shared, stale_if_error=1000)
        stale(world, forbidden).fails()
        if shared:
            with pytest.raises(Unreachable):
                world.ask()
        else:
            assert world.ask().source == "stale"


@pytest.mark.parametrize("directives", ["no-cache", "max-age=5", "min-fresh=1"])
def test_a_request_that_wants_a_fresh_answer_gets_the_error(clock: object, directives: str) -> None:
    world = World(stale_if_error=1000)
    stale(world, "").fails()
    with pytest.raises(Unreachable):
        world.ask(headers={"Cache-Control": directives})


def test_C35_only_the_answer_that_fits_stands_in(clock: object) -> None:
    world = World(stale_if_error=1000)
    stale(world, "", Vary="Foo").fails()
    for headers in ({"Foo": "2"}, {"Cookie": "a=1"}, {"Authorization": "x"}):
        with pytest.raises(Unreachable):
            world.ask(headers=headers)
    assert world.ask().source == "stale"


def test_a_stored_error_does_not_stand_in_for_an_error(clock: object) -> None:
    world = World(stale_if_error=1000)
    stale(world, "", status=500).fails()
    with pytest.raises(Unreachable):
        world.ask()


def test_a_404_does(clock: object) -> None:
    world = World(stale_if_error=1000)
    stale(world, "", status=404).fails()
    assert (world.ask().status, world.ask().source) == (404, "stale")


def test_it_stands_in_for_head_and_for_ranges_too(clock: object) -> None:
    world = World(stale_if_error=1000)
    stale(world, "").fails()
    head = world.ask(method="HEAD")
    assert (head.source, head.body) == ("stale", b"")
    part = world.ask(headers={"Range": "bytes=0-1"})
    assert (part.source, part.status, part.body) == ("stale", 206, b"ol")


def test_it_never_stands_in_for_a_write(clock: object) -> None:
    world = World(stale_if_error=1000)
    stale(world, "").fails()
    with pytest.raises(Unreachable):
        world.ask(method="POST")


def test_a_downstream_that_is_gone_leaves_reads_answering_with_their_age(clock: object) -> None:
    world = World(stale_if_error=3600)
    stale(world, "").fails(BreakerOpen("api", "circuit_breaker", 5.0))
    for _ in range(60):
        seen = world.ask()
        assert seen.source == "stale"
        assert int(seen["age"] or 0) == seen.age
        world.sleep(60 - 1)
    assert world.cache.snapshot()["stale"] == 60


def test_an_answer_that_was_broken_off_while_it_was_being_confirmed_changes_nothing(clock: object) -> None:
    world = World(stale_if_error=1000)
    stale(world, "").gives({"Cache-Control": "max-age=10"}, "new")
    world.ask(read="broken")
    world.only().fails()
    assert world.ask().body == b"old"


# -- stale-while-revalidate ------------------------------------------------------------------------------


def test_a_stale_answer_is_served_while_one_fresh_is_fetched_behind_it(world: World) -> None:
    stale(world, "stale-while-revalidate=60", 5).gives({"Cache-Control": "max-age=10"}, "new")
    seen = world.ask()
    assert (seen.body, seen.source, seen.reason, seen["age"], seen.sent) == (b"old", "stale", "revalidating", "15", [])
    assert seen["cache-status"] == "resilient; hit; ttl=-5; detail=revalidating"
    assert world.settle() == 1
    again = world.ask()
    assert (again.body, again.source, again["age"]) == (b"new", "fresh", "0")


def test_one_is_fetched_at_a_time(world: World) -> None:
    stale(world, "stale-while-revalidate=60", ETag='"a"').gives(status=304, headers={"ETag": '"a"'})
    assert [world.ask().source for _ in range(5)] == ["stale"] * 5
    assert world.settle() == 1
    assert world.sent[-1]["if-none-match"] == '"a"'
    assert world.ask().source == "fresh"
    world.sleep(10)
    assert world.ask().source == "stale"
    assert world.settle() == 1


@pytest.mark.parametrize(("after", "source"), [(60, "stale"), (61, "origin")])
def test_its_window_ends_when_the_origin_said(world: World, after: float, source: str) -> None:
    stale(world, "stale-while-revalidate=60", after).gives()
    assert world.ask().source == source


def test_it_may_be_configured(clock: object) -> None:
    world = World(stale_while_revalidate=100)
    stale(world, "", 100).gives()
    assert world.ask().source == "stale"


@pytest.mark.parametrize("forbidden", ["must-revalidate", "no-cache"])
def test_it_loses_to_what_forbids_it(clock: object, forbidden: str) -> None:
    world = World(stale_while_revalidate=100)
    stale(world, f"{forbidden}, stale-while-revalidate=100", ETag='"a"').gives()
    assert world.ask().source == "origin"


@pytest.mark.parametrize("directives", ["max-age=100", "min-fresh=1", "no-cache"])
def test_it_loses_to_a_request_that_wants_a_fresh_answer(world: World, directives: str) -> None:
    stale(world, "stale-while-revalidate=60").gives()
    assert world.ask(headers={"Cache-Control": directives}).source == "origin"


def test_where_nothing_may_run_behind_it_is_fetched_at_once(world: World) -> None:
    stale(world, "stale-while-revalidate=60").gives({"Cache-Control": "max-age=10, stale-while-revalidate=60"}, "new")
    world.accepts_background = False
    assert world.ask().body == b"new"
    world.sleep(10)
    world.accepts_background = True
    assert world.ask().source == "stale"


def test_a_fetch_that_fails_is_told_and_may_be_tried_again(world: World) -> None:
    heard: list[events.Event] = []
    stop = events.subscribe(heard.append)
    stale(world, "stale-while-revalidate=60").fails()
    assert world.ask().source == "stale"
    world.settle()
    assert world.ask().source == "stale"
    assert world.settle() == 1
    stop()
    assert world.cache.snapshot()["refresh_failed"] == 2
    assert [event.name for event in heard] == ["resilient.cache.refresh_failed"] * 2
    assert dict(heard[0].fields) == {"policy": "http_cache", "cause": "Unreachable"}


def test_a_fetch_that_is_lost_blocks_nobody_for_long(world: World) -> None:
    stale(world, "stale-while-revalidate=600").gives()
    world.ask()
    world.behind.clear()
    world.sleep(59)
    world.ask()
    assert world.behind == []
    world.sleep(1)
    world.ask()
    assert world.settle() == 1


@pytest.mark.parametrize("status", [500, 503, 404, 301])
def test_what_the_fetch_brings_is_judged_like_any_answer(world: World, status: int) -> None:
    stale(world, "stale-while-revalidate=60").gives({"Cache-Control": "max-age=10"}, "new", status)
    world.ask()
    world.settle()
    seen = world.ask()
    assert seen.status == (200 if status >= 500 else status)
    assert seen.body == (b"old" if status >= 500 else b"new")


def test_the_fetch_is_for_the_whole_and_has_no_conditions_of_the_client(world: World) -> None:
    stale(world, "stale-while-revalidate=60", ETag='"a"').gives({"Cache-Control": "max-age=10"}, "new")
    seen = world.ask(headers={"Range": "bytes=0-1", "If-None-Match": '"x"', "Accept": "y"})
    assert (seen.status, seen.body, seen.source) == (206, b"ol", "stale")
    world.settle()
    sent = world.sent[-1]
    assert (sent["range"], sent["if-none-match"], sent["accept"]) == (None, '"a"', "y")
    assert world.ask().body == b"new"


def test_a_request_for_the_header_alone_fetches_nothing_behind_it(world: World) -> None:
    stale(world, "stale-while-revalidate=60").gives({"Cache-Control": "max-age=10"}, "new")
    assert world.ask(method="HEAD").source == "origin"
    assert world.behind == []
    assert world.ask().body == b"old"
    world.settle()
    assert world.ask().body == b"new"


def test_a_fetch_of_a_body_that_is_too_large_ends_without_reading_it(clock: object) -> None:
    world = World(max_body=100)
    stale(world, "stale-while-revalidate=60").gives(
        {"Cache-Control": "max-age=10", "Content-Length": "101"}, b"x" * 101
    )
    world.ask()
    world.settle()
    assert len(world.closed) == 1
    world.only().gives({"Cache-Control": "max-age=10"}, b"x" * 101)
    world.ask()
    world.settle()
    assert world.ask().body == b"old"


def test_a_fetch_that_was_overtaken_by_a_write_brings_nothing_back(world: World) -> None:
    def meanwhile(sent: Sent) -> Answer:
        world.only().gives(status=204)
        world.ask(method="PUT")
        return Answer(200, [("Cache-Control", "max-age=1000")], b"older")

    stale(world, "stale-while-revalidate=60").does(meanwhile)
    world.ask()
    world.settle()
    assert world.store.stats().entries == 0


def test_a_fallback_behind_the_fetch_is_never_stored(world: World) -> None:
    stale(world, "stale-while-revalidate=60", ETag='"a"')
    for status in (200, 304):
        world.only().gives({"Cache-Control": "max-age=10", "ETag": '"a"'}, "stand-in", status, replaced=True)
        assert world.ask().body == b"old"
        world.settle()
    assert world.ask().source == "stale"


def test_a_304_about_something_else_ends_the_answer(world: World) -> None:
    stale(world, "stale-while-revalidate=60", ETag='"a"').gives({"ETag": '"b"'}, status=304)
    world.ask()
    world.settle()
    world.only().gives({"Cache-Control": "max-age=10"}, "new")
    assert world.ask().body == b"new"
