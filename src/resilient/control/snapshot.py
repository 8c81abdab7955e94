"""What this process shows on its page: who it is, what it has applied, its downstreams, and what it has counted.

At most 200 downstreams stand there by name, those first that are open or held, then the busiest; the rest are
one row, `_other`. What has not changed since the last look is not encoded again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from typing import Any, Final, Protocol

from resilient import faults
from resilient.clock import SYSTEM
from resilient.control.host import Identity
from resilient.control.page import OwnPage
from resilient.control.roster import Roster
from resilient.control.states import row
from resilient.events import Event
from resilient.pipeline import Pipeline

__all__ = ["MOST", "OTHER", "Showing", "snapshot"]

MOST: Final = 200
"""Downstreams that are shown by name."""

OTHER: Final = "_other"

_HEARD = 4 * MOST
"""Downstreams whose last transition is remembered until the next look."""

_IDLE: Final[Mapping[str, Any]] = {"in_flight": 0, "rate": 0.0, "error_share": 0.0, "rejected_rate": 0.0}


class Encodable(Protocol):
    """Totals."""

    def encode(self) -> Mapping[str, object]:
        """Return them as data for JSON."""


class Statistics(Protocol):
    """What counts this process's calls."""

    def totals(self) -> Encodable:
        """Return everything counted since the process began."""

    def live(self, name: str) -> Mapping[str, object]:
        """Return what a downstream is doing now."""


