"""Lines of a downstream's story: what processes saw, what operators did, and the incidents between."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from resilient.control import rows as record
from resilient.control.events_log import Row
from resilient.control.intent import matches

__all__ = ["Line", "grouped", "lines_of_audit", "lines_of_incidents", "transitions"]

_TOGETHER: Final = 5.0
"""Seconds within which the same change in several processes is one line."""

_TRANSITION: Final = "resilient.breaker.transition"

_SAID: Final = {
    "resilient.bulkhead.saturated": "bulkhead full",
    "resilient.retry.budget_exhausted": "retry budget empty",
    "resilient.rate_limit.changed": "rate limit changed",
    "resilient.breaker.would_open": "would have opened",
    "resilient.http.pool_rebuilt": "connection pool rebuilt",
}
"""What other events are called; holds stand in the audit."""

_DONE: Final = {
    "place": "hold placed",
    "release": "hold released",
    "extend": "hold changed",
    "expire": "hold expired",
    "command": "command",
    "schedule": "maintenance scheduled",
    "start_window": "maintenance began",
    "end_window": "maintenance ended",
    "finish_window": "maintenance over",
}

_REFUSED: Final = {
    "place": "hold refused",
    "release": "release refused",
    "extend": "change of a hold refused",
    "command": "command refused",
    "schedule": "maintenance refused",
    "end_window": "end of maintenance refused",
}

_SLIPS: Final = ("invalid: ", "unknown: ")
"""How the reasons of refusals begin that are slips of the keyboard: no part of the story."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        at: Seconds since 1970.
        what: What happened.
        who: Who did it, or in how many processes it happened.
        why: Why.
        strong: Whether it stands out.

    """

    at: float
    what: str
    who: str = ""
    why: str = ""
    strong: bool = False


def transitions(events: Iterable[Row]) -> Iterator[tuple[Row, Line]]:
    """Yield what processes saw that belongs into the story, each with its line."""
    for event in events:
        fields = event.fields
        if event.name == _TRANSITION:
            share = fields.get("failure_rate")
            seen = (
                f"; {share:.0%} of {fields.get('calls')} calls had failed" if isinstance(share, float) and share else ""
            )
            what = f"{fields.get('breaker')}: {fields.get('from')} -> {fields.get('to')}"
            yield event, Line(event.at, what, why=f"{fields.get('cause')}{seen}")
        elif event.name in _SAID:
            label = fields.get("policy") or fields.get("breaker") or ""
            yield event, Line(event.at, f"{label}: {_SAID[event.name]}" if label else _SAID[event.name])


def grouped(found: Iterable[tuple[Row, Line]]) -> list[Line]:
    """Return one line for the same change in several processes at about the same time."""
    groups: dict[str, tuple[Line, set[str], float]] = {}
    done: list[Line] = []

    def close(key: str) -> None:
        line, processes, _ = groups.pop(key)
        who = f"{len(processes)} processes" if len(processes) > 1 else next(iter(processes))
        done.append(Line(line.at, line.what, who, line.why))

    for event, line in found:
        group = groups.get(line.what)
        if group is not None and (event.at - group[2] > _TOGETHER or event.instance in group[1]):
            close(line.what)
            group = None
        if group is None:
            groups[line.what] = line, {event.instance}, event.at
        else:
            group[1].add(event.instance)
    for key in list(groups):
        close(key)
    return done


def lines_of_incidents(incidents: Iterable[tuple[Any, ...]], since: float) -> list[Line]:
    """Return a line for each begin and each end of an incident.

    Args:
        incidents: Start, end or None, whether planned, and cause first.
        since: Seconds since 1970 before which nothing is told.

    """
    lines = []
    for started, ended, planned, cause, *_ in incidents:
        kind = "planned incident" if planned else "incident"
        if started >= since:
            lines.append(Line(started, f"{kind} begins", why=cause, strong=True))
        if ended is not None:
            lines.append(Line(ended, f"{kind} ends", strong=True))
    return lines


def lines_of_audit(db: sqlite3.Connection, name: str, since: float) -> list[Line]:
    """Return a line for everything that operators did to a downstream, and what rules or rights kept them from."""
    windows = {window.id for window in record.windows(db, "1") if matches(window.selector, name)}
    targets: dict[str, str] = {hold.id: hold.target for hold in record.holds(db, "target = ?", name)}
    rows = db.execute(
        "SELECT at, actor, via, action, target, request, after, outcome, reason FROM audit WHERE at >= ? ORDER BY seq",
        (since,),
    )
    lines = []
    for at, actor, via, action, target, request, after, outcome, reason in rows:
        covers = action in {"schedule", "start_window", "end_window", "finish_window"} and (
            target in windows or matches(target, name)
        )
        if action in _DONE and (target == name or target in targets or covers):
            if outcome == "refused" and reason.startswith(_SLIPS):
                continue
            who = actor if action in {"expire", "start_window", "finish_window"} else f"{actor} via {via}"
            lines.append(Line(at, _what(action, _loaded(request), _loaded(after), outcome), who, _why(outcome, reason)))
    return lines


def _what(action: str, request: Mapping[str, Any], after: Mapping[str, Any], outcome: str) -> str:
    words = _REFUSED if outcome == "refused" else _DONE
    return f"{words.get(action, f'{_DONE[action]} (refused)')}{_detail(action, request, after)}"


def _why(outcome: str, reason: str) -> str:
    """Return the reason; of a refusal by rules, which tells each of them, without the word for its kind."""
    return reason.removeprefix("rules: ").removeprefix("wait: ") if outcome == "refused" else reason


def _detail(action: str, request: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if action == "command":
        return f": {request.get('command', '')}"
    mode = after.get("mode") or request.get("mode")
    percent = after.get("percent") or request.get("percent")
    if not mode:
        return ""
    share = f" {percent} %" if percent not in {None, 100} else ""
    return f": {mode}{share}"


def _loaded(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
