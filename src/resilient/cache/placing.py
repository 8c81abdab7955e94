"""An answer that has just come: whether its body is to be kept, where, and what is said of that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from resilient import faults
from resilient.cache.directives import seconds
from resilient.cache.fields import Index, index, joined
from resilient.cache.filling import Filling
from resilient.cache.keeping import Place, keep
from resilient.cache.looking import Found
from resilient.cache.messages import Flow, Got, Pass
from resilient.cache.status import FIELD, forwarded
from resilient.cache.storing import Draft, draft
from resilient.cache.wanted import Wanted

if TYPE_CHECKING:
    from resilient.cache.config import HttpCache

__all__ = ["common", "filling", "key_of", "passed", "place", "tags_of", "told", "too_large"]

_PARTIAL = 206


def place(cache: HttpCache, want: Wanted, found: Found, got: Got, made: Draft) -> Place | None:
    """Return where an answer goes; None if there is no place for it.

    Args:
        cache: The cache.
        want: The request.
        found: What the store holds for it.
        got: The answer.
        made: The same, as it is to be stored.

    """
    key = key_of(cache, found, made)
    if common(key) and not made.common(shared=cache.shared):
        return None
    tags = tags_of(cache, want, got)
    if tags is None:
        return None
    before = found.fit if found.fit is not None and found.fit.key == key else None
    parts = [held for held in found.parts if held.key == key]
    asked = b"" if want.range is None else want.range.asked
    return Place(found.address, key, tags, before, parts, found.variants.get(key, []), asked, want.mark)


def key_of(cache: HttpCache, found: Found, made: Draft) -> str:
    """Return the key under which an answer to a request is stored: its own, or that of all."""
    return found.keys[-1] if cache.shared and made.public else found.keys[0]


def common(key: str) -> bool:
    """Tell whether a key is that of all who show no credentials."""
    return ":" not in key.rpartition(" ")[2]


def tags_of(cache: HttpCache, want: Wanted, got: Got) -> Sequence[str] | None:
    """Return the names to purge an answer by; None if the user's function does not say: then it is not stored."""
    if cache.tags is None:
        return ()
    try:
        tags = tuple(cache.tags(want.asked, got.status, got.fields))
    except Exception as fault:  # noqa: BLE001 -- the call goes on without a cache
        faults.report(cache.tags, fault)
        return None
    if all(isinstance(tag, str) for tag in tags):
        return tags
    faults.report(cache.tags, TypeError(f"tags must return strings, got {tags!r}"))
    return None


def filling(cache: HttpCache, want: Wanted, found: Found, got: Got) -> Filling | None:
    """Return what takes the body of an answer to GET, if it is to be stored."""
    if got.status == _PARTIAL and want.range is None:
        return None
    made = draft(cache, want.found, got)
    fields = index(got.fields)
    if made is None or too_large(cache, fields):
        return None
    where = place(cache, want, found, got, made)
    if where is None:
        return None

    def store(body: bytes) -> Flow:
        return keep(cache, where, made.entry, fields, body)

    return Filling(cache.max_body, store)


def too_large(cache: HttpCache, fields: Index) -> bool:
    """Tell whether an answer says itself that its body is larger than what is kept."""
    return (seconds(joined(fields, b"content-length")) or 0.0) > cache.max_body


def passed(got: Got, why: str, kept: Filling | None = None, detail: str | None = None) -> Pass:
    """Return an answer to be handed out, with a word about it."""
    return Pass(got, told(got, forwarded(why, stored=kept is not None, detail=detail)), kept)


def told(got: Got, value: bytes) -> list[tuple[bytes, bytes]]:
    """Return the fields of an answer with a word about the cache, after those of caches behind us."""
    return [*got.fields, (FIELD, value)]
