"""The permit of a call that a breaker's machine follows by itself."""

from __future__ import annotations

from typing import Protocol

from resilient._machines.probes import Ticket
from resilient.outcome import Outcome


class Settler(Protocol):
    """Who hears how the call ended."""

    def settle(self, permit: Ticket, outcome: Outcome, hint: float | None = None) -> None:
        """Record an outcome."""


class Permit:
    """A call that the machine follows by itself: a probe, a timed call, one under a hold."""

    __slots__ = ("_guard", "ticket")

    def __init__(self, guard: Settler, ticket: Ticket) -> None:
        self._guard = guard
        self.ticket = ticket

    def succeed(self, _: None = None) -> None:
        """Settle as a success."""
        self._guard.settle(self.ticket, Outcome.SUCCESS)

    step = succeed
