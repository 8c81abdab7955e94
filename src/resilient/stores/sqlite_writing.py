"""One transaction that changes a SQLite file: records come and go, and the totals follow."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from types import TracebackType

from resilient.stores.seals import seal
from resilient.stores.sqlite_file import IN_COMMIT, SCHEMA
from resilient.stores.sqlite_rows import BACK, COLUMNS, Row, Sheet, Totals

__all__ = ["Writing"]

_PAGES = 24 * 1024
"""About how many bytes one change adds to the log, besides what the record has."""


class Writing:
    """A block in which a file is changed, whole or not at all.

    Args:
        db: The connection.
        now: Seconds since 1970.

    """

    __slots__ = ("_before", "_torn", "corrupt", "db", "evicted", "full", "logged", "now", "totals")

    def __init__(self, db: sqlite3.Connection, now: float) -> None:
        self.db = db
        self.now = now
        self.corrupt = 0
        """How many damaged records were found and removed on the way."""
        self.evicted = 0
        """How many made room for others."""
        self.logged = _PAGES
        """About how many bytes this has added to the log."""
        self.full = ""
        """Why there was no room, if so."""
        self._torn = False
        self._before: tuple[int, ...] = ()
        self.totals = Totals(0, 0, 0, 0, 0)

    def __enter__(self) -> Writing:
        """Begin. Nobody else writes from here on."""
        self.db.execute("BEGIN IMMEDIATE")
        found = self.db.execute(
            "SELECT entries, size, pinned_entries, pinned_size, last FROM totals WHERE id = 1"
        ).fetchone()
        if found is not None and all(type(each) is int and each >= 0 for each in found):
            self._before, self.totals = found, Totals(*found)
        else:
            self.recount()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write the totals and commit, or forget it all."""
        if kind is not None:
            if self.db.in_transaction:  # SQLite may have rolled back by itself
                self.db.execute("ROLLBACK")
            return
        if self._torn:
            self.recount()
        after = self.totals.values()
        if after != self._before:
            self.db.execute("INSERT OR REPLACE INTO totals VALUES (1, ?, ?, ?, ?, ?)", after)
        try:
            self.db.execute("COMMIT")
        except sqlite3.Error as fault:
            setattr(fault, IN_COMMIT, True)
            raise

    # -- records ---------------------------------------------------------------------------

    def rows(self, where: str, *values: object) -> list[Row]:
        """Return the records that a condition of ours selects; damaged ones are removed instead."""
        found = self.db.execute(f"SELECT {COLUMNS} FROM records {where}", values)  # noqa: S608 -- no text of others
        rows = [Row._make(row) for row in found]
        damaged = [row.version for row in rows if not row.sound()]
        if damaged:
            self.discard(damaged)
            rows = [row for row in rows if row.version not in damaged]
        return rows

    def insert(self, sheet: Sheet) -> int:
        """Write a record; return its version."""
        totals, db = self.totals, self.db
        totals.last = version = totals.last + 1
        mark = seal(SCHEMA, version, sheet.lifetime, sheet.key, sheet.variant, sheet.head, sheet.body)
        db.execute(
            "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?)",
            (
                *(version, sheet.key, sheet.variant, self.now, sheet.lifetime, self.now + sheet.lifetime),
                *(version, int(sheet.pinned), len(sheet.tags), sheet.size, mark),
            ),
        )
        db.execute("INSERT INTO bodies VALUES (?, ?, ?)", (version, sheet.head, sheet.body))
        if sheet.tags:
            db.executemany("INSERT INTO tags VALUES (?, ?)", [(tag, version) for tag in sheet.tags])
        totals.entries += 1
        totals.size += sheet.size
        self.logged += sheet.size
        if sheet.pinned:
            totals.pinned_entries += 1
            totals.pinned_size += sheet.size
        return version

    def remove(self, rows: Iterable[Row]) -> None:
        """Remove records."""
        totals = self.totals
        for row in rows:
            self._delete(row.version, tagged=row.tags > 0)
            totals.entries -= 1
            totals.size -= row.size
            if row.pinned:
                totals.pinned_entries -= 1
                totals.pinned_size -= row.size

    def discard(self, versions: Iterable[int]) -> None:
        """Remove damaged records, of which nothing is believed but where they stand."""
        for version in versions:
            self.corrupt += self._delete(version, tagged=True)
        self._torn = True

    def clear(self) -> int:
        """Remove everything; return how many records were not over."""
        (alive,) = self.db.execute("SELECT count(*) FROM records WHERE ends > ?", (self.now,)).fetchone()
        for table in ("records", "bodies", "tags"):
            self.db.execute(f"DELETE FROM {table}")  # noqa: S608 -- names of ours
        self.totals = Totals(0, 0, 0, 0, self.totals.last)
        return int(alive)

    def _delete(self, version: int, *, tagged: bool) -> int:
        one = (version,)
        found = self.db.execute("DELETE FROM records WHERE version = ?", one).rowcount
        self.db.execute("DELETE FROM bodies WHERE version = ?", one)
        if tagged:
            self.db.execute("DELETE FROM tags WHERE version = ?", one)
        return found

    # -- upkeep ----------------------------------------------------------------------------

    def recount(self) -> None:
        """Make the totals anew from the records."""
        entries, size, pinned_entries, pinned_size, version, turn = self.db.execute(
            """SELECT count(*), CAST(total(size) AS INTEGER), count(*) FILTER (WHERE pinned),
                CAST(total(size) FILTER (WHERE pinned) AS INTEGER),
                coalesce(max(version), 0), coalesce(max(turn), 0) FROM records"""
        ).fetchone()
        last = max(version, turn if type(turn) is int else 0, self.totals.last, int(self.now * 1e6))
        self.totals = Totals(entries, size, pinned_entries, pinned_size, last)
        self._torn = False

    def mark(self, versions: Iterable[int]) -> None:
        """Note that records were read."""
        self.db.executemany("UPDATE records SET used = 1 WHERE version = ?", [(each,) for each in versions])

    def pass_over(self, rows: Iterable[Row]) -> None:
        """Send records to the end of the line; they have to be read again to stay."""
        for row in rows:
            self.totals.last += 1
            self.db.execute("UPDATE records SET used = 0, turn = ? WHERE version = ?", (self.totals.last, row.version))

    def date_anew(self, most: int) -> bool:
        """Let records that were written later than now live from now on; tell whether that were all of them.

        They come from a time at which the wall clock was ahead, and would otherwise stay until then.
        """
        found = self.db.execute(
            """UPDATE records SET written = ?, ends = ? + lifetime
                WHERE version IN (SELECT version FROM records WHERE written > ? LIMIT ?)""",
            (self.now, self.now, self.now + BACK, most),
        )
        return found.rowcount < most
