"""Whether a stored answer may be used for a request: now, after it was confirmed, or when all else fails."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from resilient.cache.entry import Entry
from resilient.cache.wanted import Limits

if TYPE_CHECKING:
    from resilient.cache.config import HttpCache

__all__ = ["Judgement", "Use", "judge", "stands_in"]

_SERVER_ERROR = 500


class Use(Enum):
    """What may be done with a stored answer."""

    FRESH = "serve it"
    STALE = "serve it past its time, for the request allows that"
    BEHIND = "serve it past its time, and fetch a fresh one meanwhile"
    CONFIRM = "ask whether it is still right"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What may be done, and why not more.

    Attributes:
        use: What may be done.
        asked: Whether it is only the request that wants it confirmed.

    """

    use: Use
    asked: bool = False


def judge(cache: HttpCache, entry: Entry, limits: Limits, now: float) -> Judgement:
    """Say what may be done with a stored answer that fits the request (RFC 9111, 4; RFC 5861, 3)."""
    age = entry.age(now)
    left = entry.lifetime - age
    if entry.no_cache:
        return Judgement(Use.CONFIRM)
    if limits.no_cache or 0 < limits.min_fresh > left or _too_old(limits, age):
        return Judgement(Use.CONFIRM, asked=left > 0)
    if left > 0:
        return Judgement(Use.FRESH)
    past = -left
    if entry.strict or past > cache.longest_stale:
        return Judgement(Use.CONFIRM)
    if 0 < limits.max_stale >= past:
        return Judgement(Use.STALE)
    window = max(entry.stale_while_revalidate or 0.0, cache.stale_while_revalidate or 0.0)
    return Judgement(Use.BEHIND if 0 < window >= past and limits.max_age is None else Use.CONFIRM)


def stands_in(cache: HttpCache, entry: Entry, limits: Limits, now: float, *, unreachable: bool) -> bool:
    """Tell whether an answer may stand in for one that cannot be had (RFC 9111, 4.2.4; RFC 5861, 4).

    Args:
        cache: The cache.
        entry: The stored answer.
        limits: What the request wants.
        now: The wall time.
        unreachable: Whether no answer came at all: then nobody's leave is needed.

    """
    if entry.no_cache or entry.strict or entry.status >= _SERVER_ERROR:
        return False
    age = entry.age(now)
    past = max(0.0, age - entry.lifetime)
    said = limits.stale_if_error
    if said is None and (limits.no_cache or limits.min_fresh > 0 or limits.max_age is not None):
        return False  # the request wants a fresh one; what it takes past its time is served without asking
    window = max(said or 0.0, entry.stale_if_error or 0.0, cache.stale_if_error or 0.0)
    if unreachable and said is None:
        window = max(window, cache.stale_if_unreachable or 0.0)
    return window > 0 and past <= min(window, cache.longest_stale)


def _too_old(limits: Limits, age: float) -> bool:
    """Tell whether the request takes nothing of that age; `max-age=0` means a fresh answer, whatever the clock says."""
    most = limits.max_age
    return most is not None and (age > most + limits.max_stale or most == limits.max_stale == 0)
