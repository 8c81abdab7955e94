"""The latest news of all four processes, as rows that a display can show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from examples.outage.phases import Timeline
from examples.outage.tally import FALLBACK, FRESH

__all__ = ["SIDES", "Board", "counts"]

SIDES = ("protected", "unprotected")

BRIEF = ("fresh", "last known", "errors", "p99", "server gets", "breaker")


def counts(phases: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Add the results of all phases up."""
    total = {FRESH: 0, FALLBACK: 0, "errors": 0}
    for results in phases.values():
        for result, number in results.items():
            total[result if result in total else "errors"] += number
    return total


class Board:
    """Collects messages and turns them into one pair of texts per row.

    Args:
        timeline: To name the phase.

    """

    def __init__(self, timeline: Timeline) -> None:
        """Start with nothing to show."""
        self.timeline = timeline
        self.sides, self.brief = SIDES, BRIEF
        self.elapsed = 0.0
        self.told: list[str] = []
        self._clients: dict[str, dict[str, Any]] = {}
        self._servers: dict[str, dict[str, Any]] = {}
        self._rates: dict[str, float] = {}
        self._seen: dict[str, tuple[float, int]] = {}

    @property
    def seconds(self) -> float:
        """Length of the run."""
        return self.timeline.seconds

    @property
    def phase(self) -> str:
        """Name of the phase in force."""
        return self.timeline.at(self.elapsed).phase.name

    def from_client(self, side: str, message: dict[str, Any]) -> None:
        """Take in what the callers of one side report."""
        self._clients[side] = message

    def from_server(self, side: str, message: dict[str, Any]) -> None:
        """Take in what the service of one side reports; work out its requests per second."""
        self._servers[side] = message
        total = sum(message["received"].values())
        then, before = self._seen.get(side, (0.0, 0))
        if self.elapsed > then:
            self._rates[side] = (total - before) / (self.elapsed - then)
            self._seen[side] = (self.elapsed, total)

    def rows(self) -> list[tuple[str, ...]]:
        """Return label, protected, unprotected: what a person wants to see now."""
        left, right = (self._column(side) for side in SIDES)
        return [(label, left[label], right[label]) for label in left]

    def notes(self) -> list[str]:
        """Return how to operate, if anybody may: the table says the rest."""
        return self.told if self.elapsed else []

    def _column(self, side: str) -> dict[str, str]:
        client, server = self._clients.get(side, {}), self._servers.get(side, {})
        seen, recent = counts(client.get("phases", {})), client.get("latency", {})
        rejections = client.get("rejections", {})
        return {
            "fresh": str(seen[FRESH]),
            "last known": str(seen[FALLBACK]),
            "errors": str(seen["errors"]),
            "p50": _milliseconds(recent.get("p50")),
            "p99": _milliseconds(recent.get("p99")),
            "in flight": str(client.get("in_flight", 0)),
            "server gets": f"{self._rates.get(side, 0.0):.0f}/s",
            "server queue": str(server.get("waiting", 0)),
            "breaker": str(client.get("breaker", "-")),
            "rate limit": f"{client['limit']}/s" if "limit" in client else "-",
            "retries": str(client.get("retries", "-")),
            "rejected": "\n".join(f"{name} {n}" for name, n in sorted(rejections.items())) or "-",
        }


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"
