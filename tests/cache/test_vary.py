"""Answers that depend on fields of the request (RFC 9111, 4.1)."""

from __future__ import annotations

import pytest

from resilient.cache.variants import name
from tests.cache._world import Unreachable, World

Headers = dict[str, str] | list[tuple[str, str]]


def varying(world: World, vary: str, **more: str) -> World:
    return world.gives({"Cache-Control": "max-age=60", "Vary": vary, **more})


@pytest.mark.parametrize(
    ("vary", "first", "second", "matches"),
    [
        ("Foo", {"Foo": "1"}, {"Foo": "1"}, True),
        ("fOO", {"FOO": "1"}, {"foo": "1"}, True),
        ("Foo", {"Foo": "1", "Other": "2"}, {"Foo": "1", "Other": "3"}, True),
        ("Foo", {"Foo": "1"}, {"Foo": "2"}, False),
        ("Foo", {"Foo": "a"}, {"Foo": "A"}, False),
        ("Foo", {"Foo": "1"}, {}, False),
        ("Foo", {}, {"Foo": "1"}, False),
        ("Foo", {"Foo": ""}, {}, False),
        ("Foo", {}, {}, True),
        ("Foo, Bar", {"Foo": "1", "Bar": "2"}, {"Bar": "2", "Foo": "1"}, True),
        ("Foo, Bar", {"Foo": "1", "Bar": "2"}, {"Foo": "1", "Bar": "3"}, False),
        ("Foo, Bar, Baz", {"Foo": "1", "Baz": "3"}, {"Foo": "1", "Baz": "3"}, True),
        ("Foo", {"Foo": "1,2"}, {"Foo": " 1, 2 "}, True),
        ("Foo", {"Foo": "1, 2"}, [("Foo", "1"), ("Foo", "2")], True),
        ("Foo", {"Foo": "1, 2"}, {"Foo": "2, 1"}, False),
        ("Foo", {"Foo": '"1, 2"'}, {"Foo": '"1,2"'}, False),
        ("Accept-Language", {"Accept-Language": "en, de"}, {"Accept-Language": "de, en"}, True),
        ("Accept-Language", {"Accept-Language": "en, de"}, {"Accept-Language": "eN ,  De"}, True),
        ("Accept-Language", {"Accept-Language": "en;q=0.5, de"}, {"Accept-Language": "de,en; q=0.5"}, True),
        ("Accept-Language", {"Accept-Language": "en;q=0.5"}, {"Accept-Language": "en;q=0.6"}, False),
        ("Accept-Encoding", {"Accept-Encoding": "gzip, br"}, {"Accept-Encoding": "BR,GZIP"}, True),
        ("Accept", {"Accept": "text/html, */*"}, {"Accept": "*/*,text/html"}, True),
        ("Accept", {"Accept": "a/b;p=X"}, {"Accept": "a/b;p=x"}, False),
        ("User-Agent", {"User-Agent": "a, b"}, {"User-Agent": "a,b"}, False),
    ],
)
def test_an_answer_is_used_for_requests_that_agree_in_all_nominated_fields(
    world: World, vary: str, first: Headers, second: Headers, matches: bool
) -> None:
    varying(world, vary)
    world.ask(headers=first)
    assert (world.ask(headers=second).source == "fresh") == matches


@pytest.mark.parametrize("vary", ["*", "*, *", ", *", "*, Foo", "Foo, *"])
def test_a_star_anywhere_never_matches(world: World, vary: str) -> None:
    varying(world, vary)
    world.ask(headers={"Foo": "1"})
    assert world.ask(headers={"Foo": "1"}).source == "origin"


def test_a_star_on_a_line_of_its_own_never_matches(world: World) -> None:
    world.gives([("Cache-Control", "max-age=60"), ("Vary", ""), ("Vary", "*")])
    world.ask()
    assert world.ask().source == "origin"


def test_records_of_requests_that_differ_in_anything_stay_apart() -> None:
    values = [(b"ab", b"c"), (b"a", b"bc"), (b"", b"abc"), (None, b"abc"), (b"abc", None), (b"abc", b""), (None, None)]
    assert len({name(((b"x", one), (b"y", two))) for one, two in values}) == len(values)
    assert len({name(()), name(((b"x", None),)), name(((b"y", None),))}) == 3


def test_T66_all_variants_are_kept_and_a_miss_of_one_costs_no_other(world: World) -> None:
    languages = ("en", "de", "fr", "it")
    for language in languages:
        varying(world.only(), "Accept-Language", ETag=f'"{language}"')
        world.answers[0].body = language.encode()  # type: ignore[union-attr]
        world.ask(headers={"Accept-Language": language})
    world.only().fails()
    for language in languages * 2:
        again = world.ask(headers={"Accept-Language": language})
        assert (again.source, again.body) == ("fresh", language.encode())


