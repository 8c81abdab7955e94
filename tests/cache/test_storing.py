"""What is stored, and what is not (RFC 9111, 3)."""

from __future__ import annotations

import pytest

from tests.cache._world import URL, World

DAY = 86400.0


def is_reused(world: World, **again: object) -> bool:
    """Ask twice; tell whether the second answer came from the store without a word from the origin."""
    world.ask()
    return world.ask(**again).source == "fresh"  # type: ignore[arg-type]


# -- freshness that is stated ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Cache-Control": "max-age=60"},
        {"Cache-Control": "max-age=60", "Expires": "0"},
        {"Expires": "+60"},
        {"Cache-Control": "public", "Last-Modified": "-1000"},
        {"Last-Modified": "-1000"},
        {"Cache-Control": "private", "Last-Modified": "-1000"},
        {"Cache-Control": "no-store, must-understand, max-age=60"},
    ],
)
def test_an_answer_that_says_how_long_it_is_fresh_or_may_be_guessed_is_reused(
    world: World, headers: dict[str, str]
) -> None:
    world.gives({name: dated(world, value) for name, value in headers.items()})
    assert is_reused(world)


def dated(world: World, value: str) -> str:
    return world.date(float(value)) if value[0] in "+-" else value


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Cache-Control": "no-store, max-age=60"},
        {"Cache-Control": "No-StOrE", "Expires": "+60"},
        {"Cache-Control": "no-cache, max-age=60"},
        {"Cache-Control": "max-age=0", "Expires": "+60"},
        {"Expires": "0"},
        {"Expires": "+0"},
        {"Expires": "-60"},
        {"Expires": "+60", "Date": "+70"},
        {"Cache-Control": "max-age=60", "Age": "60"},
        {"Cache-Control": "max-age=60", "Date": "-60"},
        {"Cache-Control": "s-maxage=60"},
        {"Cache-Control": "s-maxage=60, max-age=0"},
        {"Cache-Control": "max-age=60", "Vary": "*"},
        {"Cache-Control": "max-age=60", "Vary": "Accept, *"},
        {"Pragma": "no-cache"},
    ],
)
def test_an_answer_that_is_not_fresh_or_must_not_be_stored_is_not_reused(world: World, headers: dict[str, str]) -> None:
    world.gives({name: dated(world, value) for name, value in headers.items()})
    assert not is_reused(world)


def test_the_body_comes_back_as_it_was_sent_with_its_coding(world: World) -> None:
    body = bytes(range(256)) * 10
    world.gives({"Cache-Control": "max-age=60", "Content-Encoding": "gzip"}, body)
    world.ask()
    again = world.ask()
    assert (again.body, again["content-encoding"]) == (body, "gzip")


def test_all_fields_are_stored_but_those_of_the_connection(world: World) -> None:
    world.gives(
        [
            ("Cache-Control", "max-age=60"),
            ("Connection", "a, b"),
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("X-Twice", "1"),
            ("X-Twice", "2"),
            ("Proxy-Authenticate", "x"),
            ("Transfer-Encoding", "chunked"),
        ]
    )
    world.ask()
    again = world.ask()
    assert again["c"] == "3"
    assert again["x-twice"] == "1, 2"
    for gone in ("connection", "a", "b", "proxy-authenticate", "transfer-encoding"):
        assert again[gone] is None


def test_fields_that_no_cache_names_are_left_out(world: World) -> None:
    world.gives(
        [("Cache-Control", 'no-cache="a, B"'), ("Cache-Control", "max-age=60"), ("A", "1"), ("b", "2"), ("c", "3")]
    )
    world.ask()
    again = world.ask()
    assert (again.source, again["a"], again["b"], again["c"]) == ("fresh", None, None, "3")


def test_fields_that_private_names_are_left_out_of_a_shared_cache_only(world: World, shared: World) -> None:
    for each in (world, shared):
        each.gives({"Cache-Control": 'private="a", max-age=60', "A": "1"})
        each.ask()
    assert (shared.ask().source, shared.ask()["a"]) == ("fresh", None)
    assert (world.ask().source, world.ask()["a"]) == ("fresh", "1")


