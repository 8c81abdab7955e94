"""What the pages of all live processes say of each downstream, in the terms of incidents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from resilient.control.incidents import Look
from resilient.control.intent import Intent
from resilient.control.pages import PageView
from resilient.control.snapshot import OTHER

__all__ = ["looks"]

_CLOSED = frozenset({"closed", "observe", "forced_closed"})


def looks(pages: Iterable[PageView], intent: Intent, wall: float, running: Iterable[str] = ()) -> dict[str, Look]:
    """Return what is seen of every downstream that a live process shows.

    Args:
        pages: Those of live processes.
        intent: What operators want.
        wall: Seconds since 1970.
        running: Downstreams that have an incident. One that a process does not show for lack of room is
            closed there: those in trouble are shown first.

    """
    shown: dict[str, list[Mapping[str, Any]]] = {}
    crowded = False
    for page in pages:
        downstreams = page.data.get("downstreams") or {}
        crowded = crowded or OTHER in downstreams
        for name, row in downstreams.items():
            if name != OTHER:
                shown.setdefault(name, []).append(row)
    held = {hold.target for hold in intent.holds if hold.mode != "no_retries"}
    windows = [window for window in intent.windows if window.active(wall) and window.mode != "no_retries"]
    found = {}
    for name, rows in shown.items():
        covered = name in held or any(window.covers(name) for window in windows)
        open_rows = [row for row in rows if _open(row)]
        own = [row for row in rows if row.get("state") == "open"]
        closed = sum(row.get("state") in _CLOSED for row in rows)
        cause = _cause(open_rows if covered else own or open_rows)
        found[name] = Look(len(open_rows), closed, len(rows), covered, cause, _rates(rows), len(own))
    for name in running if crowded else ():
        found.setdefault(name, Look(0, 1, 1))
    return found


def _open(row: Mapping[str, Any]) -> bool:
    """Tell whether a process lets no call pass; one that turns back a part of them is not open."""
    state = row.get("state")
    return state == "open" or (state == "forced_open" and not row.get("share"))


def _cause(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return why the first of them opened."""
    first = min(rows, key=lambda row: row.get("since") or 0, default=None)
    if first is None:
        return ""
    return str(first.get("cause") or ("hold" if first.get("state") == "forced_open" else ""))


def _rates(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return calls and refusals per second of all processes, and which share of the calls failed."""
    live = [row.get("live") or {} for row in rows]
    rate = sum(each.get("rate") or 0.0 for each in live)
    failed = sum((each.get("rate") or 0.0) * (each.get("error_share") or 0.0) for each in live)
    rejected = sum(each.get("rejected_rate") or 0.0 for each in live)
    return {"rate": rate, "rejected_rate": rejected, "error_share": failed / rate if rate else 0.0}
