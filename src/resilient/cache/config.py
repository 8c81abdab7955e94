"""HttpCache: what an HTTP cache keeps, for how long, for whom, and the store it keeps it in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from resilient import _check
from resilient.cache.address import PREFIX, address
from resilient.cache.address import prefix as below
from resilient.cache.freshness import Rules
from resilient.cache.messages import Asked, Fields
from resilient.cache.state import State
from resilient.stores.contract import Store
from resilient.stores.front import Front
from resilient.stores.memory import MemoryStore

__all__ = ["HttpCache"]

DAY = 86400.0

Partition = Callable[[Asked], str | None]
Tags = Callable[[Asked, int, Fields], Iterable[str]]
Fn = TypeVar("Fn", bound=Callable[..., object])

_ERRORS = range(400, 600)


class HttpCache(State):
    """Keep answers of HTTP services, as RFC 9111 says, for one transport or for several.

    Args:
        store: Where they are kept; None makes a `MemoryStore` of its own.
        shared: False for the cache of a client: each identity has answers of its own. True for a
            cache that serves many users alike, such as a proxy's.
        stale_if_error: Seconds past its freshness for which an answer stands in when a fresh one
            cannot be had, although its origin did not say so (RFC 5861 lets it say so).
        stale_if_unreachable: Seconds past its freshness for which an answer stands in when no
            answer comes at all: no connection, no answer in time, or a refusal of ours. Nobody has
            to allow that (RFC 9111, 4.2.4), but `must-revalidate` forbids it; None for never.
        stale_while_revalidate: Seconds past its freshness for which an answer is served while a
            fresh one is fetched in the background, likewise.
        longest_fresh: Seconds for which an answer is fresh at most, whatever its origin said.
        longest_stale: Seconds for which an answer is kept and served past its freshness at most.
        heuristic: The share of its age at arrival for which an answer without a lifetime is
            fresh; 0 for none.
        heuristic_most: Seconds for which it is fresh at most.
        max_body: Bytes of the largest body that is kept.
        max_variants: How many variants of one address are kept (`Vary`).
        partition: A function of the request that names whose answers it may see, in place of its
            credentials: a name stands for all that tells users apart, and is kept as a digest.
            Where it returns None, and without it, the fields that carry credentials tell.
        tags: A function of request, status and fields of an answer that returns names to `purge` by.
        patience: Seconds that a request waits for a store that blocks.
        stale_statuses: Answers that count as errors for stale-if-error.
        secret: What digests of credentials are keyed with; None makes one, and keeps it in the
            store if that is shared with other processes.
        name: Whose store it is, for events.

    Raises:
        ConfigError: If a number is out of range.
        TypeError: If an argument is of a wrong type.

    Example:
        >>> import httpx2
        >>> from resilient import Pipeline
        >>> from resilient.cache import HttpCache
        >>> from resilient.httpx2 import ResilientTransport
        >>> def service(request):
        ...     return httpx2.Response(200, headers={"cache-control": "max-age=60"}, text="1.07")
        >>> network = httpx2.MockTransport(service)
        >>> transport = ResilientTransport(Pipeline("doc-http-cache"), transport=network, cache=HttpCache())
        >>> with httpx2.Client(transport=transport) as client:
        ...     for _ in range(2):
        ...         print(client.get("https://rates.example/EUR").headers["cache-status"])
        resilient; fwd=uri-miss; stored
        resilient; hit; ttl=...

    """

    def __init__(  # noqa: PLR0913 -- one setting for each thing a cache may do
        self,
        store: Store | None = None,
        *,
        shared: bool = False,
        stale_if_error: _check.Duration | None = None,
        stale_if_unreachable: _check.Duration | None = 60.0,
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
        self.name = _check.identifier("name", name)
        front = Front(MemoryStore() if store is None else store, name=name, patience=patience)
        super().__init__(front, shared=_switch("shared", shared), secret=_secret(secret))
        self.stale_if_error = _optional("stale_if_error", stale_if_error)
        self.stale_if_unreachable = _optional("stale_if_unreachable", stale_if_unreachable)
        self.stale_while_revalidate = _optional("stale_while_revalidate", stale_while_revalidate)
        self.longest_stale = _check.seconds("longest_stale", longest_stale, zero=True)
        self.rules = Rules(
            shared=shared,
            heuristic=_share("heuristic", heuristic),
            heuristic_most=_check.seconds("heuristic_most", heuristic_most, zero=True),
            longest=_check.seconds("longest_fresh", longest_fresh, zero=True),
        )
        self.max_body = _check.count("max_body", max_body)
        self.max_variants = _check.count("max_variants", max_variants)
        self.partition = _function("partition", partition)
        self.tags = _function("tags", tags)
        self.stale_statuses = _statuses(stale_statuses)

    def purge(self, url: str | None = None, *, prefix: str | None = None, tag: str | None = None) -> int:
        """Remove answers, of all identities and variants.

        Args:
            url: Those of one address, as the client has it: `str(response.url)`.
            prefix: Those of all addresses that begin with it, such as "https://api.example.com/users/".
            tag: Those that carry it. Without any argument all are removed.

        Returns:
            How many; 0 if the store does not answer in time.

        Raises:
            ConfigError: If both a URL and a prefix are given, or the prefix is too long.
            TypeError: If one of them is no text.

        """
        return int(self.front.run(0, "purge", **self._purging(url, prefix, tag)))

    async def apurge(self, url: str | None = None, *, prefix: str | None = None, tag: str | None = None) -> int:
        """Do the same without blocking the event loop."""
        return int(await self.front.arun(0, "purge", **self._purging(url, prefix, tag)))

    def _purging(self, url: str | None, prefix: str | None, tag: str | None) -> dict[str, str | None]:
        for name, value in (("url", url), ("prefix", prefix), ("tag", tag)):
            if value is not None and not isinstance(value, str):
                _check.refuse_type(name, value, "a text or None")
        if url is not None and prefix is not None:
            _check.refuse("prefix", prefix, "left out where a url is given")
        if url is None:
            self.written.note_all()
            return {"prefix": PREFIX if prefix is None else below(prefix), "tag": tag}
        base = address(url)
        self.written.note(base)
        return {"prefix": base, "tag": tag}

    def __repr__(self) -> str:
        """Show whose cache it is and where it keeps its answers."""
        return f"<HttpCache {self.name!r}: {'shared' if self.shared else 'private'}, {self.front.store!r}>"


def _optional(name: str, value: _check.Duration | None) -> float | None:
    return None if value is None else _check.seconds(name, value, zero=True)


def _share(name: str, value: float) -> float:
    share = _check.number(name, value)
    if not 0 <= share <= 1:
        _check.refuse(name, value, "a share in [0, 1]")
    return share


def _function(name: str, value: Fn | None) -> Fn | None:
    if value is not None:
        _check.plain(name, value, "a plain function or None")
    return value


def _statuses(value: Iterable[object]) -> frozenset[int]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        _check.refuse_type("stale_statuses", value, "statuses from 400 to 599")
    statuses = set()
    for status in value:
        if _check.count("stale_statuses", status) not in _ERRORS:
            _check.refuse("stale_statuses", status, "statuses from 400 to 599")
        statuses.add(_check.count("stale_statuses", status))
    return frozenset(statuses)


def _switch(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        _check.refuse_type(name, value, "True or False")
    return value


def _secret(value: object) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, bytes):
        _check.refuse_type("secret", "...", "bytes or None")
    if not 16 <= len(value) <= 64:  # noqa: PLR2004 -- what cannot be guessed, and what blake2b takes
        _check.refuse("secret", f"{len(value)} bytes", "16 to 64 bytes")
    return value