def test_an_answer_without_a_date_gets_that_of_its_arrival(world: World) -> None:
    world.dated = False
    world.gives({"Cache-Control": "max-age=60"})
    arrived = world.date()
    world.ask()
    world.sleep(10)
    assert (world.ask()["date"], world.ask()["age"]) == (arrived, "10")


def test_the_date_of_an_answer_stays_and_its_age_grows(world: World) -> None:
    world.gives({"Cache-Control": "max-age=60", "Age": "30"})
    made = world.date()
    world.ask()
    world.sleep(5)
    again = world.ask()
    assert (again["date"], again["age"], again.age) == (made, "35", 35)


def test_the_time_of_a_request_counts_as_if_it_had_passed_after_the_answer_was_made(world: World) -> None:
    world.gives({"Cache-Control": "max-age=60"})
    world.delay = 7
    world.ask()
    assert world.ask()["age"] == "7"
    world.sleep(53)
    assert world.ask().source == "origin"


def test_an_answer_is_fresh_for_less_than_its_lifetime_and_not_for_all_of_it(world: World) -> None:
    world.gives({"Cache-Control": "max-age=60"})
    world.ask()
    world.sleep(59.75)
    assert world.ask().source == "fresh"
    world.sleep(0.25)
    assert world.ask().source == "origin"


def test_a_clock_that_was_set_back_makes_no_answer_younger_than_it_came(world: World) -> None:
    world.gives({"Cache-Control": "max-age=60", "Age": "40"})
    world.ask()
    from resilient import clock

    clock.current()._epoch -= 3600  # type: ignore[attr-defined]
    assert world.ask()["age"] == "40"


# -- freshness that is guessed ---------------------------------------------------------------------------


def test_without_a_lifetime_a_tenth_of_the_time_since_the_last_change_is_taken_for_one(world: World) -> None:
    world.gives({"Last-Modified": world.date(-1000)})
    world.ask()
    world.sleep(99)
    assert world.ask().source == "fresh"
    world.sleep(1)
    assert world.ask().source == "origin"


@pytest.mark.parametrize(("share", "most", "lifetime"), [(0.5, DAY, 500), (0.1, 50, 50), (0, DAY, 0), (1, DAY, 1000)])
def test_the_share_and_the_most_of_it_are_set(clock: object, share: float, most: float, lifetime: float) -> None:
    world = World(heuristic=share, heuristic_most=most)
    world.gives({"Last-Modified": world.date(-1000), "ETag": '"a"'})
    world.ask()
    world.sleep(max(0, lifetime - 1))
    assert (world.ask().source == "fresh") == (lifetime > 0)
    world.sleep(1)
    assert world.ask().source == "origin"


def test_nothing_is_guessed_where_a_lifetime_is_stated_be_it_by_nonsense(world: World) -> None:
    for stated in ({"Cache-Control": "max-age=x"}, {"Expires": "soon"}):
        world.only().gives({**stated, "Last-Modified": world.date(-DAY)})
        world.cache.purge()
        assert not is_reused(world)


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501])
def test_these_statuses_may_be_fresh_by_guess(world: World, status: int) -> None:
    world.gives({"Last-Modified": world.date(-DAY)}, status=status)
    assert is_reused(world)


@pytest.mark.parametrize("status", [201, 202, 302, 303, 307, 400, 403, 500, 502, 503, 504, 599])
def test_all_others_only_if_they_are_public(world: World, status: int) -> None:
    world.gives({"Last-Modified": world.date(-DAY)}, status=status)
    assert not is_reused(world)
    world.only().gives({"Last-Modified": world.date(-DAY), "Cache-Control": "public"}, status=status)
    assert is_reused(world)


def test_private_alone_is_no_licence_to_guess(world: World) -> None:
    world.gives({"Last-Modified": world.date(-DAY), "Cache-Control": "private"}, status=403)
    assert not is_reused(world)


# -- statuses and methods --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 204, 299, 301, 302, 307, 400, 404, 410, 499, 500, 503, 599])
def test_any_final_status_is_stored_with_a_lifetime(world: World, status: int) -> None:
    world.gives({"Cache-Control": "max-age=60"}, status=status)
    assert is_reused(world)
    assert world.ask().status == status


