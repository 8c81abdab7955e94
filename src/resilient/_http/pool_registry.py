"""The pools of one transport object, one per downstream, and never more than a few dozen."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from threading import Lock
from typing import Any, Generic, TypeVar

from resilient._http.family import Family
from resilient._http.pool_closing import Closing
from resilient._http.pool_plan import STREAMS, Plan
from resilient._http.pools import AsyncPool, Pool, SyncPool
from resilient._policy import Env
from resilient._runtime import live
from resilient.clock import Clock

MOST = 64
"""Pools of one transport object at most."""

OVERFLOW = "_other"
"""Key of the pool that further downstreams share while all others are in use; it is never evicted."""

P = TypeVar("P", bound=Pool)


class Pools(Generic[P]):
    """What both kinds of registries share.

    Args:
        family: The client family.
        options: Keyword arguments of the family's transport, but for those that policies decide,
            and `keepalive_expiry` in seconds.
        most: Pools at most. A new key takes the place of the pool that has rested longest; while
            all are in use, further keys share one more.
        streams: Connections that each pool may have beyond its limit, for endless streams.

    """

    def __init__(self, family: Family, options: Mapping[str, Any], most: int = MOST, *, streams: int = STREAMS) -> None:
        """Open nothing yet."""
        self._plan = Plan(family, self._kind, options, streams=streams)
        self._most = most
        self._lock = Lock()
        self._pools: dict[str, P] = {}
        self._overflow: P | None = None
        self.closing = Closing()
        live.add(self)

    _kind: str

    def __len__(self) -> int:
        """Return how many pools there are, without the shared one."""
        return len(self._pools)

    def get(self, key: str, limit: int | None, env: Env) -> P:
        """Return the pool of a downstream, making it if it is new.

        Whoever holds a pool may go on using it after it was evicted: it comes back as soon as
        another one rests, and keeps no idle connection until then.

        Args:
            key: Name of the downstream.
            limit: Requests at the same time; None for no limit.
            env: Of its pipeline.

        """
        pool = self._pools.get(key)
        if pool is None:
            return self._insert(key, limit, env)
        if pool.env is not env:
            pool.resize(limit, env)
        return pool

    def _insert(self, key: str, limit: int | None, env: Env) -> P:
        with self._lock:
            evicted = None if key in self._pools else self._make_room()
            if key in self._pools or len(self._pools) < self._most:
                pool = self._pools.get(key) or self._pools.setdefault(key, self._new(key, limit, env))
            else:
                pool = self._overflow = self._overflow or self._new(OVERFLOW, limit, env)
        if evicted is not None:
            evicted.retire()
        return pool

    def _back(self, key: str, pool: P) -> None:
        """Take an evicted pool in again, if there is room and nothing stands in its place."""
        with self._lock:
            evicted = None if key in self._pools else self._make_room()
            if len(self._pools) < self._most and self._pools.setdefault(key, pool) is pool:
                pool.evicted = False
        if evicted is not None:
            evicted.retire()

    def _make_room(self) -> P | None:
        """Evict the pool that has rested longest, if there are too many and one rests."""
        resting = [(pool.used, key) for key, pool in self._pools.items() if not pool.leases]
        if len(self._pools) < self._most or not resting:
            return None
        evicted = self._pools.pop(min(resting)[1])
        evicted.evicted = True
        return evicted

    def _new(self, key: str, limit: int | None, env: Env) -> P:
        raise NotImplementedError

    def _all(self) -> list[P]:
        with self._lock:
            return [*self._pools.values(), *([self._overflow] if self._overflow else [])]

    def renew(self) -> None:
        """Replace the lock, in a forked child; the pools hear of the fork themselves."""
        self._lock = Lock()

    def use_clock(self, clock: Clock) -> None:
        """Keep no time."""


class SyncPools(Pools[SyncPool]):
    """The pools of a transport for threads."""

    _kind = "HTTPTransport"

    def _new(self, key: str, limit: int | None, env: Env) -> SyncPool:
        return SyncPool(self._plan, limit, env, self.closing, partial(self._back, key))

    def close(self) -> None:
        """Close every connection; all pools can be used again."""
        for pool in self._all():
            pool.shut()
        self.closing.sweep()


class AsyncPools(Pools[AsyncPool]):
    """The pools of a transport for tasks."""

    _kind = "AsyncHTTPTransport"

    def _new(self, key: str, limit: int | None, env: Env) -> AsyncPool:
        return AsyncPool(self._plan, limit, env, self.closing, partial(self._back, key))

    async def aclose(self) -> None:
        """Close every connection of this event loop; all pools can be used again."""
        for pool in self._all():
            pool.shut()
        await self.closing.asweep()