def test_a_200_to_a_miss_deletes_no_other_variant(world: World) -> None:
    varying(world, "Foo", ETag='"1"')
    world.ask(headers={"Foo": "1"})
    varying(world.only(), "Foo", ETag='"2"')
    missed = world.ask(headers={"Foo": "2"})
    assert missed.sent[0]["if-none-match"] == '"1"'
    assert missed["cache-status"] == "resilient; fwd=vary-miss; stored"
    assert world.ask(headers={"Foo": "1"}).source == "fresh"
    assert world.ask(headers={"Foo": "2"}).source == "fresh"


def test_a_miss_names_the_tags_of_all_other_variants_and_a_304_chooses_one(world: World) -> None:
    for foo in "12":
        varying(world.only(), "Foo", ETag=f'"{foo}"', **{"Last-Modified": world.date(-5)})
        world.answers[0].body = foo.encode()  # type: ignore[union-attr]
        world.ask(headers={"Foo": foo})
    world.only().gives({"ETag": '"1"', "Cache-Control": "max-age=60"}, status=304)
    third = world.ask(headers={"Foo": "3"})
    assert sorted((third.sent[0]["if-none-match"] or "").split(", ")) == ['"1"', '"2"']
    assert third.sent[0]["if-modified-since"] is None
    assert (third.source, third.status, third.body) == ("revalidated", 200, b"1")
    world.only().fails()
    assert world.ask(headers={"Foo": "3"}).body == b"1"
    assert world.ask(headers={"Foo": "1"}).body == b"1"
    assert world.ask(headers={"Foo": "2"}).body == b"2"


def test_variants_are_bounded_and_the_oldest_makes_room(clock: object) -> None:
    world = World(max_variants=3)
    varying(world, "Foo")
    for foo in range(10):
        world.ask(headers={"Foo": str(foo)})
        assert world.store.stats().entries <= 3
    world.only().fails()
    assert [world.ask(headers={"Foo": str(foo)}).source for foo in (7, 8, 9)] == ["fresh"] * 3


def test_an_answer_that_depends_on_too_many_fields_is_not_stored(world: World) -> None:
    varying(world, ", ".join(f"X-{number}" for number in range(65)))
    world.ask()
    assert world.store.stats().entries == 0


def test_of_several_that_match_one_that_names_its_fields_is_used_and_then_the_latest(world: World) -> None:
    world.gives({"Cache-Control": "max-age=60"}, "default")
    world.ask()
    world.sleep(1)
    varying(world.only(), "Foo")
    world.answers[0].body = b"foo"  # type: ignore[union-attr]
    world.ask(headers={"Foo": "1", "Cache-Control": "no-cache"})
    world.only().fails()
    assert world.ask(headers={"Foo": "1"}).body == b"foo"


def test_that_is_so_in_whatever_order_they_were_stored(world: World) -> None:
    varying(world, "Foo")
    world.ask(headers={"Foo": "1"})
    world.sleep(1)
    world.only().gives({"Cache-Control": "max-age=60"}, "default")
    world.ask(headers={"Foo": "2"})
    world.only().fails()
    assert (world.ask(headers={"Foo": "1"}).body, world.ask(headers={"Foo": "2"}).body) == (b"body", b"default")


def test_the_latest_is_so_by_its_date_and_not_by_when_it_was_stored(world: World) -> None:
    varying(world, "Foo")
    world.ask(headers={"Foo": "1", "Bar": "1"})
    varying(world.only(), "Bar", Date=world.date(-5))
    world.ask(headers={"Foo": "2", "Bar": "2"})
    world.only().fails()
    world.answers[0] = Unreachable("down")
    assert world.ask(headers={"Foo": "1", "Bar": "2"})["vary"] == "Foo"


def test_when_an_answer_begins_to_vary_the_one_before_it_is_gone(world: World) -> None:
    world.gives({"Cache-Control": "max-age=10"}, "old")
    world.ask()
    world.sleep(10)
    varying(world.only(), "Foo")
    world.ask(headers={"Foo": "1"})
    assert world.ask(headers={"Foo": "2"}).source == "origin"
    assert world.store.stats().entries == 2


def test_a_request_that_the_cache_makes_has_the_fields_that_count(world: World) -> None:
    varying(world, "Foo", ETag='"a"')
    world.ask(headers={"Foo": "1"})
    world.sleep(60)
    world.only().gives({"ETag": '"a"'}, status=304)
    assert world.ask(headers={"Foo": "1"}).sent[0]["foo"] == "1"
