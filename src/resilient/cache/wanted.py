"""What a request wants of a cache: what it looks for, what it will take, and what passes by."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf

from resilient.cache.dates import moment
from resilient.cache.directives import Directives, delta, parse
from resilient.cache.fields import Index, index, joined, tags, without
from resilient.cache.identity import credentials
from resilient.cache.messages import Asked, Fields
from resilient.cache.ranges import Wish, wish

__all__ = ["SAFE", "Limits", "Wanted", "wanted"]

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "PRI", "PROPFIND", "QUERY", "REPORT", "SEARCH", "TRACE"})
"""Methods that change nothing; what is not listed may (RFC 9111, 4.4)."""

CONDITIONAL = frozenset({b"if-none-match", b"if-modified-since", b"if-range", b"range"})
"""What a request of the cache's own does not take over from the client's."""

_FOR_ORIGIN = (b"if-match", b"if-unmodified-since", b"upgrade")


@dataclass(slots=True)
class Limits:
    """What a request says about the answers that it takes (RFC 9111, 5.2.1).

    Attributes:
        no_cache: Nothing that was not confirmed just now.
        max_age: Nothing that is older, in seconds; None for no limit.
        min_fresh: Nothing that is fresh for a shorter time.
        max_stale: Also what is past its freshness by so many seconds.
        stale_if_error: The same where a fresh answer cannot be had; None if it does not say.
        only_if_cached: Nothing from behind the cache.

    """

    no_cache: bool = False
    max_age: float | None = None
    min_fresh: float = 0.0
    max_stale: float = 0.0
    stale_if_error: float | None = None
    only_if_cached: bool = False


@dataclass(slots=True)
class Wanted:
    """A request, as a cache sees it.

    Attributes:
        asked: The request.
        found: Its fields by name.
        limits: What it says about answers.
        bypass: Why it goes past the cache, in a word; None if it does not.
        range: The range that it asks for, or None.
        tags: The entity tags of its own If-None-Match; None if it has none.
        since: The moment of its own If-Modified-Since, if that counts.
        held: Its credentials.
        mark: Which writes came before it.

    """

    asked: Asked
    found: Index
    limits: Limits
    bypass: str | None = None
    range: Wish | None = None
    tags: list[bytes] | None = None
    since: float | None = None
    held: list[tuple[bytes, bytes]] = field(default_factory=list)
    mark: int = 0

    @property
    def head(self) -> bool:
        """Whether only the header is asked for."""
        return self.asked.method == "HEAD"

    @property
    def conditional(self) -> bool:
        """Whether the client has something of its own that it wants confirmed."""
        return self.tags is not None or self.since is not None

    @property
    def if_range(self) -> bytes | None:
        """Its `If-Range`."""
        return joined(self.found, b"if-range")

    def plain(self) -> Fields:
        """Return its fields without conditions and ranges."""
        return without(self.asked.fields, CONDITIONAL)

    def own(self, mark: int) -> Wanted:
        """Return the request that the cache makes of it for itself: for the whole, without conditions."""
        return replace(self, range=None, tags=None, since=None, mark=mark)


def wanted(asked: Asked) -> Wanted:
    """Read a request whose method is safe."""
    found = index(asked.fields)
    directives = parse(found)
    want = Wanted(asked, found, _limits(found, directives), held=credentials(asked.fields))
    want.bypass = _bypass(want, directives)
    if want.bypass is not None:
        return want
    if b"range" in found and not want.head:
        want.range = wish(joined(found, b"range") or b"")
        if want.range is None:
            want.bypass = "range"
    if b"if-none-match" in found:
        want.tags = tags(joined(found, b"if-none-match") or b"")
    elif b"if-modified-since" in found:
        want.since = moment(found[b"if-modified-since"][0])
    return want


def _bypass(want: Wanted, directives: Directives) -> str | None:
    if want.asked.method not in ("GET", "HEAD"):
        return "method"
    if want.asked.past is not None:
        return want.asked.past
    if want.asked.bodied:  # two requests of one address may differ in what no key holds
        return "body"
    if b"no-store" in directives:
        return "no-store"
    if any(name in want.found for name in _FOR_ORIGIN):
        return "condition"
    return None


def _limits(found: Index, directives: Directives) -> Limits:
    if b"cache-control" not in found:  # only then: it is older (RFC 9111, 5.4)
        return Limits(no_cache=b"pragma" in found and b"no-cache" in parse(found, b"pragma"))
    stale = 0.0
    if b"max-stale" in directives:
        stale = inf if directives[b"max-stale"] is None else delta(directives, b"max-stale") or 0.0
    return Limits(
        no_cache=b"no-cache" in directives,
        max_age=delta(directives, b"max-age"),
        min_fresh=delta(directives, b"min-fresh") or 0.0,
        max_stale=stale,
        stale_if_error=delta(directives, b"stale-if-error"),
        only_if_cached=b"only-if-cached" in directives,
    )