@pytest.mark.parametrize("status", [101, 304, 428, 429, 431, 511, 600, 999])
def test_statuses_about_one_request_are_never_stored(world: World, status: int) -> None:
    world.gives({"Cache-Control": "max-age=60, public"}, status=status)
    assert not is_reused(world)
    assert world.store.stats().entries == 0


def test_must_understand_means_only_statuses_that_are_understood(world: World) -> None:
    world.gives({"Cache-Control": "must-understand, max-age=60"}, status=599)
    assert not is_reused(world)
    world.only().gives({"Cache-Control": "must-understand, no-store, max-age=60"}, status=404)
    assert is_reused(world)


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "QUERY", "POST", "PUT", "get"])
def test_answers_to_other_methods_are_not_stored(world: World, method: str) -> None:
    world.gives({"Cache-Control": "max-age=60"})
    world.ask(method=method)
    assert world.ask(method=method).source == "origin"
    assert world.ask().source == "origin"


def test_a_stored_answer_to_get_answers_head_without_its_body(world: World) -> None:
    world.gives({"Cache-Control": "max-age=60", "Content-Length": "4", "ETag": '"a"'})
    world.ask()
    head = world.ask(method="HEAD")
    assert (head.source, head.status, head.body) == ("fresh", 200, b"")
    assert (head["content-length"], head["etag"], head["age"]) == ("4", '"a"', "0")


def test_an_answer_to_head_is_not_stored_as_one_to_get(world: World) -> None:
    world.gives({"Cache-Control": "max-age=60"})
    assert world.ask(method="HEAD").source == "origin"
    assert world.ask(method="HEAD").source == "origin"
    assert world.ask().body == b"body"
    assert world.ask().source == "fresh"


def test_a_request_with_a_body_goes_past_the_cache(world: World) -> None:
    world.gives({"Cache-Control": "max-age=60"})
    world.ask(bodied=True)
    assert world.ask().source == "origin"
    assert world.ask().source == "fresh"
    past = world.ask(bodied=True)
    assert past.source == "origin"
    assert past["cache-status"] == "resilient; fwd=bypass; detail=body"


@pytest.mark.parametrize("name", ["If-Match", "If-Unmodified-Since", "Upgrade"])
def test_conditions_for_the_origin_go_to_the_origin_as_they_are(world: World, name: str) -> None:
    world.gives({"Cache-Control": "max-age=60", "ETag": '"a"'})
    world.ask()
    past = world.ask(headers={name: '"a"'})
    assert (past.source, past.sent[0][name]) == ("origin", '"a"')


# -- bodies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", ["broken", "unread"])
def test_an_answer_whose_body_was_not_read_to_its_end_is_not_stored(world: World, read: str) -> None:
    world.gives({"Cache-Control": "max-age=60"})
    world.ask(read=read)
    assert world.ask().source == "origin"
    assert world.ask().source == "fresh"


@pytest.mark.parametrize("length", ["3", "5", "4, 4"])
def test_an_answer_of_another_length_than_it_says_is_not_stored(world: World, length: str) -> None:
    world.gives({"Cache-Control": "max-age=60", "Content-Length": length})
    assert is_reused(world) == (length == "4, 4")


def test_a_body_that_is_too_large_is_handed_on_and_not_stored(clock: object) -> None:
    world = World(max_body=10)
    world.gives({"Cache-Control": "max-age=60"}, b"x" * 11)
    assert world.ask().body == b"x" * 11
    assert world.ask().source == "origin"
    world.only().gives({"Cache-Control": "max-age=60"}, b"x" * 10)
    assert is_reused(world)


def test_a_body_that_says_it_is_too_large_is_not_even_collected(clock: object) -> None:
    world = World(max_body=10)
    world.gives({"Cache-Control": "max-age=60", "Content-Length": "11"}, b"x" * 11)
    assert "stored" not in (world.ask()["cache-status"] or "")


def test_an_answer_of_a_fallback_is_never_stored(world: World) -> None:
    world.gives({"Cache-Control": "max-age=60"}, replaced=True)
    assert not is_reused(world)


# -- shared caches ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["private, max-age=60", "max-age=60, PRIVATE", "private=x, max-age=60"])
def test_a_shared_cache_stores_nothing_private(shared: World, header: str) -> None:
    shared.gives({"Cache-Control": header})
    assert not is_reused(shared)


