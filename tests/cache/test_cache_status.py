"""What responses say of the cache (RFC 9211), and what callers learn in the program."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient import BreakerOpen
from resilient.cache.messages import Reply
from resilient.cache.status import forwarded, hit
from tests.cache._world import URL, Seen, World

FRESH = {"Cache-Control": "max-age=60", "ETag": '"a"'}


def told(seen: Seen) -> dict[str, object]:
    """The last member of the field, as a library reads it."""
    import http_sf

    members = http_sf.parse((seen["cache-status"] or "").encode(), tltype="list")
    name, parameters = members[-1]
    assert str(name) == "resilient"
    return {key: str(value) if isinstance(value, http_sf.Token) else value for key, value in parameters.items()}


def test_a_hit_says_how_long_it_is_fresh_yet(world: World) -> None:
    world.gives(FRESH)
    world.ask()
    world.sleep(20)
    assert told(world.ask()) == {"hit": True, "ttl": 40}
    assert told(world.ask(method="HEAD")) == {"hit": True, "ttl": 40}
    assert told(world.ask(headers={"If-None-Match": '"a"'})) == {"hit": True, "ttl": 40}


def test_a_miss_says_what_missed_and_whether_it_is_stored(world: World) -> None:
    world.gives({**FRESH, "Vary": "Foo"})
    assert told(world.ask()) == {"fwd": "uri-miss", "stored": True}
    assert told(world.ask(headers={"Foo": "1"})) == {"fwd": "vary-miss", "stored": True}
    world.only().gives({"Cache-Control": "no-store"})
    assert told(world.ask(URL + "2")) == {"fwd": "uri-miss"}


def test_a_request_that_wants_more_than_is_stored_says_so(world: World) -> None:
    world.gives(FRESH)
    world.ask()
    assert told(world.ask(headers={"Cache-Control": "no-cache"})) == {"fwd": "request", "stored": True}
    assert told(world.ask(headers={"Cache-Control": "min-fresh=100"})) == {"fwd": "request", "stored": True}


def test_a_stale_answer_that_is_confirmed_says_what_came(world: World) -> None:
    world.gives(FRESH)
    world.ask()
    world.sleep(60)
    world.only().gives(FRESH, status=304)
    assert told(world.ask()) == {"fwd": "stale", "fwd-status": 304, "ttl": 60, "stored": True}
    world.sleep(60)
    world.only().gives({"Cache-Control": "max-age=1"})
    assert told(world.ask()) == {"fwd": "stale", "stored": True}


def test_a_stale_answer_in_place_of_an_error_says_why(clock: object) -> None:
    world = World(stale_if_error=1000)
    world.gives(FRESH)
    world.ask()
    world.sleep(180)
    world.only().gives(status=503)
    assert told(world.ask()) == {"fwd": "stale", "fwd-status": 503, "ttl": -120}
    world.only().fails(OSError("down"))
    assert told(world.ask()) == {"fwd": "stale", "ttl": -120, "detail": "OSError"}
    world.only().fails(BreakerOpen("api", "circuit_breaker", 1.0))  # nothing was sent
    assert told(world.ask()) == {"hit": True, "ttl": -120, "detail": "BreakerOpen"}


def test_what_goes_past_the_cache_says_so(world: World) -> None:
    world.gives(FRESH)
    assert told(world.ask(method="POST")) == {"fwd": "method"}
    assert told(world.ask(method="OPTIONS")) == {"fwd": "method"}
    assert told(world.ask(headers={"Cache-Control": "no-store"})) == {"fwd": "bypass", "detail": "no-store"}
    assert told(world.ask(headers={"Range": "x"})) == {"fwd": "bypass", "detail": "range"}
    assert told(world.ask(headers={"If-Match": '"a"'})) == {"fwd": "bypass", "detail": "condition"}


def test_an_answer_that_is_made_from_nothing_stored_says_nothing(world: World) -> None:
    assert world.ask(headers={"Cache-Control": "only-if-cached"})["cache-status"] is None


def test_our_word_comes_after_those_of_caches_behind_us(world: World) -> None:
    world.gives({**FRESH, "Cache-Status": "edge; hit"})
    assert world.ask()["cache-status"] == "edge; hit, resilient; fwd=uri-miss; stored"
    assert world.ask()["cache-status"] == "edge; hit, resilient; hit; ttl=60"


def test_no_response_has_a_warning(clock: object) -> None:
    world = World(stale_if_error=1000)
    world.gives(FRESH)
    world.ask()
    world.sleep(100)
    world.only().fails()
    assert world.ask()["warning"] is None


def test_a_warning_of_the_origin_is_a_field_like_any_other(world: World) -> None:
    world.gives({**FRESH, "Warning": '110 - "x"'})
    world.ask()
    assert world.ask()["warning"] == '110 - "x"'


@given(st.text(max_size=30), st.floats(-1e9, 1e9), st.sampled_from([None, 200, 599]), st.booleans())
def test_whatever_is_told_is_a_structured_field(detail: str, ttl: float, status: int | None, stored: bool) -> None:
    import http_sf

    for value in (hit(ttl, detail), forwarded("stale", status, ttl=ttl, stored=stored, detail=detail)):
        ((name, parameters),) = http_sf.parse(value, tltype="list")
        assert str(name) == "resilient"
        assert parameters["detail"] is not None


# -- in the program --------------------------------------------------------------------------------------


def test_provenance_says_where_an_answer_came_from(clock: object) -> None:
    def made(seen: Seen) -> tuple[object, ...]:
        source = None if seen.source == "made up" else seen.source
        note = Reply(seen.status, [], b"", source, seen.age, seen.reason).provenance("api")  # type: ignore[arg-type]
        return () if note is None else (note.source, note.age, note.reason, note.served_by, note.downstream)

    world = World(stale_if_error=1000)
    world.gives(FRESH)
    world.ask()
    world.sleep(30)
    assert made(world.ask()) == ("fresh", 30, None, "http_cache", "api")
    world.sleep(70)
    world.only().fails(OSError("down"))
    assert made(world.ask()) == ("stale", 100, "OSError", "http_cache", "api")
    world.only().gives(status=304)
    assert made(world.ask()) == ("revalidated", 0, None, "http_cache", "api")
    assert made(world.ask(URL + "2", {"Cache-Control": "only-if-cached"})) == ()


def test_the_snapshot_counts(clock: object) -> None:
    world = World(stale_if_error=1000)
    world.gives(FRESH)
    world.ask()
    for _ in range(3):
        world.ask()
    world.sleep(60)
    world.only().gives(status=304)
    world.ask()
    world.sleep(60)
    world.only().fails()
    world.ask()
    world.only().gives()
    world.ask(headers={"Cache-Control": "no-store"})
    counts = world.cache.snapshot()
    # The test's driver takes the short way and the other for each fresh answer.
    assert {name: counts[name] for name in ("hits", "misses", "revalidated", "stale", "bypassed", "stored")} == {
        "hits": 6,
        "misses": 1,
        "revalidated": 1,
        "stale": 1,
        "bypassed": 1,
        "stored": 1,
    }
    with pytest.raises(TypeError):
        counts["hits"] = 0  # type: ignore[index]
