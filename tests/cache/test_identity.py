"""Whose answer it is: one identity's answers never reach another (T65), and no credential gets into a store."""

from __future__ import annotations

import pytest

from resilient import faults
from resilient.cache import HttpCache
from resilient.cache.identity import CREDENTIALS, SECRET_KEY
from resilient.stores import Record
from resilient.stores.memory import MemoryStore
from tests.cache._world import URL, Answer, World

FRESH = {"Cache-Control": "max-age=60"}
WORD = "hunter2-is-my-password"


class Blocking(MemoryStore):
    """Stands for a store that processes share."""

    blocking = True


def whoami(world: World, field: str, cc: str = "max-age=60") -> World:
    return world.does(lambda sent: Answer(200, [("Cache-Control", cc)], (sent[field] or "nobody").encode()))


@pytest.mark.parametrize("field", sorted(name.decode() for name in CREDENTIALS))
@pytest.mark.parametrize("mode", ["private", "shared"])
def test_T65_one_identitys_answers_never_reach_another(clock: object, field: str, mode: str) -> None:
    world = whoami(World(shared=mode == "shared"), field)
    for _ in range(3):
        for user in ("alice", "bob", None):
            headers = {} if user is None else {field: user}
            assert world.ask(headers=headers).body.decode() == (user or "nobody")


def test_T65_a_private_answer_reaches_only_who_got_it(world: World) -> None:
    whoami(world, "authorization", "private, max-age=60")
    assert world.ask(headers={"Authorization": "alice"}).body == b"alice"
    assert world.ask(headers={"Authorization": "bob"}).body == b"bob"
    assert world.ask(headers={"Authorization": "alice"}).source == "fresh"


def test_T65_the_same_holds_for_stale_answers_and_for_those_in_the_background(clock: object) -> None:
    world = whoami(World(stale_if_error=1000, stale_while_revalidate=100), "cookie")
    users = ("alice", "bob")
    for _ in range(3):
        for user in users:
            assert world.ask(headers={"Cookie": user}).body.decode() == user
        world.sleep(61)
        world.settle()
    world.only().fails()
    world.sleep(200)
    for user in users:
        assert (world.ask(headers={"Cookie": user}).body.decode(), world.ask(headers={"Cookie": user}).source) == (
            user,
            "stale",
        )


def test_fields_in_another_order_or_case_are_one_identity(world: World) -> None:
    world.gives(FRESH)
    world.ask(headers=[("Authorization", "x"), ("Cookie", "a=1")])
    assert world.ask(headers=[("cookie", "a=1"), ("AUTHORIZATION", "x")]).source == "fresh"


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ([("Cookie", "a=1")], [("Cookie", "a=1"), ("Authorization", "x")]),
        ([("Cookie", "ab")], [("Cookie", "a"), ("Cookie", "b")]),
        ([("X-Api-Key", "a")], [("Api-Key", "a")]),
        ([("Authorization", "")], []),
    ],
)
def test_credentials_that_differ_in_anything_are_two_identities(
    world: World, one: list[tuple[str, str]], two: list[tuple[str, str]]
) -> None:
    world.gives({**FRESH, "Cache-Control": "private, max-age=60"})
    world.ask(headers=one)
    assert world.ask(headers=two).source == "origin"


def test_in_a_shared_cache_what_anybody_got_serves_who_has_a_cookie_until_they_have_their_own(shared: World) -> None:
    whoami(shared, "cookie")
    assert shared.ask().body == b"nobody"
    assert shared.ask(headers={"Cookie": "alice"}).body == b"nobody"
    shared.sleep(60)
    assert shared.ask(headers={"Cookie": "alice"}).body == b"alice"
    assert shared.ask().body == b"nobody"


def test_in_a_shared_cache_a_public_answer_to_somebody_serves_all(shared: World) -> None:
    whoami(shared, "cookie", "public, max-age=60")
    assert shared.ask(headers={"Cookie": "alice"}).body == b"alice"
    assert shared.ask(headers={"Cookie": "bob"}).source == "fresh"
    assert shared.ask().source == "fresh"


