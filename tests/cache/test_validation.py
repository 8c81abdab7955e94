"""Asking whether a stored answer is still right (RFC 9111, 4.3)."""

from __future__ import annotations

import pytest

from tests.cache._world import URL, Answer, Sent, World

CHANGED = "Wed, 01 Jan 2020 00:00:00 GMT"
LATER = "Thu, 02 Jan 2020 00:00:00 GMT"


def stale(world: World, body: str = "body", **headers: str) -> World:
    """Store an answer and let it become stale."""
    world.gives(
        {"Cache-Control": "max-age=10", **{name.replace("_", "-"): value for name, value in headers.items()}}, body
    )
    world.ask()
    world.sleep(10)
    world.only()
    return world


# -- what is asked (4.3.1) -------------------------------------------------------------------------------


def test_a_stale_answer_is_asked_about_with_its_tag_and_its_date(world: World) -> None:
    stale(world, ETag='"a"', Last_Modified=CHANGED).gives(status=304)
    sent = world.ask().sent[0]
    assert (sent["if-none-match"], sent["if-modified-since"]) == ('"a"', CHANGED)


@pytest.mark.parametrize("tag", ['"a"', 'W/"a"', "a", '"a\xfc"'])
def test_a_tag_is_sent_as_it_came(world: World, tag: str) -> None:
    stale(world, ETag=tag).gives({"ETag": tag}, status=304)
    again = world.ask()
    assert (again.sent[0]["if-none-match"], again.source) == (tag, "revalidated")


def test_a_date_alone_will_do(world: World) -> None:
    stale(world, Last_Modified=CHANGED).gives(status=304, headers={"Last-Modified": CHANGED})
    again = world.ask()
    assert (again.sent[0]["if-none-match"], again.sent[0]["if-modified-since"]) == (None, CHANGED)
    assert again.source == "revalidated"


def test_what_has_no_validator_is_fetched_anew(world: World) -> None:
    stale(world).gives({"Cache-Control": "max-age=10"}, "new")
    again = world.ask()
    assert (again.sent[0].fields, again.body) == ([], b"new")
    assert world.ask().body == b"new"


def test_fields_of_the_request_go_with_it(world: World) -> None:
    stale(world, ETag='"a"').gives(status=304)
    assert world.ask(headers={"Accept": "x/y"}).sent[0]["accept"] == "x/y"


# -- 304 (4.3.4) -----------------------------------------------------------------------------------------


def test_a_304_makes_it_fresh_again_and_updates_its_fields(world: World) -> None:
    stale(world, ETag='"a"', X_Kept="1", X_New="1", Content_Length="4")
    world.gives({"Cache-Control": "max-age=100", "ETag": '"a"', "X-New": "2", "Content-Length": "0"}, status=304)
    for source in ("revalidated", "fresh"):
        again = world.ask()
        assert (again.source, again.status, again.body) == (source, 200, b"body")
        assert (again["x-kept"], again["x-new"], again["content-length"]) == ("1", "2", "4")
        assert (again["cache-control"], again["age"]) == ("max-age=100", "0")
    world.sleep(99)
    assert world.ask().source == "fresh"
    assert [got.status for got in world.closed] == [304]


def test_a_304_without_a_date_is_of_now(world: World) -> None:
    stale(world, ETag='"a"').gives(status=304)
    world.dated = False
    again = world.ask()
    assert (again["date"], again["age"]) == (world.date(), "0")
    world.sleep(9)
    assert world.ask().source == "fresh"


def test_a_304_that_came_through_another_cache_is_as_old_as_it_says(world: World) -> None:
    stale(world, ETag='"a"').gives({"ETag": '"a"', "Age": "7"}, status=304)
    assert world.ask()["age"] == "7"
    world.sleep(3)
    assert world.ask().source != "fresh"


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        ({"ETag": '"a"'}, {"ETag": '"b"'}),
        ({"ETag": 'W/"a"'}, {"ETag": 'W/"b"'}),
        ({"Last_Modified": CHANGED}, {"Last-Modified": LATER}),
    ],
)
def test_a_304_about_something_else_updates_nothing_and_is_asked_again_without_conditions(
    world: World, stored: dict[str, str], told: dict[str, str]
) -> None:
    stale(world, **stored).gives({**told, "Cache-Control": "max-age=1000"}, status=304)
    world.gives({"Cache-Control": "max-age=10"}, "new")
    again = world.ask()
    assert (again.status, again.body, again.source) == (200, b"new", "origin")
    assert again.sent[1].fields == []
    assert [got.status for got in world.closed] == [304]
    assert world.ask().body == b"new"


