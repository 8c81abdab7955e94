"""What every store must do. A store has passed when a class of its own tests derives from these.

    class TestMyStore(Basics, Bounds, Threads, Forks):
        def make(self, folder, **bounds):
            return MyStore(...)

`make` opens the store that lives in `folder`; called twice for one folder, it opens the same one
twice, unless `keeps` is False. It is given the bounds that a test needs, by the names that
MemoryStore has. A store that has no bounds of its own leaves `Bounds` out.
"""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resilient.errors import ConfigError
from resilient.stores import Record, Stats, Store, StoreFull
from resilient.testing import FakeClock, use

LIFE = 60.0


def record(variant: str = "", head: bytes = b"head", body: bytes = b"body") -> Record:
    return Record(variant, head, body)


def put(store: Store, key: str, body: bytes = b"body", **options: Any) -> int | None:
    variant = options.pop("variant", "")
    return store.put(key, record(variant, body=body), **{"lifetime": LIFE, **options})


def bodies(store: Store, key: str) -> list[bytes]:
    return [each.body for each in store.get(key)]


def variants(store: Store, key: str) -> list[str]:
    return [each.variant for each in store.get(key)]


class Contract:
    """What the parts below share."""

    keeps = True
    """Whether a store that is closed and opened again has its records still."""

    def make(self, folder: Path, **bounds: int) -> Store:
        raise NotImplementedError

    @pytest.fixture
    def opened(self, tmp_path: Path) -> Iterator[Callable[..., Store]]:
        stores: list[Store] = []

        def opened(**bounds: int) -> Store:
            stores.append(self.make(tmp_path, **bounds))
            return stores[-1]

        yield opened
        for store in stores:
            store.close()

    @pytest.fixture
    def store(self, opened: Callable[..., Store]) -> Store:
        return opened()

    @pytest.fixture
    def clock(self) -> Iterator[FakeClock]:
        with use(FakeClock(auto=False)) as clock:
            yield clock


