"""What ended in a moment in which no lock could be taken, until the next request settles it."""

from __future__ import annotations

from collections import deque
from typing import Any

from resilient.outcome import Verdict

Late = deque[tuple[list[tuple[Any, Any]], Verdict]]
"""Guards with their tickets, and the verdict."""


def settle_late(late: Late) -> None:
    """Settle all of it."""
    while late:
        try:
            held, verdict = late.popleft()
        except IndexError:  # another thread was faster
            return
        for guard, ticket in held:
            guard.leave(ticket, verdict)
