"""MemoryStore: records in this process, bounded by number and by bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from threading import RLock
from typing import Any

from resilient import clock
from resilient._runtime import live
from resilient.stores.contract import Record, Stats, StoreFull
from resilient.stores.entry import Bounds, Entry, name
from resilient.stores.shelves import Kept, Shelves

__all__ = ["MemoryStore"]

_SWEPT = 64
"""How many records that are over one change clears away."""


class MemoryStore:
    """Keep records in this process, for all of its threads and tasks.

    A record is gone when its lifetime is over, or earlier where room is needed: then those that
    were not read for the longest time go, and of several the largest where bytes are short.
    Reading takes no lock. A forked child goes on with a copy of its own.

    Args:
        max_entries: How many records there may be.
        max_bytes: Bytes of heads, bodies, keys, variants and tags together. What Python needs
            around them, about 1 kB for each record, and `memo` come on top.
        max_record_bytes: Bytes of one record; None for a quarter of `max_bytes`.
        max_variants: How many records one key may have; the one written first makes room.

    Raises:
        ConfigError: If a bound is below 1.

    Example:
        >>> from resilient.stores import MemoryStore, Record
        >>> store = MemoryStore(max_entries=1_000)
        >>> store.put("rates/EUR", Record("", b"text", b"1.07"), lifetime=60)
        1
        >>> [record.body for record in store.get("rates/EUR")]
        [b'1.07']

    """

    __slots__ = ("__weakref__", "_find", "_lock", "_most", "_now", "_shelves", "_torn")

    blocking = False
    """No method waits for anything but another thread's few steps."""

    def __init__(
        self,
        *,
        max_entries: int = 10_000,
        max_bytes: int = 64 * 1024 * 1024,
        max_record_bytes: int | None = None,
        max_variants: int = 64,
    ) -> None:
        """Check the bounds."""
        bounds = Bounds(max_entries, max_bytes, max_variants, max_record_bytes)
        self._most = bounds.most
        self._shelves = Shelves(bounds)
        self._find = self._shelves.by_key.get
        # Re-entrant only to tell who holds it: see `_enter`.
        self._lock: Any = RLock()
        self._torn = False
        self._now = clock.current().now
        live.add(self)

    # A shelf never changes after it was put up, but for its mark: a reader needs no lock.
    def get(self, key: str) -> Sequence[Record]:
        """Return the records of a key whose lifetime is not over, the one written last first."""
        shelf = self._find(key)
        if shelf is None:
            return ()
        shelf.used = True
        now = self._now()
        if now < shelf.ends:
            return shelf.records
        return tuple(kept.record for kept in shelf.kept if now < kept.ends)

    def put(  # noqa: PLR0913 -- the contract
        self,
        key: str,
        record: Record,
        *,
        lifetime: float,
        tags: Iterable[str] = (),
        expected: int | None = None,
        pinned: bool = False,
    ) -> int | None:
        """Write one record, whole or not at all.

        Args:
            key: Any text.
            record: What to keep. It is copied; its `memo` is kept, too.
            lifetime: Seconds, above 0, after which the record is gone.
            tags: Names under which `purge` finds it.
            expected: The version that the record must have now, 0 for none; None for any.
            pinned: Whether it must stay until its lifetime is over.

        Returns:
            The new version, or None if `expected` was not met.

        Raises:
            StoreFull: If it is above `max_record_bytes`, or pinned records leave no room.
            TypeError: If the key, a tag, the variant, head or body is of a wrong type.
            ConfigError: If the lifetime is not above 0.

        """
        entry = Entry(key, record, lifetime, tags, expected, self._most)
        mine = Record(entry.variant, entry.head, entry.body, 0, record.memo)
        kept = Kept(mine, self._now() + entry.lifetime, entry.tags, entry.size, pinned=pinned)
        gone: list[Kept] = []  # dropped after the lock: a `memo` may have a finaliser
        self._enter()
        with self._lock:
            shelves, now = self._begin(gone, _SWEPT)
            if expected is not None and expected != shelves.version(key, mine.variant, now):
                version = None
            else:
                try:
                    version = shelves.place(key, kept, now, gone)
                except StoreFull:
                    self._torn = False
                    raise
            self._torn = False
        return version

    def delete(self, key: str, variant: str | None = None, *, expected: int | None = None) -> int:
        """Remove a record, or all of a key; return how many.

        Args:
            key: The key.
            variant: Which of its records; None for all.
            expected: The version that a record must have to be removed; None for any.

        """
        gone: list[Kept] = []
        name("key", key)
        self._enter()
        with self._lock:
            shelves, now = self._begin(gone, _SWEPT)
            shelf = shelves.by_key.get(key)
            doomed = [] if shelf is None else [each for each in shelf.kept if each.meant(variant, expected, now)]
            for each in doomed:
                shelves.take(key, each, gone)
            self._torn = False
        return len(doomed)

    def purge(self, *, prefix: str = "", tag: str | None = None) -> int:
        """Remove all records whose key begins with `prefix` and, if given, that carry `tag`; return how many."""
        gone: list[Kept] = []
        name("prefix", prefix)
        self._enter()
        with self._lock:
            shelves, _ = self._begin(gone)
            doomed = shelves.everything() if tag is None else shelves.tagged(tag)
            doomed = [(key, each) for key, each in doomed if key.startswith(prefix)]
            for key, each in doomed:
                shelves.take(key, each, gone)
            self._torn = False
        return len(doomed)

    def stats(self) -> Stats:
        """Return what the store holds."""
        gone: list[Kept] = []
        self._enter()
        with self._lock:
            shelves, _ = self._begin(gone)
            stats = Stats(shelves.entries, shelves.size, shelves.evicted)
            self._torn = False
        return stats

    def close(self) -> None:
        """Do nothing: there are no files to give back, and the records stay."""

    def renew(self) -> None:
        """Take a lock of its own in a forked child; what a thread was changing at the fork is put in order later."""
        self._lock = RLock()

    def use_clock(self, clock: clock.Clock) -> None:
        """Run on another clock from here on."""
        self._now = clock.now

    def _enter(self) -> None:
        """Refuse a finaliser that the collector runs while this very thread is changing the store."""
        if self._lock._is_owned():  # noqa: SLF001 -- nothing public tells
            message = "a finaliser cannot write to a MemoryStore that its own thread is writing to"
            raise RuntimeError(message)

    def _begin(self, gone: list[Kept], most: float = inf) -> tuple[Shelves, float]:
        """Return the shelves, in order, and the time; called with the lock.

        A change that an exception from a signal handler or a fork has cut short leaves `_torn`
        set: the shelves themselves are whole at every step, what is counted beside them is not.
        """
        if self._torn:
            self._shelves.recount()
        self._torn = True
        now = self._now()
        self._shelves.sweep(now, gone, most)
        return self._shelves, now
