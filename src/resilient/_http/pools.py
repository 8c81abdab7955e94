"""A connection pool per downstream, which heals itself.

Its *inner* transport is one of the family's own. When that has lost places it is replaced: new
requests go to a fresh one, and the old one is closed with the last request in progress on it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from threading import Lock
from typing import Any

from resilient._http import pool_closing, pool_health
from resilient._http.leases import Inner, Lease
from resilient._http.pool_closing import Closing
from resilient._http.pool_plan import Plan
from resilient._policy import Env
from resilient._runtime import live
from resilient.clock import Clock

POOL_WAIT = 1.0
"""Longest wait for a connection, in seconds: the bulkhead has admitted the request already."""

_tick = count(1).__next__


class Pool:
    """What both kinds of pools share.

    Args:
        plan: Makes inner transports.
        limit: Requests at the same time, as the pipeline's bulkhead says; None for no limit.
        env: Of the pipeline; it hears of rebuilding.
        closing: Where inner transports wait to be closed.
        readmit: Called by an evicted pool that is used again; it may take back the eviction.

    """

    owned = True
    """Whether the pool is ours, so that its waits and its timeouts are."""

    def __init__(
        self,
        plan: Plan,
        limit: int | None,
        env: Env,
        closing: Closing | None = None,
        readmit: Callable[[Any], None] | None = None,
    ) -> None:
        """Open nothing yet."""
        self._readmit = readmit
        self._plan = plan
        self._limit = limit
        self.env = env
        self.closing = Closing() if closing is None else closing
        self._lock = Lock()
        self._inners: dict[object, Inner] = {}
        self._retired: dict[Inner, bool] = {}
        self._suspects: dict[Inner, bool] = {}
        self.clamped = True
        self.evicted = False
        self.rebuilt = 0
        self.used = _tick()
        live.add(self)

    @property
    def leases(self) -> int:
        """How many requests are in progress."""
        inners = [*self._inners.values(), *self._retired]
        return sum(len(inner.leases) for inner in inners)

    def lease(self) -> Lease:
        """Begin a request: `lease.transport` is where it goes."""
        self.used = _tick()
        while self._suspects:
            self._suspect()
        if self.evicted and self._readmit is not None:
            self._readmit(self)
        while True:
            home = self.home()
            inner = self._inners.get(home) or self._make(home)
            lease = Lease(inner)
            if not inner.retired:
                return lease
            lease.drop()  # another thread replaced it meanwhile

    def ended(self, inner: Inner, *, ok: bool) -> None:
        """Hear of the end of a lease."""
        if not inner.retired:
            if not ok or (inner.doubtful and not inner.leases):
                self._examine(inner)
            if self.evicted and not inner.leases:
                self._retire(inner)
        if inner.retired:
            self._closable(inner)

    def dropped(self, inner: Inner) -> None:
        """Hear of the end of a lease from the collector: atomic steps only."""
        if inner.retired:
            self._closable(inner)
        else:
            self._suspects[inner] = True

    def resize(self, limit: int | None, env: Env) -> None:
        """Follow a pipeline that was replaced by another of its name."""
        self.env = env
        if limit != self._limit:
            self._limit = limit
            self.retire()

    def retire(self) -> None:
        """Let what is open now be closed as soon as nothing is in progress on it."""
        for inner in list(self._inners.values()):
            self._retire(inner)

    def shut(self) -> None:
        """Hand everything over for closing, also what is in use: that is closed once more when it ends."""
        self.retire()
        self.closing.extend(list(self._retired))

    def home(self) -> object:
        """Return what connections are bound to: nothing for threads, the event loop for tasks."""
        return None

    def _make(self, home: object) -> Inner:
        self._forsake()
        transport, self.clamped = self._plan.make(self._limit)
        with self._lock:  # of two threads that come first, one made its transport for nothing
            return self._inners.setdefault(home, Inner(self, home, transport))

    def _forsake(self) -> None:
        """Forget what belongs to event loops that are gone."""

    def _suspect(self) -> None:
        try:
            inner, _ = self._suspects.popitem()
        except KeyError:  # another thread was faster
            return
        self.ended(inner, ok=False)

    def _examine(self, inner: Inner) -> None:
        # A lease whose request the pool does not know yet may cover for one that was lost: then the
        # last lease to end looks once more.
        inner.doubtful = bool(inner.leases)
        orphans = pool_health.lost(inner.transport, inner.leases)
        if orphans and self._retire(inner):
            self.rebuilt += 1
            self.env.emit("resilient.http.pool_rebuilt", orphans=orphans)

    def _retire(self, inner: Inner) -> bool:
        """Take an inner transport out of service; tell whether it was in."""
        with self._lock:
            if self._inners.get(inner.home) is not inner:
                return False
            del self._inners[inner.home]
            self._retired[inner] = True  # before anybody can see that it is retired
            inner.retired = True
        self._closable(inner)
        return True

    def _closable(self, inner: Inner) -> None:
        """Hand over for closing what is retired and empty, once."""
        if not inner.leases and self._retired.pop(inner, False):
            self.closing.append(inner)

    def renew(self) -> None:
        """Start afresh in a forked child, which must not speak on its parent's connections."""
        inners = [*self._inners.values(), *self._retired]
        self._lock = Lock()
        self._inners, self._retired, self._suspects = {}, {}, {}
        for inner in inners:
            inner.retired = True
            pool_health.disown(inner.transport)
        self.closing.renew()

    def use_clock(self, clock: Clock) -> None:
        """Keep no time."""


class SyncPool(Pool):
    """A pool for threads."""

    def close(self) -> None:
        """Close every connection, also those in use; the pool can be used again."""
        self.shut()
        self.closing.sweep()


class AsyncPool(Pool):
    """A pool for tasks; each event loop has its own connections, which no other may touch."""

    def home(self) -> object:
        """Return the running loop."""
        return pool_closing.here()

    def _forsake(self) -> None:
        for home, inner in list(self._inners.items()):
            if pool_closing.gone(home):
                self._inners.pop(home, None)
                pool_health.disown(inner.transport)

    def shut(self) -> None:
        """Hand over what belongs to this loop: that of others is in use there."""
        self._forsake()
        home = self.home()
        inner = self._inners.get(home)
        if inner is not None:
            self._retire(inner)
        self.closing.extend([each for each in list(self._retired) if each.home is home])

    async def aclose(self) -> None:
        """Close every connection of this loop, also those in use; the pool can be used again."""
        self.shut()
        await self.closing.asweep()
