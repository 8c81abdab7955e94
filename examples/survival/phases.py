"""The script: what happens to the shop, and when."""

from __future__ import annotations

from collections.abc import Iterator

from examples.outage.phases import Phase, Timeline

__all__ = ["KILLED", "PHASES", "RESTARTED", "TOTAL", "spans", "timeline"]

KILLED = "killed"
"""The phase in which there is no shop: its process was killed, connections are refused."""

RESTARTED = "restarted"

PHASES = (
    Phase(name="healthy", seconds=5.0, service=(0.01, 0.01)),
    Phase(name=KILLED, seconds=7.0),
    Phase(name=RESTARTED, seconds=4.0, service=(0.01, 0.01)),
    Phase(name="slow", seconds=4.0, service=(1.0, 1.0)),
    Phase(name="healthy again", seconds=4.0, service=(0.01, 0.01)),
)

TOTAL = sum(phase.seconds for phase in PHASES)
"""Seconds of a run of full length."""


def timeline(seconds: float = TOTAL) -> Timeline:
    """Return the script in a run of so many seconds."""
    return Timeline(seconds, PHASES)


def spans(seconds: float) -> Iterator[tuple[Phase, float, float]]:
    """Return each phase with its begin and end, in seconds after the start."""
    scale, begin = timeline(seconds).scale, 0.0
    for phase in PHASES:
        end = begin + phase.seconds * scale
        yield phase, begin, end
        begin = end
