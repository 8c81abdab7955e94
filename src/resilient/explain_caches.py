"""What would surprise you about a stale cache; loaded only where there is one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from resilient._policy import Policy
from resilient.breaker import CircuitBreaker
from resilient.bulkhead import Bulkhead
from resilient.explain import Finding, outside, pairs, placed
from resilient.fallback import Fallback
from resilient.rate_limit import RateLimit
from resilient.retry import Retry
from resilient.stale_cache import StaleCache
from resilient.timeout import Timeout

_PAID = {
    Retry: "the retry takes a stale answer for a success, and stored answers deposit in its budget",
    CircuitBreaker: "the breaker takes stale answers for successes, and refuses stored ones while it is open",
    Bulkhead: "stored answers need a permit, and are refused while the bulkhead is full",
    RateLimit: "stored answers pay the rate limit",
}


def caches(policies: Sequence[Policy]) -> Iterator[Finding]:
    """Look at every stale cache of a pipeline."""
    yield from _cache_inside(policies)
    yield from _FALLBACK_FIRST(policies)
    yield from _refresh_without_end(policies)


_FALLBACK_FIRST = outside(
    StaleCache,
    Fallback,
    "fallback-before-stale",
    "the fallback answers first, never a stale answer; put Fallback outside StaleCache",
)


def _cache_inside(policies: Sequence[Policy]) -> Iterator[Finding]:
    for kind, what in _PAID.items():
        for _ in pairs(policies, kind, StaleCache):
            yield Finding("cache-inside", f"{what}; put StaleCache outside {kind.__name__}")


def _refresh_without_end(policies: Sequence[Policy]) -> Iterator[Finding]:
    for position, cache in placed(policies, StaleCache):
        enclosed = any(place > position for place, _ in placed(policies, Timeout))
        if (cache.while_revalidating or cache.early is not None) and not enclosed:
            what = "nothing ends a refresh that hangs in the background; put a Timeout inside StaleCache"
            yield Finding("refresh-without-end", what)
