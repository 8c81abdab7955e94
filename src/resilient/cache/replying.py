"""An answer for the client made from a stored one: whole, without its body, a range of it, or a 304."""

from __future__ import annotations

from resilient.cache.fields import without
from resilient.cache.looking import Held
from resilient.cache.messages import Reply, Source
from resilient.cache.ranges import condition_holds, cut
from resilient.cache.status import FIELD
from resilient.cache.validating import unchanged
from resilient.cache.wanted import Wanted

__all__ = ["not_held", "reply"]

_NOT_IN_304 = frozenset(
    {b"content-encoding", b"content-language", b"content-length", b"content-range", b"content-type"}
)
_SELECTED = (200, 206)


def reply(  # noqa: PLR0913 -- a stored answer, whom it is for, and what is said of it
    held: Held, want: Wanted, now: float, source: Source, told: bytes, *, reason: str | None = None
) -> Reply | None:
    """Make an answer.

    Args:
        held: The stored answer, which may be used.
        want: The request.
        now: Seconds since 1970.
        source: What the caller learns about it.
        told: The value for `Cache-Status`.
        reason: Why it is stale, in a word.

    Returns:
        None if it does not hold the range that is asked for, or the whole.

    """
    entry = held.entry
    age = entry.age(now)
    added = [(b"Age", b"%d" % age), (FIELD, told)]
    selected = entry.status in _SELECTED
    if selected and want.conditional and unchanged(entry, want):
        return Reply(304, [*without(entry.fields, _NOT_IN_304), *added], b"", source, age, reason)
    if selected and want.range is not None and condition_holds(want.if_range, entry):
        found = cut(entry, held.body, want.range)
        if found is None:
            return None
        part, positions = found
        sizes = [(b"Content-Range", b"bytes %d-%d/%d" % positions), (b"Content-Length", b"%d" % len(part))]
        fields = without(entry.fields, (b"content-range", b"content-length"))
        return Reply(206, [*fields, *sizes, *added], part, source, age, reason)
    if entry.span is not None:
        return None
    return Reply(entry.status, [*entry.fields, *added], b"" if want.head else held.body, source, age, reason)


def not_held() -> Reply:
    """Return the answer to a request that takes only what is stored (RFC 9111, 5.2.1.7).

    It says nothing of the cache, for it is not made from anything that was stored (RFC 9211, 2).
    """
    return Reply(504, [(b"Content-Length", b"0")], b"", None)