def test_a_private_cache_does(world: World) -> None:
    world.gives({"Cache-Control": "private, max-age=60"})
    assert is_reused(world)


@pytest.mark.parametrize(
    ("header", "lifetime"), [("s-maxage=60", 60), ("max-age=10, s-maxage=60", 60), ("s-maxage=10, max-age=60", 10)]
)
def test_in_a_shared_cache_s_maxage_comes_before_max_age_and_expires(
    shared: World, header: str, lifetime: float
) -> None:
    shared.gives({"Cache-Control": header, "Expires": shared.date(-100)})
    shared.ask()
    shared.sleep(lifetime - 1)
    assert shared.ask().source == "fresh"
    shared.sleep(1)
    assert shared.ask().source == "origin"


def test_a_private_cache_ignores_s_maxage(world: World) -> None:
    world.gives({"Cache-Control": "s-maxage=10, max-age=60"})
    world.ask()
    world.sleep(50)
    assert world.ask().source == "fresh"


@pytest.mark.parametrize("header", ["max-age=60", "max-age=60, proxy-revalidate", "max-age=60, no-cache"])
def test_a_shared_cache_stores_no_answer_to_a_request_with_credentials(shared: World, header: str) -> None:
    shared.gives({"Cache-Control": header, "ETag": '"a"'})
    shared.ask(headers={"Authorization": "Bearer a"})
    assert shared.store.stats().entries == 0


@pytest.mark.parametrize("header", ["max-age=60, public", "max-age=60, must-revalidate", "s-maxage=60"])
def test_unless_it_says_that_it_is_for_all(shared: World, header: str) -> None:
    shared.gives({"Cache-Control": header})
    shared.ask(headers={"Authorization": "Bearer a"})
    assert shared.ask(headers={"Authorization": "Bearer b"}).source == "fresh"
    assert shared.ask().source == "fresh"


def test_an_answer_that_sets_a_cookie_is_shared_only_with_a_stated_lifetime(shared: World) -> None:
    shared.gives({"Last-Modified": shared.date(-DAY), "Set-Cookie": "a=b"})
    assert not is_reused(shared)
    shared.only().gives({"Cache-Control": "max-age=60", "Set-Cookie": "a=b"})
    assert is_reused(shared)
    assert shared.ask()["set-cookie"] == "a=b"


def test_in_a_private_cache_it_is_kept_for_who_has_an_identity_already(world: World) -> None:
    world.gives({"Cache-Control": "max-age=60", "Set-Cookie": "a=b"})
    assert not is_reused(world)
    who = {"Cookie": "session=1"}
    world.ask(headers=who)
    assert world.ask(headers=who)["set-cookie"] == "a=b"
    world.only().gives({"Cache-Control": "max-age=60, public", "Set-Cookie": "a=b"})
    assert is_reused(world)
    world.only().gives({"Cache-Control": 'max-age=60, no-cache="Set-Cookie"', "Set-Cookie": "a=b"})
    world.cache.purge()
    assert is_reused(world)
    assert world.ask()["set-cookie"] is None


# -- what is of use --------------------------------------------------------------------------------------


def test_an_answer_that_can_never_be_used_again_is_not_stored(world: World) -> None:
    world.gives({})
    assert "stored" not in (world.ask()["cache-status"] or "")
    assert world.store.stats().entries == 0


def test_one_that_can_be_confirmed_is(world: World) -> None:
    world.gives({"ETag": '"a"'})
    assert "stored" in (world.ask()["cache-status"] or "")


def test_an_answer_stays_in_the_store_while_it_is_fresh_and_as_long_as_it_may_be_served_stale(clock: object) -> None:
    world = World(longest_stale=100)
    world.gives({"Cache-Control": "max-age=60"})
    world.ask()
    world.sleep(160)
    assert world.store.stats().entries == 1
    world.sleep(2)
    assert world.store.stats().entries == 0


def test_query_strings_are_part_of_the_address(world: World) -> None:
    world.gives({"Cache-Control": "max-age=60"}).gives({"Cache-Control": "max-age=60"}, "other")
    world.ask(URL + "?a=1")
    assert world.ask(URL + "?a=2").source == "origin"
    assert world.ask(URL + "?a=1").body == b"body"
    assert world.ask(URL + "?a=2").body == b"other"
