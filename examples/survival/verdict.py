"""Decide whether every promise was kept, and say with which figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from examples.survival.board import answered
from examples.survival.phases import KILLED, spans
from examples.survival.rates import TICK
from examples.survival.supervisor import CRASHES

__all__ = ["Check", "checks"]

PROTECTED = ("cached", "function")

FRESH_FOR = 1.0
"""Seconds for which the shop's answers are fresh."""

RECOVERY = 2.2
"""Seconds after which the breaker has looked again, and the ramp is over: see `protected`."""

SLACK = 2.0
"""Seconds by which an age may be off: dates and ages have whole seconds."""


@dataclass(frozen=True, slots=True)
class Check:
    """One claim, with the figures.

    Attributes:
        claim: What must hold.
        figures: What was found.
        holds: Whether it does.

    """

    claim: str
    figures: str
    holds: bool

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def checks(result: Mapping[str, Any]) -> list[Check]:
    """Judge a result of `run.survive`; the demo succeeds only if all of these hold."""
    readers, writers = result["readers"], result["writers"]
    return [
        *(_answered(name, readers[name]) for name in PROTECTED),
        *(_marked(name, readers[name], result["seconds"]) for name in PROTECTED),
        _outage(readers),
        *_writes(writers["keyed"], result["shop"]["mischief"]),
        _witness(writers["plain"]),
    ]


def _answered(name: str, reader: Mapping[str, Any]) -> Check:
    """Every call, in every phase, and some of them stale while there was no shop."""
    good, calls = (sum(each) for each in zip(*map(answered, reader["phases"].values()), strict=True))
    killed = reader["phases"].get(KILLED, {})
    errors = sum((Counter(phase["errors"]) for phase in reader["phases"].values()), Counter[str]())
    figures = f"{good} of {calls}; while it was killed {'{} of {}'.format(*answered(killed))}"
    if errors:
        figures += "; " + ", ".join(f"{number} {error}" for error, number in sorted(errors.items()))
    return Check(f"{name}: every read was answered", figures, good == calls and killed.get("stale", 0) > 0)


def _marked(name: str, reader: Mapping[str, Any], seconds: float) -> Check:
    """Stale answers say how old they are, do not lie, and are no older than the trouble lasted."""
    phases = reader["phases"].values()
    stale, oldest = sum(each["stale"] for each in phases), max(each["oldest"] for each in phases)
    unmarked = sum(each["unmarked"] for each in phases)
    times = {phase.name: (begin, end) for phase, begin, end in spans(seconds)}
    # Between the two there may be too little time for the breaker to let a question for each currency through.
    trouble = times["slow"][1] - times[KILLED][0]
    bound = round(trouble + RECOVERY + FRESH_FOR + SLACK, 1)
    figures = (
        f"{stale} stale answers, {unmarked} without age, the oldest {oldest:g} s (bound {bound:g} s), "
        f"none more than {reader['hidden']:g} s older than shown (bound {TICK + SLACK:g} s)"
    )
    return Check(
        f"{name}: each stale answer showed its age",
        figures,
        0 < oldest <= bound and not unmarked and reader["hidden"] <= TICK + SLACK,
    )


def _outage(readers: Mapping[str, Any]) -> Check:
    """Otherwise nothing was shown."""
    found = {name: answered(readers[name]["phases"].get(KILLED, {})) for name in ("bare", "pipeline")}
    figures = ", ".join(f"{name} {good} of {calls}" for name, (good, calls) in found.items())
    return Check(
        "without stale answers most reads failed while the shop was killed",
        figures,
        all(2 * good < calls for good, calls in found.values()),
    )


def _writes(writer: Mapping[str, Any], mischief: Mapping[str, int]) -> Iterator[Check]:
    total = writer["orders"]
    yield Check(
        "keyed orders: each was carried out exactly once, by the shop's own ledger",
        f"{writer['once']} of {total} once, {writer['more_than_once']} more than once, {writer['never']} never",
        writer["once"] == total,
    )
    yield Check(
        "keyed orders: each was acknowledged in the end, and none that was acknowledged is lost",
        f"{writer['acknowledged']} of {total} acknowledged, {len(writer['lost'])} lost",
        writer["acknowledged"] == total and not writer["lost"],
    )
    yield Check(
        "keyed orders: the writer was killed in the middle, and sent again what was open",
        f"{writer['kills']} times killed, {writer['reopened']} orders open",
        writer["kills"] == CRASHES and writer["reopened"] > 0,
    )
    yield Check(
        "keyed orders: what the shop's crash left in doubt was said, and resolved by hand",
        f"{writer['in_doubt']} in doubt; {_resolved(writer['resolved'])}",
        writer["in_doubt"] == sum(writer["resolved"].values()),
    )
    kinds = ("late", "reset", "lost")
    yield Check(
        "answers were late, broken off or lost after the effect",
        ", ".join(f"{mischief.get(kind, 0)} {kind}" for kind in kinds),
        all(mischief.get(kind) for kind in kinds),
    )


def _resolved(resolved: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {how}" for how, number in resolved.items()) or "nothing to resolve"


def _witness(writer: Mapping[str, Any]) -> Check:
    """The same faults do harm without keys, so the ledger would have shown it."""
    return Check(
        "plain orders: without keys, some were carried out more than once",
        f"{writer['more_than_once']} of {writer['orders']}",
        writer["more_than_once"] > 0,
    )
