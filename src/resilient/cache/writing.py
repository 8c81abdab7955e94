"""Requests that may change something: they go through, and make stored answers invalid (RFC 9111, 4.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient.cache.address import address, beside
from resilient.cache.directives import parse
from resilient.cache.fields import index, joined
from resilient.cache.filling import Filling
from resilient.cache.keeping import keep
from resilient.cache.looking import keys_of
from resilient.cache.messages import Answering, Asked, Call, Flow, Got, Send
from resilient.cache.placing import passed, place, too_large
from resilient.cache.storing import draft
from resilient.cache.wanted import Wanted, wanted

if TYPE_CHECKING:
    from resilient.cache.config import HttpCache

__all__ = ["write_through"]

_GOOD = range(200, 400)
_OK = 200


def write_through(cache: HttpCache, asked: Asked) -> Answering:
    """Send a request whose method is not known to be safe, and forget what it may have changed."""
    got: Got = yield Send()
    kept = None
    if got.status in _GOOD and not got.replaced:
        touched = _touched(asked.url, got)
        marks = [cache.written.note(base) for base in touched]
        for base in touched:
            yield Call("purge", (), {"prefix": base}, 0)
        if asked.method == "POST" and got.status == _OK:
            kept = yield from _as_get(cache, wanted(asked), got, marks[0])
    return passed(got, "method", kept)


def _touched(url: str, got: Got) -> list[str]:
    """Return the addresses whose answers are invalid now: the target, and what the answer points to there."""
    found = index(got.fields)
    urls = [url]
    for name in (b"location", b"content-location"):
        urls += [near for value in found.get(name, ()) if (near := beside(url, value)) is not None]
    return list(dict.fromkeys(map(address, urls)))


def _as_get(cache: HttpCache, want: Wanted, got: Got, mark: int) -> Flow:
    """Return what takes the body of an answer to POST that says it is what GET would bring (RFC 9110, 9.3.3)."""
    if b"no-store" in parse(want.found):
        return None
    fields = index(got.fields)
    same = joined(fields, b"content-location")
    near = None if same is None else beside(want.asked.url, same)
    if near is None or address(near) != address(want.asked.url) or too_large(cache, fields):
        return None
    found = yield from keys_of(cache, want)
    made = None if found is None else draft(cache, want.found, got)
    if made is None or not made.explicit:
        return None
    where = place(cache, want, found, got, made)
    if where is None:
        return None
    where.mark = mark  # it comes after its own write, and before all others

    def store(body: bytes) -> Flow:
        return keep(cache, where, made.entry, fields, body)

    return Filling(cache.max_body, store)
