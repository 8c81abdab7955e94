"""The outage as a script: which phases the service goes through, and how it behaves in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["PHASES", "TOTAL", "Moment", "Phase", "Timeline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """How the service behaves for a while.

    Attributes:
        name: What the report calls it.
        seconds: How long it lasts in a run of full length.
        service: Seconds of work per request, at the start and at the end of the phase.
        errors: Share of requests that fail, at the start and at the end of the phase.
        quota: Requests answered per second, the rest gets 429; None for no quota.
        closed: Whether every request gets 503 with the time at which the work is done.

    """

    name: str
    seconds: float
    service: tuple[float, float] = (0.04, 0.04)
    errors: tuple[float, float] = (0.01, 0.01)
    quota: int | None = None
    closed: bool = False


PHASES = (
    Phase(name="healthy", seconds=4.0),
    Phase(name="slow", seconds=16.0, service=(0.6, 0.6)),
    Phase(name="failing", seconds=8.0, service=(0.02, 0.02), errors=(1.0, 1.0)),
    Phase(name="throttling", seconds=6.0, quota=30),
    Phase(name="maintenance", seconds=4.0, closed=True),
    Phase(name="recovering", seconds=4.0, service=(0.2, 0.04), errors=(0.3, 0.01)),
    Phase(name="healthy again", seconds=5.0),
)

TOTAL = sum(phase.seconds for phase in PHASES)
"""Seconds of a run of full length."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One point of the run: the phase, how far into it, and what is left of it.

    Attributes:
        phase: The phase in force.
        progress: Share of the phase that has passed.
        left: Seconds until the next phase.

    """

    phase: Phase
    progress: float
    left: float

    @property
    def service(self) -> float:
        """Seconds of work that a request costs now."""
        return self._between(*self.phase.service)

    @property
    def errors(self) -> float:
        """Share of requests that fail now."""
        return self._between(*self.phase.errors)

    def _between(self, start: float, end: float) -> float:
        return start + (end - start) * self.progress


class Timeline:
    """The phases stretched or squeezed into a run of so many seconds."""

    def __init__(self, seconds: float = TOTAL, phases: Sequence[Phase] = PHASES) -> None:
        """Scale every phase by the same factor."""
        self.seconds = seconds
        self.phases = phases
        self.scale = seconds / sum(phase.seconds for phase in phases)

    def at(self, elapsed: float) -> Moment:
        """Return the moment so many seconds after the start; the last phase has no end."""
        begin = 0.0
        for phase in self.phases:
            length = phase.seconds * self.scale
            if elapsed < begin + length:
                break
            begin += length
        else:
            begin -= length
        passed = elapsed - begin
        return Moment(phase, min(1.0, passed / length), max(0.0, length - passed))
