"""What troubles a downstream: which errors and refusals there were most of, and what has happened last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from resilient.cli.words import iso
from resilient.control.timeline import Line, grouped, transitions
from resilient.telemetry.outcomes import BAD, FAILURE
from resilient.telemetry.totals import Totals

if TYPE_CHECKING:
    from resilient.control.events_log import Row
    from resilient.control.pages import PageView

__all__ = ["MOST", "READ", "error_types", "event_json", "lines", "refusals"]

MOST: Final = 3
"""Types of errors, and of refusals."""

LAST: Final = 10
"""Events."""

READ: Final = 100
"""Events that are looked through: the same one of several processes is one line."""

_CALLS: Final = "resilient_call_duration_seconds"
_ATTEMPTS: Final = "resilient_attempt_duration_seconds"
_REFUSALS: Final = "resilient_call_rejections_total"
_FIELDS: Final = ("mode", "breaker", "policy", "actor", "reason", "cause", "directory", "problem", "revision")
"""Fields of other events that are told, in this order."""


def error_types(pages: Iterable[PageView], name: str) -> list[dict[str, Any]]:
    """Return the errors that a downstream had most, as its attempts met them in the processes that live.

    An error that only whole calls have, such as the time limit around all attempts, is counted by the calls.

    Args:
        pages: Those of live processes.
        name: The downstream.

    """
    calls: Counter[tuple[str, str]] = Counter()
    attempts: Counter[tuple[str, str]] = Counter()
    totals = _totals(pages)
    for (whose, outcome, error), value in totals.series(_CALLS).items():
        if whose == name and outcome in BAD and isinstance(value, list):
            calls[outcome, error] += int(value[1])
    for (whose, _, outcome, error), value in totals.series(_ATTEMPTS).items():
        if whose == name and outcome in BAD and isinstance(value, list):
            attempts[outcome, error] += int(value[1])
    both = calls | attempts  # of each the larger number
    return [{"error_type": error, "outcome": outcome, "count": number} for (outcome, error), number in _most(both)]


def refusals(pages: Iterable[PageView], name: str) -> list[dict[str, Any]]:
    """Return what refused calls of a downstream most, in the processes that live.

    Args:
        pages: Those of live processes.
        name: The downstream.

    """
    found: Counter[tuple[str, str]] = Counter()
    for (whose, policy, reason), value in _totals(pages).series(_REFUSALS).items():
        if whose == name and isinstance(value, (int, float)):
            found[policy, reason] += int(value)
    return [{"policy": policy, "reason": reason, "count": number} for (policy, reason), number in _most(found)]


def _most(found: Counter[tuple[str, str]]) -> list[tuple[tuple[str, str], int]]:
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))[:MOST]


def _totals(pages: Iterable[PageView]) -> Totals:
    added = Totals()
    for page in pages:
        counted = page.data.get("totals")
        if isinstance(counted, dict):
            added.merge(Totals.decode({key: counted.get(key) for key in (_CALLS, _ATTEMPTS, _REFUSALS)}))
    return added


def event_json(events: list[Row]) -> list[dict[str, Any]]:
    """Return the last of some events as data for JSON, the newest at the end."""
    return [
        {"seq": each.seq, "at": iso(each.at), "instance": each.instance, "name": each.name, "fields": each.fields}
        for each in events[-LAST:]
    ]


def lines(
    errors: Iterable[dict[str, Any]], refused: Iterable[dict[str, Any]], events: Iterable[Row]
) -> Iterator[tuple[str, str]]:
    """Yield label and sentence of everything that there is to tell.

    Args:
        errors: What `error_types` returned.
        refused: What `refusals` returned.
        events: Some of the last events, oldest first.

    """
    met = [f"{each['count']} {_error(each)}" for each in errors]
    turned_back = [f"{each['count']} {each['reason']} ({each['policy']})" for each in refused]
    for label, found in (("errors", met), ("refused", turned_back)):
        if found:
            yield label, f"{', '.join(found)}, since the processes began"
    known = sorted(grouped(_told(events)), key=lambda line: line.at)
    for line in known[-LAST:]:
        why = f" ({line.why})" if line.why else ""
        yield "event", f"{datetime.fromtimestamp(line.at, UTC):%m-%d %H:%M:%SZ} {line.what}{why}, {line.who}"


def _error(each: dict[str, Any]) -> str:
    """Return the name of an error; an answer that is one by its content has none."""
    if not each["error_type"]:
        return f"{each['outcome']} by its answer"
    return str(each["error_type"]) + ("" if each["outcome"] == FAILURE else f" ({each['outcome']})")


def _told(events: Iterable[Row]) -> Iterator[tuple[Row, Line]]:
    for event in events:
        found = next(transitions([event]), None)
        yield found or (event, Line(event.at, _plain(event)))


def _plain(event: Row) -> str:
    """Return an event by its name, as people call it, and what it says."""
    name = event.name.removeprefix("resilient.").replace("override", "hold").replace(".", " ").replace("_", " ")
    said = [f"{key} {event.fields[key]}" for key in _FIELDS if event.fields.get(key) not in {None, ""}]
    return f"{name}: {', '.join(said)}" if said else name