class Basics(Contract):
    """One caller at a time."""

    def test_it_is_a_store(self, store):
        assert isinstance(store, Store)
        assert store.blocking in {True, False}

    def test_what_was_put_is_got(self, store):
        version = store.put("key", Record("variant", b"head", b"body"), lifetime=LIFE)
        (found,) = store.get("key")
        assert (found.variant, found.head, found.body, found.version) == ("variant", b"head", b"body", version)
        assert version >= 1

    def test_nothing_is_got_where_nothing_was_put(self, store):
        put(store, "key")
        assert list(store.get("other")) == []
        assert list(store.get("")) == []
        assert list(store.get("ke")) == []
        assert list(store.get("key ")) == []
        assert list(store.get("KEY")) == []

    def test_a_record_takes_the_place_of_the_one_of_its_variant(self, store):
        first = put(store, "key", b"one")
        second = put(store, "key", b"two")
        assert bodies(store, "key") == [b"two"]
        assert second > first
        assert store.stats().entries == 1

    def test_all_variants_are_kept_the_one_written_last_first(self, store):
        for variant in ("a", "b", "c"):
            put(store, "key", variant.encode(), variant=variant)
        assert variants(store, "key") == ["c", "b", "a"]
        put(store, "key", b"again", variant="a")
        assert variants(store, "key") == ["a", "c", "b"]
        assert bodies(store, "key") == [b"again", b"c", b"b"]
        versions = [each.version for each in store.get("key")]
        assert versions == sorted(versions, reverse=True)

    def test_variants_of_one_key_do_not_mix_with_another(self, store):
        put(store, "a", b"1", variant="bc")
        put(store, "ab", b"2", variant="c")
        put(store, "abc", b"3")
        assert [bodies(store, key) for key in ("a", "ab", "abc")] == [[b"1"], [b"2"], [b"3"]]

    @pytest.mark.parametrize(
        "key",
        [
            "",
            " ",
            "\0",
            "a\0b",
            "\n\r\t",
            "straße ☃ 日本",
            "🦊",
            "\ud83e\udd8a",
            "\udcff\ud800",  # noqa: PT014 -- not the one above
            "é",
            "e\u0301",
            "'; DROP TABLE records; --",
            "%s {} \\ * ? [a]",
            "k" * 10_000,
        ],
        ids=ascii,
    )
    def test_any_text_is_a_key_a_variant_and_a_tag(self, store, key):
        put(store, "before")
        version = store.put(key, Record(key, b"", b"odd"), lifetime=LIFE, tags=[key])
        (found,) = store.get(key)
        assert (found.variant, found.body, found.version) == (key, b"odd", version)
        assert store.delete(key, key, expected=version + 1) == 0
        assert store.purge(prefix=key, tag=key) == 1
        assert list(store.get(key)) == []
        assert bodies(store, "before") == [b"body"]

    def test_keys_that_look_alike_are_not_the_same(self, store):
        alike = ["🦊", "\ud83e\udd8a", "é", "e\u0301", "a", "a\0", "A"]
        for number, key in enumerate(alike):
            put(store, key, b"%d" % number)
        assert [bodies(store, key) for key in alike] == [[b"%d" % number] for number in range(len(alike))]

    @pytest.mark.parametrize("size", [0, 1, 100, 4_096, 70_000, 1_000_000])
    def test_bodies_are_kept_to_the_byte(self, store, size):
        body = (bytes(range(256)) * (size // 256 + 1))[:size]
        head = body[:1000]
        store.put("key", Record("", head, body), lifetime=LIFE)
        (found,) = store.get("key")
        assert found.head == head
        assert found.body == body
        assert (type(found.head), type(found.body)) == (bytes, bytes)

    def test_bytes_of_other_kinds_are_copied(self, store):
        body, head = bytearray(b"body"), memoryview(b"xheadx")[1:5]
        store.put("key", Record("", head, body), lifetime=LIFE)
        body[:] = b"????"
        (found,) = store.get("key")
        assert (found.head, found.body) == (b"head", b"body")

    def test_a_record_that_was_put_may_be_changed_and_put_again(self, store):
        mine = record("a", body=b"one")
        store.put("key", mine, lifetime=LIFE)
        mine.variant, mine.body, mine.version = "b", b"two", 77
        store.put("key", mine, lifetime=LIFE)
        assert sorted((each.variant, each.body) for each in store.get("key")) == [("a", b"one"), ("b", b"two")]
        assert 77 not in {each.version for each in store.get("key")}

    # -- lifetimes -------------------------------------------------------------------------

    def test_a_record_is_gone_when_its_lifetime_is_over(self, store, clock):
        put(store, "key", lifetime=10)
        clock.advance(9.75)
        assert bodies(store, "key") == [b"body"]
        clock.advance(0.25)
        assert bodies(store, "key") == []
        assert store.stats().entries == 0
        assert store.stats().size == 0

    def test_each_variant_has_its_own_lifetime(self, store, clock):
        for variant, lifetime in (("a", 30), ("b", 10), ("c", 20)):
            put(store, "key", variant=variant, lifetime=lifetime)
        seen = [variants(store, "key")]
        for _ in range(3):
            clock.advance(10)
            seen.append(variants(store, "key"))
        assert seen == [["c", "b", "a"], ["c", "a"], ["a"], []]

    def test_a_new_record_has_a_new_lifetime(self, store, clock):
        put(store, "key", lifetime=10)
        clock.advance(5)
        put(store, "key", lifetime=10)
        clock.advance(9)
        assert bodies(store, "key") == [b"body"]
        put(store, "key", lifetime=1)
        clock.advance(1)
        assert bodies(store, "key") == []

    def test_what_is_over_counts_as_missing(self, store, clock):
        old = put(store, "key", lifetime=10, tags=["tag"])
        put(store, "key", variant="other", lifetime=10)
        clock.advance(10)
        assert put(store, "key", expected=old) is None
        assert store.delete("key") == 0
        assert store.purge(tag="tag") == 0
        assert store.purge() == 0
        put(store, "key", lifetime=10)
        clock.advance(10)
        assert put(store, "key", expected=0) > old

    def test_what_is_over_counts_as_missing_also_before_it_is_cleared_away(self, store, clock):
        versions = [put(store, f"{number}", lifetime=1, tags=["tag"]) for number in range(300)]
        clock.advance(1)
        assert store.delete("299") == 0
        assert store.delete("298", expected=versions[298]) == 0
        assert put(store, "297", expected=versions[297]) is None
        assert put(store, "296", expected=0) > versions[-1]
        assert store.purge(tag="tag") == 0
        assert store.stats().entries == 1

    @pytest.mark.parametrize("lifetime", [0, -1, float("nan"), float("inf")])
    def test_a_lifetime_is_above_zero(self, store, lifetime):
        with pytest.raises(ConfigError, match="lifetime must be"):
            put(store, "key", lifetime=lifetime)
        assert store.stats().entries == 0

    # -- versions --------------------------------------------------------------------------

    def test_expected_zero_writes_only_what_is_not_there(self, store):
        assert put(store, "key", b"one", expected=0) >= 1
        assert put(store, "key", b"two", expected=0) is None
        assert put(store, "key", b"other", variant="other", expected=0) >= 1
        assert bodies(store, "key") == [b"other", b"one"]

    def test_an_expected_version_writes_only_over_it(self, store):
        first = put(store, "key", b"one")
        assert put(store, "key", b"no", expected=first + 1) is None
        second = put(store, "key", b"two", expected=first)
        assert second > first
        assert put(store, "key", b"no", expected=first) is None
        assert bodies(store, "key") == [b"two"]
        assert put(store, "none", b"no", expected=first) is None
        assert put(store, "key", b"no", variant="none", expected=second) is None
        assert bodies(store, "none") == []

    def test_a_version_is_never_given_twice(self, store, clock):
        given = [put(store, "key")]
        store.delete("key")
        given.append(put(store, "key"))
        store.purge()
        given += [put(store, "key", lifetime=1), put(store, "other")]
        clock.advance(1)
        given.append(put(store, "key"))
        assert given == sorted(set(given))
        assert put(store, "key", expected=given[0]) is None, "it was another record"

    def test_a_version_that_is_no_number_is_refused(self, store):
        with pytest.raises(TypeError, match="expected must be"):
            put(store, "key", expected="1")
        with pytest.raises(ConfigError, match="expected must be"):
            put(store, "key", expected=-1)

    # -- removing --------------------------------------------------------------------------

    def test_delete_removes_a_record_or_all_of_a_key(self, store):
        for variant in ("a", "b", "c"):
            put(store, "key", variant=variant)
        put(store, "other")
        assert store.delete("key", "b") == 1
        assert store.delete("key", "b") == 0
        assert variants(store, "key") == ["c", "a"]
        assert store.delete("key") == 2
        assert store.delete("key") == 0
        assert bodies(store, "key") == []
        assert store.stats().entries == 1

    def test_delete_removes_only_the_expected_version(self, store):
        one, two = put(store, "key", variant="a"), put(store, "key", variant="b")
        assert store.delete("key", "a", expected=two) == 0
        assert store.delete("key", "a", expected=0) == 0
        assert store.delete("key", expected=two) == 1
        assert variants(store, "key") == ["a"]
        assert store.delete("key", "a", expected=one) == 1

    def test_purge_removes_by_prefix(self, store):
        keys = ["GET https://a/1", "GET https://a/2", "GET https://ab/1", "GET https://a", "get https://a/1"]
        for key in keys:
            put(store, key)
            put(store, key, variant="other")
        assert store.purge(prefix="GET https://a/") == 4
        assert [bool(store.get(key)) for key in keys] == [False, False, True, True, True]
        assert store.purge(prefix="GET https://a/") == 0
        assert store.purge(prefix="GET %") == 0
        assert store.purge(prefix="") == 6
        assert store.stats() == Stats(0, 0, 0, 0)

    def test_purge_removes_by_tag(self, store):
        put(store, "a", tags=["red", "green"])
        put(store, "b", tags=iter(["red", "red"]))
        put(store, "c", variant="1", tags={"green"})
        put(store, "c", variant="2")
        assert store.purge(tag="blue") == 0
        assert store.purge(tag="re") == 0
        assert store.purge(tag="red") == 2
        assert store.purge(tag="red") == 0
        assert variants(store, "c") == ["2", "1"]
        assert store.purge(prefix="x", tag="green") == 0
        assert store.purge(prefix="c", tag="green") == 1
        assert variants(store, "c") == ["2"]

    def test_a_new_record_has_only_its_own_tags(self, store):
        put(store, "key", tags=["old", "both"])
        put(store, "key", tags=["new", "both"])
        assert store.purge(tag="old") == 0
        assert store.purge(tag="both") == 1
        put(store, "key", tags=["one"])
        store.delete("key")
        put(store, "key")
        assert store.purge(tag="one") == 0

    def test_purge_removes_many(self, store):
        for number in range(700):
            put(store, f"many/{number}", tags=["all", f"{number % 2}"])
        put(store, "one")
        assert store.purge(prefix="many/", tag="1") == 350
        assert store.purge(prefix="many/1") == 55, "1, 1x and 1xx that are even"
        assert store.purge(tag="all") == 295
        assert store.stats().entries == 1

    # -- wrong arguments -------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("key", "mine", "options", "named"),
        [
            (None, record(), {}, "key"),
            (b"key", record(), {}, "key"),
            (7, record(), {}, "key"),
            ("key", Record(None, b"", b""), {}, "record.variant"),
            ("key", Record("", None, b""), {}, "record.head"),
            ("key", Record("", 5, b""), {}, "record.head"),
            ("key", Record("", b"", "text"), {}, "record.body"),
            ("key", record(), {"lifetime": "long"}, "lifetime"),
            ("key", record(), {"tags": "text"}, "tags"),
            ("key", record(), {"tags": [b"tag"]}, "tags"),
        ],
    )
    def test_what_cannot_be_kept_is_refused_by_name(self, store, key, mine, options, named):
        with pytest.raises(TypeError, match=named):
            store.put(key, mine, **{"lifetime": LIFE, **options})
        assert store.stats().entries == 0

    # -- stats, closing --------------------------------------------------------------------

    def test_stats_count_records_and_bytes(self, store):
        assert store.stats() == Stats(0, 0, 0, 0)
        store.put("käse", Record("☃", b"12", b"345"), lifetime=LIFE, tags=["t", "tt"])
        assert store.stats() == Stats(1, 5 + 3 + 2 + 3 + 1 + 2, 0, 0)
        store.put("käse", Record("☃", b"", b""), lifetime=LIFE)
        assert store.stats() == Stats(1, 8, 0, 0)
        put(store, "other")
        store.delete("käse")
        assert store.stats() == Stats(1, 5 + 4 + 4, 0, 0)

    def test_a_closed_store_opens_again(self, store):
        put(store, "key")
        store.close()
        store.close()
        assert bodies(store, "key") == [b"body"]
        assert put(store, "other") is not None
        store.close()
        assert store.stats().entries == 2

    def test_a_store_made_anew_has_what_was_kept(self, opened):
        first = opened()
        version = put(first, "key", tags=["tag"], variant="v")
        first.close()
        second = opened()
        if not self.keeps:
            assert bodies(second, "key") == []
            return
        assert [(each.variant, each.body, each.version) for each in second.get("key")] == [("v", b"body", version)]
        assert second.stats().entries == 1
        assert put(second, "key", variant="v", expected=version) > version
        assert second.purge(tag="tag") == 0


class Bounds(Contract):
    """How much there may be. A store without bounds of its own (a server's) leaves this out."""

    def test_it_holds_no_more_records_than_it_may(self, opened):
        store = opened(max_entries=20)
        for number in range(100):
            put(store, f"key {number}")
            assert store.stats().entries <= 20
        assert store.stats().entries == 20
        assert store.stats().evicted == 80
        assert bodies(store, "key 99") == [b"body"]
        assert sum(len(store.get(f"key {number}")) for number in range(100)) == 20

    def test_it_holds_no_more_bytes_than_it_may(self, opened):
        store = opened(max_bytes=10_000)
        for number in range(100):
            put(store, f"key {number}", bytes(number * 20))
            assert store.stats().size <= 10_000
        assert store.stats().evicted > 80
        assert store.stats().size > 5_000
        assert len(bodies(store, "key 99")[0]) == 1980

    def test_what_is_read_stays_what_is_not_read_goes(self, opened):
        store = opened(max_entries=20)
        for number in range(10):
            put(store, f"read {number}")
        for number in range(200):
            put(store, f"passing {number}")
            for favourite in range(10):
                store.get(f"read {favourite}")
        kept = sum(len(store.get(f"read {number}")) for number in range(10))
        assert kept >= 9, f"{kept} of 10"

    def test_what_was_read_long_ago_goes_before_what_is_read_now(self, opened):
        store = opened(max_entries=20)
        for number in range(8):
            put(store, f"long ago {number}")
            store.get(f"long ago {number}")
        for number in range(8):
            put(store, f"now {number}")
        for number in range(100):
            put(store, f"passing {number}")
            for favourite in range(8):
                store.get(f"now {favourite}")
        assert [len(store.get(f"long ago {number}")) for number in range(8)] == [0] * 8
        assert sum(len(store.get(f"now {number}")) for number in range(8)) >= 7

    def test_a_record_that_grows_in_its_place_makes_others_give_way(self, opened):
        store = opened(max_bytes=1_000)
        for key in "abcde":
            put(store, key, bytes(190))
        put(store, "a", bytes(210))
        assert store.stats().evicted == 0
        put(store, "a", bytes(240))
        assert bodies(store, "a") == [bytes(240)]
        assert store.stats().evicted == 1
        there = [5 + len(body) for key in "abcdefg" for body in bodies(store, key)]
        assert (store.stats().entries, store.stats().size) == (len(there), sum(there))
        assert sum(there) <= 1_000

    def test_where_bytes_are_short_the_large_go_before_the_small(self, opened):
        store = opened(max_bytes=40_000)
        for number in range(8):
            put(store, f"{number}", bytes(7_000 if number % 2 else 50))
        for number in range(3):
            put(store, f"new {number}", bytes(8_000))
        assert all(store.get(f"{number}") for number in range(0, 8, 2)), "a small one went"
        assert store.stats().evicted in {2, 3}

    def test_a_record_that_is_too_large_drives_out_nothing(self, opened):
        store = opened(max_bytes=1_000)
        put(store, "small", bytes(100))
        with pytest.raises(StoreFull):
            put(store, "large", bytes(900))
        with pytest.raises(StoreFull):
            put(store, "small", bytes(900))
        assert bodies(store, "small") == [bytes(100)]
        with pytest.raises(StoreFull):
            put(store, "k" * 900)
        with pytest.raises(StoreFull):
            put(store, "tagged", tags=["t" * 900])
        assert store.stats() == Stats(1, 109, 0, 0)

    def test_a_record_may_be_as_large_as_is_allowed(self, opened):
        store = opened(max_bytes=1_000)
        store.put("key", Record("v", b"12", bytes(243)), lifetime=LIFE, tags=["t"])
        assert store.stats().size == 250
        with pytest.raises(StoreFull):
            store.put("key", Record("v", b"12", bytes(244)), lifetime=LIFE, tags=["t"])

    def test_the_share_of_one_record_can_be_set(self, opened):
        store = opened(max_bytes=1_000, max_record_bytes=1_000)
        put(store, "small", bytes(100))
        put(store, "large", bytes(980))
        assert bodies(store, "small") == []
        assert store.stats().entries == 1
        with pytest.raises(StoreFull):
            put(store, "larger", bytes(1_001))

    def test_what_is_pinned_is_never_evicted(self, opened, clock):
        store = opened(max_entries=10)
        for number in range(4):
            put(store, f"pinned {number}", pinned=True)
        for number in range(100):
            put(store, f"key {number}")
        assert all(store.get(f"pinned {number}") for number in range(4))
        assert store.stats().entries == 10
        clock.advance(LIFE)
        assert not any(store.get(f"pinned {number}") for number in range(4))

    def test_where_all_is_pinned_there_is_no_room(self, opened, clock):
        store = opened(max_entries=3)
        for number in range(3):
            put(store, f"{number}", pinned=True, lifetime=10 + number)
        with pytest.raises(StoreFull):
            put(store, "more")
        with pytest.raises(StoreFull):
            put(store, "more", pinned=True)
        assert bodies(store, "more") == []
        assert put(store, "2", b"in its own place", pinned=True) is not None
        assert store.delete("1") == 1
        put(store, "more")
        put(store, "yet more")
        assert bodies(store, "more") == [], "it was not pinned"
        clock.advance(10)
        assert put(store, "pinned", pinned=True) is not None
        assert store.stats().entries == 3

    def test_pinned_bytes_leave_no_room_either(self, opened):
        store = opened(max_bytes=1_000)
        for number in range(4):
            put(store, f"{number}", bytes(240), pinned=True)
        with pytest.raises(StoreFull):
            put(store, "4", bytes(240))
        put(store, "4", b"")
        assert store.stats().entries == 5
        put(store, "0", b"", pinned=True)
        assert put(store, "4", bytes(200)) is not None
        assert store.stats().evicted == 0

    def test_a_record_that_is_pinned_no_more_gives_way(self, opened):
        store = opened(max_entries=2)
        put(store, "a", pinned=True)
        put(store, "b", pinned=True)
        put(store, "a")
        put(store, "c")
        assert [len(store.get(key)) for key in "abc"] == [0, 1, 1]

    def test_what_is_over_goes_first(self, opened, clock):
        store = opened(max_entries=6)
        for number in range(3):
            put(store, f"short {number}", lifetime=1)
        for number in range(3):
            put(store, f"long {number}")
        clock.advance(1)
        for number in range(3):
            put(store, f"new {number}")
        assert all(store.get(f"{kind} {number}") for kind in ("long", "new") for number in range(3))
        assert store.stats().evicted == 0

    def test_what_is_over_and_pinned_makes_room_for_all(self, opened, clock):
        store = opened(max_entries=300)
        for number in range(300):
            put(store, f"{number}", lifetime=1, pinned=True)
        clock.advance(1)
        for number in range(300):
            put(store, f"new {number}", pinned=True)
        assert store.stats() == Stats(300, store.stats().size, 0, 0)

    def test_a_key_has_only_so_many_variants(self, opened):
        store = opened(max_variants=3)
        put(store, "key", variant="pinned", pinned=True)
        for number in range(5):
            put(store, "key", variant=f"{number}")
        assert variants(store, "key") == ["4", "3", "pinned"]
        put(store, "key", variant="3")
        assert variants(store, "key") == ["3", "4", "pinned"]
        put(store, "key", variant="3", pinned=True)
        put(store, "key", variant="4", pinned=True)
        with pytest.raises(StoreFull):
            put(store, "key", variant="5")
        assert variants(store, "key") == ["4", "3", "pinned"]

    def test_an_expected_version_that_is_not_met_evicts_nothing(self, opened):
        store = opened(max_entries=2)
        put(store, "a")
        put(store, "b")
        assert put(store, "c", expected=5) is None
        assert store.stats().entries == 2

    def test_records_stay_findable_by_their_tags_when_others_give_way(self, opened):
        store = opened(max_entries=5)
        for number in range(30):
            put(store, f"{number}", tags=[f"tag {number % 3}", "all"])
        assert sum(store.purge(tag=f"tag {number}") for number in range(3)) == 5
        assert store.purge(tag="all") == 0
        assert store.stats() == Stats(0, 0, 25, 0)

    @pytest.mark.parametrize("bound", ["max_entries", "max_bytes", "max_record_bytes", "max_variants"])
    def test_a_bound_is_a_number_above_zero(self, opened, bound):
        for wrong in (0, -1):
            with pytest.raises(ConfigError, match=bound):
                opened(**{bound: wrong})
        for wrong in ("10", 1.5, True):
            with pytest.raises(TypeError, match=bound):
                opened(**{bound: wrong})


def together(number: int, work: Callable[[int], Any]) -> list[Any]:
    """Run `work` in so many threads at once, and return what each of them returned."""
    results: list[Any] = [None] * number
    barrier = threading.Barrier(number)

    def run(index: int) -> None:
        barrier.wait(10)
        try:
            results[index] = work(index)
        except BaseException as error:
            results[index] = error

    crowd = [threading.Thread(target=run, args=(index,)) for index in range(number)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join(30)
        assert not thread.is_alive(), "a thread stands still"
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


class Threads(Contract):
    """Many callers in one process."""

    def test_of_many_who_create_a_record_exactly_one_wins(self, store):
        for race in range(20):
            won = together(6, lambda index, race=race: put(store, f"{race}", b"%d" % index, expected=0))
            (winner,) = [index for index, version in enumerate(won) if version is not None]
            assert bodies(store, f"{race}") == [b"%d" % winner]

    def test_of_many_who_change_a_version_exactly_one_wins(self, store):
        version = put(store, "key")
        for _ in range(20):
            won = together(6, lambda index, version=version: put(store, "key", b"%d" % index, expected=version))
            ((winner, version),) = [(index, each) for index, each in enumerate(won) if each is not None]
            assert bodies(store, "key") == [b"%d" % winner]

    def test_of_many_who_delete_a_version_exactly_one_does(self, store):
        for _ in range(20):
            version = put(store, "key")
            assert sorted(together(6, lambda _, version=version: store.delete("key", expected=version))) == [0] * 5 + [
                1
            ]

    def test_a_counter_loses_no_step(self, store):
        put(store, "counter", b"0")

        def count(_: int) -> None:
            done = 0
            while done < 25:
                (now,) = store.get("counter")
                step = b"%d" % (int(now.body) + 1)
                done += put(store, "counter", step, expected=now.version) is not None

        together(4, count)
        assert bodies(store, "counter") == [b"100"]

    def test_a_reader_sees_whole_records_only(self, opened):
        store = opened(max_entries=12)
        stop = threading.Event()

        def work(index: int) -> int:
            if index < 2:
                for number in range(150):
                    digit = b"%d" % (number % 10)
                    store.put(f"{number % 15}", Record("", digit, digit * 500), lifetime=LIFE, tags=["tag"])
                    if number % 40 == 0:
                        store.delete(f"{number % 15}")
                stop.set()
                return 0
            seen = 0
            while not stop.is_set():
                for number in range(15):
                    for found in store.get(f"{number}"):
                        assert found.body == found.head * 500
                        seen += 1
            return seen

        assert sum(together(5, work)) > 0
        stats = store.stats()
        assert stats.entries == sum(len(store.get(f"{number}")) for number in range(15)) <= 12
        assert stats.corrupt == 0

    def test_bounds_hold_while_many_write(self, opened):
        store = opened(max_entries=10, max_bytes=4_000)

        def work(index: int) -> None:
            for number in range(60):
                put(store, f"{index} {number}", bytes(number * 5), tags=[f"{number % 3}"])
                if number % 25 == 24:
                    store.purge(tag="1")

        together(4, work)
        stats = store.stats()
        assert stats.entries <= 10
        assert stats.size <= 4_000
        assert store.purge() == stats.entries
        assert store.stats().size == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
class Forks(Contract):
    """A forked child has a store of its own: a copy, or another door to the same."""

    shared = True
    """Whether a child's writes are seen by its parent."""

    def test_a_forked_child_has_what_was_kept_and_writes(self, store):
        version = put(store, "key", tags=["tag"])

        def child() -> Any:
            found = bodies(store, "key")
            mine = put(store, "mine", b"child")
            return found, bodies(store, "mine"), put(store, "key", b"taken", expected=version) is not None, mine

        found, mine, taken, number = in_child(child)
        assert (found, mine, taken) == ([b"body"], [b"child"], True)
        if self.shared:
            assert bodies(store, "mine") == [b"child"]
            assert put(store, "key", expected=version) is None
            assert put(store, "more") > number
        else:
            assert bodies(store, "mine") == []
            assert put(store, "key", expected=version) is not None

    def test_a_child_works_though_threads_were_in_flight_at_the_fork(self, store):
        stop = threading.Event()

        def busy(index: int) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                put(store, f"{index} {number % 20}", b"%d" % number, tags=["tag"])
                store.get(f"{index} {number % 20}")

        crowd = [threading.Thread(target=busy, args=(index,), daemon=True) for index in range(3)]
        for thread in crowd:
            thread.start()
        try:
            for fork in range(8):

                def child(fork: int = fork) -> Any:
                    written = [put(store, f"child {fork} {number}", b"c") for number in range(5)]
                    read = [bodies(store, f"child {fork} {number}") for number in range(5)]
                    store.purge(tag="tag")
                    return None not in written and read == [[b"c"]] * 5 and store.stats().entries >= 5

                assert in_child(child) is True
                if self.shared:
                    assert [bodies(store, f"child {fork} {number}") for number in range(5)] == [[b"c"]] * 5
        finally:
            stop.set()
            for thread in crowd:
                thread.join(10)
        assert not any(thread.is_alive() for thread in crowd)
        put(store, "parent", b"p")
        assert bodies(store, "parent") == [b"p"]
        assert store.stats().corrupt == 0


def in_child(function: Callable[[], Any]) -> Any:
    """Fork, run a function there and return what it returned; a child that stands still is killed."""
    import signal
    import warnings

    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # "multi-threaded": that is what is tested
        pid = os.fork()
    if pid == 0:
        answer: Any = None
        try:
            os.close(reader)
            signal.alarm(20)
            answer = function()
        except BaseException as error:
            answer = repr(error)
        finally:
            os.write(writer, pickle.dumps(answer))
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    assert told, "the child stood still or died"
    return pickle.loads(told)
