"""Bringing stored answers up to date: after a 304, after an answer to HEAD, and in the background."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from resilient import events
from resilient.cache.fields import index
from resilient.cache.keeping import Place, forget, put
from resilient.cache.looking import Found, Held
from resilient.cache.messages import LABEL, Background, Close, Flow, Got, Read, Send
from resilient.cache.placing import common, filling, key_of, tags_of, too_large
from resilient.cache.validating import conditions, confirmed, renewed
from resilient.cache.variants import name
from resilient.cache.wanted import Wanted

if TYPE_CHECKING:
    from resilient.cache.config import HttpCache

__all__ = ["behind", "update"]

_NOT_MODIFIED = 304


def update(cache: HttpCache, want: Wanted, found: Found, held: Held, got: Got) -> Flow:
    """Store an answer with the fields of a newer one that confirms it.

    What was said to one identity about an answer that all share is stored for that identity alone.

    Returns:
        The answer as it is now, and whether it was stored.

    """
    entry, made = renewed(cache, want, held, got)
    tags = tags_of(cache, want, got)
    key = held.key if made is None else key_of(cache, found, made)
    if made is None or tags is None or (common(key) and not made.common(shared=cache.shared)):
        yield from forget(held)
        return held._replace(entry=entry), False
    place = Place(found.address, key, tags, mark=want.mark)
    variant = name(entry.vary) if entry.span is None else f"{name(entry.vary)}#{entry.span.first}"
    same = variant == held.record.variant and key == held.key
    if not same and key == held.key:
        yield from forget(held)
    stored = yield from put(cache, place, variant, entry, held.body, expected=held.record.version if same else None)
    return held._replace(key=key, entry=entry), stored


def behind(cache: HttpCache, want: Wanted, found: Found, held: Held, now: float) -> Flow:
    """Have a stale answer fetched anew in the background, once at a time.

    Returns:
        Whether that is under way, so that the stale one may be served meanwhile.

    """
    claim = _claim(found, held)
    if not cache.claims.take(claim, now):
        return True
    started = yield Background(_refresh(cache, want, found, held))
    if not started:
        cache.claims.give_back(claim)
    return bool(started)


def _claim(found: Found, held: Held) -> tuple[str, str]:
    return (found.keys[0], held.record.variant)


def _refresh(cache: HttpCache, want: Wanted, found: Found, held: Held) -> Flow:
    try:
        yield from _asked(cache, want.own(cache.written.mark), replace(found, fit=held), held)
    except Exception as error:
        cache.counts["refresh_failed"] += 1
        if events.wanted():
            fields = {"policy": LABEL, "cause": type(error).__name__}
            events.publish("resilient.cache.refresh_failed", cache.name, fields)
        raise
    finally:
        cache.claims.give_back(_claim(found, held))


def _asked(cache: HttpCache, want: Wanted, found: Found, held: Held) -> Flow:
    """Ask whether a stored answer is still right, and store what comes."""
    fields, named = conditions(want, [held], own=True)
    got: Got = yield Send(fields)
    if got.status == _NOT_MODIFIED and named and not got.replaced:
        yield Close(got)
        verdict = confirmed(named, got, held)
        if not verdict.update:  # whatever it is about, it is not about ours
            yield from forget(held)
        for each in verdict.update:
            yield from update(cache, want, found, each, got)
        return
    kept = filling(cache, want, found, got)
    if kept is None or got.status in cache.stale_statuses or too_large(cache, index(got.fields)):
        yield Close(got)
        return
    body = yield Read(got, cache.max_body)
    if body is not None and kept.take(body):
        flow = kept.done()
        if flow is not None:
            yield from flow
