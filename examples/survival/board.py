"""The latest news of all processes, as rows that a display can show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from examples.survival.phases import timeline
from examples.survival.readers import READERS

__all__ = ["Board", "answered", "percent"]

BRIEF = ("answered", "fresh", "stale", "oldest", "breaker")


def answered(phase: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many calls of a phase were answered, and how many were made."""
    good = phase.get("fresh", 0) + phase.get("stale", 0)
    return good, good + sum(phase.get("errors", {}).values())


def percent(phase: Mapping[str, Any]) -> str:
    """Return the share of calls that were answered, rounded down: 100 % are all of them."""
    good, calls = answered(phase)
    return "-" if not calls else f"{100 * good // calls} %"


class Board:
    """Collects messages, and shows what each reader sees in the phase in force.

    Args:
        seconds: Length of the run.

    """

    sides = READERS
    brief = BRIEF

    def __init__(self, seconds: float) -> None:
        """Start with nothing to show."""
        self.elapsed = 0.0
        self._timeline = timeline(seconds)
        self._readers: dict[str, Mapping[str, Any]] = {}
        self._writers: dict[str, Mapping[str, Any]] = {}

    @property
    def seconds(self) -> float:
        """Length of the run."""
        return self._timeline.seconds

    @property
    def phase(self) -> str:
        """Name of the phase in force."""
        return self._timeline.at(self.elapsed).phase.name

    def from_reader(self, name: str, message: Mapping[str, Any]) -> None:
        """Take in what a reader reports."""
        self._readers[name] = message

    def from_writer(self, kind: str, message: Mapping[str, Any]) -> None:
        """Take in what a writer reports, or that it was killed."""
        self._writers[kind] = {**self._writers.get(kind, {}), **message}

    def rows(self) -> list[tuple[str, ...]]:
        """Return a label and one text for each reader, row by row."""
        columns = [self._column(name) for name in self.sides]
        return [(label, *(column[label] for column in columns)) for label in columns[0]]

    def notes(self) -> list[str]:
        """Return one line for each writer."""
        return [
            f"{kind} writer: {seen.get('done', 0)} orders done, {seen.get('open', 0)} open, "
            f"{len(seen.get('in_doubt', ()))} in doubt, killed {seen.get('kills', 0)} times"
            for kind, seen in self._writers.items()
        ]

    def _column(self, name: str) -> dict[str, str]:
        message = self._readers.get(name, {})
        phase = message.get("phases", {}).get(self.phase, {})
        errors = phase.get("errors", {})
        return {
            "answered": percent(phase),
            "fresh": str(phase.get("fresh", 0)),
            "stale": str(phase.get("stale", 0)),
            "oldest": f"{phase['oldest']:.0f} s" if phase.get("stale") else "-",
            "breaker": str(message.get("breaker", "-")),
            "errors": "\n".join(f"{error} {n}" for error, n in sorted(errors.items())) or "-",
        }
