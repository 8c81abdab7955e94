"""Writes make stored answers invalid (RFC 9111, 4.4)."""

from __future__ import annotations

import pytest

from tests.cache._world import URL, Answer, Sent, Unreachable, World

FRESH = {"Cache-Control": "max-age=60"}


def test_a_write_goes_through_although_a_fresh_answer_is_stored(world: World) -> None:
    world.gives(FRESH)
    world.ask()
    written = world.ask(method="POST", bodied=True)
    assert (written.source, written.sent[0].method) == ("origin", "POST")
    assert written["cache-status"] == "resilient; fwd=method"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "UNHEARD-OF", "post", "get"])
@pytest.mark.parametrize("status", [200, 201, 204, 301, 304, 399])
def test_a_write_that_is_no_error_invalidates_its_address(world: World, method: str, status: int) -> None:
    world.gives(FRESH)
    world.ask()
    world.only().gives(status=status)
    world.ask(method=method)
    world.only().gives(FRESH, "new")
    assert world.ask().body == b"new"


@pytest.mark.parametrize("status", [400, 404, 409, 429, 500, 503])
def test_a_write_that_failed_invalidates_nothing(world: World, status: int) -> None:
    world.gives(FRESH)
    world.ask()
    world.only().gives(status=status)
    world.ask(method="POST")
    assert world.ask().source == "fresh"


def test_a_write_without_an_answer_invalidates_nothing_so_that_reads_go_on(world: World) -> None:
    world.gives(FRESH)
    world.ask()
    world.only().fails()
    with pytest.raises(Unreachable):
        world.ask(method="POST")
    assert world.ask().source == "fresh"


def test_an_answer_of_a_fallback_to_a_write_invalidates_nothing(world: World) -> None:
    world.gives(FRESH)
    world.ask()
    world.only().gives(replaced=True)
    world.ask(method="POST")
    assert world.ask().source == "fresh"


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "PROPFIND", "QUERY"])
def test_safe_methods_invalidate_nothing(world: World, method: str) -> None:
    world.gives(FRESH)
    world.ask()
    world.ask(method=method)
    assert world.ask().source == "fresh"


@pytest.mark.parametrize("name", ["Location", "Content-Location"])
@pytest.mark.parametrize(
    ("reference", "hit"),
    [
        ("https://api.example/other", True),
        ("/other", True),
        ("other", True),
        ("https://API.example:443/other#x", True),
        ("//api.example/other", True),
        ("https://elsewhere.example/other", False),
        ("http://api.example/other", False),
        ("https://api.example:8443/other", False),
        ("https://api.example.evil/other", False),
        ("http://[::1", False),
    ],
)
def test_what_the_answer_points_to_is_invalid_too_if_it_is_of_the_same_origin(
    world: World, name: str, reference: str, hit: bool
) -> None:
    others = [URL.replace("thing", "other"), "https://elsewhere.example/other", "http://api.example/other"]
    world.gives(FRESH)
    for url in others:
        world.ask(url)
    world.only().gives({name: reference}, status=201)
    world.ask(method="POST")
    world.only().gives(FRESH)
    assert [world.ask(url).source for url in others] == ["origin" if hit else "fresh", "fresh", "fresh"]


def test_all_variants_and_all_identities_are_reached(world: World) -> None:
    world.gives({**FRESH, "Vary": "Foo"})
    requests = [{"Foo": foo, **who} for foo in "12" for who in ({}, {"Cookie": "a=1"}, {"Authorization": "x"})]
    for headers in requests:
        world.ask(headers=headers)
    world.ask(URL + "/below")
    assert world.store.stats().entries == 7
    world.ask(method="DELETE")
    assert world.store.stats().entries == 1
    assert all(world.ask(headers=headers).source == "origin" for headers in requests)
    assert world.ask(URL + "/below").source == "fresh"


def test_an_answer_that_was_asked_for_before_a_write_is_not_stored_after_it(world: World) -> None:
    def meanwhile(sent: Sent) -> Answer:
        world.only().gives(status=204)
        world.ask(method="PUT")
        return Answer(200, [*FRESH.items()], b"old")

    world.does(meanwhile)
    assert world.ask().body == b"old"
    world.only().gives(FRESH, "new")
    assert world.ask().body == b"new"


def test_an_answer_whose_body_is_read_after_a_write_is_not_stored(world: World) -> None:
    from resilient.cache.flow import answer
    from tests.cache._world import Asked

    world.gives(FRESH, "old")
    asked = Asked("GET", URL, [])
    passed = world.drive(answer(world.cache, asked, world.now), asked)
    world.only().gives(status=204)
    world.ask(method="PUT")
    world._consume(passed)
    world.only().gives(FRESH, "new")
    assert world.ask().body == b"new"


def test_a_304_that_was_asked_for_before_a_write_brings_nothing_back(world: World) -> None:
    def meanwhile(sent: Sent) -> Answer:
        world.only().gives(status=204)
        world.ask(method="PUT")
        return Answer(304, [("ETag", '"a"'), ("Cache-Control", "max-age=1000")])

    world.gives({**FRESH, "ETag": '"a"'})
    world.ask()
    world.sleep(60)
    world.only().does(meanwhile)
    assert world.ask().source == "revalidated"
    assert world.store.stats().entries == 0


def test_many_writes_are_remembered_in_bounded_memory_and_none_is_forgotten(world: World) -> None:
    from resilient.cache.written import Written

    written = Written()
    before = written.mark
    for number in range(10_000):
        written.note(f"http https://api.example/{number} ")
    after = written.mark
    assert len(written._at) <= 4096
    assert all(written.since(f"http https://api.example/{number} ", before) for number in (0, 5000, 9999))
    assert not written.since("http https://api.example/9999 ", after)
    assert not written.since("http https://api.example/never ", after)


# -- POST ------------------------------------------------------------------------------------------------


def test_an_answer_to_post_that_is_what_get_would_bring_is_stored_for_get(world: World) -> None:
    world.gives({**FRESH, "Content-Location": URL}, "made")
    world.ask(method="POST", bodied=True)
    seen = world.ask()
    assert (seen.source, seen.body) == ("fresh", b"made")
    assert world.ask(method="POST", bodied=True).source == "origin"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (FRESH, 200),
        ({**FRESH, "Content-Location": "/other"}, 200),
        ({"Content-Location": "thing", "Last-Modified": "Wed, 01 Jan 2020 00:00:00 GMT"}, 200),
        ({**FRESH, "Content-Location": "thing"}, 201),
        ({"Cache-Control": "no-store, max-age=60", "Content-Location": "thing"}, 200),
    ],
)
def test_all_other_answers_to_post_are_not(world: World, headers: dict[str, str], status: int) -> None:
    world.gives(headers, "made", status)
    world.ask(method="POST", bodied=True)
    assert world.ask().source == "origin"


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_answers_to_other_writes_are_not(world: World, method: str) -> None:
    world.gives({**FRESH, "Content-Location": URL})
    world.ask(method=method)
    assert world.ask().source == "origin"
