"""Failed authentications: counted, told in the log, and slowed down for each peer."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from threading import Lock

from resilient import clock
from resilient.telemetry.statistics import PROCESS

__all__ = ["Denials"]

_ALLOWED = 10
_PER_SECOND = 1 / 6
_PEERS = 1024
_ROWS = 30

_log = logging.getLogger("resilient.admin")


class Denials:
    """Counts refusals by reason and holds for each peer how many failures it may still make.

    A peer may fail 10 times at once and 10 times a minute; at most 1 024 peers are remembered, those that failed
    longest ago forgotten first.

    Attributes:
        counts: Refused requests since the start by reason: "auth", "role", "host", "origin", "token_in_url",
            "token_in_body", "precondition", "interlock".

    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._peers: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._rows: dict[str, tuple[float, float, int]] = {}
        self._lock = Lock()

    def row(self, kind: str, actor: str = "") -> int:
        """Return how many refusals the next row of the record, or line of the log, stands for; 0 for none now.

        Of each kind and each known caller 30 are told at once and 10 a minute: nobody fills the disk with refusals,
        and nobody hides those of another behind their own.

        Args:
            kind: Of a few.
            actor: A name of a caller who was recognised, or an empty text.

        """
        key = f"{kind} {actor}" if actor else kind
        with self._lock:
            left, at, untold = self._rows.get(key, (float(_ROWS), 0.0, 0))
            now = clock.SYSTEM.now()
            left = min(float(_ROWS), left + (now - at) * _PER_SECOND)
            told = untold + 1 if left >= 1 else 0
            self._rows[key] = (left - 1, now, 0) if told else (left, now, untold + 1)
        return told

    def wait(self, peer: str) -> float:
        """Return the seconds until a peer may fail again, 0 if it may now."""
        with self._lock:
            left = self._left(peer)
        return 0.0 if left >= 1 else (1 - left) / _PER_SECOND

    def failed(self, peer: str) -> None:
        """Take one failure from what a peer may still make."""
        with self._lock:
            self._peers[peer] = (max(0.0, self._left(peer) - 1), clock.SYSTEM.now())
            self._peers.move_to_end(peer)
            if len(self._peers) > _PEERS:
                self._peers.popitem(last=False)

    def tell(self, reason: str, *, peer: str, method: str, route: str, actor: str = "", quiet: bool = False) -> None:  # noqa: PLR0913 -- all that a line of the log says
        """Count a refusal and write it to the log; `quiet` only counts it."""
        with self._lock:
            self.counts[reason] += 1
        PROCESS.add("resilient_admin_denials_total", (reason,))
        if not quiet:
            _log.warning(
                "refused (%s): %s %s from %s%s",
                reason,
                method,
                route,
                peer,
                f" by {actor}" if actor else "",
                extra={"event": "resilient.admin.denied", "denied": reason, "peer": peer, "actor": actor},
            )

    def _left(self, peer: str) -> float:
        left, at = self._peers.get(peer, (_ALLOWED, 0.0))
        return min(float(_ALLOWED), left + (clock.SYSTEM.now() - at) * _PER_SECOND)
