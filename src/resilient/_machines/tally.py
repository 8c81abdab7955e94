"""What windows count: kinds of outcomes, rows of history, totals and their rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from resilient import _check

PASSED: Final = 0
FAILED: Final = 1
SLOW: Final = 2
SLOW_FAILED: Final = FAILED | SLOW

BUCKETS: Final = 10
KINDS: Final = 4

Row = tuple[float, int, int]
"""History in plain numbers: age in seconds, kind of outcome, how many; oldest first."""


@dataclass(frozen=True, slots=True)
class Count:
    """A window of the last `calls` calls, however long ago they were.

    Args:
        calls: How many calls are remembered, 1 or more.

    Raises:
        ConfigError: If `calls` is below 1.

    Example:
        >>> from resilient import Count
        >>> Count(100)
        Count(calls=100)

    """

    calls: int

    def __post_init__(self) -> None:
        """Refuse an empty window."""
        _check.count("calls", self.calls)


class Totals(NamedTuple):
    """What a window holds: all calls, and how many of them failed or were slow."""

    calls: int
    failures: int
    slow: int

    @property
    def failure_rate(self) -> float:
        """Share of the calls that failed."""
        return self.failures / self.calls if self.calls else 0.0

    @property
    def slow_rate(self) -> float:
        """Share of the calls that were slow."""
        return self.slow / self.calls if self.calls else 0.0
