"""The last page of the demo: both sides compared, phase by phase, in plain text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from examples.outage.board import SIDES, counts
from examples.outage.phases import PHASES

__all__ = ["lines"]


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Return the summary of a result of `run.compare`, line by line."""
    sides = [result[name] for name in SIDES]
    yield ""
    yield f"The same {sides[0]['calls']} calls by {result['family']}, half by threads, half by asyncio tasks:"
    yield ""
    yield _row("", SIDES)
    for label, key in (("fresh", "fresh"), ("last known", "fallback"), ("errors", "errors")):
        yield _row(label, (side[key] for side in sides))
    for name in sides[0]["latency"]:
        yield _row(f"{name} of all calls", (_shown(side["latency"][name]) for side in sides))
    yield _row("p99 of fresh answers", (_shown(side["fresh_latency"]["p99"]) for side in sides))
    yield _row("requests to the service", (side["received_total"] for side in sides))
    yield ""
    yield "By phase: fresh + last known of calls made in it, and requests the service received"
    for phase in PHASES:
        yield _row(f"  {phase.name}", (_phase(side, phase.name) for side in sides))
    yield ""
    yield from _pipeline(sides[0])
    yield ""
    for word, meaning in result["definitions"].items():
        yield f"{word}: {meaning}."
    yield ""
    for check in result["checks"]:
        mark = "holds" if check["holds"] else "FAILS"
        yield f"{mark}: {check['claim']}: {check['protected']:g} against {check['unprotected']:g}"
    fresh, plain = (side["fresh"] for side in sides)
    yield f"Fresh answers alone, for information: {fresh} against {plain}."


def _phase(side: Mapping[str, Any], phase: str) -> str:
    seen = counts({phase: side["phases"].get(phase, {})})
    answered = f"{seen['fresh']} + {seen['fallback']} of {sum(seen.values())}"
    return f"{answered}, {side['received'].get(phase, 0)} received"


def _pipeline(side: Mapping[str, Any]) -> Iterator[str]:
    rejections = ", ".join(f"{n} {reason}" for reason, n in sorted(side["rejections"].items()))
    yield f"The pipeline made {side['retries']} retries and rejected: {rejections or 'nothing'}."
    yield f"Its breaker went {' -> '.join(['closed', *side['transitions']])}."


def _shown(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _row(label: str, cells: Iterable[object]) -> str:
    return f"{label:<26}" + "".join(f"{cell!s:<36}" for cell in cells).rstrip()
