"""Parts of bodies: stored, joined, completed, and served from wholes (RFC 9111, 3.3 and 3.4; RFC 9110, 14)."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resilient.cache.entry import Span
from resilient.cache.ranges import brought, joined, wish
from tests.cache._world import Answer, Sent, World

BODY = b"0123456789"
FRESH = {"Cache-Control": "max-age=60"}
CHANGED = "Wed, 01 Jan 2020 00:00:00 GMT"


def ranged(value: str, **more: str) -> dict[str, str]:
    return {"Range": value, **{name.replace("_", "-"): each for name, each in more.items()}}


def origin(world: World, tag: str = '"a"', body: bytes = BODY, **more: str) -> World:
    """An origin that knows ranges of its body."""

    def act(sent: Sent) -> Answer:
        headers = [("ETag", tag), *FRESH.items(), *((key.replace("_", "-"), value) for key, value in more.items())]
        wanted = wish((sent["range"] or "").encode())
        condition = sent["if-range"]
        positions = wanted.within(len(body)) if wanted and condition in (None, tag) else None
        if sent["if-none-match"] and tag in (sent["if-none-match"] or ""):
            return Answer(304, headers)
        if wanted and condition is None and positions is None:
            return Answer(416, [("Content-Range", f"bytes */{len(body)}")])
        if positions is None:
            return Answer(200, headers, body)
        first, last = positions
        part = body[first : last + 1]
        headers += [("Content-Range", f"bytes {first}-{last}/{len(body)}"), ("Content-Length", str(len(part)))]
        return Answer(206, headers, part)

    return world.only().does(act)


# -- from a whole ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "part", "positions"),
    [
        ("bytes=0-1", b"01", "0-1"),
        ("bytes=1-", b"123456789", "1-9"),
        ("bytes=-1", b"9", "9-9"),
        ("bytes=-99", BODY, "0-9"),
        ("bytes=5-99", b"56789", "5-9"),
        ("Bytes=9-9", b"9", "9-9"),
    ],
)
def test_a_range_is_served_from_a_stored_whole(world: World, value: str, part: bytes, positions: str) -> None:
    origin(world).ask()
    seen = world.ask(headers=ranged(value))
    assert (seen.status, seen.body, seen.source, seen.sent) == (206, part, "fresh", [])
    assert (seen["content-range"], seen["content-length"]) == (f"bytes {positions}/10", str(len(part)))
    assert (seen["etag"], seen["age"]) == ('"a"', "0")


@pytest.mark.parametrize("value", ["bytes=10-", "bytes=-0", "bytes=99-100"])
def test_a_range_that_the_whole_has_not_is_for_the_origin_to_refuse(world: World, value: str) -> None:
    origin(world).ask()
    assert (world.ask(headers=ranged(value)).status, world.ask().source) == (416, "fresh")


@pytest.mark.parametrize("value", ["bytes=0-1,3-4", "bytes=", "bytes=5-4", "lines=1-2", "bytes 0-1", "x"])
def test_ranges_that_are_not_understood_go_past_the_cache(world: World, value: str) -> None:
    world.gives(FRESH, BODY)
    world.ask()
    seen = world.ask(headers=ranged(value))
    assert (seen.source, seen.sent[0]["range"]) == ("origin", value)


def test_a_range_in_head_means_nothing(world: World) -> None:
    origin(world).ask()
    assert world.ask(method="HEAD", headers=ranged("bytes=0-1")).status == 200


def test_a_range_of_what_is_no_success_is_the_whole(world: World) -> None:
    world.gives(FRESH, b"not there", status=404)
    world.ask()
    seen = world.ask(headers=ranged("bytes=0-1"))
    assert (seen.status, seen.body, seen.source) == (404, b"not there", "fresh")


@pytest.mark.parametrize(
    ("condition", "status"),
    [('"a"', 206), ('"b"', 200), ('W/"a"', 200), (CHANGED, 206), ("Thu, 02 Jan 2020 00:00:00 GMT", 200), ("x", 200)],
)
def test_if_range_decides_between_the_part_and_the_whole(world: World, condition: str, status: int) -> None:
    origin(world, Last_Modified=CHANGED).ask()
    seen = world.ask(headers=ranged("bytes=0-1", If_Range=condition))
    assert (seen.status, seen.source) == (status, "fresh")
    assert seen.body == (b"01" if status == 206 else BODY)


def test_if_range_with_a_date_needs_one_that_is_older_than_the_answer(world: World) -> None:
    origin(world, Last_Modified=world.date()).ask()
    assert world.ask(headers=ranged("bytes=0-1", If_Range=world.date())).status == 200


def test_a_condition_of_the_client_comes_before_its_range(world: World) -> None:
    origin(world).ask()
    assert world.ask(headers=ranged("bytes=0-1", If_None_Match='"a"')).status == 304
    assert world.ask(headers=ranged("bytes=0-1", If_None_Match='"b"')).status == 206


def test_a_stale_whole_is_confirmed_and_its_range_served(world: World) -> None:
    origin(world, Last_Modified=CHANGED).ask()
    world.sleep(60)
    seen = world.ask(headers=ranged("bytes=2-3"))
    assert (seen.status, seen.body, seen.source) == (206, b"23", "revalidated")
    sent = seen.sent[0]
    assert (sent["if-none-match"], sent["if-modified-since"], sent["range"]) == ('"a"', None, "bytes=2-3")


# -- from parts ------------------------------------------------------------------------------------------


def test_a_part_is_stored_and_served_again(world: World) -> None:
    origin(world)
    first = world.ask(headers=ranged("bytes=4-8"))
    assert first["cache-status"] == "resilient; fwd=uri-miss; stored"
    seen = world.ask(headers=ranged("bytes=4-8"))
    assert (seen.status, seen.body, seen.source) == (206, b"45678", "fresh")
    assert (seen["content-range"], seen["content-length"]) == ("bytes 4-8/10", "5")


@pytest.mark.parametrize(
    ("value", "part"), [("bytes=6-7", b"67"), ("bytes=5-", b"56789"), ("bytes=-1", b"9"), ("bytes=9-20", b"9")]
)
def test_what_lies_within_a_part_is_served_from_it(world: World, value: str, part: bytes) -> None:
    origin(world).ask(headers=ranged("bytes=-5"))
    seen = world.ask(headers=ranged(value))
    assert (seen.status, seen.body, seen.source) == (206, part, "fresh")


def test_what_goes_beyond_it_is_fetched(world: World) -> None:
    origin(world).ask(headers=ranged("bytes=2-5"))
    seen = world.ask(headers=ranged("bytes=4-7"))
    assert (seen.body, seen.source, seen["cache-status"]) == (b"4567", "origin", "resilient; fwd=partial; stored")


def test_a_part_never_answers_a_request_for_the_whole_or_for_the_header(world: World) -> None:
    origin(world).ask(headers=ranged("bytes=2-5"))
    assert world.ask(method="HEAD").source == "origin"
    whole = world.ask()
    assert (whole.status, whole.body, whole.source) == (200, BODY, "origin")


def test_a_whole_takes_the_place_of_its_parts(world: World) -> None:
    origin(world).ask(headers=ranged("bytes=2-5"))
    world.ask()
    assert world.store.stats().entries == 1


def test_parts_that_touch_are_joined_under_their_strong_tag(world: World) -> None:
    origin(world).ask(headers=ranged("bytes=2-4"))
    origin(world, X_New="1").ask(headers=ranged("bytes=5-7"))
    world.only().fails()
    seen = world.ask(headers=ranged("bytes=3-6"))
    assert (seen.body, seen.source, seen["content-range"], seen["x-new"]) == (b"3456", "fresh", "bytes 3-6/10", "1")
    assert world.store.stats().entries == 1


def test_parts_with_a_gap_between_them_stay_apart(world: World) -> None:
    origin(world).ask(headers=ranged("bytes=0-1"))
    world.ask(headers=ranged("bytes=8-9"))
    world.only().fails()
    assert world.ask(headers=ranged("bytes=0-1")).body == b"01"
    assert world.ask(headers=ranged("bytes=8-9")).body == b"89"


def test_parts_that_make_up_the_whole_are_the_whole(world: World) -> None:
    origin(world).ask(headers=ranged("bytes=0-4"))
    world.ask(headers=ranged("bytes=3-9"))
    world.only().fails()
    seen = world.ask()
    assert (seen.status, seen.body, seen.source) == (200, BODY, "fresh")
    assert (seen["content-range"], seen["content-length"]) == (None, "10")


@pytest.mark.parametrize("tag", ['W/"a"', ""])
def test_parts_without_a_strong_tag_are_never_joined(world: World, tag: str) -> None:
    headers = {**FRESH, **({"ETag": tag} if tag else {})}
    world.gives({**headers, "Content-Range": "bytes 0-4/10"}, b"01234", 206)
    world.ask(headers=ranged("bytes=0-4"))
    world.only().gives({**headers, "Content-Range": "bytes 5-9/10"}, b"56789", 206)
    world.ask(headers=ranged("bytes=5-9"))
    world.only().gives(FRESH, "whole")
    assert world.ask(headers=ranged("bytes=3-6")).source == "origin"
    assert world.ask().source == "fresh" or world.ask().body == b"whole"


def test_parts_for_other_requests_are_never_joined(world: World) -> None:
    origin(world, Vary="Foo").ask(headers=ranged("bytes=0-4", Foo="1"))
    world.ask(headers=ranged("bytes=5-9", Foo="2"))
    for foo in "12":
        assert world.ask(headers=ranged("bytes=3-6", Foo=foo)).source == "origin"


def test_a_part_of_a_whole_that_is_there_is_not_stored_beside_it(world: World) -> None:
    origin(world, Cache_Control="no-cache").ask()
    world.sleep(1)
    world.only().gives({"ETag": '"a"', **FRESH, "Content-Range": "bytes 0-1/10"}, b"01", 206)
    assert world.ask(headers=ranged("bytes=0-1")).source == "origin"
    assert world.store.stats().entries == 1


def test_parts_of_another_version_go(world: World) -> None:
    origin(world).ask(headers=ranged("bytes=0-4"))
    origin(world, '"b"', b"abcdefghij").ask(headers=ranged("bytes=5-9"))
    seen = world.ask(headers=ranged("bytes=0-4"))
    assert (seen.body, seen.source) == (b"abcde", "origin")


def test_a_part_of_another_version_ends_a_stale_whole(world: World) -> None:
    origin(world).ask()
    world.sleep(60)
    origin(world, '"b"', b"abcdefghij")
    assert world.ask(headers=ranged("bytes=0-1")).body == b"ab"
    world.only().fails()
    assert world.ask(headers=ranged("bytes=0-1")).body == b"ab"
    with pytest.raises(Exception, match="down"):
        world.ask(headers={"Cache-Control": "max-stale"})


def test_a_stale_part_is_confirmed_for_a_range_within_it(world: World) -> None:
    origin(world).ask(headers=ranged("bytes=0-4"))
    world.sleep(60)
    seen = world.ask(headers=ranged("bytes=1-2"))
    assert (seen.body, seen.source, seen.sent[0]["if-none-match"]) == (b"12", "revalidated", '"a"')
    assert world.ask(headers=ranged("bytes=1-2")).source == "fresh"


def test_a_part_that_was_confirmed_but_is_not_what_if_range_means_any_more_gives_way_to_the_whole(world: World) -> None:
    origin(world, Last_Modified=CHANGED).ask(headers=ranged("bytes=0-4"))
    world.sleep(60)
    later = "Thu, 02 Jan 2020 00:00:00 GMT"
    world.only().gives({**FRESH, "ETag": '"a"', "Last-Modified": later}, status=304).gives(FRESH, BODY)
    seen = world.ask(headers=ranged("bytes=1-2", If_Range=CHANGED))
    assert (seen.status, seen.body, len(seen.sent)) == (200, BODY, 2)


def test_the_tag_of_a_part_is_not_named_for_a_range_beyond_it(world: World) -> None:
    origin(world).ask(headers=ranged("bytes=0-4"))
    assert world.ask(headers=ranged("bytes=0-5")).sent[0]["if-none-match"] is None


@pytest.mark.parametrize(
    ("content_range", "body"),
    [
        ("bytes 4-9/*", b"456789"),
        ("bytes */10", b""),
        ("bytes 4-9/5", b"456789"),
        ("bytes 9-4/10", b"4"),
        ("bytes 4-5/10", b"456789"),
        ("lines 4-9/10", b"456789"),
        ("bytes 4-9", b"456789"),
        ("", b"456789"),
        ("bytes 4-9/10", b""),
    ],
)
def test_a_part_that_does_not_say_what_it_is_is_not_stored(world: World, content_range: str, body: bytes) -> None:
    world.gives({**FRESH, "Content-Range": content_range}, body, 206)
    world.ask(headers=ranged("bytes=4-9"))
    assert world.ask(headers=ranged("bytes=4-9")).source == "origin"


def test_a_part_in_many_pieces_is_not_stored(world: World) -> None:
    world.gives({**FRESH, "Content-Type": "multipart/byteranges; boundary=x"}, b"--x--", 206)
    world.ask(headers=ranged("bytes=4-9"))
    assert world.store.stats().entries == 0


def test_a_part_that_nobody_asked_for_is_handed_on_and_not_stored(world: World) -> None:
    world.gives({**FRESH, "Content-Range": "bytes 0-4/10"}, b"01234", 206)
    assert world.ask().status == 206
    assert world.store.stats().entries == 0


def test_a_part_that_is_shorter_than_it_says_holds_what_came_and_answers_its_own_request(world: World) -> None:
    world.gives({**FRESH, "Content-Range": "bytes 4-9/10"}, b"01234", 206)
    world.ask(headers=ranged("bytes=-5"))
    assert world.ask(headers=ranged("bytes=-5")).body == b"01234"
    assert world.ask(headers=ranged("bytes=6-8")).body == b"234"
    assert world.ask(headers=ranged("bytes=6-9")).source == "origin"


def test_an_answer_with_the_whole_to_a_request_for_a_part_is_stored_as_the_whole(world: World) -> None:
    world.gives(FRESH, BODY)
    assert world.ask(headers=ranged("bytes=0-1")).status == 200
    seen = world.ask(headers=ranged("bytes=2-3"))
    assert (seen.status, seen.body, seen.source) == (206, b"23", "fresh")


def test_parts_are_bounded(clock: object) -> None:
    world = World(max_variants=3)
    body = bytes(200)
    for first in range(0, 200, 10):
        origin(world, body=body).ask(headers=ranged(f"bytes={first}-{first + 1}"))
        assert world.store.stats().entries <= 3


# -- completing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "asked"), [("bytes=0-4", "bytes=5-"), ("bytes=-3", "bytes=0-6")])
def test_a_part_is_made_whole_by_asking_for_what_it_lacks(world: World, value: str, asked: str) -> None:
    origin(world).ask(headers=ranged(value))
    origin(world, X_New="1")
    seen = world.ask()
    assert (seen.status, seen.body, seen.source) == (200, BODY, "revalidated")
    assert (seen.sent[0]["range"], seen.sent[0]["if-range"]) == (asked, '"a"')
    assert (seen["x-new"], seen["content-range"], seen["content-length"]) == ("1", None, "10")
    assert (seen["cache-status"] or "").startswith("resilient; fwd=partial; fwd-status=206")
    world.only().fails()
    assert (world.ask().body, world.ask().source) == (BODY, "fresh")
    assert world.store.stats().entries == 1


def test_no_more_is_read_than_can_be_missing(world: World) -> None:
    origin(world).ask(headers=ranged("bytes=0-4"))
    world.ask()
    assert world.reads == [10]


def test_another_version_comes_whole_instead(world: World) -> None:
    origin(world).ask(headers=ranged("bytes=0-4"))
    origin(world, '"b"', b"abcdefghij")
    seen = world.ask()
    assert (seen.status, seen.body, seen.source, len(seen.sent)) == (200, b"abcdefghij", "origin", 1)
    assert world.ask().body == b"abcdefghij"


@pytest.mark.parametrize(
    "odd",
    [
        Answer(416, []),
        Answer(412, []),
        Answer(206, [("ETag", '"b"'), *FRESH.items(), ("Content-Range", "bytes 5-9/10")], b"56789"),
        Answer(206, [*FRESH.items(), ("Content-Range", "bytes 5-9/10")], b"56789"),
        Answer(206, [("ETag", '"a"'), *FRESH.items(), ("Content-Range", "bytes 6-9/10")], b"6789"),
        Answer(206, [("ETag", '"a"'), *FRESH.items(), ("Content-Range", "bytes 5-9/11")], b"56789"),
        Answer(206, [("ETag", '"a"'), *FRESH.items(), ("Content-Range", "bytes 5-9/10")], b"5678"),
        Answer(206, [("ETag", '"a"'), *FRESH.items()], b"56789"),
        Answer(206, [("ETag", '"a"'), ("Cache-Control", "no-store"), ("Content-Range", "bytes 5-9/10")], b"56789"),
        Answer(206, [("ETag", '"a"'), *FRESH.items(), ("Content-Range", "bytes 5-9/10")], b"5" * 1000),
    ],
)
def test_what_does_not_fit_is_never_joined_but_asked_for_as_a_whole(world: World, odd: Answer) -> None:
    origin(world).ask(headers=ranged("bytes=0-4"))
    world.only().answers.append(odd)
    world.gives(FRESH, BODY)
    seen = world.ask()
    assert (seen.status, seen.body, seen.source) == (200, BODY, "origin")
    assert "range" not in {name.decode().lower() for name, _ in seen.sent[-1].fields}


def test_a_part_with_holes_on_both_sides_is_not_completed(world: World) -> None:
    origin(world).ask(headers=ranged("bytes=3-5"))
    assert world.ask().sent[0]["range"] is None


def test_a_whole_that_would_be_too_large_is_not_put_together(clock: object) -> None:
    world = World(max_body=8)
    origin(world).ask(headers=ranged("bytes=0-4"))
    assert world.ask().sent[0]["range"] is None


# -- positions -------------------------------------------------------------------------------------------


@example(10, [5, 6, 0, 3])
@example(10, [0, 3, 5, 6])
@example(10, [5, 6, 0, 4])
@given(
    total=st.integers(1, 30),
    cuts=st.lists(st.integers(0, 29), min_size=4, max_size=4),
)
def test_joined_parts_hold_the_bytes_of_the_whole_at_their_positions(total: int, cuts: list[int]) -> None:
    body = bytes(range(total))
    first, last = sorted(min(cut, total - 1) for cut in cuts[:2])
    other_first, other_last = sorted(min(cut, total - 1) for cut in cuts[2:])
    one, two = Span(first, last, total), Span(other_first, other_last, total)
    both = joined(one, body[first : last + 1], two, body[other_first : other_last + 1])
    apart = first > other_last + 1 or other_first > last + 1
    assert (both is None) == apart
    if both is not None:
        span, content = both
        assert content == body[span.first : span.last + 1]
        assert (span.first, span.last) == (min(first, other_first), max(last, other_last))


@given(st.binary(max_size=30), st.integers(0, 50))
def test_any_content_range_is_understood_or_refused(value: bytes, size: int) -> None:
    span = brought(value, size, b"")
    assert span is None or 0 <= span.first <= span.last < span.total


@given(st.text(alphabet="bytes=0123456789-, ", max_size=20), st.integers(0, 30))
def test_any_range_is_within_the_body_or_refused(value: str, total: int) -> None:
    wanted = wish(value.encode())
    positions = wanted.within(total) if wanted else None
    assert positions is None or 0 <= positions[0] <= positions[1] < total