def test_a_strong_tag_that_agrees_with_a_weak_one_confirms_it_and_updates_nothing(world: World) -> None:
    stale(world, ETag='W/"a"').gives({"ETag": '"a"', "Cache-Control": "max-age=1000"}, status=304)
    for _ in range(2):  # asked about each time, but never sent again
        again = world.ask()
        assert (again.source, again.body, again["etag"]) == ("revalidated", b"body", 'W/"a"')


def test_a_304_without_validators_is_about_the_one_answer_that_was_named(world: World) -> None:
    stale(world, ETag='"a"', Last_Modified=CHANGED).gives({"Cache-Control": "max-age=10"}, status=304)
    assert world.ask().source == "revalidated"
    assert world.ask().source == "fresh"


def test_all_answers_with_the_same_strong_tag_are_updated(world: World) -> None:
    for foo in "12":
        world.only().gives({"Cache-Control": "max-age=10", "Vary": "Foo", "ETag": '"same"'})
        world.ask(headers={"Foo": foo, "Cache-Control": "no-cache"})
    world.sleep(10)
    world.only().gives({"ETag": '"same"', "X-New": "1", "Cache-Control": "max-age=10"}, status=304)
    world.ask(headers={"Foo": "3"})
    world.only().fails()
    assert {world.ask(headers={"Foo": foo})["x-new"] for foo in "123"} == {"1"}


def test_one_that_depends_on_other_fields_now_is_gone_where_nobody_knows_what_the_request_had(world: World) -> None:
    for foo in "12":
        world.only().gives({"Cache-Control": "max-age=10", "Vary": "Foo", "ETag": '"same"'})
        world.ask(headers={"Foo": foo, "Cache-Control": "no-cache"})
    world.sleep(10)
    world.only().gives({"ETag": '"same"', "Vary": "Bar"}, status=304)
    assert world.ask(headers={"Foo": "3", "Bar": "1"}).source == "revalidated"
    assert world.store.stats().entries == 0


def test_a_304_without_validators_about_one_of_several_is_about_none(world: World) -> None:
    for foo in "12":
        world.only().gives({"Cache-Control": "max-age=100", "Vary": "Foo", "ETag": f'"{foo}"'}, foo)
        world.ask(headers={"Foo": foo})
    world.only().gives(status=304).gives({"Cache-Control": "max-age=10"}, "3")
    third = world.ask(headers={"Foo": "3"})
    assert (third.body, third.source, len(third.sent)) == (b"3", "origin", 2)


def test_of_those_with_a_weak_tag_only_the_latest_is_updated(world: World) -> None:
    for foo in "12":
        world.only().gives({"Cache-Control": "max-age=10", "Vary": "Foo", "ETag": 'W/"same"'})
        world.ask(headers={"Foo": foo, "Cache-Control": "no-cache"})
        world.sleep(1)
    world.sleep(10)
    world.only().gives({"ETag": 'W/"same"', "X-New": "1", "Cache-Control": "max-age=10"}, status=304)
    world.ask(headers={"Foo": "3"})
    world.only().fails()
    assert world.ask(headers={"Foo": "2"})["x-new"] == "1"
    assert world.ask(headers={"Foo": "1"}).source == "stale"


@pytest.mark.parametrize("news", ["no-store", "private"])
def test_an_answer_that_must_not_be_stored_any_more_is_served_once_and_gone(shared: World, news: str) -> None:
    stale(shared, ETag='"a"').gives({"ETag": '"a"', "Cache-Control": news}, status=304)
    again = shared.ask()
    assert (again.source, again.body) == ("revalidated", b"body")
    assert shared.store.stats().entries == 0


def test_a_304_that_sets_a_cookie_ends_what_others_would_share(world: World) -> None:
    stale(world, ETag='"a"').gives({"ETag": '"a"', "Set-Cookie": "session=1"}, status=304)
    assert world.ask()["set-cookie"] == "session=1"
    assert world.store.stats().entries == 0


def test_a_304_of_a_fallback_confirms_nothing(world: World) -> None:
    stale(world, ETag='"a"').gives({"ETag": '"a"'}, status=304, replaced=True)
    assert (world.ask().status, world.ask().source) == (304, "origin")


def test_what_another_process_stored_meanwhile_is_not_overwritten_by_a_304(world: World) -> None:
    def meanwhile(sent: Sent) -> Answer:
        world.only().gives({"Cache-Control": "max-age=10", "ETag": '"b"'}, "newer")
        world.ask(headers={"Cache-Control": "no-cache"})
        return Answer(304, [("ETag", '"a"'), ("Cache-Control", "max-age=1000")])

    stale(world, ETag='"a"').does(meanwhile)
    world.ask()
    assert world.ask().body == b"newer"