def test_T65_what_one_fetches_behind_a_shared_answer_is_theirs(shared: World) -> None:
    whoami(shared, "cookie", "max-age=10, stale-while-revalidate=60")
    shared.ask()
    shared.sleep(15)
    assert shared.ask(headers={"Cookie": "alice"}).body == b"nobody"
    shared.settle()
    assert shared.ask(headers={"Cookie": "alice"}).body == b"alice"
    assert shared.ask().body == b"nobody"
    assert shared.ask(headers={"Cookie": "bob"}).body == b"nobody"


@pytest.mark.parametrize("how", ["asked", "behind", "HEAD", "other variant"])
def test_T65_what_a_304_says_to_one_is_theirs(shared: World, how: str) -> None:
    shared.gives({"Cache-Control": "max-age=10, stale-while-revalidate=60", "ETag": '"a"', "Vary": "Foo"})
    shared.ask()
    shared.sleep(100 if how == "asked" else 15)
    shared.only().gives({"ETag": '"a"', "X-Who": "alice", "Set-Cookie": "session=alice"}, status=304)
    if how == "HEAD":
        shared.only().gives({"ETag": '"a"', "X-Who": "alice", "Cache-Control": "max-age=10"})
    foo = {"Foo": "1"} if how == "other variant" else {}
    method = "HEAD" if how == "HEAD" else "GET"
    shared.ask(headers={"Cookie": "alice", **foo, "Cache-Control": "no-cache" if how == "HEAD" else "x"}, method=method)
    shared.settle()
    shared.only().fails()
    mine = shared.ask(headers={"Cookie": "alice", **foo})
    assert (mine.source, mine["x-who"], mine.body) == ("fresh", "alice", b"body")
    for other in ({}, {"Cookie": "bob"}):
        theirs = shared.ask(headers={**other, "Cache-Control": "max-stale"})
        assert (theirs.source, theirs["x-who"], theirs["set-cookie"]) == ("stale", None, None)


def test_T65_a_cookie_that_a_304_sets_for_who_shows_authorization_is_shared_with_nobody(shared: World) -> None:
    shared.gives({"Cache-Control": "s-maxage=10", "ETag": '"a"'})
    shared.ask()
    shared.sleep(10)
    shared.only().gives({"ETag": '"a"', "Set-Cookie": "session=alice"}, status=304)
    assert shared.ask(headers={"Authorization": "alice"})["set-cookie"] == "session=alice"
    assert shared.store.stats().entries == 0


def test_in_a_private_cache_it_does_not(world: World) -> None:
    whoami(world, "cookie", "public, max-age=60")
    assert world.ask(headers={"Cookie": "alice"}).body == b"alice"
    assert world.ask(headers={"Cookie": "bob"}).body == b"bob"


def test_a_private_and_a_shared_cache_on_one_store_stay_apart_and_are_both_invalidated(clock: object) -> None:
    store = MemoryStore()
    private, shared = World(store=store), World(store=store, shared=True)
    private.gives({"Cache-Control": "private, max-age=60"})
    private.ask()
    shared.gives(FRESH)
    assert shared.ask().source == "origin"
    private.ask(method="POST")
    assert store.stats().entries == 0


# -- credentials -----------------------------------------------------------------------------------------


def dump(world: World) -> bytes:
    """Everything that the store keeps."""
    shelves = world.store._shelves.by_key
    parts = [
        part
        for key, shelf in shelves.items()
        for record in shelf.records
        for part in (key.encode(), record.variant.encode(), record.head, record.body)
    ]
    return b"\n".join(parts)


@pytest.mark.parametrize("field", ["Authorization", "Cookie", "X-Api-Key"])
def test_no_credential_gets_into_the_store(world: World, field: str) -> None:
    world.gives(FRESH)
    world.ask(headers={field: WORD})
    assert world.store.stats().entries == 1
    assert WORD.encode() not in dump(world)
    assert "alice" not in repr(world.cache)


def test_nor_that_of_an_address(world: World) -> None:
    world.gives(FRESH)
    world.ask(f"https://alice:{WORD}@api.example/thing")
    assert WORD.encode() not in dump(world)


