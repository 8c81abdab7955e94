"""How long an operation on a socket may take: its own timeout, or what is left of the ambient deadline."""

from __future__ import annotations

from math import inf

from resilient import clock
from resilient.deadline import ambient

_FAR = 1e6
"""Longest timeout that is handed to a socket, in seconds; the system refuses much longer ones."""

_TOO_LATE = "the deadline has passed"


class Limit(float):
    """A timeout that knows the end of the call it belongs to, however often it begins anew.

    It rides in the request's own timeouts, through httpcore to the socket.
    """

    __slots__ = ("end",)

    end: float


def limit(seconds: float, end: float) -> Limit:
    """Return a timeout in seconds that ends by an absolute time."""
    made = Limit(seconds)
    made.end = end
    return made


def time_left(timeout: float | None, late: type[Exception]) -> float | None:
    """Return an operation's timeout, cut to what is left of the deadline.

    Raises:
        late: If nothing is left.

    """
    end = ambient()
    if type(timeout) is Limit and timeout.end < end:
        end = timeout.end
    if end == inf:
        return timeout
    left = end - clock.current().now()
    if left <= 0:
        raise late(_TOO_LATE)
    if timeout is not None and timeout < left:
        return timeout
    return min(left, _FAR)