# -- full answers and errors (4.3.3) ---------------------------------------------------------------------


def test_a_full_answer_replaces_what_was_stored(world: World) -> None:
    stale(world, ETag='"a"').gives({"Cache-Control": "max-age=10", "ETag": '"b"'}, "new")
    assert (world.ask().body, world.ask().body) == (b"new", b"new")
    assert world.store.stats().entries == 1


@pytest.mark.parametrize(
    ("status", "cc"), [(200, "no-store"), (404, "no-store"), (410, "private, no-store"), (204, "no-store")]
)
def test_a_full_answer_that_is_not_stored_takes_the_old_one_with_it(world: World, status: int, cc: str) -> None:
    stale(world, ETag='"a"').gives({"Cache-Control": cc}, status=status)
    assert world.ask().status == status
    assert world.store.stats().entries == 0


@pytest.mark.parametrize("status", [500, 503, 400, 401, 403, 429])
def test_an_error_leaves_the_old_one_where_it_is(world: World, status: int) -> None:
    stale(world, ETag='"a"').gives(status=status)
    assert (world.ask().status, world.ask().source) == (status, "origin")
    world.only().gives(status=304)
    assert world.ask().source == "revalidated"


# -- the client's own conditions (4.3.2) -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": '"a"'}, 304),
        ({"If-None-Match": 'W/"a"'}, 304),
        ({"If-None-Match": '"x", "a", "y"'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-None-Match": '"x"', "If-Modified-Since": LATER}, 200),
        ({"If-None-Match": '"a"', "If-Modified-Since": "Mon, 01 Jan 2018 00:00:00 GMT"}, 304),
        ({"If-Modified-Since": CHANGED}, 304),
        ({"If-Modified-Since": LATER}, 304),
        ({"If-Modified-Since": "Thursday, 02-Jan-20 00:00:00 GMT"}, 304),
        ({"If-Modified-Since": "Tue, 31 Dec 2019 23:59:59 GMT"}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
    ],
)
def test_they_are_judged_by_a_fresh_answer(world: World, headers: dict[str, str], status: int) -> None:
    world.gives({"Cache-Control": "max-age=10", "ETag": '"a"', "Last-Modified": CHANGED, "Content-Type": "x/y"})
    world.ask()
    seen = world.ask(headers=headers)
    assert (seen.source, seen.status, seen.sent) == ("fresh", status, [])
    assert (seen["etag"], seen["cache-control"], seen["age"]) == ('"a"', "max-age=10", "0")
    assert (seen.body, seen["content-type"]) == ((b"", None) if status == 304 else (b"body", "x/y"))


def test_without_a_last_modified_they_are_judged_by_the_date_or_the_arrival(world: World) -> None:
    world.gives({"Cache-Control": "max-age=100"})
    made = world.date()
    world.ask()
    assert world.ask(headers={"If-Modified-Since": made}).status == 304
    assert world.ask(headers={"If-Modified-Since": world.date(-1)}).status == 200


def test_they_are_not_judged_by_an_answer_that_is_no_success(world: World) -> None:
    world.gives({"Cache-Control": "max-age=10", "ETag": '"a"'}, status=404)
    world.ask()
    assert world.ask(headers={"If-None-Match": '"a"'}).status == 404


def test_they_go_on_where_nothing_is_stored(world: World) -> None:
    world.gives(status=304)
    seen = world.ask(headers={"If-None-Match": '"a"'})
    assert (seen.status, seen.sent[0]["if-none-match"], seen.source) == (304, '"a"', "origin")
    assert world.store.stats().entries == 0


def test_our_tag_goes_beside_theirs_and_a_304_about_ours_is_a_200_for_them(world: World) -> None:
    stale(world, ETag='"a"').gives({"ETag": '"a"'}, status=304)
    seen = world.ask(headers={"If-None-Match": '"theirs"'})
    assert seen.sent[0]["if-none-match"] == '"theirs", "a"'
    assert (seen.status, seen.body, seen.source) == (200, b"body", "revalidated")


def test_a_304_about_theirs_goes_through_and_changes_nothing(world: World) -> None:
    stale(world, ETag='"a"').gives({"ETag": '"theirs"', "Cache-Control": "max-age=100"}, status=304)
    seen = world.ask(headers={"If-None-Match": '"theirs"'})
    assert (seen.status, seen["etag"], seen.source) == (304, '"theirs"', "origin")
    assert world.ask().sent[0]["if-none-match"] == '"a"'


def test_a_304_about_ours_that_they_have_too_is_a_304_for_them(world: World) -> None:
    stale(world, ETag='"a"').gives({"ETag": '"a"'}, status=304)
    seen = world.ask(headers={"If-None-Match": '"a"'})
    assert (seen.status, seen.body, seen.source) == (304, b"", "revalidated")
    assert seen.sent[0]["if-none-match"] == '"a"'


def test_their_date_is_replaced_by_ours_and_judged_afterwards(world: World) -> None:
    stale(world, Last_Modified=CHANGED).gives({"Last-Modified": CHANGED}, status=304)
    seen = world.ask(headers={"If-Modified-Since": LATER})
    assert (seen.sent[0]["if-modified-since"], seen.status) == (CHANGED, 304)
    world.sleep(10)
    seen = world.ask(headers={"If-Modified-Since": "Mon, 01 Jan 2018 00:00:00 GMT"})
    assert (seen.sent[0]["if-modified-since"], seen.status, seen.body) == (CHANGED, 200, b"body")


def test_their_star_is_not_sent_where_we_ask_about_ours(world: World) -> None:
    stale(world, ETag='"a"').gives({"ETag": '"a"'}, status=304)
    seen = world.ask(headers={"If-None-Match": "*"})
    assert (seen.sent[0]["if-none-match"], seen.status) == ('"a"', 304)


def test_their_tags_go_on_alone_where_we_have_only_a_date(world: World) -> None:
    stale(world, Last_Modified=CHANGED).gives({"ETag": '"theirs"'}, status=304)
    seen = world.ask(headers={"If-None-Match": '"theirs"'})
    assert (seen.sent[0]["if-none-match"], seen.sent[0]["if-modified-since"]) == ('"theirs"', None)
    assert (seen.status, seen.source) == (304, "origin")


# -- HEAD (4.3.5) ----------------------------------------------------------------------------------------


def test_head_goes_through_where_the_stored_answer_is_stale_and_makes_it_fresh(world: World) -> None:
    stale(world, X_Kept="1", X_New="1").gives({"Cache-Control": "max-age=100", "X-New": "2", "Content-Length": "4"})
    head = world.ask(method="HEAD")
    assert (head.source, head.sent[0].method, head.body) == ("origin", "HEAD", b"")
    again = world.ask()
    assert (again.source, again.body, again["x-kept"], again["x-new"]) == ("fresh", b"body", "1", "2")
    world.sleep(99)
    assert world.ask().source == "fresh"


@pytest.mark.parametrize(
    ("headers", "agrees"),
    [
        ({"ETag": '"a"'}, True),
        ({"ETag": '"b"'}, False),
        ({"ETag": 'W/"a"'}, False),
        ({"Last-Modified": CHANGED}, True),
        ({"Last-Modified": LATER}, False),
        ({"ETag": '"a"', "Last-Modified": LATER}, False),
        ({"Content-Length": "4"}, True),
        ({"Content-Length": "5"}, False),
    ],
)
def test_head_confirms_what_agrees_with_it_and_ends_all_else(
    world: World, headers: dict[str, str], agrees: bool
) -> None:
    stale(world, ETag='"a"', Last_Modified=CHANGED).gives({"Cache-Control": "max-age=100", **headers})
    world.ask(method="HEAD")
    world.only().gives({"Cache-Control": "max-age=10"}, "new")
    assert world.ask().body == (b"body" if agrees else b"new")


def test_head_without_validators_and_length_may_be_about_another_body_and_changes_nothing(world: World) -> None:
    stale(world, X_New="1").gives({"Cache-Control": "max-age=100", "X-New": "2"})
    world.ask(method="HEAD")
    assert world.ask(headers={"Cache-Control": "max-stale"})["x-new"] == "1"
    assert world.ask().source == "origin"


def test_another_status_to_head_says_nothing_about_what_is_stored(world: World) -> None:
    stale(world, ETag='"a"').gives({"Cache-Control": "max-age=100", "X-New": "1"}, status=410)
    assert world.ask(method="HEAD").status == 410
    world.only().gives(status=304)
    assert world.ask()["x-new"] is None


def test_head_has_the_client_s_own_conditions(world: World) -> None:
    world.gives({"Cache-Control": "max-age=10", "ETag": '"a"'})
    world.ask()
    assert world.ask(method="HEAD", headers={"If-None-Match": '"a"'}).status == 304
    assert world.ask(URL + "2", method="HEAD", headers={"If-None-Match": '"a"'}).sent[0]["if-none-match"] == '"a"'
