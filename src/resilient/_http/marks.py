"""The headers that we add to a copy of the request: key, attempt number, deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilient._http.keys import SAFE, IdempotencyKey, same_origin
from resilient._http.keys_again import noted, operation, recalled
from resilient._policy import NEVER
from resilient.idempotency.context import key_for

if TYPE_CHECKING:
    from resilient._http.sending import Sending
    from resilient._http.settings import Settings

_USUAL = IdempotencyKey()


class Marks:
    """Writes what the settings of a transport ask for."""

    def __init__(self, settings: Settings) -> None:
        """Remember what is to be written."""
        self._makes = settings.idempotency is not None
        self._style = settings.idempotency or _USUAL
        self._attempt = settings.attempt_header
        self._deadline = settings.deadline_header
        self.writes = bool(settings.idempotency or settings.attempt_header or settings.deadline_header)

    def of_block(self, exchange: Sending) -> str | None:
        """Return the key of the block around the call, as the header carries it, if the request gets that one.

        Asked before any policy is, for a mistake must not count as a failure of the downstream.
        What the request says itself comes first, and an earlier hop has its key already.

        Raises:
            ConfigError: If the block's key names another request, or is too long to be sent bare.

        """
        request = exchange.request
        own = exchange.options.idempotency_key is not None or self._style.header in request.headers
        if request.method in SAFE or exchange.hops is not None or own:
            return None
        key = key_for(operation(request))
        return None if key is None else self._style.wire(key)

    def key(self, exchange: Sending) -> str | None:
        """Return the call's idempotency key; the user's own header comes first, then that of an earlier hop."""
        request, hops = exchange.request, exchange.hops
        if request.method in SAFE and not self._makes:
            return None
        if hops is not None and not same_origin(hops.origin, request.url):
            return None
        given: str | None = request.headers.get(self._style.header)
        if given is not None:
            return given
        wanted = exchange.options.idempotency_key
        if hops is not None and hops.key is not None and request.method not in SAFE:
            return hops.key
        if exchange.named is not None:
            return exchange.named
        return self._made(request, wanted) if self._makes or wanted is not None else None

    def _made(self, request: Any, wanted: object) -> str | None:  # noqa: ANN401 -- of either family
        """Return the key that was asked for, that of an outer retry's earlier attempt, or a new one."""
        if isinstance(wanted, str) or wanted is False:
            return self._style.value(request.method, wanted)
        key = recalled(request)
        if key is None:
            key = self._style.value(request.method, wanted)
            if key is not None:
                noted(request, key)
        return key

    def write(self, exchange: Sending, copy: Any, left: float) -> None:  # noqa: ANN401 -- a request of either family
        """Write the headers of one attempt; the client's own headers object stays as it is."""
        added: list[tuple[str, str]] = []
        if exchange.key is not None:
            added.append((self._style.header, exchange.key))
        if self._attempt is not None:
            added.append((self._attempt, str(exchange.retries + exchange.attempts)))
        if self._deadline is not None and left < NEVER and not self._tighter(copy, left):
            added.append((self._deadline.name, self._deadline.encode(left)))
        abroad = exchange.hops is not None and self._style.header in copy.headers and exchange.key is None
        if added or abroad:
            copy.headers = headers = copy.headers.copy()
            for name, value in added:
                headers[name] = value
            if abroad:
                del headers[self._style.header]

    def _tighter(self, copy: Any, left: float) -> bool:  # noqa: ANN401
        """Tell whether the caller has set a deadline header that leaves less time than there is."""
        assert self._deadline is not None  # noqa: S101 -- its caller has looked
        given = copy.headers.get(self._deadline.name)
        seconds = None if given is None else self._deadline.decode(given)
        return seconds is not None and seconds < left
