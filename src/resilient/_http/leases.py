"""Requests in progress on a transport: each holds a lease until its answer's body is closed."""

from __future__ import annotations

import sys
from typing import Any, Protocol

from resilient._http.pool_closing import Closing


class Keeper(Protocol):
    """Who hears of the ends of leases."""

    closing: Closing

    def ended(self, inner: Inner, *, ok: bool) -> None:
        """Hear of a regular end."""

    def dropped(self, inner: Inner) -> None:
        """Hear of an end from the collector: atomic steps only."""


class Inner:
    """One of a family's transports, and the requests in progress on it."""

    __slots__ = ("doubtful", "home", "leases", "pool", "retired", "transport")

    def __init__(self, pool: Keeper, home: object, transport: Any) -> None:  # noqa: ANN401 -- of either family
        self.pool = pool
        self.home = home
        self.transport = transport
        self.leases: dict[int, bool] = {}
        self.doubtful = False
        self.retired = False


class Lease:
    """One request in progress. It ends once; what comes later changes nothing.

    A lease that nobody ended ends with its last reference.
    """

    __slots__ = ("_inner", "transport")

    def __init__(self, inner: Inner) -> None:
        """Begin."""
        self._inner = inner
        self.transport = inner.transport
        inner.leases[id(self)] = True

    @property
    def retired(self) -> bool:
        """Whether the transport was taken out of service meanwhile."""
        return self._inner.retired

    def release(self, *, ok: bool = True) -> None:
        """End it, after its body was closed; for threads.

        Args:
            ok: False if the request failed, ran into a timeout or was cancelled: then the pool is
                looked at. An exception on its way through the caller says the same.

        """
        self.end(ok=ok)
        closing = self._inner.pool.closing
        if closing:
            closing.sweep()

    async def arelease(self, *, ok: bool = True) -> None:
        """End it, after its body was closed; for tasks."""
        self.end(ok=ok)
        closing = self._inner.pool.closing
        if closing:
            await closing.asweep()

    def drop(self) -> None:
        """End it without taking a lock: for the collector. The pool is looked at by the next lease."""
        inner = self._inner
        if inner.leases.pop(id(self), None):
            inner.pool.dropped(inner)

    def end(self, *, ok: bool) -> None:
        """End it, and leave what is to be closed to the next that comes along."""
        inner = self._inner
        if inner.leases.pop(id(self), None):
            inner.pool.ended(inner, ok=ok and sys.exception() is None)

    def __del__(self) -> None:
        """End what was lost on the way, by an exception from a signal handler say."""
        self.drop()


class Loan:
    """A place on a transport that is not ours: nothing is counted."""

    __slots__ = ("transport",)

    retired = False

    def __init__(self, transport: Any) -> None:  # noqa: ANN401 -- of either family
        self.transport = transport

    def end(self, *, ok: bool = True) -> None:
        """Do nothing."""

    release = end

    async def arelease(self, *, ok: bool = True) -> None:
        """Do nothing."""

    def drop(self) -> None:
        """Do nothing."""


class Foreign:
    """A transport that the user gave, in the place of a pool.

    Its own waits and timeouts hold as well as it keeps them.

    Args:
        transport: The user's transport.
        closes: Whether it is ours to close.

    Attributes:
        used: Whether a request has come since it was closed.

    """

    owned = False
    clamped = False

    def __init__(self, transport: Any, *, closes: bool = False) -> None:  # noqa: ANN401 -- of either family
        """Leave the transport as it is."""
        self.transport = transport
        self._closes = closes
        self.used = True
        self._loan = Loan(transport)

    def lease(self) -> Loan:
        """Begin a request."""
        self.used = True
        return self._loan

    def left(self) -> None:
        """Hear that the transport is left, which closes it."""
        self.used = False

    def close(self) -> None:
        """Close the transport, if it is ours; once, until it is used again."""
        if self._closes and self.used:
            self.used = False
            self.transport.close()

    async def aclose(self) -> None:
        """Close the transport, if it is ours; once, until it is used again."""
        if self._closes and self.used:
            self.used = False
            await self.transport.aclose()
