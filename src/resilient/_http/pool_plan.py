"""How the inner transports of one transport object are made: all alike, with one TLS context."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from resilient import _check
from resilient._http.backend import clamp
from resilient._http.family import Family

KEEPALIVE_EXPIRY = 5.0
"""Seconds after which an unused connection is closed, unless the user says otherwise."""

STREAMS = 100
"""Connections beyond the limit, for endless streams, which hold no place in a bulkhead."""

_OURS = {
    "limits": "left out: each downstream's Bulkhead limits its pool (keepalive_expiry may be given)",
    "retries": "left out: a Retry policy decides what is sent again",
}


class PoolOptions(TypedDict, total=False):
    """Options of the connection pools, for type checkers; the family's own transport checks their values."""

    verify: ssl.SSLContext | str | bool
    cert: str | tuple[str, str] | tuple[str, str, str] | None
    trust_env: bool
    http1: bool
    http2: bool
    proxy: Any  # an address, or the family's own URL or Proxy
    uds: str | None
    local_address: str | None
    socket_options: Iterable[tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]]
    keepalive_expiry: float | None


class Plan:
    """Makes inner transports.

    Args:
        family: The client family.
        kind: "HTTPTransport" or "AsyncHTTPTransport".
        options: Keyword arguments of that class, and `keepalive_expiry` in seconds.
        streams: Connections that each pool may have beyond its limit.

    Raises:
        ConfigError: If an option is given that a policy decides.

    """

    def __init__(self, family: Family, kind: str, options: Mapping[str, Any], *, streams: int = STREAMS) -> None:
        """Check and remember."""
        for name, allowed in _OURS.items():
            if name in options:
                _check.refuse(name, options[name], allowed)
        rest = dict(options)
        tls = {name: rest.pop(name) for name in ("verify", "cert", "trust_env") if name in rest}
        # Made now and for all pools: it takes some 20 ms, which no call's deadline should pay for.
        self._tls = family.module.create_ssl_context(**tls)
        self._family, self._kind, self._options = family, kind, rest
        self._expiry = rest.pop("keepalive_expiry", KEEPALIVE_EXPIRY)
        self._streams = streams
        self.make(None)  # thrown away: a wrong option shows now, and httpx loads its network code with the first one

    def make(self, limit: int | None) -> tuple[Any, bool]:
        """Return a transport, and whether it keeps the ambient deadline by itself.

        Over HTTP/2 one request may read for all others, by its own deadline, so that a clamped
        network is not enough there.

        Args:
            limit: Requests at the same time; None for no limit.

        """
        most = None if limit is None else limit + self._streams
        module = self._family.module
        limits = module.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=self._expiry)
        transport = getattr(module, self._kind)(verify=self._tls, limits=limits, retries=0, **self._options)
        shared = bool(self._options.get("http2", False))
        return transport, clamp(transport, shared=shared) and not shared