@pytest.mark.parametrize("field", ["Authorization", "Cookie", "X-My-Own-Token"])
def test_nor_through_vary(clock: object, field: str) -> None:
    for world in (World(), World(shared=True), World(partition=lambda asked: None)):
        world.gives({"Cache-Control": "public, max-age=60", "Vary": f"{field}, Accept-Language"})
        headers = {field: WORD, "Accept-Language": "de"}
        world.ask(headers=headers)
        assert world.ask(headers=headers).source == "fresh"
        assert world.ask(headers={**headers, field: "other"}).source == "origin"
        assert WORD.encode() not in dump(world)


def test_nor_what_partition_returns(clock: object) -> None:
    world = World(partition=lambda asked: WORD)
    world.gives(FRESH)
    world.ask()
    assert WORD.encode() not in dump(world)


def test_digests_are_keyed_so_that_nobody_can_try_passwords_on_them(clock: object) -> None:
    def key(secret: bytes | None) -> str:
        world = World(secret=secret)
        world.gives(FRESH)
        world.ask(headers={"Authorization": WORD})
        return next(iter(world.store._shelves.by_key))

    assert key(b"1" * 16) == key(b"1" * 16)
    assert len({key(b"1" * 16), key(b"2" * 16), key(None), key(None)}) == 4


def test_processes_that_share_a_store_share_its_secret(clock: object) -> None:
    store = Blocking()
    one, two = World(store=store), World(store=store)
    for world in (one, two):
        world.gives(FRESH)
    one.ask(headers={"Authorization": "x"})
    assert two.ask(headers={"Authorization": "x"}).source == "fresh"
    assert one.cache.secret == two.cache.secret == store.get(SECRET_KEY)[0].head
    assert one.cache.purge() == 1
    assert store.get(SECRET_KEY) != ()


def test_without_a_secret_all_requests_go_past_the_cache(clock: object) -> None:
    class Mute(Blocking):
        def get(self, key: str) -> object:  # type: ignore[override]
            raise OSError("gone")

        put = get  # type: ignore[assignment]

    world = World(store=Mute())
    world.gives(FRESH)
    assert world.ask(headers={"Authorization": "x"})["cache-status"] == "resilient; fwd=bypass; detail=partition"
    assert world.ask().source == "origin"


def test_a_damaged_secret_is_made_anew(clock: object) -> None:
    store = Blocking()
    store.put(SECRET_KEY, Record("", b"short", b""), lifetime=1000)
    world = World(store=store)
    world.gives(FRESH)
    for source in ("origin", "origin", "fresh"):
        assert world.ask(headers={"Cookie": "a"}).source == source


# -- partition -------------------------------------------------------------------------------------------


def test_partition_says_who_is_who(clock: object) -> None:
    def tenant(asked: object) -> str | None:
        return dict(asked.fields).get(b"X-Tenant", b"").decode() or None  # type: ignore[attr-defined]

    world = World(partition=tenant)
    whoami(world, "x-tenant")
    for _ in range(2):
        for name in ("a", "b"):
            seen = world.ask(headers={"X-Tenant": name, "Authorization": "changes each time"})
            assert seen.body.decode() == name
    assert world.ask(headers={"X-Tenant": "a", "Authorization": "again"}).source == "fresh"
    assert world.ask(headers={"Authorization": "x"}).body == b"nobody"
    assert world.ask().source == "origin"  # who is not named is told apart by credentials
    assert world.ask().source == "fresh"


@pytest.mark.parametrize("fault", [ZeroDivisionError("mine"), None])
def test_a_partition_that_fails_goes_past_the_cache_and_is_reported(clock: object, fault: Exception | None) -> None:
    def partition(asked: object) -> str:
        if fault is None:
            return 5  # type: ignore[return-value]
        raise fault

    world = World(partition=partition)
    world.gives(FRESH)
    for _ in range(2):
        assert world.ask().source == "origin"
    assert world.store.stats().entries == 0
    assert faults.total() >= 2


def test_a_write_reaches_all_partitions(clock: object) -> None:
    names = iter("abcdef")
    world = World(partition=lambda asked: next(names))
    world.gives(FRESH)
    world.ask()
    entries = world.store.stats().entries
    world.ask(URL + "2", method="POST")
    assert world.store.stats().entries == entries
    world.ask(method="POST")
    assert world.store.stats().entries == entries - 1


def test_one_cache_may_serve_many_clients(clock: object) -> None:
    cache = HttpCache()
    assert cache.partition is None
    assert len(cache.secret or b"") == 32
