"""Options of a client, told apart from those of its transport.

A client that is given a transport ignores what it would have made its own with, without a word:
here these options reach the pools, or are refused.
"""

from __future__ import annotations

from typing import Any

_OF_TRANSPORT = {"default", "transport", "owns_transport", "idempotency", "rejections", "repeatable", "cache"}
_OF_HEADERS = {"attempt_header", "deadline_header"}
_OF_POOLS = {"verify", "cert", "trust_env", "http1", "http2", "proxy", "uds", "local_address"}
_OURS = _OF_TRANSPORT | _OF_HEADERS | _OF_POOLS | {"socket_options", "keepalive_expiry"}


def split(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of the transport, and those of the client.

    Raises:
        TypeError: If `limits` is among them.

    """
    if "limits" in options:
        message = "limits follow from the pipeline: its Bulkhead says how many requests may be in flight"
        raise TypeError(message)
    ours = {name: value for name, value in options.items() if name in _OURS}
    both = {"trust_env"}  # the pools look for certificates in the environment, the client for credentials
    return ours, {name: value for name, value in options.items() if name not in _OURS or name in both}
