"""A part that is made whole: only what it lacks is asked for (RFC 9111, 3.3 and 3.4)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from resilient.cache.fields import index, joined, merged
from resilient.cache.keeping import keep_whole
from resilient.cache.looking import Found, Held
from resilient.cache.messages import Close, Flow, Got, Now, Read, Send
from resilient.cache.placing import place
from resilient.cache.ranges import brought, missing
from resilient.cache.ranges import joined as joined_parts
from resilient.cache.replying import reply
from resilient.cache.status import forwarded
from resilient.cache.storing import draft, whole
from resilient.cache.wanted import Wanted

if TYPE_CHECKING:
    from resilient.cache.config import HttpCache

__all__ = ["complete", "incomplete"]

_PARTIAL = 206
_REFUSED = frozenset({412, 416})


def incomplete(cache: HttpCache, want: Wanted, found: Found) -> Held | None:
    """Return the largest part that one more range would make whole, if the request wants the whole."""
    if want.range is not None or want.conditional or want.head:
        return None
    parts = [held for held in found.parts if _completable(cache, held)]
    return max(parts, key=lambda held: held.entry.size, default=None)


def _completable(cache: HttpCache, held: Held) -> bool:
    span = held.entry.span
    return (
        span is not None
        and held.entry.strong is not None
        and span.total <= cache.max_body
        and missing(span) is not None
    )


def complete(cache: HttpCache, want: Wanted, found: Found, held: Held, now: Now) -> Flow:
    """Ask for what a part lacks.

    Returns:
        The whole as a reply; or what came instead, to be handed out.

    """
    span, tag = held.entry.span, held.entry.strong
    if span is None or tag is None:  # `incomplete` has seen to it
        return (yield Send())
    fields = [*want.plain(), (b"Range", missing(span) or b""), (b"If-Range", tag)]
    got: Got = yield Send(fields)
    if got.status in _REFUSED:
        yield Close(got)
        return (yield Send())
    if got.status != _PARTIAL:
        return got
    answer = index(got.fields)
    made = draft(cache, want.found, got)
    where = None if made is None else place(cache, want, found, got, made)
    if made is None or where is None or joined(answer, b"etag") != tag:
        yield Close(got)
        return (yield Send())
    body = yield Read(got, span.total)
    part = None if body is None else brought(joined(answer, b"content-range"), len(body), b"")
    both = None if part is None else joined_parts(part, body, span, held.body)
    if both is None or len(both[1]) != span.total:
        return (yield Send())
    entry = replace(made.entry, fields=merged(held.entry.fields, made.entry.fields))
    whole(entry, span.total)
    entry.size = span.total
    yield from keep_whole(cache, where, entry, both[1])
    record = replace(held.record, body=both[1])
    told = forwarded("partial", got.status, ttl=entry.lifetime - entry.age(now()), stored=True)
    return reply(Held(held.key, record, entry), want, now(), "revalidated", told)
