"""One logical call over several trips: redirects and authentication rounds share one allowance.

The client calls its transport once for each hop. What the hops share rides in the extensions of
the request, which the client copies to the next one; it is put there only with an answer that
may be followed by another hop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from resilient._policy import NEVER
from resilient.deadline import enter, leave, until
from resilient.outcome import thrown_away

if TYPE_CHECKING:
    from resilient._http.sending import Sending

_PATIENCE = 30.0
"""Seconds after which the same request object, sent again, is taken for a new call."""

_CHALLENGES = frozenset({401, 403, 407})


class Hops:
    """What the earlier hops of a call have used and decided."""

    KEY = "resilient.call"

    __slots__ = ("end", "key", "left", "origin", "request", "retries")

    def __init__(self, request: Any) -> None:  # noqa: ANN401 -- of either family
        self.request = request
        self.origin = request.url
        self.retries = 0
        self.end = NEVER
        self.left = 0.0
        self.key: str | None = None

    @staticmethod
    def of(request: Any, now: float) -> Hops | None:  # noqa: ANN401
        """Return what earlier hops left with this request, or None for a new call."""
        hops = request.extensions.get(Hops.KEY)
        if hops is None:
            return None
        again = request is hops.request  # an authentication round, or a caller who sends it once more
        if again and (now >= hops.end or now - hops.left > _PATIENCE):
            del request.extensions[Hops.KEY]
            return None
        known: Hops = hops
        return known

    @staticmethod
    def leave(exchange: Sending, response: Any) -> None:  # noqa: ANN401
        """Leave with the request what a next hop must know, if the answer may lead to one."""
        request = exchange.request
        if response.status_code not in _CHALLENGES and not response.has_redirect_location:
            return
        hops = exchange.hops
        if hops is None:
            hops = Hops(request)
            hops.end = exchange.started + exchange.route.whole
            hops.key = exchange.key
        hops.retries = exchange.retries + max(0, exchange.attempts - 1)
        hops.left = exchange.route.env.now()
        request.extensions[Hops.KEY] = hops


def within(end: float, woven: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a woven function that also ends when the whole call must be over."""

    def bounded(exchange: Any) -> Any:  # noqa: ANN401
        token = enter(until(end))
        try:
            return woven(exchange)
        finally:
            leave(token)

    return bounded


def awithin(end: float, woven: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    """Return the same for tasks."""

    async def bounded(exchange: Any) -> Any:  # noqa: ANN401
        token, thrown = enter(until(end)), False
        try:
            return await woven(exchange)
        except BaseException as error:
            thrown = thrown_away(error)
            raise
        finally:
            if not thrown:  # else this may be somebody else's context
                leave(token)

    return bounded
