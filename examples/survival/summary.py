"""The last page of the demo: all readers compared, phase by phase, and both writers, in plain text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from examples.survival.board import answered, percent
from examples.survival.phases import PHASES
from examples.survival.readers import READERS

__all__ = ["lines"]

MEANINGS = {
    "bare": "{family}.Client and {family}.AsyncClient as they come, half of the calls each",
    "pipeline": "the same with transports of ours: timeouts, retries, a breaker",
    "cached": "the same with cache=HttpCache(stale_if_error=60)",
    "function": "a plain and an async function around bare clients, guarded by a pipeline with StaleCache",
    "answered": "the share of calls that returned rates; everything else the caller saw was an exception",
    "stale": "of these, past the second for which the shop says they are good, and marked so",
    "oldest": "the greatest age that an answer of that phase showed",
    "more than once": "orders that stand in the shop's ledger more than once: charged twice",
}


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Return the summary of a result of `run.survive`, line by line."""
    readers, writers = result["readers"], result["writers"]
    yield ""
    yield f"Reads through {result['family']}, answered (of these stale, oldest):"
    yield ""
    yield _row("", READERS)
    for phase in PHASES:
        cells = (_cell(readers[name]["phases"].get(phase.name, {})) for name in READERS)
        yield _row(phase.name, cells)
    yield _row("all calls", ("{} of {}".format(*_total(readers[name])) for name in READERS))
    yield _row("slowest call", (f"{readers[name]['slowest']:.1f} s" for name in READERS))
    yield ""
    yield "Orders, by the shop's ledger:"
    yield ""
    yield _row("", writers)
    labels = {"orders": "orders", "once": "once", "more_than_once": "more than once", "never": "never"}
    labels |= {"acknowledged": "acknowledged", "in_doubt": "in doubt", "kills": "writer killed"}
    labels |= {"reopened": "open at restart", "repeated": "sent again", "replayed": "answer replayed"}
    for key, label in labels.items():
        yield _row(label, (writer.get(key, 0) for writer in writers.values()))
    yield ""
    for word, meaning in MEANINGS.items():
        yield f"{word}: {meaning.format(family=result['family'])}."
    yield ""
    for check in result["checks"]:
        yield f"{'holds' if check['holds'] else 'FAILS'}: {check['claim']}: {check['figures']}"


def _total(reader: Mapping[str, Any]) -> tuple[int, int]:
    found = [answered(phase) for phase in reader["phases"].values()]
    return sum(good for good, _ in found), sum(calls for _, calls in found)


def _cell(phase: Mapping[str, Any]) -> str:
    if not phase.get("stale"):
        return percent(phase)
    return f"{percent(phase)} ({phase['stale']}, {phase['oldest']:.0f} s)"


def _row(label: str, cells: Iterable[object]) -> str:
    return f"{label:<18}" + "".join(f"{cell!s:<20}" for cell in cells).rstrip()
