"""How long an operation on a socket may take: its own timeout, or what is left of the ambient deadline."""

from __future__ import annotations

from math import inf

from resilient import clock
from resilient.deadline import ambient

_FAR = 1e6
"""Longest timeout that is handed to a socket, in seconds; the system refuses much longer ones."""

_TOO_LATE = "the deadline has passed"


def time_left(timeout: float | None, late: type[Exception]) -> float | None:
    """Return an operation's timeout, cut to what is left of the deadline.

    Raises:
        late: If nothing is left.

    """
    end = ambient()
    if end == inf:
        return timeout
    left = end - clock.current().now()
    if left <= 0:
        raise late(_TOO_LATE)
    if timeout is not None and timeout < left:
        return timeout
    return min(left, _FAR)
