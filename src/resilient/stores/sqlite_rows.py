"""What stands in the tables of a SQLite file, and how a record is read from them."""

from __future__ import annotations

import sqlite3
import struct
from dataclasses import dataclass
from typing import NamedTuple

from resilient.stores.contract import Record
from resilient.stores.seals import seal
from resilient.stores.sqlite_file import SCHEMA

__all__ = ["BACK", "COLUMNS", "Found", "Row", "Sheet", "Totals", "counted", "decoded", "encoded", "newest", "read"]

BACK = 60.0
"""Seconds by which a wall clock may go back without anybody minding."""

COLUMNS = "version, key, variant, ends, used, pinned, tags, size"

_READ = """SELECT records.version, variant, written, lifetime, ends, used, seal, head, body
    FROM records LEFT JOIN bodies ON bodies.version = records.version WHERE key = ?"""


class Row(NamedTuple):
    """One record without its content, as far as whoever makes room has to know it."""

    version: int
    key: bytes
    variant: bytes
    ends: float
    used: int
    pinned: int
    tags: int
    size: int

    def sound(self) -> bool:
        """Tell whether each value is of its type."""
        numbers = (self.version, self.used, self.pinned, self.tags, self.size)
        return (
            all(type(each) is int and each >= 0 for each in numbers)
            and type(self.key) is type(self.variant) is bytes
            and type(self.ends) is float
        )


class Sheet(NamedTuple):
    """One record as it is written."""

    key: bytes
    variant: bytes
    head: bytes
    body: bytes
    lifetime: float
    pinned: bool
    tags: tuple[bytes, ...]
    size: int


@dataclass(slots=True)
class Totals:
    """What a file says of itself.

    Attributes:
        entries: Records.
        size: Their bytes.
        pinned_entries: Those of them that must stay.
        pinned_size: The bytes of these.
        last: The number that was given last, to a version or to a turn in the line.

    """

    entries: int
    size: int
    pinned_entries: int
    pinned_size: int
    last: int

    def values(self) -> tuple[int, ...]:
        """Return them in the order of the table."""
        return self.entries, self.size, self.pinned_entries, self.pinned_size, self.last


class Found:
    """What a look-up has found.

    Attributes:
        records: The sound ones that are not over, newest first.
        unmarked: Versions of those whose use is not noted yet.
        corrupt: Versions of those that did not pass their check.
        ahead: Whether one comes from the future: the wall clock has gone back since.

    """

    __slots__ = ("ahead", "corrupt", "records", "unmarked")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.unmarked: list[int] = []
        self.corrupt: list[int] = []
        self.ahead = False


def read(db: sqlite3.Connection, key: bytes, now: float) -> Found:
    """Look up a key."""
    found = Found()
    rows = db.execute(_READ, (key,)).fetchall()
    if len(rows) > 1:
        rows.sort(key=_version, reverse=True)
    for version, variant, written, lifetime, ends, used, mark, head, body in rows:
        try:
            sound = ends == written + lifetime and mark == seal(SCHEMA, version, lifetime, key, variant, head, body)
            record = Record(decoded(variant), head, body, version)
        except (AttributeError, TypeError, ValueError, ArithmeticError, struct.error):
            sound = False  # a value is not even of its type
        if not sound:
            found.corrupt.append(version)
        elif now < ends:
            found.records.append(record)
            if not used:
                found.unmarked.append(version)
            if written > now + BACK:
                found.ahead = True
    return found


def newest(db: sqlite3.Connection) -> float:
    """Return when the newest record was written, 0 if that is not known."""
    row = db.execute("SELECT written FROM records ORDER BY version DESC LIMIT 1").fetchone()
    return row[0] if row is not None and type(row[0]) is float else 0.0


def counted(db: sqlite3.Connection, now: float) -> tuple[int, int]:
    """Return how many records are not over, and their bytes."""
    entries, size = db.execute("SELECT count(*), total(size) FROM records WHERE ends > ?", (now,)).fetchone()
    return entries, int(size)


def _version(row: tuple[int, ...]) -> int:
    return row[0]


def encoded(text: str) -> bytes:
    """Return any text as bytes, with lone surrogates and all."""
    return text.encode("utf-8", "surrogatepass")


def decoded(text: bytes) -> str:
    """Return the text."""
    return text.decode("utf-8", "surrogatepass")
