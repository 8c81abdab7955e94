"""Parts of a body: what a request asks for, what an answer brings, and how parts are put together.

Only single ranges of bytes are understood; everything else goes past the cache (RFC 9110, 14).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from resilient.cache.dates import moment
from resilient.cache.entry import Entry, Span

__all__ = ["Wish", "brought", "condition_holds", "cut", "joined", "missing", "wish"]

_RANGE = re.compile(rb"bytes=[ \t]*(?:([0-9]{1,15})-([0-9]{0,15})|-([0-9]{1,15}))[ \t]*", re.IGNORECASE)
_BROUGHT = re.compile(rb"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wish:
    """A range that a request asks for.

    Attributes:
        first: Position of the first byte; None for the last `last` bytes.
        last: Position of the last byte; None for all that follow.
        asked: The field as sent.

    """

    first: int | None
    last: int | None
    asked: bytes

    def within(self, total: int) -> tuple[int, int] | None:
        """Return the positions of the first and last byte in a body of `total` bytes; None if it has none of them."""
        if self.first is None:
            count = min(self.last or 0, total)
            return (total - count, total - 1) if count else None
        last = total - 1 if self.last is None else min(self.last, total - 1)
        return (self.first, last) if self.first <= last else None


def wish(value: bytes) -> Wish | None:
    """Return what a `Range` asks for; None if that is not one range of bytes."""
    found = _RANGE.fullmatch(value)
    if found is None:
        return None
    first, last, count = found.groups()
    if count is not None:
        return Wish(None, int(count), value)
    if last and int(last) < int(first):
        return None
    return Wish(int(first), int(last) if last else None, value)


def brought(content_range: bytes | None, size: int, asked: bytes) -> Span | None:
    """Return what a part holds; None if its `Content-Range` does not say, or says less than there is.

    A part that is shorter than it says holds what came of it, from its first position on.
    """
    found = _BROUGHT.fullmatch(content_range or b"")
    if found is None:
        return None
    first, last, total = map(int, found.groups())
    if not first <= last < total or not 0 < size <= last - first + 1:
        return None
    return Span(first, first + size - 1, total, asked)


def condition_holds(if_range: bytes | None, entry: Entry) -> bool:
    """Tell whether a part of this answer may be sent, or only the whole (RFC 9110, 13.1.5).

    Strong validators only: a date counts if it is the answer's own and the answer was made a
    while after it.
    """
    if if_range is None:
        return True
    value = if_range.strip(b" \t")
    if value.startswith((b'"', b"W/")):
        return entry.strong is not None and entry.strong == value
    changed = moment(entry.modified)
    return changed is not None and changed == moment(value) and entry.date - changed >= 1


def cut(entry: Entry, body: bytes, wanted: Wish) -> tuple[bytes, tuple[int, int, int]] | None:
    """Return what was asked for and its positions and the whole's length; None if it is not all held.

    The very range that a part was the answer to is answered with it.
    """
    span = entry.span
    if span is None:
        found = wanted.within(len(body))
        return None if found is None else (body[found[0] : found[1] + 1], (*found, len(body)))
    if span.asked and span.asked == wanted.asked:
        return body, (span.first, span.last, span.total)
    found = wanted.within(span.total)
    if found is None or found[0] < span.first or found[1] > span.last:
        return None
    return body[found[0] - span.first : found[1] - span.first + 1], (*found, span.total)


def joined(span: Span, body: bytes, other: Span, other_body: bytes) -> tuple[Span, bytes] | None:
    """Return two parts as one, where the first is the newer; None if there is a gap between them."""
    if span.total != other.total or span.first > other.last + 1 or other.first > span.last + 1:
        return None
    before = other_body[: max(0, span.first - other.first)]
    after = other_body[max(0, span.last + 1 - other.first) :]
    whole = before + body + after
    first = min(span.first, other.first)
    return Span(first, first + len(whole) - 1, span.total), whole


def missing(span: Span) -> bytes | None:
    """Return the `Range` of what a part lacks; None if that is in two pieces, or nothing."""
    if span.first == 0 and span.last < span.total - 1:
        return b"bytes=%d-" % (span.last + 1)
    if span.first > 0 and span.last == span.total - 1:
        return b"bytes=0-%d" % (span.first - 1)
    return None
