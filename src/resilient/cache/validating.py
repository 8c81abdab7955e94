"""Asking whether stored answers are still right, and understanding what comes back (RFC 9111, 4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from resilient.cache.dates import moment
from resilient.cache.entry import Entry
from resilient.cache.fields import index, joined, merged, storable, without
from resilient.cache.looking import Held
from resilient.cache.messages import Fields, Got
from resilient.cache.storing import Draft, draft
from resilient.cache.variants import matches
from resilient.cache.wanted import CONDITIONAL, Wanted

if TYPE_CHECKING:
    from resilient.cache.config import HttpCache

__all__ = ["Confirmed", "agrees", "conditions", "confirmed", "renewed", "same_tag", "unchanged"]

MOST_TAGS = 16
"""Entity tags of other variants that one request names."""

_CONDITIONS = (b"if-none-match", b"if-modified-since")


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What a 304 says.

    Attributes:
        update: Stored answers that it brings up to date.
        use: The one that it confirms for this request; None if it is about none of ours.

    """

    update: Sequence[Held]
    use: Held | None


def conditions(want: Wanted, stored: Sequence[Held], *, own: bool = False) -> tuple[Fields | None, Sequence[Held]]:
    """Return the fields of a request that asks whether stored answers are still right.

    Args:
        want: The client's request.
        stored: The answer that fits, or those to other requests.
        own: Whether it is the cache that asks, not the client.

    Returns:
        The fields, and the stored answers that they name: None and none if nothing can be asked,
        so that the client's request goes on as it is.

    """
    tagged = [held for held in stored if held.entry.etag is not None][:MOST_TAGS]
    tags = list(dict.fromkeys(held.entry.etag or b"" for held in tagged))
    changed = stored[0].entry.modified if len(stored) == 1 else None
    if not tags and (changed is None or (want.tags is not None and not own)):
        return (want.plain() if own else None), ()
    fields = without(want.asked.fields, CONDITIONAL if own else _CONDITIONS)
    theirs = [] if own else [tag for tag in want.tags or () if tag != b"*"]
    if tags:
        fields.append((b"If-None-Match", b", ".join(dict.fromkeys((*theirs, *tags)))))
    if changed is not None and (own or want.range is None or not tags):
        fields.append((b"If-Modified-Since", changed))
    return fields, (tagged or stored)


def confirmed(named: Sequence[Held], got: Got, fit: Held | None) -> Confirmed:
    """Return which of the stored answers that a request named a 304 is about (RFC 9111, 4.3.4).

    Args:
        named: Those that were named.
        got: The 304.
        fit: The one that fits the request, or None.

    """
    found = index(got.fields)
    tag, changed = joined(found, b"etag"), joined(found, b"last-modified")
    latest = sorted(named, key=lambda held: held.entry.date, reverse=True)
    if tag is not None:
        alike = [held for held in latest if same_tag(held.entry.etag, tag)]
        if tag.startswith(b'"'):
            update = [held for held in alike if held.entry.strong == tag]
            return Confirmed(update, _chosen(update or alike, fit))
        return Confirmed(alike[:1], _chosen(alike[:1], fit))
    if changed is not None:
        alike = [held for held in latest if held.entry.modified == changed]
        return Confirmed(alike[:1], _chosen(alike[:1], fit))
    # Without a validator it is about the one answer that was named, if it was one. Servers leave it out.
    only = latest if len(latest) == 1 else []
    return Confirmed(only, _chosen(only, fit))


def _chosen(confirmed: Sequence[Held], fit: Held | None) -> Held | None:
    return next((held for held in confirmed if held is fit), next(iter(confirmed), None))


def renewed(cache: HttpCache, want: Wanted, held: Held, got: Got) -> tuple[Entry, Draft | None]:
    """Return a stored answer with the fields of a 304, or of an answer to HEAD.

    Returns:
        What to serve, and the same as a draft to be stored; None if it must not be stored any more.

    """
    entry = held.entry
    newer = storable(got.fields, index(got.fields))
    fields = merged(entry.fields, newer)
    if not any(name.lower() == b"date" for name, _ in newer):
        fields = without(fields, (b"date",))  # it was confirmed now
    ages = [pair for pair in got.fields if pair[0].lower() == b"age"]
    as_answer = Got(entry.status, [*fields, *ages], got.requested_at, got.received_at)
    known = None if matches(entry.vary, want.found, cache.secret) else entry.vary
    made = draft(cache, want.found, as_answer, known)
    if made is None:
        now = got.received_at
        return replace(entry, fields=fields, requested_at=now, received_at=now, initial_age=0.0), None
    made.entry.span, made.entry.size = entry.span, entry.size
    return made.entry, made


def agrees(held: Held, got: Got) -> bool | None:
    """Tell whether an answer to HEAD is about what is stored (RFC 9111, 4.3.5).

    None if it does not say: with neither validators nor a length it may be about another body.
    """
    found = index(got.fields)
    tag, changed, length = (joined(found, name) for name in (b"etag", b"last-modified", b"content-length"))
    if tag is not None and tag != held.entry.etag:
        return False
    if changed is not None and changed != held.entry.modified:
        return False
    if length is not None:
        return length.strip() == b"%d" % held.entry.size
    return None if tag is changed is None else True


def unchanged(entry: Entry, want: Wanted) -> bool:
    """Tell whether the client's own copy is still right, judged by a stored answer (RFC 9111, 4.3.2)."""
    if want.tags is not None:
        return any(tag == b"*" or same_tag(entry.etag, tag) for tag in want.tags)
    if want.since is None:
        return False
    changed = moment(entry.modified)
    return (entry.date if changed is None else changed) <= want.since


def same_tag(tag: bytes | None, other: bytes) -> bool:
    """Compare two entity tags weakly (RFC 9110, 8.8.3.2)."""
    return tag is not None and tag.removeprefix(b"W/") == other.removeprefix(b"W/")
