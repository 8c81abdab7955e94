"""How long an answer is fresh, and how old it was when it came (RFC 9111, 4.2)."""

from __future__ import annotations

from dataclasses import dataclass

from resilient.cache.dates import moment
from resilient.cache.directives import Directives, delta, seconds
from resilient.cache.fields import Index, listed

__all__ = ["HEURISTIC", "Rules", "date_of", "explicit", "initial_age", "lifetime"]

HEURISTIC = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})
"""Statuses whose answers may be fresh without saying so (RFC 9110, 15.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a cache is told about freshness.

    Attributes:
        shared: Whether `s-maxage` counts.
        heuristic: The share of its age at arrival for which an answer without a lifetime is fresh.
        heuristic_most: Seconds for which it is fresh at most.
        longest: Seconds for which any answer is fresh at most.

    """

    shared: bool
    heuristic: float
    heuristic_most: float
    longest: float


def explicit(found: Index, directives: Directives, *, shared: bool) -> bool:
    """Tell whether an answer says itself how long it is fresh, be it by nonsense."""
    return b"max-age" in directives or b"expires" in found or (shared and b"s-maxage" in directives)


def lifetime(status: int, found: Index, directives: Directives, received_at: float, rules: Rules) -> float:
    """Return for how many seconds an answer is fresh, counted from when its origin made it.

    Args:
        status: Its status.
        found: Its fields.
        directives: Its Cache-Control.
        received_at: When it came, in seconds since 1970.
        rules: What the cache is told.

    """
    stated = _stated(found, directives, received_at, shared=rules.shared)
    if stated is None:
        known = status in HEURISTIC or b"public" in directives
        stated = _guessed(found, received_at, rules) if known else 0.0
    return min(stated, rules.longest)


def _stated(found: Index, directives: Directives, received_at: float, *, shared: bool) -> float | None:
    """Return what the answer says itself; None if it does not."""
    if shared and b"s-maxage" in directives:
        return delta(directives, b"s-maxage")
    if b"max-age" in directives:
        return delta(directives, b"max-age")
    if b"expires" not in found:
        return None
    end = moment(found[b"expires"][0])
    return 0.0 if end is None else max(0.0, end - date_of(found, received_at))


def _guessed(found: Index, received_at: float, rules: Rules) -> float:
    """Return a share of the time for which it had not changed when it was made (RFC 9111, 4.2.2)."""
    changed = moment(found[b"last-modified"][0]) if b"last-modified" in found else None
    if changed is None:
        return 0.0
    return min(max(0.0, date_of(found, received_at) - changed) * rules.heuristic, rules.heuristic_most)


def date_of(found: Index, received_at: float) -> float:
    """Return when an answer was made by its `Date`; when it came, if it does not tell."""
    made = moment(found[b"date"][0]) if b"date" in found else None
    return received_at if made is None else made


def initial_age(found: Index, requested_at: float, received_at: float) -> float:
    """Return how many seconds old an answer was when it came, in the worst case.

    The time that the request took counts as if all of it had passed after the answer was made.
    """
    delay = max(0.0, received_at - requested_at)
    apparent = max(0.0, received_at - date_of(found, received_at))
    return max(apparent, _age(found) + delay)


def _age(found: Index) -> float:
    """Return the first member of `Age`; one that is no number counts as none (RFC 9111, 5.1)."""
    values = found.get(b"age")
    members = listed(values[0]) if values else None
    return (seconds(members[0]) or 0.0) if members else 0.0
