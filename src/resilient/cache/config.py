"""HttpCache: what an HTTP cache keeps, for how long, for whom, and the store it keeps it in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from resilient import _check
from resilient.cache.messages import Asked, Fields
from resilient.stores.contract import Store
from resilient.stores.front import Front
from resilient.stores.memory import MemoryStore

__all__ = ["HttpCache"]

DAY = 86400.0

Partition = Callable[[Asked], str | None]
Tags = Callable[[Asked, int, Fields], Iterable[str]]


class HttpCache:
    """Keep answers of HTTP services, as RFC 9111 says, for one transport or for several.

    Args:
        store: Where they are kept; None makes a `MemoryStore` of its own.
        shared: False for the cache of a client: each identity has answers of its own. True for a
            cache that serves many users alike, such as a proxy's.
        stale_if_error: Seconds past its freshness for which an answer stands in when a fresh one
            cannot be had, although its origin did not say so (RFC 5861 lets it say so).
        stale_while_revalidate: Seconds past its freshness for which an answer is served while a
            fresh one is fetched in the background, likewise.
        longest_fresh: Seconds for which an answer is fresh at most, whatever its origin said.
        longest_stale: Seconds for which an answer is kept and served past its freshness at most.
        heuristic: The share of its age at arrival for which an answer without a lifetime is
            fresh; 0 for none.
        heuristic_most: Seconds for which it is fresh at most.
        max_body: Bytes of the largest body that is kept.
        max_variants: How many variants of one address are kept (`Vary`).
        partition: A function of the request that names whose answers it may see; the names are
            kept as digests. None tells identities apart by the fields that carry credentials.
        tags: A function of request, status and fields of an answer that returns names to `purge` by.
        patience: Seconds that a request waits for a store that blocks.
        stale_statuses: Answers that count as errors for stale-if-error.
        secret: What digests of credentials are keyed with; None makes one, and keeps it in the
            store if that is shared with other processes.
        name: Whose store it is, for events.

    Raises:
        ConfigError: If a number is out of range.
        TypeError: If an argument is of a wrong type.

    """

    def __init__(  # noqa: PLR0913 -- one setting for each thing a cache may do
        self,
        store: Store | None = None,
        *,
        shared: bool = False,
        stale_if_error: _check.Duration | None = None,
        stale_while_revalidate: _check.Duration | None = None,
        longest_fresh: _check.Duration = 30 * DAY,
        longest_stale: _check.Duration = 7 * DAY,
        heuristic: float = 0.1,
        heuristic_most: _check.Duration = DAY,
        max_body: int = 8 * 1024 * 1024,
        max_variants: int = 32,
        partition: Partition | None = None,
        tags: Tags | None = None,
        patience: _check.Duration = 0.25,
        stale_statuses: Iterable[int] = (500, 502, 503, 504),
        secret: bytes | None = None,
        name: str = "http_cache",
    ) -> None:
        """Check the settings."""
        self.front = Front(MemoryStore() if store is None else store, name=name, patience=patience)
        self.shared = shared

    def purge(self, url: str | None = None, *, prefix: str | None = None, tag: str | None = None) -> int:
        """Remove answers: of one address, of all that begin with `prefix`, or with a tag; return how many."""
        raise NotImplementedError

    async def apurge(self, url: str | None = None, *, prefix: str | None = None, tag: str | None = None) -> int:
        """Do the same without blocking the event loop."""
        raise NotImplementedError

    def snapshot(self) -> Mapping[str, Any]:
        """Return what was counted since the cache was made."""
        raise NotImplementedError
