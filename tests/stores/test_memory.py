"""MemoryStore: the contract, and what it promises beyond."""

from __future__ import annotations

import gc
import sys
import threading
import time
import timeit
import weakref

import pytest

from resilient.stores import MemoryStore, Record, Stats
from resilient.stores.shelves import Shelves
from resilient.testing import FakeClock, use
from tests.stores import contract
from tests.stores.contract import LIFE, bodies, in_child, put, together


class TestContract(contract.Basics, contract.Bounds, contract.Threads, contract.Forks):
    keeps = shared = False

    def make(self, folder, **bounds):
        return MemoryStore(**bounds)


@pytest.fixture
def store():
    return MemoryStore()


def test_the_same_record_is_handed_out_again_with_what_a_reader_made_of_it(store):
    put(store, "key")
    (first,) = store.get("key")
    first.memo = "decoded"
    put(store, "key", variant="other")
    assert [each.memo for each in store.get("key")] == [None, "decoded"]
    assert store.get("key")[1] is first
    put(store, "key")
    assert store.get("key")[0].memo is None, "another record"


def test_what_a_writer_made_of_a_record_is_kept_with_it(store):
    memo = object()
    store.put("key", Record("", b"", b"", memo=memo), lifetime=LIFE)
    assert store.get("key")[0].memo is memo


def test_what_was_got_does_not_change_any_more(store):
    put(store, "key", b"one")
    found = store.get("key")
    put(store, "key", b"two")
    store.purge()
    assert [(each.body, each.version) for each in found] == [(b"one", 1)]


def test_it_never_waits():
    assert MemoryStore.blocking is False


def test_reading_takes_no_lock(store):
    put(store, "key")
    put(store, "short", lifetime=1e-9)
    read = []
    with store._lock:
        reader = threading.Thread(target=lambda: read.extend([bodies(store, "key"), bodies(store, "short")]))
        reader.start()
        reader.join(10)
        assert not reader.is_alive(), "it waits for the lock"
    assert read == [[b"body"], []]


def test_a_finaliser_that_reads_and_writes_its_own_store_stands_in_nobodys_way(store):
    class Memo:
        def __del__(self):
            put(store, "from a finaliser")

    store.put("key", Record("", b"", b"", memo=Memo()), lifetime=LIFE)
    store.delete("key")
    assert bodies(store, "from a finaliser") == [b"body"]


def test_a_finaliser_that_runs_in_the_middle_of_a_change_is_refused_and_does_not_hang(store):
    refused = []
    with store._lock:  # as if the collector ran a finaliser in the thread that is changing the store
        assert store.get("key") == ()
        for act in (lambda: put(store, "key"), lambda: store.delete("key"), store.purge, store.stats):
            with pytest.raises(RuntimeError, match="a finaliser cannot write"):
                act()
            refused.append(act)
    assert len(refused) == 4
    assert put(store, "key") == 1


class Cut(BaseException):
    """What a signal handler raises."""


@pytest.mark.parametrize("step", range(1, 40))
def test_a_change_that_is_cut_short_anywhere_leaves_the_store_in_order(step):
    store = MemoryStore(max_entries=4, max_bytes=1_000)
    for number in range(4):
        put(store, f"{number}", bytes(number), tags=["tag"], pinned=number == 0)
    seen = 0

    def cut(frame, event, argument):
        nonlocal seen
        if frame.f_code.co_filename.endswith("shelves.py"):
            if event == "line":
                seen += 1
                if seen == step:
                    sys.settrace(None)
                    raise Cut
            return cut
        return cut if frame.f_code.co_filename.endswith("memory.py") else None

    sys.settrace(cut)
    try:
        put(store, "new", b"new", tags=["tag"])
    except Cut:
        pass
    finally:
        sys.settrace(None)
    there = [(key, each) for key in (*"0123", "new") for each in store.get(key)]
    stats = store.stats()
    assert stats.entries == len(there) <= 4
    assert stats.size == sum(len(key) + len(each.head) + len(each.body) + 3 for key, each in there)
    assert bodies(store, "0") == [b""], "what is pinned stays"
    assert put(store, "more", tags=["tag"]) > max(each.version for _, each in there)
    assert store.purge(tag="tag") == min(4, len(there) + 1)
    assert store.stats() == Stats(0, 0, store.stats().evicted)


