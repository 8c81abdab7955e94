"""What the pages of live processes say to an operator's request: which names there are, and what it will hit."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from resilient import clock as _clock
from resilient import faults
from resilient.control.pages import PageView, read_pages
from resilient.control.receipts import Convergence

__all__ = ["Views", "converge"]

_PAUSE = 0.02
"""Seconds between two looks at the pages while waiting."""


class Views:
    """The pages of all processes that live, as of one moment.

    Args:
        path: The control directory.

    """

    __slots__ = ("live",)

    def __init__(self, path: Path) -> None:
        self.live: list[PageView] = []
        try:
            self.live = [view for view in read_pages(path) if view.alive]
        except Exception as fault:  # noqa: BLE001 -- a trip must not fail for the want of statistics
            faults.report(Views, fault)

    def names(self, db: sqlite3.Connection) -> set[str]:
        """Return the names of all downstreams that there are, or ever were."""
        seen = {name for (name,) in db.execute("SELECT name FROM downstreams")}
        return seen.union(*(view.data.get("downstreams", ()) for view in self.live))

    def impact(self, names: set[str]) -> dict[str, float]:
        """Return `calls_per_s` and `in_flight` of some downstreams, over all processes."""
        found = list(self._figures(names))
        return {
            "calls_per_s": round(sum(float(each.get("rate") or 0) for each in found), 3),
            "in_flight": sum(int(each.get("in_flight") or 0) for each in found),
        }

    def _figures(self, names: set[str]) -> Iterator[dict[str, Any]]:
        for view in self.live:
            downstreams = view.data.get("downstreams", {})
            for name in names & downstreams.keys():
                yield downstreams[name].get("live") or {}


def converge(path: Path, revision: int, seconds: float) -> Convergence:
    """Wait until every process that lives has taken in a revision, or time is over.

    Args:
        path: The control directory.
        revision: The record's revision.
        seconds: How long to wait at most; 0 looks once.

    """
    begun = _clock.SYSTEM.now()
    while True:
        live = Views(path).live
        pending = [view for view in live if int(view.data.get("applied") or 0) < revision]
        waited = _clock.SYSTEM.now() - begun
        if not pending or waited >= seconds:
            return Convergence(
                required=len(live),
                applied=len(live) - len(pending),
                pending=[_pending(view) for view in pending],
                complete=not pending,
                waited_s=round(waited, 3),
            )
        _clock.SYSTEM.sleep(min(_PAUSE, seconds - waited))


def _pending(view: PageView) -> dict[str, Any]:
    told = {key: view.data.get(key) for key in ("host", "pid", "applied")}
    return {"instance": view.instance, **told, "heartbeat_age": round(view.age, 3)}
