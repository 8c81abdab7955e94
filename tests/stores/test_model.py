"""Both stores against a naive model: a dict of what was put, forgotten when its time is over.

With room for everything a store must agree with the model in all. With little room it may have
less than the model, but what it has must be right, and what is pinned must be there.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from resilient.stores import MemoryStore, Record, SqliteStore, StoreFull
from resilient.testing import FakeClock, use

KEYS = ("", "a", "ab", "abc", "b", "ä", "\ud800")
VARIANTS = ("", "v", "w")
TAGS = ("red", "green", "")
VERSIONS = ("any", "none", "right", "older")

keys = st.sampled_from(KEYS)
variants = st.sampled_from(VARIANTS)


@dataclass
class Kept:
    """A record of the model."""

    body: bytes
    ends: float
    version: int
    tags: frozenset[str]
    pinned: bool


class Model(RuleBasedStateMachine):
    """A store and what it should hold."""

    bounds: ClassVar[dict[str, int]] = {}
    lossy = False

    def open(self, folder):
        raise NotImplementedError

    @initialize()
    def begin(self):
        self.stack = ExitStack()
        self.clock = self.stack.enter_context(use(FakeClock(auto=False)))
        folder = tempfile.mkdtemp()
        self.stack.callback(shutil.rmtree, folder)
        self.store = self.open(Path(folder))
        self.stack.callback(self.store.close)
        self.model: dict[tuple[str, str], Kept] = {}
        self.latest = 0
        self.evicted = 0

    def teardown(self):
        if hasattr(self, "stack"):
            self.stack.close()

    # -- the model -------------------------------------------------------------------------

    def alive(self):
        now = self.clock.elapsed
        self.model = {where: kept for where, kept in self.model.items() if kept.ends > now}
        return self.model

    def of(self, key):
        found = [(variant, kept) for (each, variant), kept in self.alive().items() if each == key]
        return sorted(found, key=lambda pair: -pair[1].version)

    def lose(self):
        """Forget what a store with little room has let go; what it has must be what was put."""
        self.alive()
        if not self.lossy:
            return
        for key in KEYS:
            there = {each.variant for each in self.store.get(key)}
            for variant, kept in self.of(key):
                if variant not in there:
                    assert not kept.pinned, "what is pinned has gone"
                    del self.model[key, variant]
                    self.evicted += 1

    def expected(self, which, kept):
        right = kept.version if kept else 0
        return {"any": None, "none": 0, "right": right, "older": max(1, self.latest - 1)}[which]

    # -- what may happen -------------------------------------------------------------------

    @rule(
        key=keys,
        variant=variants,
        size=st.integers(0, 60),
        lifetime=st.sampled_from([1, 5, 1000]),
        tags=st.frozensets(st.sampled_from(TAGS), max_size=2),
        which=st.sampled_from(VERSIONS),
        pinned=st.booleans(),
    )
    def put(self, key, variant, size, lifetime, tags, which, pinned):
        kept = self.alive().get((key, variant))
        expected = self.expected(which, kept)
        body = bytes([self.latest % 256]) * size
        try:
            version = self.store.put(
                key, Record(variant, b"", body), lifetime=lifetime, tags=tags, expected=expected, pinned=pinned
            )
        except StoreFull:
            assert self.lossy
            pins = [each for each in self.model.values() if each.pinned]
            assert pins, "only what is pinned leaves no room"
            self.lose()
            return
        if expected is not None and expected != (kept.version if kept else 0):
            assert version is None
            return
        assert version is not None
        assert version > self.latest, "versions rise"
        self.latest = version
        self.model[key, variant] = Kept(body, self.clock.elapsed + lifetime, version, tags, pinned)
        self.lose()

    @rule(key=keys, variant=st.none() | variants, which=st.sampled_from(VERSIONS))
    def delete(self, key, variant, which):
        found = [(each, kept) for each, kept in self.of(key) if variant in {None, each}]
        expected = self.expected(which, found[0][1] if found else None)
        gone = [each for each, kept in found if expected in {None, kept.version}]
        assert self.store.delete(key, variant, expected=expected) == len(gone)
        for each in gone:
            del self.model[key, each]

    @rule(prefix=keys, tag=st.none() | st.sampled_from(TAGS))
    def purge(self, prefix, tag):
        gone = [
            where
            for where, kept in self.alive().items()
            if where[0].startswith(prefix) and (tag is None or tag in kept.tags)
        ]
        assert self.store.purge(prefix=prefix, tag=tag) == len(gone)
        for where in gone:
            del self.model[where]

    @rule(seconds=st.sampled_from([0.5, 1, 4, 100]))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @rule()
    def close(self):
        self.store.close()

    # -- what must hold --------------------------------------------------------------------

    @invariant()
    def it_has_what_the_model_has(self):
        for key in KEYS:
            found = [(each.variant, each.body, each.version) for each in self.store.get(key)]
            assert found == [(variant, kept.body, kept.version) for variant, kept in self.of(key)]

    @invariant()
    def it_counts_what_it_has(self):
        stats = self.store.stats()
        assert stats.entries == len(self.alive())
        assert stats.size == sum(
            len(kept.body) + sum(len(text.encode("utf-8", "surrogatepass")) for text in (*where, *kept.tags))
            for where, kept in self.model.items()
        )
        assert stats.entries <= self.bounds.get("max_entries", 10_000)
        assert stats.size <= self.bounds.get("max_bytes", 10**7)
        assert stats.corrupt == 0
        assert stats.evicted == self.evicted


class Memory(Model):
    def open(self, folder):
        return MemoryStore(**self.bounds)


class Sqlite(Model):
    def open(self, folder):
        return SqliteStore(folder / "store.db", **self.bounds)

    @rule()
    def reopen(self):
        self.store.close()
        self.store = SqliteStore(self.store.path, **self.bounds)
        self.stack.callback(self.store.close)
        self.evicted = 0


SMALL = {"max_entries": 6, "max_bytes": 200, "max_record_bytes": 200, "max_variants": 2}


class SmallMemory(Memory):
    bounds = SMALL
    lossy = True


class SmallSqlite(Sqlite):
    bounds = SMALL
    lossy = True


TestMemory = Memory.TestCase
TestSmallMemory = SmallMemory.TestCase
TestSqlite = Sqlite.TestCase
TestSmallSqlite = SmallSqlite.TestCase
TestSqlite.settings = TestSmallSqlite.settings = settings(max_examples=max(1, settings.default.max_examples // 4))
