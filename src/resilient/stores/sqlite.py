"""SqliteStore: records in one file, shared by the processes of a machine, that survive all of them."""

from __future__ import annotations

import os
import sqlite3
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from resilient import _check, clock, faults
from resilient.stores.contract import Record, Stats, StoreFull
from resilient.stores.entry import Bounds, Entry, name
from resilient.stores.sqlite_database import Database
from resilient.stores.sqlite_file import full
from resilient.stores.sqlite_path import usable
from resilient.stores.sqlite_room import place, remove_matching, remove_of_key
from resilient.stores.sqlite_rows import BACK, Found, Sheet, counted, encoded, read
from resilient.stores.sqlite_writing import Writing

__all__ = ["SqliteStore"]

T = TypeVar("T")

_LARGEST = 500_000_000
"""Bytes of the largest record: SQLite's own limit is twice that."""

_FOLDED = 4 * 1024 * 1024
"""About how many bytes are written to the log before it is folded into the file."""

_MOST_MARKS = 256
"""How many records are remembered as read until the next change."""

_FLUSHED = 16
"""How many of these one change writes down."""

_BATCH = 256
"""How many records are purged, or dated anew, in one transaction."""


class SqliteStore:
    """Keep records in a SQLite file, for all threads and processes of this machine.

    What `put` has returned for outlives the process, however it ends; with `durable` also a crash
    of the machine. A damaged record reads as missing, a damaged file is moved aside and a new one
    begun. Connections are opened when they are needed, and none is open across a fork.

    Args:
        path: The file, on a local disk; it is made, readable to this user only, if it is not there.
        max_entries: How many records there may be.
        max_bytes: Bytes of heads, bodies, keys, variants and tags together. The file is larger by
            what SQLite needs, about 200 bytes for each record, and does not shrink.
        max_record_bytes: Bytes of one record; None for a quarter of `max_bytes`.
        max_variants: How many records one key may have; the one written first makes room.
        patience: Seconds that `get` waits for others in all, and that a change waits for other
            threads, and again for other processes.
        durable: Whether `put` waits until the disk has what it wrote, which takes milliseconds.
        direct_reads: Whether `get` may run on the calling thread of plain code, which is three
            times as quick as in a thread that can be left behind. See `docs/stores.md`.

    Raises:
        TypeError: If the path is no path.
        ConfigError: If it cannot be used, belongs to another application, or a bound is below 1.

    Example:
        >>> import tempfile, os
        >>> from resilient.stores import Record, SqliteStore
        >>> folder = tempfile.TemporaryDirectory()
        >>> store = SqliteStore(os.path.join(folder.name, "answers.db"))
        >>> store.put("rates/EUR", Record("", b"text", b"1.07"), lifetime=60) is not None
        True
        >>> [record.body for record in store.get("rates/EUR")]
        [b'1.07']
        >>> store.close()
        >>> folder.cleanup()

    """

    blocking = True
    """Methods may wait for the disk and for other processes."""

    def __init__(  # noqa: PLR0913 -- settings, each by its name
        self,
        path: str | os.PathLike[str],
        *,
        max_entries: int = 100_000,
        max_bytes: int = 256 * 1024 * 1024,
        max_record_bytes: int | None = None,
        max_variants: int = 64,
        patience: _check.Duration = 0.25,
        durable: bool = False,
        direct_reads: bool = True,
    ) -> None:
        """Check the settings, and the file if there is one."""
        self._bounds = Bounds(max_entries, max_bytes, max_variants, max_record_bytes)
        self._most = min(_LARGEST, self._bounds.most)
        self.patience = _check.seconds("patience", patience)
        self.direct_reads = _check.flag("direct_reads", direct_reads)
        self._marks: dict[int, None] = {}
        self._latest = 0.0
        self._logged = self._evicted = self._corrupt = 0
        self._database = Database(usable(path), self.patience, durable=_check.flag("durable", durable))
        weakref.finalize(self, self._database.close)
        self._database.recognise()

    @property
    def path(self) -> Path:
        """The file."""
        return self._database.path

    def get(self, key: str) -> Sequence[Record]:
        """Return the records of a key whose lifetime is not over, the one written last first."""
        now = clock.current().wall()
        found = self._database.read(read, now, encoded(key), now)
        if found.unmarked and len(self._marks) < _MOST_MARKS:
            for version in found.unmarked:
                self._marks[version] = None
        if found.corrupt or found.ahead:
            self._repair(found)
        return found.records

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
            record: What to keep; its `memo` stays behind.
            lifetime: Seconds, above 0, after which the record is gone.
            tags: Names under which `purge` finds it.
            expected: The version that the record must have now, 0 for none; None for any.
            pinned: Whether it must stay until its lifetime is over.

        Returns:
            The new version, or None if `expected` was not met.

        Raises:
            StoreFull: If it is above `max_record_bytes`, pinned records leave no room, so many
                others have to go that it takes more than one step, or the disk is full.
            TypeError: If the key, a tag, the variant, head or body is of a wrong type.
            ConfigError: If the lifetime is not above 0.
            sqlite3.Error: If the file cannot be written.
            OSError: If it cannot be made, or other threads kept it for too long.

        """
        entry = Entry(key, record, lifetime, tags, expected, self._most)
        sheet = Sheet(
            *(encoded(entry.key), encoded(entry.variant), entry.head, entry.body, entry.lifetime, pinned),
            *(tuple(map(encoded, entry.tags)), entry.size),
        )
        try:
            writing, version = self._write(place, self._bounds, sheet, expected)
        except sqlite3.Error as fault:
            if not full(fault):
                raise
            faults.report(SqliteStore.put, fault)  # to be seen, though all else goes on
            message = "the disk is full"
            raise StoreFull(message) from fault
        if writing.full:
            raise StoreFull(writing.full)
        return version

    def delete(self, key: str, variant: str | None = None, *, expected: int | None = None) -> int:
        """Remove a record, or all of a key; return how many.

        Args:
            key: The key.
            variant: Which of its records; None for all.
            expected: The version that a record must have to be removed; None for any.

        """
        kind = None if variant is None else encoded(name("variant", variant))
        return self._write(remove_of_key, encoded(name("key", key)), kind, expected)[1]

    def purge(self, *, prefix: str = "", tag: str | None = None) -> int:
        """Remove all records whose key begins with `prefix` and, if given, that carry `tag`; return how many."""
        start, mark = encoded(name("prefix", prefix)), None if tag is None else encoded(name("tag", tag))
        removed, last = 0, None
        while last is None or last > 0:
            _, (some, last) = self._write(remove_matching, start, mark, last, _BATCH)
            removed += some
        return removed

    def stats(self) -> Stats:
        """Return what the store holds, and what this object has done; a file that was moved aside counts as corrupt."""
        now = clock.current().wall()
        entries, size = self._database.read(counted, now, now)
        return Stats(entries, size, self._evicted, self._corrupt + self._database.moved)

    def close(self) -> None:
        """Close all connections, those in use as soon as they are not; a later call opens new ones."""
        self._database.close()

    def _write(self, change: Callable[..., T], *args: Any) -> tuple[Writing, T]:  # noqa: ANN401 -- those of the change
        writing, result = self._database.write(self._change, clock.current().wall(), change, args)
        self._logged += writing.logged
        if self._logged > _FOLDED:
            self._logged = 0
            self._database.fold()
        return writing, result

    def _change(
        self, db: sqlite3.Connection, now: float, change: Callable[..., T], args: tuple[Any, ...]
    ) -> tuple[Writing, T]:
        """Run one transaction; alone, for there is one connection that writes."""
        database = self._database
        with Writing(db, now) as writing:
            marks = [self._marks.popitem()[0] for _ in range(min(_FLUSHED, len(self._marks)))]
            if marks:
                writing.mark(marks)
            if database.ahead or now < self._latest - BACK:
                database.ahead = not writing.date_anew(_BATCH)
            result = change(writing, *args)
        self._latest = now
        self._evicted += writing.evicted
        self._corrupt += writing.corrupt
        return writing, result

    def _repair(self, found: Found) -> None:
        """Remove what is damaged, and date what comes from the future; in vain sometimes, for others may write."""
        self._database.ahead = self._database.ahead or found.ahead
        with suppress(sqlite3.Error, OSError, StoreFull):
            self._write(Writing.discard, found.corrupt)
