"""What an HTTP answer or error means: outcome, and how sure we are that the server acted."""

from __future__ import annotations

from typing import Any

from resilient._http.family import Family
from resilient.outcome import FAILURE, INCONCLUSIVE, NOT_SENT, Certainty, Outcome, Verdict

_REFUSED_STREAM = 7
"""HTTP/2: the stream was closed before any processing (RFC 9113, 8.7)."""

RETRIED = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses for which another attempt makes sense, if the request may be repeated."""

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"})
"""Methods that may be repeated as they are (RFC 9110, 9.2.2; QUERY by its own draft)."""

NEVER_SENT = Verdict(Outcome.FAILURE, Certainty.NOT_SENT)
_TURNED_AWAY = Verdict(Outcome.FAILURE, Certainty.REFUSED)

# By name, from the particular to the general. During a send a failed write proves nothing: the
# server may have answered early, and httpcore reads on.
_BY_NAME = {
    "ConnectError": NEVER_SENT,
    "ConnectTimeout": NEVER_SENT,
    "ProxyError": NEVER_SENT,
    "PoolTimeout": NOT_SENT,
    "UnsupportedProtocol": NOT_SENT,
    "InvalidURL": NOT_SENT,
    "LocalProtocolError": INCONCLUSIVE,
    "StreamError": INCONCLUSIVE,
    "RequestError": FAILURE,
}


class ErrorVerdicts:
    """The verdicts on a family's errors."""

    def __init__(self, family: Family) -> None:
        """Look up the family's classes."""
        self._verdicts = [(getattr(family.module, name), verdict) for name, verdict in _BY_NAME.items()]
        self._remote: type[Exception] = family.module.RemoteProtocolError

    def of(self, error: Exception) -> Verdict | None:
        """Return the verdict on an error of this family, or None for any other."""
        if isinstance(error, self._remote) and _turned_away(error):
            return _TURNED_AWAY
        for kind, verdict in self._verdicts:
            if isinstance(error, kind):
                return verdict
        # A body that is not as long as its header says: httpcore lets the parser's own error through.
        broken_rule = type(error).__name__ == "LocalProtocolError" and type(error).__module__.startswith("h11")
        return INCONCLUSIVE if broken_rule else None


def _turned_away(error: Exception) -> bool:
    """Tell whether an HTTP/2 server said that it has not looked at the request."""
    cause = error.__cause__
    event: Any = cause.args[0] if cause is not None and cause.args else None
    if hasattr(event, "last_stream_id"):  # GOAWAY; one that names an earlier stream is retried in the pool
        return bool(event.last_stream_id == 0)
    return getattr(event, "error_code", None) == _REFUSED_STREAM and hasattr(event, "stream_id")
