"""Whether an answer may be stored, for whom, and as what (RFC 9111, 3)."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

from resilient.cache.directives import Directives, delta, names, parse
from resilient.cache.entry import Entry, Span
from resilient.cache.fields import Index, index, joined, storable, without
from resilient.cache.freshness import HEURISTIC, date_of, explicit, initial_age, lifetime
from resilient.cache.messages import Fields, Got
from resilient.cache.ranges import brought
from resilient.cache.variants import Vary, nominated, vary

if TYPE_CHECKING:
    from resilient.cache.config import HttpCache

__all__ = ["Draft", "draft", "kept_for", "part"]

NEVER = frozenset({304, 428, 429, 431, 511})
"""Statuses that are about one request or one network, never about the resource (RFC 6585)."""

UNDERSTOOD = frozenset(int(status) for status in HTTPStatus) - NEVER
"""Statuses for which `must-understand` allows storing."""

_FINAL = range(200, 600)
_OK = 200
_PARTIAL = 206
_DAY = 86400.0
_EVENTS = b"text/event-stream"


@dataclass(slots=True)
class Draft:
    """An answer that may be stored.

    Attributes:
        entry: What is known of it before its body has come.
        public: Whether it is for everybody, as it says itself.
        explicit: Whether it says itself how long it is fresh.
        cookies: Whether it sets some.
        known: Whether the request had an `Authorization`.

    """

    entry: Entry
    public: bool
    explicit: bool
    cookies: bool
    known: bool

    def common(self, *, shared: bool) -> bool:
        """Tell whether it may be stored where all find it who show no credentials.

        An answer that sets a cookie is where an identity begins. Whoever got it from a store would
        share it, unless its origin means just that.
        """
        return not self.cookies or self.public or (shared and self.explicit and not self.known)


def draft(cache: HttpCache, request: Index, got: Got, known: Vary | None = None) -> Draft | None:
    """Return what is to be stored of an answer to GET; None if it must not be, or is of no use.

    Args:
        cache: The cache.
        request: The request's fields.
        got: The answer; its fields are those to be stored and its own `Age`.
        known: What the request had in the fields that count, if that is not in `request`.

    """
    found = index(got.fields)
    directives = parse(found)
    fields_that_count = nominated(found)
    if (
        got.replaced
        or fields_that_count is None
        or _endless(found)
        or not _may(cache, request, got.status, found, directives)
    ):
        return None
    if known is None:
        known = vary(fields_that_count, request, cache.secret)
    elif tuple(name for name, _ in known) != fields_that_count:
        return None  # it counts something now that nobody kept
    kept_out = (names(directives, b"no-cache") or []) + ((names(directives, b"private") or []) if cache.shared else [])
    entry = _entry(cache, got, found, directives, storable(got.fields, found, kept_out))
    entry.vary = known
    stated = explicit(found, directives, shared=cache.shared)
    if not (stated or entry.lifetime or entry.etag or entry.modified or _covers(cache)):
        return None
    cookies = b"set-cookie" in found and b"set-cookie" not in kept_out
    return Draft(entry, b"public" in directives, stated, cookies, b"authorization" in request)


def _endless(found: Index) -> bool:
    """Tell whether an answer is a stream of events: what happens, not what there is, and perhaps for ever."""
    return found.get(b"content-type", (b"",))[0][: len(_EVENTS)].lower() == _EVENTS


def _may(cache: HttpCache, request: Index, status: int, found: Index, directives: Directives) -> bool:
    if status not in _FINAL or status in NEVER or _endless(found):
        return False
    if b"must-understand" in directives:
        if status not in UNDERSTOOD:
            return False
    elif b"no-store" in directives:
        return False
    if cache.shared:
        if names(directives, b"private") == []:
            return False
        if b"authorization" in request and not _open(directives):
            return False
    return (
        b"public" in directives
        or (b"private" in directives and not cache.shared)
        or explicit(found, directives, shared=cache.shared)
        or status in HEURISTIC
    )


def _open(directives: Directives) -> bool:
    """Tell whether an answer may be shared although the request had credentials (RFC 9111, 3.5)."""
    return not directives.keys().isdisjoint((b"public", b"s-maxage", b"must-revalidate"))


def _covers(cache: HttpCache) -> bool:
    """Tell whether the cache itself would serve an answer past its time."""
    return bool(cache.stale_if_error or cache.stale_while_revalidate)


def _entry(cache: HttpCache, got: Got, found: Index, directives: Directives, fields: Fields) -> Entry:
    if b"date" not in found:  # RFC 9110, 6.6.1
        fields = [*fields, (b"Date", formatdate(got.received_at, usegmt=True).encode())]
    strict = b"must-revalidate" in directives
    if cache.shared:
        strict = strict or b"proxy-revalidate" in directives or b"s-maxage" in directives
    return Entry(
        got.status,
        fields,
        got.requested_at,
        got.received_at,
        initial_age(found, got.requested_at, got.received_at),
        lifetime(got.status, found, directives, got.received_at, cache.rules),
        etag=joined(found, b"etag"),
        modified=joined(found, b"last-modified"),
        date=date_of(found, got.received_at),
        no_cache=names(directives, b"no-cache") == [],
        strict=strict,
        open=_open(directives),
        stale_while_revalidate=delta(directives, b"stale-while-revalidate"),
        stale_if_error=delta(directives, b"stale-if-error"),
    )


def part(entry: Entry, found: Index, size: int, asked: bytes) -> Span | None:
    """Turn an entry of status 206 into that of a part, once its size is known.

    Returns:
        What it holds; None if it does not say so in a way that we understand.

    """
    span = brought(joined(found, b"content-range"), size, asked)
    if entry.status != _PARTIAL or span is None:
        return None
    entry.fields = without(entry.fields, (b"content-range", b"content-length"))
    entry.span = span
    return span


def whole(entry: Entry, size: int) -> None:
    """Turn the entry of a part that has become complete into that of the whole."""
    entry.status, entry.span = _OK, None
    entry.fields = [*entry.fields, (b"Content-Length", b"%d" % size)]


def kept_for(cache: HttpCache, entry: Entry) -> float:
    """Return the seconds for which a store is to keep an answer."""
    past = cache.longest_stale
    if entry.etag or entry.modified:  # it can be confirmed, however stale it is
        past = max(past, _DAY)
    return max(0.0, entry.lifetime - entry.initial_age) + past + 1.0  # a record ends at its time, not after it
