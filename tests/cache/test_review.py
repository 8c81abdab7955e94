"""What a hostile reading of the cache found: each of these was wrong once."""

from __future__ import annotations

import time
from typing import Any

import pytest

from resilient import ConfigError
from resilient.cache import HttpCache
from resilient.cache.directives import parse
from resilient.cache.fields import tags
from resilient.cache.messages import Asked
from resilient.cache.variants import nominated
from resilient.clock import current
from resilient.stores.memory import MemoryStore
from tests.cache._world import URL, Answer, World

FRESH = {"Cache-Control": "max-age=60"}


def echo(world: World, field: str, headers: dict[str, str] | None = None) -> World:
    return world.does(lambda sent: Answer(200, list((headers or FRESH).items()), (sent[field] or "-").encode()))


# -- whose answer it is ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
def test_hosts_behind_one_address_never_share_an_answer(clock: object, shared: bool) -> None:
    world = echo(World(shared=shared), "host")
    url = "http://10.0.0.1/thing"
    for _ in range(2):
        for host in ("a.example", "b.example", "10.0.0.1", "10.0.0.1:8080"):
            assert world.ask(url, {"Host": host}).body == host.encode()
    assert world.ask(url, {"Host": "a.example"}).source == "fresh"
    assert world.ask(url, {"Host": "A.example"}).source == "fresh"


@pytest.mark.parametrize("user", [{}, {"Authorization": "x"}, {"Cookie": "x"}])
def test_a_host_that_is_that_of_the_address_changes_nothing(clock: object, user: dict[str, str]) -> None:
    world = World().gives(FRESH)
    world.ask("http://api.example/thing", user)
    for host in ("api.example", "API.example", "api.example:80", "api.example:"):
        assert world.ask("http://u:p@api.example:80/thing", {"Host": host, **user}).source == "fresh"


def test_a_write_reaches_the_answers_of_all_hosts(clock: object) -> None:
    world = World().gives(FRESH)
    world.ask(headers={"Host": "other.example"})
    world.ask(method="POST")
    assert world.ask(headers={"Host": "other.example"}).source == "origin"


def test_users_are_told_apart_by_their_credentials_where_partition_does_not_say_who_they_are(clock: object) -> None:
    world = echo(World(partition=lambda asked: None), "authorization")
    for _ in range(2):
        for user in ("alice", "bob"):
            assert world.ask(headers={"Authorization": user}).body == user.encode()


def test_a_request_that_its_driver_wants_past_the_cache_goes_there(clock: object) -> None:
    from resilient.cache.flow import answer, quick

    world = World().gives(FRESH)
    world.ask()
    asked = Asked("GET", URL, [], past="target")
    assert quick(world.cache, asked, world.now) is None
    passed = world.drive(answer(world.cache, asked, world.now), asked)
    assert passed.fields[-1] == (b"Cache-Status", b"resilient; fwd=bypass; detail=target")
    assert passed.filling is None


# -- writes -------------------------------------------------------------------------------------------------


class Overtaken(MemoryStore):
    """Another request's write goes through just before an answer is put."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Any = None

    def put(self, *args: Any, **kwargs: Any) -> Any:
        before, self.before = self.before, None
        if before is not None:
            before()
        return super().put(*args, **kwargs)


@pytest.mark.parametrize("how", ["new", "confirmed"])
def test_a_write_between_the_last_look_and_the_store_leaves_nothing_old(clock: object, how: str) -> None:
    store = Overtaken()
    world = World(store=store).gives({**FRESH, "ETag": '"1"'}, "old")
    if how == "confirmed":
        world.ask()
        world.sleep(100)
        world.gives({**FRESH, "ETag": '"1"'}, status=304)
    store.before = lambda: world.only().gives(FRESH, "new").ask(method="POST")
    world.ask()
    assert world.ask().body == b"new"


def test_a_purge_in_that_moment_counts_too(clock: object) -> None:
    store = Overtaken()
    world = World(store=store).gives(FRESH)
    store.before = world.cache.purge
    world.ask()
    assert store.stats().entries == 0


def test_an_answer_to_post_is_not_stored_where_its_request_says_no_store(world: World) -> None:
    world.gives({**FRESH, "Content-Location": URL}, "to post")
    world.ask(method="POST", headers={"Cache-Control": "no-store"})
    assert world.ask().source == "origin"


def test_an_answer_to_post_is_not_stored_after_a_later_write(clock: object) -> None:
    store = Overtaken()
    world = World(store=store)
    posts: list[str] = []

    def post(sent: object) -> Answer:
        posts.append("x")
        return Answer(200, [*FRESH.items(), ("Content-Location", URL)], f"version {len(posts)}".encode())

    world.does(post)
    purge = world.store.purge

    def overtaken(*args: Any, **kwargs: Any) -> int:
        if len(posts) == 1:
            world.ask(method="PUT")
        return purge(*args, **kwargs)

    world.store.purge = overtaken  # type: ignore[method-assign]
    world.ask(method="POST")
    assert world.ask().body != b"version 1"


# -- clocks -------------------------------------------------------------------------------------------------


def test_an_answer_stored_while_the_clock_was_years_ahead_is_not_fresh_for_years(world: World) -> None:
    world.gives({**FRESH, "ETag": '"1"'})
    world.ask()
    current()._epoch -= 365 * 86400.0  # type: ignore[attr-defined]
    seen = world.ask()
    assert seen.source == "origin"
    assert seen.sent[0]["if-none-match"] == '"1"'
    assert world.ask().source == "fresh"


def test_a_clock_set_back_a_little_leaves_a_fresh_answer_fresh(world: World) -> None:
    world.gives(FRESH)
    world.ask()
    current()._epoch -= 1.5  # type: ignore[attr-defined]
    assert world.ask().source == "fresh"
    world.sleep(60)
    assert world.ask().source == "fresh"
    world.sleep(2)
    assert world.ask().source == "origin"


# -- what nobody meant --------------------------------------------------------------------------------------


@pytest.mark.parametrize("statuses", [503, "503", None, (503, "x"), (200,)])
def test_stale_statuses_that_are_none_are_named(statuses: Any) -> None:
    with pytest.raises((TypeError, ConfigError), match=r"^stale_statuses must be "):
        HttpCache(stale_statuses=statuses)


@pytest.mark.parametrize("name", ["url", "prefix", "tag"])
def test_what_is_purged_is_text(name: str) -> None:
    with pytest.raises(TypeError, match=rf"^{name} must be a text or None, got 5"):
        HttpCache().purge(**{name: 5})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["text/event-stream", "Text/Event-Stream; charset=utf-8"])
def test_a_stream_of_events_is_never_kept_whatever_it_says(clock: object, kind: str) -> None:
    world = World(stale_if_error=100)
    for cc in ("no-cache", "max-age=60"):
        world.only().gives({"Cache-Control": cc, "Content-Type": kind})
        assert "stored" not in (world.ask()["cache-status"] or "")
        assert world.store.stats().entries == 0


@pytest.mark.parametrize("value", [b'"' * 100_000, b'"' + b"\\" * 100_000, b'W/"' * 33_000, b'a="b\\' * 20_000])
def test_hostile_fields_take_time_that_grows_with_their_length_and_no_more(value: bytes) -> None:
    def took(size: int) -> float:
        part = value[:size]
        began = time.perf_counter()
        for _ in range(5):
            parse({b"cache-control": [part]})
            tags(part)
            nominated({b"vary": [part]})
        return time.perf_counter() - began

    ratios = sorted(took(len(value)) / took(len(value) // 10) for _ in range(5))
    assert ratios[0] < 40  # ten for ten times as much; a square would be a hundred