def test_a_fork_in_the_middle_of_a_change_leaves_the_child_a_store_in_order(store):
    put(store, "key", tags=["tag"])
    inside, go = threading.Event(), threading.Event()
    count = Shelves._count

    def slow(self, key, kept):
        inside.set()
        go.wait(10)
        count(self, key, kept)

    Shelves._count = slow
    try:
        writer = threading.Thread(target=put, args=(store, "half"), kwargs={"tags": ["tag"]})
        writer.start()
        assert inside.wait(10)

        def child():
            Shelves._count = count
            put(store, "mine", tags=["tag"])
            return store.stats(), bodies(store, "half"), store.purge(tag="tag"), store.stats()

        stats, half, purged, after = in_child(child)
        go.set()
        writer.join(10)
    finally:
        Shelves._count = count
    assert (stats.entries, half, purged, after.entries, after.size) == (3, [b"body"], 3, 0, 0)
    assert store.stats().entries == 2


def test_changing_one_record_for_ever_takes_no_memory(store):
    for _ in range(5_000):
        put(store, "lease", tags=["a"], variant="x")
    assert len(store._shelves._ends) < 200
    assert len(store._shelves._tags) == 1
    assert len(store._shelves._line) == 1


def test_what_has_left_is_let_go_of():
    class Memo:
        pass

    with use(FakeClock(auto=False)) as clock:
        store = MemoryStore(max_entries=3)
        watched = []
        for number in range(10):
            memo = Memo()
            watched.append(weakref.ref(memo))
            store.put(f"{number}", Record("", b"", b"", memo=memo), lifetime=5)
            del memo
        assert [each() is None for each in watched] == [True] * 7 + [False] * 3
        clock.advance(5)
        put(store, "another")
        assert all(each() is None for each in watched)


def test_what_is_over_is_cleared_away_by_changes_to_other_keys():
    with use(FakeClock(auto=False)) as clock:
        store = MemoryStore()
        for number in range(500):
            put(store, f"{number}", lifetime=1)
        clock.advance(1)
        for number in range(10):
            put(store, f"new {number}")
        assert len(store._shelves.by_key) == 10


def test_a_store_that_nobody_has_is_collected():
    store = MemoryStore()
    put(store, "key")
    gone = weakref.ref(store)
    del store
    gc.collect()
    assert gone() is None


def test_many_keys_are_read_and_written_at_once_without_a_wrong_count():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    store = MemoryStore(max_entries=50, max_bytes=5_000)
    try:

        def work(index):
            for number in range(800):
                key = f"{(index * 7 + number) % 90}"
                match number % 5:
                    case 0 | 1:
                        put(store, key, bytes(number % 150), tags=[f"{number % 4}"])
                    case 2 | 3:
                        for found in store.get(key):
                            assert not any(found.body)
                    case _ if number % 100 == 4:
                        store.purge(tag="1")
                    case _:
                        store.delete(key)

        together(6, work)
    finally:
        sys.setswitchinterval(interval)
    before = store.stats()
    store._shelves.recount()
    assert store.stats() == before
    assert before.entries <= 50
    assert before.size <= 5_000


def test_eviction_from_a_large_store_takes_no_long_walk():
    store = MemoryStore(max_entries=20_000)
    for number in range(20_000):
        put(store, f"{number}", b"")
        store.get(f"{number}")  # all of them were read
    begun = time.perf_counter()
    put(store, "one more")
    assert time.perf_counter() - begun < 0.05
    assert store.stats().evicted == 1


@pytest.mark.alone
def test_a_hit_costs_little_more_than_a_look_into_a_dict(store):
    put(store, "key", bytes(2_000))
    plain = {"key": (1, 2)}

    def look(key):
        return plain.get(key)

    def best(function):
        return min(timeit.repeat(lambda: function("key"), number=20_000, repeat=9))

    assert best(store.get) < 6 * best(look)