class Showing:
    """Makes this process's text, again and again.

    Args:
        identity: Who this process is.
        statistics: What counts its calls, or None.

    """

    def __init__(self, identity: Identity, statistics: Statistics | None = None) -> None:
        """Begin with nothing known."""
        self.identity = asdict(identity)
        self.statistics = statistics
        self._roster = Roster()
        self._heard: dict[str, tuple[str, float, str]] = {}
        self._since: dict[str, tuple[str, float, str]] = {}
        self._encoded: dict[str, tuple[dict[str, Any], str]] = {}

    def heard(self, event: Event) -> None:
        """Learn from an event when a downstream's state changed, and why; without it, both are known less exactly."""
        if event.name == "resilient.breaker.transition":
            to, cause = str(event.fields.get("to")), str(event.fields.get("cause"))
        elif event.name == "resilient.override.applied":
            to, cause = str(event.fields.get("mode")), "hold"
        else:
            return
        if len(self._heard) < _HEARD or event.downstream in self._heard:
            self._heard[event.downstream] = (to, SYSTEM.wall(), cause)

    def snapshot(self, applied: int, errors: Mapping[str, int]) -> dict[str, Any]:
        """Return what is to be shown.

        Args:
            applied: Revision of the control directory that is in force here.
            errors: What failed, and how often.

        """
        downstreams, total = self._downstreams()
        counted = {} if self.statistics is None else dict(self.statistics.totals().encode())
        if errors:  # with the rest, so that they outlive this process
            counted["resilient_control_errors_total"] = [[[what], number] for what, number in errors.items()]
        return {
            "v": 1,
            **self.identity,
            "heartbeat": SYSTEM.wall(),
            "beat": SYSTEM.now(),
            "applied": applied,
            "errors": dict(errors),
            "statistics": self.statistics is not None,
            "names": total,
            "downstreams": downstreams,
            "totals": counted,
        }

    def encode(self, applied: int, errors: Mapping[str, int]) -> bytes:
        """Return what is to be shown, as the text of a page."""
        return self._encode(self.snapshot(applied, errors))

    def show(self, page: OwnPage, applied: int, errors: Mapping[str, int]) -> None:
        """Write what is to be shown; what does not fit is shown in less detail, which is reported once.

        Raises:
            OSError: If the page cannot be written.

        """
        data = self.snapshot(applied, errors)
        if page.write(self._encode(data)):
            return
        data["truncated"] = True
        for detail in _lessening(data):
            if page.write(self._encode(data)):
                message = f"the page of {data['instance']} has no room for {detail}"
                faults.report(self.show, ValueError(message))
                return
        message = f"the page of {data['instance']} has no room for {len(data['totals'])} metrics"
        faults.report(self.show, ValueError(message))

    def _encode(self, data: Mapping[str, Any]) -> bytes:
        encoded: dict[str, tuple[dict[str, Any], str]] = {}
        for name, shown in data["downstreams"].items():
            known = self._encoded.get(name)
            if known is None or known[0] != shown:
                known = shown, f"{_json(name)}:{_json(shown)}"
            encoded[name] = known
        self._encoded = encoded
        rest = {key: value for key, value in data.items() if key != "downstreams"}
        listed = ",".join(text for _, text in encoded.values())
        return f'{_json(rest)[:-1]},"downstreams":{{{listed}}}}}'.encode()

    # -- downstreams ---------------------------------------------------------------------------

    def _downstreams(self) -> tuple[dict[str, dict[str, Any]], int]:
        """Return the rows of those that matter most, and how many there are."""
        chosen, total = self._roster.first(MOST)
        shown = {each.name: self._row(each) for each in chosen}
        if total > len(chosen):
            shown[OTHER] = self._rest(total - len(chosen))
        self._since = {name: self._since[name] for name in shown if name in self._since}
        self._heard.clear()
        return shown, total

    def _row(self, pipeline: Pipeline) -> dict[str, Any]:
        found = row(pipeline, self._roster.guards(pipeline))
        since, cause = self._changed(pipeline.name, found["state"])
        return {"since": since, "cause": cause, **found, "live": self._live(pipeline.name)}

    def _rest(self, names: int) -> dict[str, Any]:
        plain = {"ramping": False, "share": 1.0, "retries": "on", "holds": [], "breakers": {}, "bulkheads": {}}
        since, cause = self._changed(OTHER, "closed")
        first = {"names": names, "state": "closed", "since": since, "cause": cause}
        return {**first, **plain, "rate_limits": {}, "budget": None, "live": self._live(OTHER)}

    def _live(self, name: str) -> dict[str, Any]:
        return dict(_IDLE if self.statistics is None else self.statistics.live(name))

    def _changed(self, name: str, state: str) -> tuple[float, str]:
        """Return when a downstream came into its state, and why."""
        known, heard = self._since.get(name), self._heard.get(name)
        if heard is not None and heard[0] == state:
            known = self._since[name] = heard
        elif known is None or known[0] != state:
            known = self._since[name] = (state, SYSTEM.wall(), "")
        return known[1], known[2]


def snapshot(
    identity: Identity, applied: int, errors: Mapping[str, int], statistics: Statistics | None = None
) -> dict[str, Any]:
    """Return once what this process has to show; who does so again and again uses `Showing`.

    Args:
        identity: Who this process is.
        applied: Revision of the control directory that is in force here.
        errors: What failed, and how often.
        statistics: What counts its calls, or None.

    """
    return Showing(identity, statistics).snapshot(applied, errors)


def _lessening(data: dict[str, Any]) -> Iterator[str]:
    """Take detail away, step by step; yield what was taken."""
    downstreams = data["downstreams"]
    short = {
        name: {**shown, "live": {key: value for key, value in shown["live"].items() if not isinstance(value, list)}}
        for name, shown in downstreams.items()
    }
    data["downstreams"] = short
    yield "the history of calls"
    plain = {"breakers": {}, "bulkheads": {}, "rate_limits": {}, "live": dict(_IDLE)}
    data["downstreams"] = {name: {**shown, **plain} for name, shown in short.items()}
    yield "anything but the states of downstreams"
    data["downstreams"] = dict(islice(data["downstreams"].items(), MOST // 10))
    yield f"more than {MOST // 10} downstreams"


def _json(data: object) -> str:
    return json.dumps(data, separators=(",", ":"))
