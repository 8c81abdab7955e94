"""What this process's page tells of what was counted: nothing that an earlier page of this process has told.

A page that was closed is added up like a dead process's. If control begins again in the same process, the
counters have gone on since, and the next page tells only by how much.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from resilient._runtime import live
from resilient.telemetry.statistics import Statistics
from resilient.telemetry.totals import Totals

__all__ = ["Telling", "untold"]

_told: dict[Path, Totals] = {}
"""By control directory: what pages of this process have shown there."""

live.renewing(_told.clear)  # a forked child counts from nothing


class Telling:
    """Statistics as the pages of one stretch of control show them.

    Args:
        statistics: What counts this process's calls.

    """

    __slots__ = ("_before", "_last", "_path", "_statistics")

    def __init__(self, statistics: Statistics) -> None:
        """Begin in no directory."""
        self._statistics = statistics
        self._path: Path | None = None
        self._before = self._last = Totals()

    def use(self, path: Path) -> None:
        """Tell in a control directory from now on what was not told there before this stretch."""
        if path != self._path:
            self._path = path
            self._before = _told.get(path, Totals())

    def totals(self) -> Totals:
        """Return what was counted and is to be told."""
        self._last = self._statistics.totals()
        return self._last.less(self._before)

    def live(self, name: str) -> Mapping[str, object]:
        """Return what a downstream is doing now."""
        return self._statistics.live(name)

    def shown(self) -> None:
        """Remember that what was asked for last is on the page."""
        if self._path is not None:
            _told[self._path] = self._last


def untold(path: Path, totals: Totals) -> Totals:
    """Return what of a process's totals no page of it has told in a control directory."""
    return totals.less(_told.get(path, Totals()))
