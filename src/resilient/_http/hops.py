"""One logical call over several trips: redirects and authentication rounds share one allowance.

The client calls its transport once for each hop. What the hops share rides in the extensions of
the request, which the client copies to the next one; it is put there only with an answer that
may be followed by another hop.
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from resilient._policy import NEVER
from resilient.deadline import enter, leave, until
from resilient.outcome import thrown_away

if TYPE_CHECKING:
    from resilient._http.sending import Sending

_PATIENCE = 30.0
"""Seconds after which a request with an earlier hop is taken for a new call."""

_CHALLENGES = frozenset({401, 403, 407})


class Hops:
    """What the earlier hops of a call have used and decided."""

    KEY = "resilient.call"

    __slots__ = ("answer", "end", "key", "left", "open", "origin", "request", "retries")

    def __init__(self, request: Any) -> None:  # noqa: ANN401 -- of either family
        self.request = request
        self.origin = request.url
        self.retries = 0
        self.end = NEVER
        self.left = 0.0
        self.key: str | None = None
        self.open = False
        self.answer: Callable[[], Any] | None = None

    @staticmethod
    def of(request: Any, now: float) -> Hops | None:  # noqa: ANN401
        """Return what earlier hops left with this request, or None for a new call.

        Each answer leads to one more hop: a caller who sends the same request for a second time
        makes a new call, and one who comes late does so, too.
        """
        hops: Hops | None = request.extensions.get(Hops.KEY)
        if hops is None:
            return None
        late = now - hops.left > _PATIENCE or (now >= hops.end and hops.by_hand(request))
        if late or not hops.open:
            del request.extensions[Hops.KEY]
            return None
        hops.open = False
        return hops

    def by_hand(self, request: Any) -> bool:  # noqa: ANN401
        """Tell whether it may be the caller who goes on with this request, and not the client."""
        if request is self.request:  # an authentication round, or a caller who sends it once more
            return True
        answer = None if self.answer is None else self.answer()
        return answer is None or answer.next_request is not None  # set where a client does not follow redirects

    @staticmethod
    def leave(exchange: Sending, response: Any) -> None:  # noqa: ANN401
        """Leave with the request what a next hop must know, if the answer may lead to one."""
        request = exchange.request
        if response.status_code not in _CHALLENGES and not response.has_redirect_location:
            return
        hops = exchange.hops
        if hops is None:
            hops = Hops(request)
            began = exchange.started if exchange.attempts else exchange.route.env.now()  # of a fallback's answer
            hops.end = began + exchange.route.whole_for(exchange.options)
            hops.key = exchange.key
        hops.retries = exchange.retries + max(0, exchange.attempts - 1)
        hops.left = exchange.route.env.now()
        hops.open = True
        hops.answer = weakref.ref(response)
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
