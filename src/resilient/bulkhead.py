"""Bulkhead: at most so many calls in flight, so that a slow downstream takes no more.

Threads, asyncio and trio share one limit. A waiting line is first come, first served; it is
bounded, and nobody waits longer than `max_wait` or than the deadline leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from resilient import _check
from resilient._guards.bulkhead import BulkheadGuard, checked_limit
from resilient._policy import Env

__all__ = ["Bulkhead"]

TEMPLATE = """
line_ = bulkhead_.line
before_ = len(left)                            #: hop
try:
    permit_ = None if line_.waiting else line_.free.pop()
except IndexError:
    permit_ = None
if permit_ is None:
    permit_ = bulkhead_.at_once(line_)         #: !queues
    permit_ = AWAIT enter_(END)                #: queues
    began = now()                              #: queues & timed
try:
    <inner>
except BaseException:
    bulkhead_.give(line_, permit_, left[before_:]) #: hop
    line_.give(permit_)                        #: !hop
    raise
if len(left) > before_:                        #: hop
    bulkhead_.give(line_, permit_, left[before_:]) #: hop
else:                                          #: hop
    line_.give(permit_)                        #: hop
line_.free.append(permit_)                     #: !hop & !streamed
if line_.waiting:                              #: !hop & !streamed
    line_.hand_over()                          #: !hop & !streamed
if exchange.over:                              #: streamed
    line_.give(permit_)                        #: streamed
else:                                          #: streamed
    exchange.held.append((bulkhead_, permit_)) #: streamed
"""


@dataclass(frozen=True, slots=True)
class Bulkhead:
    """Let at most `limit` calls be in flight.

    Args:
        limit: Calls in flight, over all threads and event loops of the process.
        queue: Calls that may wait in line; 0 refuses at once.
        max_wait: Longest wait in seconds. None waits up to the deadline; if there is none,
            the call is refused with a `ConfigError`.

    Raises:
        BulkheadFull: Instead of calling the function.

    Example:
        >>> from resilient import Bulkhead, Pipeline
        >>> reports = Pipeline("doc-bulkhead", Bulkhead(2))
        >>> reports.call(sum, [1, 2])
        3

    """

    limit: int
    queue: int = 0
    max_wait: float | None = None

    kind: ClassVar[str] = "bulkhead"
    template: ClassVar[str] = TEMPLATE

    def __init__(self, limit: int, *, queue: int = 0, max_wait: _check.Duration | None = None) -> None:
        """Check and normalise the settings."""
        object.__setattr__(self, "limit", checked_limit(limit))
        object.__setattr__(self, "queue", _check.count("queue", queue, least=0))
        if max_wait is not None:
            max_wait = _check.seconds("max_wait", max_wait, zero=True)
            if queue == 0:
                _check.refuse("max_wait", max_wait, "None while queue is 0, where nobody waits")
        object.__setattr__(self, "max_wait", max_wait)

    def bind(self, env: Env, label: str) -> BulkheadGuard:
        """Return fresh state for one position of one pipeline."""
        return BulkheadGuard(env, label, self)

    def describe(self) -> str:
        """Say in one line what is configured."""
        if not self.queue:
            return f"at most {self.limit} in flight, no queue"
        wait = "up to the deadline" if self.max_wait is None else f"up to {self.max_wait:g} s"
        return f"at most {self.limit} in flight, {self.queue} may wait {wait}"
