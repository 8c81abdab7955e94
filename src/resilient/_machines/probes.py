"""One half-open round: a bounded number of probes, each on a lease, and an early verdict."""

from __future__ import annotations

import math
from typing import Final

SETTLED: Final = -1
"""The era of a ticket that is settled, or never counted: no breaker is ever in it."""


class Ticket:
    """One attempt that a breaker follows by itself: a probe, or a call that is timed.

    Attributes:
        era: The breaker's era at admission.
        began: When it was admitted.
        mark: Where the window recorded it as slow while it still ran, or None.

    """

    __slots__ = ("began", "era", "mark")

    def __init__(self, era: int, began: float) -> None:
        self.era = era
        self.began = began
        self.mark: int | None = None


UNCOUNTED: Final = Ticket(SETTLED, 0.0)
"""The permit of a call that passes only because a hold lets it: its outcome changes nothing."""


def failures_to_open(rate: float, probes: int) -> int:
    """Return the least number of failures among `probes` whose share reaches `rate`."""
    needed = math.ceil(rate * probes)
    # The product may be rounded up across a whole number; the quotient is exact.
    return needed - 1 if needed > 1 and (needed - 1) / probes >= rate else needed


class ProbeRound:
    """Decide between open and closed from at most `places` probes.

    Attributes:
        end: When the round is over without a verdict.
        operator: Whether an operator's release began the round.
        live: Probes in flight, each with the end of its lease.
        passed: Probes that succeeded.
        failed: Probes that failed or outlived their lease.

    """

    __slots__ = ("end", "failed", "live", "operator", "passed")

    def __init__(self, end: float, *, operator: bool = False) -> None:
        self.end = end
        self.operator = operator
        self.live: dict[Ticket, float] = {}
        self.passed = 0
        self.failed = 0

    def free(self, places: int) -> bool:
        """Tell whether one more probe may start."""
        return self.passed + self.failed + len(self.live) < places

    def expired(self, now: float) -> list[tuple[float, Ticket]]:
        """Return the leases that are over, earliest first."""
        over = [(end, probe) for probe, end in self.live.items() if end <= now]
        return sorted(over, key=lambda lease: lease[0])

    def settle(self, probe: Ticket, *, passed: bool | None) -> None:
        """Record a probe's end; None frees its place."""
        if self.live.pop(probe, None) is None:
            return
        if passed is True:
            self.passed += 1
        elif passed is False:
            self.failed += 1

    def verdict(self, rate: float, places: int) -> bool | None:
        """Return True to close, False to open, None while either is possible."""
        needed = failures_to_open(rate, places)
        if self.failed >= needed:
            return False
        return True if self.passed > places - needed else None

    def wait(self, now: float) -> float:
        """Return the seconds until a place is certain to be free or the round is over."""
        return max(0.0, min([self.end, *self.live.values()]) - now)
