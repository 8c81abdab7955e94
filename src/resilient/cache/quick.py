"""The short way: a fresh answer to a request that asks for nothing special.

It does what `answer` would do, in a fraction of the time: everything that does not depend on the
request was done when the answer was stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from resilient.cache.address import address, authority
from resilient.cache.entry import Entry, decode
from resilient.cache.identity import CREDENTIALS, partitions
from resilient.cache.looking import better
from resilient.cache.messages import Asked, Fields, Now, Reply
from resilient.cache.variants import matches_fields
from resilient.stores.contract import Record

if TYPE_CHECKING:
    from resilient.cache.config import HttpCache

__all__ = ["aquick", "quick"]

Get = Callable[[str], Sequence[Record]]

_SPECIAL = frozenset(
    {
        b"cache-control",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"pragma",
        b"range",
        b"upgrade",
    }
)
_NOTED = _SPECIAL | CREDENTIALS
_REMEMBERED = 4096
"""Addresses and heads that are remembered; bounded, that is all."""
_LARGE = 8192
"""Bytes from which on a head or an address is not worth the room."""


def quick(cache: HttpCache, asked: Asked, now: Now, get: Get | None = None) -> Reply | None:
    """Answer with a fresh stored response; None if `answer` must be asked.

    Args:
        cache: The cache.
        asked: The request.
        now: The wall clock.
        get: Returns the records of a key. None asks a store that does not block, and no other.

    """
    if (get is None and not cache.ready) or asked.bodied or asked.past or asked.method != "GET":
        return None
    fields = [(name.lower(), value) for name, value in asked.fields]
    noted = [pair for pair in fields if pair[0] in _NOTED]
    for name, _ in noted:
        if name in _SPECIAL:
            return None
    best = _found(cache, asked, fields, noted, get or cache.get)
    if best is None:
        return None
    record, entry = best
    age = entry.initial_age + abs(now() - entry.received_at)
    left = entry.lifetime - age
    if left <= 0 or entry.no_cache:
        return None
    cache.counts["hits"] += 1
    added = [(b"Age", b"%d" % age), (b"Cache-Status", b"resilient; hit; ttl=%d" % left)]
    return Reply(entry.status, entry.fields + added, record.body, "fresh", age)


async def aquick(cache: HttpCache, asked: Asked, now: Now) -> Reply | None:
    """Do the same in a task, with a store that blocks: a look into it takes one hop to a thread."""
    if asked.bodied or asked.past or asked.method != "GET":
        return None
    fields = [(name.lower(), value) for name, value in asked.fields]
    noted = [pair for pair in fields if pair[0] in _NOTED]
    base = _base(cache, asked, fields)
    if base is None or any(name in _SPECIAL for name, _ in noted):
        return None
    records = {base + end: await cache.front.arun((), "get", base + end) for end in _ends(cache, asked, noted)}
    return quick(cache, asked, now, lambda key: records.get(key, ()))


def _found(cache: HttpCache, asked: Asked, fields: Fields, noted: Fields, get: Get) -> tuple[Record, Entry] | None:
    """Return the stored answer that fits; None if there is none, or none that can be told so quickly."""
    base = _base(cache, asked, fields)
    if base is None:
        return None
    best = None
    for end in _ends(cache, asked, noted):
        for record in get(base + end):
            entry = record.memo
            if type(entry) is not Entry:
                entry = _decoded(cache, record)
                if entry is None or (entry.vary and cache.secret is None):
                    return None  # `answer` removes what is damaged, and finds the secret
            if entry.span is not None or (entry.vary and not matches_fields(entry.vary, fields, cache.secret)):
                continue
            if noted and cache.shared and not entry.open and any(name == b"authorization" for name, _ in noted):
                continue
            if best is None or better(entry, best[1]):
                best = record, entry
        if best is not None:
            break
    return best


def _decoded(cache: HttpCache, record: Record) -> Entry | None:
    """Return what a record holds, remembered by its head: a store on disk gives out a new record each time."""
    entry = cache.decoded.get(record.head)
    if entry is None:
        entry = decode(record, cache.rules.longest)
        if entry is not None and len(record.head) < _LARGE:
            if len(cache.decoded) >= _REMEMBERED:
                cache.decoded.clear()
            cache.decoded[record.head] = entry
    elif entry.size != len(record.body):
        return None
    record.memo = entry
    return entry


def _ends(cache: HttpCache, asked: Asked, held: list[tuple[bytes, bytes]]) -> tuple[str, ...]:
    if not held and cache.partition is None:
        return cache.nobody
    if cache.secret is None:
        return ()
    return partitions(cache, asked, held) or ()


def _base(cache: HttpCache, asked: Asked, fields: Fields) -> str | None:
    """Return what keys begin with; None if `Host` names, or seems to name, another host than the URL."""
    base, host = cache.addresses.get(asked.url) or _remembered(cache, asked.url)
    for name, value in fields:
        if name == b"host" and value != host:
            return None  # `answer` looks closer
    return base


def _remembered(cache: HttpCache, url: str) -> tuple[str, bytes]:
    made = address(url), authority(url)
    if len(url) < _LARGE:
        if len(cache.addresses) >= _REMEMBERED:
            cache.addresses.clear()
        cache.addresses[url] = made
    return made
