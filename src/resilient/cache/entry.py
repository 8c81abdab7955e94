"""A stored answer, and its way into a record's head and back.

A head is a version, a checksum and JSON: bytes that are not ours, damaged or of another version
are no answer, whatever they hold.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from resilient.cache.messages import Fields
from resilient.cache.variants import Vary
from resilient.stores.contract import Record

__all__ = ["Entry", "Span", "decode", "encode"]

_VERSION = b"r1"
_START = len(_VERSION) + 8
_parsed = json.JSONDecoder().decode
_written = json.JSONEncoder(separators=(",", ":")).encode
_FAR = 1e12
"""Seconds; no time of ours is further off, nor infinite, nor no number at all."""

NO_CACHE = 1
STRICT = 2
OPEN = 4


@dataclass(frozen=True, slots=True)
class Span:
    """Which bytes of a whole a partial answer holds.

    Attributes:
        first: Position of the first.
        last: Position of the last.
        total: Length of the whole.
        asked: The `Range` that it answered, as sent.

    """

    first: int
    last: int
    total: int
    asked: bytes = b""


@dataclass(slots=True)
class Entry:
    """What is known of a stored answer, but for its body.

    Attributes:
        status: Its status; 206 for a part.
        fields: Its fields, as they are shown: without those of the connection, and without Age.
        requested_at: When it was asked for, in seconds since 1970.
        received_at: When it came or was confirmed.
        initial_age: How many seconds old it was then.
        lifetime: Seconds for which it is fresh.
        vary: What the request had in the fields that count.
        etag: Its entity tag as written, or None.
        modified: Its Last-Modified as written, or None.
        date: When it was made: its `Date`, or when it came.
        no_cache: Whether it must be confirmed before each use.
        strict: Whether it must never be served stale.
        open: Whether it is for all, as it says itself, whoever it was given to.
        stale_while_revalidate: Seconds past its freshness, as its origin said; None if it did not.
        stale_if_error: Likewise.
        span: What a part holds; None for a whole.
        size: Bytes of the body.

    """

    status: int
    fields: Fields
    requested_at: float
    received_at: float
    initial_age: float
    lifetime: float
    vary: Vary = ()
    etag: bytes | None = None
    modified: bytes | None = None
    date: float = 0.0
    no_cache: bool = False
    strict: bool = False
    open: bool = False
    stale_while_revalidate: float | None = None
    stale_if_error: float | None = None
    span: Span | None = None
    size: int = 0

    def age(self, now: float) -> float:
        """Return how many seconds old it is.

        By a clock that was set back it came in the future, nobody knows how long ago. As many
        seconds as it is off count: an answer that was stored while the clock was a year ahead is
        not fresh for a year.
        """
        return self.initial_age + abs(now - self.received_at)

    @property
    def strong(self) -> bytes | None:
        """Its entity tag, if that is a strong one."""
        return self.etag if self.etag is not None and self.etag.startswith(b'"') else None


def encode(entry: Entry) -> bytes:
    """Return the head for a record."""
    span = entry.span
    parts = [
        entry.status,
        [[name.decode("latin-1"), value.decode("latin-1")] for name, value in entry.fields],
        entry.requested_at,
        entry.received_at,
        entry.initial_age,
        entry.lifetime,
        [[name.decode("latin-1"), _text(value)] for name, value in entry.vary],
        _text(entry.etag),
        _text(entry.modified),
        entry.date,
        entry.no_cache * NO_CACHE | entry.strict * STRICT | entry.open * OPEN,
        entry.stale_while_revalidate,
        entry.stale_if_error,
        None if span is None else [span.first, span.last, span.total, span.asked.decode("latin-1")],
        entry.size,
    ]
    head = _written(parts).encode()
    return b"%b%08x%b" % (_VERSION, crc32(head), head)


def decode(record: Record, longest: float) -> Entry | None:
    """Return the answer that a record holds; None if it is none of ours, or damaged.

    Args:
        record: The record.
        longest: Seconds for which it is fresh at most, whatever it says.

    """
    head = record.head
    if head[:2] != _VERSION or head[2:_START] != b"%08x" % crc32(head[_START:]):
        return None
    try:
        entry = _made(_parsed(head[_START:].decode()), longest)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    return entry if entry.size == len(record.body) else None


def _made(parts: list[Any], longest: float) -> Entry:
    """Return the entry; whatever does not fit raises one of the errors that `decode` expects."""
    (status, fields, requested, received, initial, lifetime, vary, etag, modified, date, flags, *rest) = parts
    while_revalidate, if_error, span, size = rest
    times = (requested, received, initial, lifetime, date, while_revalidate or 0.0, if_error or 0.0)
    if not all(-_FAR < moment < _FAR for moment in times):
        raise ValueError
    return Entry(
        status + 0,
        [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields],
        requested,
        received,
        max(0.0, initial),
        min(lifetime, longest),
        tuple((name.encode("latin-1"), _bytes(value)) for name, value in vary),
        _bytes(etag),
        _bytes(modified),
        date,
        flags & NO_CACHE != 0,
        flags & STRICT != 0,
        flags & OPEN != 0,
        while_revalidate,
        if_error,
        None if span is None else _span(*span),
        size,
    )


def _span(first: int, last: int, total: int, asked: str) -> Span:
    return Span(first + 0, last + 0, total + 0, asked.encode("latin-1"))


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _bytes(value: str | None) -> bytes | None:
    return None if value is None else value.encode("latin-1")
