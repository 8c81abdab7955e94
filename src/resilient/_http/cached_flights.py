"""Requests that ask the same at the same time are one request, where the answer may be stored.

One of them leads: it goes behind the cache. The others wait until its answer is stored, and then
look for it there; by the same rules as anybody, for RFC 9111 says when a stored answer may be
used. Where the leader fails, its error is theirs, or a stale answer is. Answers that turn out not
to be stored are remembered by what asked for them: their likes wait for nobody.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from resilient._runtime.flight import Lead
from resilient._runtime.flights import Flights
from resilient.cache.messages import Fields
from resilient.clock import current
from resilient.deadline import ambient
from resilient.errors import CallTimeout, DeadlineExceeded

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

    def key(self, request: Any, fields: Fields) -> Hashable | None:  # noqa: ANN401 -- of either family
        """Return what equal requests have in common, or None for one that goes alone."""
        extensions = request.extensions
        if request.method != "GET" or any(name != "timeout" for name in extensions):
            return None
        if any(name.lower() in _ALONE for name, _ in fields):
            return None
        key = (str(request.url), *fields, *extensions.get("timeout", {}).items())
        return None if hash(key) in self._apart else key

    def landed(self, lead: Lead[None], key: Hashable, *, stored: bool) -> None:
        """Let those who wait look into the store, or ask for themselves."""
        if stored:
            self._apart.pop(hash(key), None)
        else:
            self._apart[hash(key)] = None
            if len(self._apart) > _REMEMBERED:
                self._apart.clear()
        lead.land(None)

    @staticmethod
    def lost(lead: Lead[None], error: BaseException) -> None:
        """Share the leader's error; one that ran out of its own caller's time says nothing of others, who go on."""
        own = isinstance(error, DeadlineExceeded) or (isinstance(error, CallTimeout) and error.policy == "deadline")
        if isinstance(error, Exception) and not own:
            lead.fail(error)
        else:
            lead.lose()

    @staticmethod
    def end() -> float:
        """Return until when a request waits that comes now."""
        return min(ambient(), current().now() + LONGEST_WAIT)
