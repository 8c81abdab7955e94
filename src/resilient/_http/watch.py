"""The end of one answer: when its body is over, however that comes about, all is settled once."""

from __future__ import annotations

import warnings
from collections import deque
from typing import TYPE_CHECKING, Any

from resilient._guards.bulkhead import BulkheadGuard
from resilient._policy import NEVER, Env
from resilient.deadline import ambient
from resilient.errors import CallTimeout
from resilient.outcome import Verdict, attach, thrown_away
from resilient.permit import Permit

if TYPE_CHECKING:
    from resilient._http.exchange import Exchange

_SLACK = 0.002
"""Seconds by which a timer may fire early."""

Late = deque[tuple[list[tuple[Any, Any]], Verdict]]
"""What ended in a moment in which no lock could be taken: guards with their tickets, and the verdict."""


def settle_late(late: Late) -> None:
    """Settle all of it."""
    while late:
        try:
            held, verdict = late.popleft()
        except IndexError:  # another thread was faster
            return
        for guard, ticket in held:
            guard.leave(ticket, verdict)


class Watch:
    """What an open body still holds: the permits, the place in the pool, the deadline.

    Time counts against the downstream only while we wait for it: a reader that takes its time
    between two chunks is not the server's failure.
    """

    __slots__ = ("_cut", "_exchange", "_lease", "_permit", "_verdict", "clamped", "clock", "end", "now", "waited")

    def __init__(self, exchange: Exchange, *, endless: bool) -> None:
        """Take over what the exchange holds; of an endless stream only the place in the pool."""
        env: Env = exchange.route.env
        self._exchange = exchange
        self._verdict = exchange.verdict
        self._lease: Any = exchange.lease
        exchange.lease = None
        self.clamped: bool = exchange.route.pool.clamped
        self.clock = env.clock
        self.now = env.clock.now
        self.waited = 0.0
        self.end, self._cut = exchange.end, exchange.cut
        self._permit: Permit | None = None
        if endless:
            exchange.settle(exchange.verdict)
            self.end = ambient()
        elif exchange.held:
            self._permit = Permit(env, exchange.held)
            exchange.held = []
        if self.end < NEVER:
            self.waited = max(0.0, self.now() - exchange.began)

    def broke(self, error: BaseException, began: float) -> BaseException:
        """Settle by an error of a wait that began then; return what the reader gets."""
        self.waited += self.now() - began
        exchange = self._exchange
        if isinstance(error, exchange.route.core.late_errors) and self.now() + _SLACK >= self.end:
            late = self.expired()
            late.__cause__ = error
            return late
        if isinstance(error, Exception):
            verdict = exchange.route.core.verdicts.of(error)
            if verdict is not None:
                attach(error, verdict)
        if thrown_away(error):
            self.drop()
        else:
            self.settle(exchange.route.env.classifier.of_error(error))
        return error

    def expired(self) -> CallTimeout:
        """Settle by our own deadline; return the error for the reader."""
        exchange = self._exchange
        error = exchange.timed_out(self._cut, self.waited)
        self.settle(exchange.route.env.classifier.of_error(error))
        dressed: Any = exchange.route.core.family.dressed(error, exchange.request)
        return dressed  # type: ignore[no-any-return]

    def over(self) -> None:
        """Settle by what the headers said: the body is read, or nobody wants the rest."""
        self.settle(self._verdict)

    def later(self) -> None:
        """Leave the same to the next request: the collector may be the caller, and no lock may be taken."""
        permit, self._permit = self._permit, None
        if permit is not None:
            held, permit._held = permit._held, []  # noqa: SLF001 -- its builder
            for guard, ticket in held:
                if isinstance(guard, BulkheadGuard):  # others wait for it, and giving it back again does nothing
                    guard.drop(ticket)
            self._exchange.route.late.append((held, self._verdict))

    def settle(self, verdict: Verdict) -> None:
        """Settle the permits, once."""
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.settle(verdict)

    def drop(self) -> None:
        """Give the permits back without taking a lock."""
        permit, self._permit = self._permit, None
        if permit is not None:
            permit._abandon()  # noqa: SLF001 -- what the collector does

    def take_lease(self) -> Any:  # noqa: ANN401 -- of either kind of pool
        """Return the place in the pool, once; None after that."""
        lease, self._lease = self._lease, None
        return lease

    def __del__(self) -> None:
        """Give back what an unclosed body held, and say so."""
        lease = self.take_lease()
        if lease is not None:
            lease.drop()
            if self._permit is None:  # else the permit says it
                name = self._exchange.route.env.downstream
                warnings.warn(f"a response of {name!r} was never closed", ResourceWarning, stacklevel=2)
