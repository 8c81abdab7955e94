"""One moment, by all clocks that a record knows."""

from __future__ import annotations

from dataclasses import dataclass

from resilient import clock as _clock
from resilient.control.host import boot
from resilient.control.intent import Hold

__all__ = ["Moment"]


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment.

    Attributes:
        wall: Seconds since 1970.
        now: The host's monotonic clock, in seconds.
        boot: Which start of the host it counts from.

    """

    wall: float
    now: float
    boot: str

    @classmethod
    def current(cls) -> Moment:
        """Return this moment."""
        clock = _clock.current()
        return cls(clock.wall(), clock.now(), boot())

    def left(self, hold: Hold) -> float:
        """Return the seconds until a hold ends by itself."""
        return hold.remaining(self.wall, self.now, self.boot)
