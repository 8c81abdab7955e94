"""What the store holds for a request: the answer that fits, parts of it, and answers to others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from resilient.cache.address import address
from resilient.cache.entry import Entry, decode
from resilient.cache.identity import partitions, secret
from resilient.cache.messages import Call, Flow
from resilient.cache.variants import matches
from resilient.cache.wanted import Wanted
from resilient.stores.contract import Record

if TYPE_CHECKING:
    from resilient.cache.config import HttpCache

__all__ = ["Found", "Held", "better", "entry_of", "keys_of", "look"]


class Held(NamedTuple):
    """A stored answer and where it is."""

    key: str
    record: Record
    entry: Entry

    @property
    def body(self) -> bytes:
        """Its body, or what it has of it."""
        return self.record.body


@dataclass(slots=True)
class Found:
    """What the store holds for a request.

    Attributes:
        address: What the keys of all answers of this address begin with.
        keys: Where the request may find its answer, its own place first.
        fit: The answer that fits, or None.
        parts: Parts of an answer that would fit, the newest first.
        others: Whole answers to requests that differ in a field that counts.
        variants: All variants by key, the newest first.

    """

    address: str
    keys: tuple[str, ...] = ()
    fit: Held | None = None
    parts: list[Held] = field(default_factory=list)
    others: list[Held] = field(default_factory=list)
    variants: dict[str, list[str]] = field(default_factory=dict)


def look(cache: HttpCache, want: Wanted) -> Flow:
    """Look for what fits a request.

    Returns:
        What was found; None if it must go past the cache, for nobody knows whose it is.

    """
    found = yield from keys_of(cache, want)
    if found is None:
        return None
    for key in found.keys:
        records: Sequence[Record] = yield Call("get", (key,), default=())
        for record in records:
            held = yield from entry_of(cache, key, record)
            if held is not None:
                _sort(cache, found, held, want)
        if found.fit is not None:
            break
    return found


def keys_of(cache: HttpCache, want: Wanted) -> Flow:
    """Return the keys of a request, with nothing found yet; None if nobody knows whose it is."""
    if cache.secret is None and not (yield from secret(cache)):
        return None
    ends = partitions(cache, want.asked, want.held)
    if ends is None:
        return None
    base = address(want.asked.url)
    return Found(base, tuple(base + end for end in ends))


def entry_of(cache: HttpCache, key: str, record: Record) -> Flow:
    """Return a record with what it holds; one that holds nothing of ours is removed and counted."""
    entry = record.memo
    if type(entry) is not Entry:
        entry = decode(record, cache.rules.longest)
        if entry is None:
            cache.counts["corrupt"] += 1
            yield Call("delete", (key, record.variant), {"expected": record.version}, 0)
            return None
        record.memo = entry
    return Held(key, record, entry)


def _sort(cache: HttpCache, found: Found, held: Held, want: Wanted) -> None:
    """Put an answer where it belongs."""
    found.variants.setdefault(held.key, []).append(held.record.variant)
    if cache.shared and not held.entry.open and b"authorization" in want.found:
        return  # it does not say that it is for everybody
    fits = matches(held.entry.vary, want.found, cache.secret)
    if held.entry.span is not None:
        if fits:
            found.parts.append(held)
    elif not fits:
        found.others.append(held)
    elif found.fit is None or better(held.entry, found.fit.entry):
        found.fit = held


def better(entry: Entry, other: Entry) -> bool:
    """Tell which of two answers that fit is used: one that names what it depends on, then the later one."""
    return (bool(entry.vary), entry.date) > (bool(other.vary), other.date)
