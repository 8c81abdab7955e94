"""Records of the store to answers and back: what is damaged, foreign or hostile is a miss, removed and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient.cache.entry import Entry, Span, decode, encode
from resilient.stores import MemoryStore, Record, SqliteStore
from tests.cache._world import URL, World

FRESH = {"Cache-Control": "max-age=60", "ETag": '"a"'}
LONGEST = 1e6

octets = st.binary(max_size=12)
seconds = st.floats(0, 1e9)


@given(
    st.builds(
        Entry,
        status=st.integers(200, 599),
        fields=st.lists(st.tuples(octets, octets), max_size=5),
        requested_at=seconds,
        received_at=seconds,
        initial_age=seconds,
        lifetime=st.floats(0, LONGEST),
        vary=st.lists(st.tuples(octets, st.none() | octets), max_size=3).map(tuple),
        etag=st.none() | octets,
        modified=st.none() | octets,
        date=seconds,
        no_cache=st.booleans(),
        strict=st.booleans(),
        open=st.booleans(),
        stale_while_revalidate=st.none() | seconds,
        stale_if_error=st.none() | seconds,
        span=st.none() | st.builds(Span, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), octets),
        size=st.just(4),
    )
)
def test_what_is_encoded_is_decoded_to_the_same(entry: Entry) -> None:
    assert decode(Record("", encode(entry), b"body"), LONGEST) == entry


def test_the_longest_freshness_counts_for_what_was_stored_before_it_was_set() -> None:
    entry = Entry(200, [], 0.0, 0.0, 0.0, 500.0, size=0)
    decoded = decode(Record("", encode(entry), b""), 60.0)
    assert decoded is not None
    assert decoded.lifetime == 60


def test_a_negative_age_makes_nothing_younger() -> None:
    decoded = decode(Record("", changed(4, -1000.0), b"body"), LONGEST)
    assert decoded is not None
    assert (decoded.initial_age, decoded.age(1.0)) == (0, 0)


def head(*parts: Any, version: bytes = b"r1", check: int | None = None) -> bytes:
    text = json.dumps(parts).encode() if parts else b""
    return version + b"%08x" % (crc32(text) if check is None else check) + text


GOOD: list[Any] = [200, [["A", "1"]], 1.0, 1.0, 0.0, 60.0, [], None, None, 1.0, 0, None, None, None, 4]


def changed(position: int, value: Any) -> bytes:
    parts = list(GOOD)
    parts[position] = value
    return head(*parts)


def test_the_example_is_good() -> None:
    assert decode(Record("", head(*GOOD), b"body"), LONGEST) is not None


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"r",
        b"r1",
        b"r100000000",
        b"\x80\x04\x95pickle",
        head(*GOOD)[:-1],
        head(*GOOD) + b" ",
        head(*GOOD, version=b"r2"),
        head(*GOOD, check=0),
        head(),
        head(None),
        head(*GOOD[:-1]),
        head(*GOOD, None),
        b"r1%08x" % crc32(b"[" * 5000) + b"[" * 5000,
        b"r1%08x" % crc32(b"\xff") + b"\xff",
        changed(0, None),
        changed(0, "200"),
        changed(1, None),
        changed(1, [["A"]]),
        changed(1, [["A", 1]]),
        changed(1, [["A", "\u20ac"]]),
        changed(2, None),
        changed(3, "1"),
        changed(3, float("nan")),
        changed(3, float("inf")),
        changed(4, 1e300),
        changed(5, float("nan")),
        changed(5, float("inf")),
        changed(5, 10**400),
        changed(6, [["a", 1]]),
        changed(7, 5),
        changed(10, None),
        changed(10, "x"),
        changed(11, "x"),
        changed(13, []),
        changed(13, [1, 2, None, "x"]),
        changed(13, [1, 2, 3, None]),
        changed(14, 3),
        changed(14, None),
    ],
)
def test_what_is_not_ours_or_damaged_is_no_answer_but_removed_and_counted(clock: object, bad: bytes) -> None:
    record = Record("", bad, b"body")
    assert decode(record, LONGEST) is None
    world = World()
    world.gives(FRESH)
    world.ask()
    key = next(iter(world.store._shelves.by_key))
    world.store.put(key, record, lifetime=1000)
    assert world.ask().source == "origin"
    assert world.cache.snapshot()["corrupt"] == 1
    assert world.ask().source == "fresh"


@given(st.binary(max_size=200), st.binary(max_size=20))
def test_any_bytes_are_an_answer_or_none(head: bytes, body: bytes) -> None:
    assert decode(Record("", head, body), LONGEST) is None
    assert decode(Record("", b"r1%08x" % crc32(head) + head, body), LONGEST) is None


@given(st.integers(0, 400), st.integers(1, 255))
def test_a_head_with_one_changed_byte_is_none(position: int, change: int) -> None:
    good = bytearray(encode(Entry(200, [(b"A", b"1")], 1.0, 1.0, 0.0, 60.0, etag=b'"a"', size=4)))
    good[position % len(good)] ^= change
    assert decode(Record("", bytes(good), b"body"), LONGEST) is None


def test_a_body_of_another_length_is_none() -> None:
    entry = Entry(200, [], 0.0, 0.0, 0.0, 60.0, size=4)
    assert decode(Record("", encode(entry), b"bod"), LONGEST) is None


def test_what_is_no_answer_makes_no_place_unusable_for_others(clock: object) -> None:
    world = World()
    world.gives({**FRESH, "Vary": "Foo"})
    world.ask(headers={"Foo": "1"})
    key = next(iter(world.store._shelves.by_key))
    world.store.put(key, Record("foreign", b"x", b""), lifetime=1000)
    assert world.ask(headers={"Foo": "1"}).source == "fresh"
    assert world.store.stats().entries == 1


# -- a store on a disk -----------------------------------------------------------------------------------


def test_a_store_on_a_disk_answers_the_next_process_with_all_that_was_kept(clock: object, tmp_path: Path) -> None:
    body = bytes(range(256))
    path = tmp_path / "answers.db"
    one = World(store=SqliteStore(path), patience=5)
    one.gives({**FRESH, "Vary": "Accept-Language", "Cache-Control": "max-age=60, stale-if-error=100"}, body)
    headers = {"Accept-Language": "de", "Authorization": "x"}
    one.ask(headers=headers)
    one.store.close()
    two = World(store=SqliteStore(path), patience=5)
    two.fails()
    for source in ("fresh", "stale"):
        seen = two.ask(headers=headers)
        assert (seen.source, seen.body, seen["etag"]) == (source, body, '"a"')
        two.sleep(70)
    assert two.cache.purge(URL) == 1
    two.store.close()


def test_parts_and_updates_work_on_a_disk(clock: object, tmp_path: Path) -> None:
    world = World(store=SqliteStore(tmp_path / "answers.db"), patience=5)
    for first in (0, 5):
        world.only().gives(
            {**FRESH, "Content-Range": f"bytes {first}-{first + 4}/10"}, b"01234" if not first else b"56789", 206
        )
        world.ask(headers={"Range": f"bytes={first}-{first + 4}"})
    assert world.ask().body == b"0123456789"
    world.sleep(60)
    world.only().gives(FRESH, status=304)
    assert [world.ask().source for _ in range(2)] == ["revalidated", "fresh"]
    world.ask(method="DELETE")
    world.only().gives(FRESH)
    assert world.ask().source == "origin"
    world.store.close()


def test_a_store_in_memory_decodes_nothing_twice(clock: object) -> None:
    world = World(store=MemoryStore())
    world.gives(FRESH)
    world.ask()
    (record,) = world.store.get(next(iter(world.store._shelves.by_key)))
    assert type(record.memo) is Entry
    record.memo = None
    world.ask()
    assert type(record.memo) is Entry
