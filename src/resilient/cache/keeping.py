"""Flows that write: a whole answer, a part that joins others, and one that is of no use any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from resilient.cache.directives import seconds
from resilient.cache.entry import Entry, encode
from resilient.cache.fields import Index, joined, merged
from resilient.cache.looking import Held, entry_of
from resilient.cache.messages import Call, Flow
from resilient.cache.ranges import joined as joined_parts
from resilient.cache.storing import kept_for, part, whole
from resilient.cache.variants import name
from resilient.stores.contract import Record

if TYPE_CHECKING:
    from resilient.cache.config import HttpCache

__all__ = ["Place", "forget", "keep", "keep_whole", "put"]


@dataclass(slots=True)
class Place:
    """Where an answer goes, and what it replaces.

    Attributes:
        address: What the keys of all answers of this address begin with.
        key: Its key.
        tags: Names to purge it by.
        before: The answer that fitted the request until now, or None.
        parts: Parts that are of no use once there is a whole.
        variants: The variants of the key, the newest first.
        asked: The `Range` that the request asked for.
        mark: Which writes came before its request.

    """

    address: str
    key: str
    tags: Sequence[str] = ()
    before: Held | None = None
    parts: list[Held] = field(default_factory=list)
    variants: list[str] = field(default_factory=list)
    asked: bytes = b""
    mark: int = 0


def keep(cache: HttpCache, place: Place, entry: Entry, found: Index, body: bytes) -> Flow:
    """Store an answer whose body has come, unless it is not what its header says, or came too late.

    Args:
        cache: The cache.
        place: Where it goes.
        entry: The answer.
        found: Its fields, as received.
        body: The body, with its content coding if it has one.

    Returns:
        Whether it was stored.

    """
    length = joined(found, b"content-length")
    if length is not None and seconds(length) not in (None, float(len(body))):
        return False  # it was cut, or is two answers in one
    if entry.status == 206:  # noqa: PLR2004
        return (yield from _keep_part(cache, place, entry, found, body))
    return (yield from keep_whole(cache, place, entry, body))


def keep_whole(cache: HttpCache, place: Place, entry: Entry, body: bytes) -> Flow:
    """Store a whole answer in place of what it replaces; return whether it was stored."""
    variant = name(entry.vary)
    if not (yield from put(cache, place, variant, entry, body)):
        return False
    cache.counts["stored"] += 1
    gone = [held.record for held in place.parts]
    if place.before is not None and place.before.key == place.key and place.before.record.variant != variant:
        gone.append(place.before.record)
    for record in gone:
        yield Call("delete", (place.key, record.variant), {"expected": record.version}, 0)
    others = [each for each in place.variants if each != variant and each not in {record.variant for record in gone}]
    for each in others[cache.max_variants - 1 :]:
        yield Call("delete", (place.key, each), default=0)
    return True


def _keep_part(cache: HttpCache, place: Place, entry: Entry, found: Index, body: bytes) -> Flow:
    """Store a part, joined with all that touch it and share its strong validator (RFC 9111, 3.4)."""
    span = part(entry, found, len(body), place.asked)
    if span is None:
        return False
    gone: list[Record] = []
    apart: list[Record] = []
    for record in (yield Call("get", (place.key,), default=())):
        held = yield from entry_of(cache, place.key, record)
        if held is None or held.entry.vary != entry.vary:
            continue
        if held.entry.etag != entry.etag:  # another version of it
            gone.append(record)
        elif held.entry.span is None:
            return False  # there is all of it
        elif (both := _both(cache, entry, body, held)) is not None:
            entry, body = both
            gone.append(record)
        else:
            apart.append(record)
    variant = _settled(entry, body)
    if not (yield from put(cache, place, variant, entry, body)):
        return False
    cache.counts["stored"] += 1
    for record in (*gone, *apart[cache.max_variants - 1 :]):
        if record.variant != variant:
            yield Call("delete", (place.key, record.variant), {"expected": record.version}, 0)
    return True


def _both(cache: HttpCache, entry: Entry, body: bytes, held: Held) -> tuple[Entry, bytes] | None:
    """Return a part joined with one that is stored, if they may be joined and touch each other."""
    if entry.strong is None or entry.span is None or held.entry.span is None:
        return None
    both = joined_parts(entry.span, body, held.entry.span, held.body)
    if both is None or len(both[1]) > cache.max_body:
        return None
    return replace(entry, span=both[0], fields=merged(held.entry.fields, entry.fields)), both[1]


def _settled(entry: Entry, body: bytes) -> str:
    """Return the variant of a part, which becomes a whole if nothing is missing."""
    span, variant = entry.span, name(entry.vary)
    if span is None or len(body) == span.total:
        whole(entry, len(body))
        return variant
    return f"{variant}#{span.first}"


def put(  # noqa: PLR0913 -- an answer, where it goes, and what must be there still
    cache: HttpCache, place: Place, variant: str, entry: Entry, body: bytes, *, expected: int | None = None
) -> Flow:
    """Write an answer; return whether it was written."""
    if cache.written.since(place.address, place.mark):
        return False  # it may show what was there before
    entry.size = len(body)
    record = Record(variant, encode(entry), body, memo=entry)
    kwargs = {"lifetime": kept_for(cache, entry), "tags": place.tags, "expected": expected}
    version = yield Call("put", (place.key, record), kwargs)
    if version is not None and cache.written.since(place.address, place.mark):
        # A write went through in between, and what it removed was not this: it was not there yet.
        yield Call("delete", (place.key, variant), {"expected": version}, 0)
        return False
    return version is not None


def forget(held: Held) -> Flow:
    """Remove an answer, unless it was replaced meanwhile."""
    yield Call("delete", (held.key, held.record.variant), {"expected": held.record.version}, 0)
