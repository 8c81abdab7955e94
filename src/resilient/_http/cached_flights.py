"""Requests that ask the same at the same time are one request, where the answer may be stored.

One of them leads: it goes behind the cache. The others wait until its answer is stored, and then
look for it there; by the same rules as anybody, for RFC 9111 says when a stored answer may be
used. Where the leader fails, its error is theirs, or a stale answer is. Answers that turn out not
to be stored are remembered by what asked for them: their likes wait for nobody.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from resilient._runtime.flight import Lead
from resilient._runtime.flights import Flights
from resilient.cache.messages import Fields
from resilient.clock import current
from resilient.deadline import ambient
from resilient.errors import CallTimeout, DeadlineExceeded

if TYPE_CHECKING:
    from resilient._http.cached_io import Tasks, Threads
    from resilient._http.cached_run import Run
    from resilient._runtime.flight import Landing

LONGEST_WAIT = 5.0
"""Seconds that a request waits for another one, which may be held up by a slow reader of its answer."""

_REMEMBERED = 1024
_ALONE = frozenset({b"cache-control", b"pragma", b"range", b"if-none-match", b"if-modified-since", b"if-range"})


class Together:
    """The requests of one transport that are on their way."""

    def __init__(self) -> None:
        """Begin with none."""
        self.flights: Flights[None] = Flights()
        self._apart: dict[int, None] = {}
        self._leaders: dict[Hashable, int] = {}

    async def join(self, run: Run, fields: Fields, io: Threads | Tasks) -> None:
        """Wait for somebody who asks the same, or become the one that others wait for.

        Whoever leads already, and asks again while the answer is read, would wait for itself.
        """
        run.key = key = _key(run.request, fields)
        if key is None or hash(key) in self._apart:
            return
        joined, me = self.flights.join(key, current().now()), io.who()
        if isinstance(joined, Lead):
            got: Lead[None] | Landing[None] | None = joined
        elif self._leaders.get(key) == me:
            return
        else:
            end = current().now() + LONGEST_WAIT
            got = await io.follow(self.flights, joined, min(ambient(), end))
            if got is None and end <= ambient():  # its reader is slow: once is enough
                _remember(self._apart, hash(key), None)
        if isinstance(got, Lead):
            run.lead = got
            _remember(self._leaders, key, me)
        else:
            run.landing = got

    def landed(self, lead: Lead[None] | None, key: Hashable, apart: bool | None) -> None:  # noqa: FBT001
        """Let those who wait look into the store, or ask for themselves.

        Args:
            lead: The duty to them; None if nobody could wait.
            key: What was asked.
            apart: Whether its likes need not wait, for such an answer is not stored; None if this
                one does not tell, for it is an error.

        """
        if apart is False:
            self._apart.pop(hash(key), None)
        elif apart:
            _remember(self._apart, hash(key), None)
        if lead is not None:
            self._leaders.pop(key, None)
            lead.land(None)

    def lost(self, lead: Lead[None], key: Hashable, error: BaseException) -> None:
        """Share the leader's error; one that ran out of its own caller's time says nothing of others, who go on."""
        self._leaders.pop(key, None)
        own = isinstance(error, DeadlineExceeded) or (isinstance(error, CallTimeout) and error.policy == "deadline")
        if isinstance(error, Exception) and not own:
            lead.fail(error)
        else:
            lead.lose()


def _key(request: Any, fields: Fields) -> Hashable | None:  # noqa: ANN401 -- of either family
    """Return what equal requests have in common, or None for one that goes alone."""
    extensions = request.extensions
    if request.method != "GET" or any(name != "timeout" for name in extensions):
        return None
    if any(name.lower() in _ALONE for name, _ in fields):
        return None
    try:
        key = (str(request.url), *fields, *(extensions.get("timeout") or {}).items())
        hash(key)
    except (AttributeError, TypeError):  # limits that are none
        return None
    return key


def _remember(known: dict[Any, Any], key: Hashable, value: object) -> None:
    if len(known) >= _REMEMBERED:
        known.clear()
    known[key] = value
