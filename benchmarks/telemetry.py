"""What statistics add to a call: the same pipeline with meters woven in and without, round by round in turn.

What calls leave behind is added up within the measured time, as it is while nobody reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from statistics import median
from typing import Any

from benchmarks import cases, functions, ours, timing
from resilient.telemetry.statistics import Statistics

GROUP = "telemetry"
CASES = (
    cases.Case("breaker-time"),
    cases.Case("stack-three"),
    cases.Case("stack-three", "async"),
    cases.Case("stack-five", "async"),
    cases.Case("breaker-time", "sync", "refused"),
)
_CALLS = 5_000
"""Calls in one round: more than are left behind before a call adds them up."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One pipeline.

    Attributes:
        case: Which one.
        off: Microseconds of a call without statistics, median of the rounds.
        added: Microseconds that statistics add, median of the rounds.

    """

    case: cases.Case
    off: float
    added: float


def measure(runner: asyncio.Runner, effort: timing.Effort, tell: Callable[[str], None]) -> list[Measured]:
    """Measure every case."""
    found = []
    for case in CASES:
        tell(f"{GROUP}: {case.group}: {case.title}")
        off, added = [], []
        guarded = _guarded(case, runner)
        for _ in range(effort.rounds):
            without = _round(case, guarded, runner)
            with measuring():
                added.append(_round(case, guarded, runner) - without)
            off.append(without)
        found.append(Measured(case, median(off), median(added)))
    return found


@contextlib.contextmanager
def measuring() -> Iterator[None]:
    """Have statistics on."""
    statistics = Statistics()
    statistics.start()
    try:
        yield
    finally:
        statistics.stop()


def _guarded(case: cases.Case, runner: asyncio.Runner) -> Callable[[object], Any]:
    function = functions.failing if case.path == "refused" else functions.steady
    guarded = ours.decorate(case)(functions.asteady if case.colour == "async" else function)
    if case.path == "refused":
        for _ in range(3 * cases.WINDOW_CALLS):
            with contextlib.suppress(Exception):
                guarded(1)
    _round(case, guarded, runner)  # warm
    return guarded


def _round(case: cases.Case, guarded: Callable[[object], Any], runner: asyncio.Runner) -> float:
    """Return the microseconds of one call."""
    gc.collect()
    gc.disable()
    try:
        if case.colour == "async":
            seconds = runner.run(_awaited(guarded))
        else:
            seconds = (_refused if case.path == "refused" else _called)(guarded)
    finally:
        gc.enable()
    return seconds / _CALLS * 1e6


def _called(f: Callable[[object], Any]) -> float:
    began = time.thread_time()
    for _ in repeat(None, _CALLS):
        f(1)
    return time.thread_time() - began


def _refused(f: Callable[[object], Any]) -> float:
    began = time.thread_time()
    for _ in repeat(None, _CALLS):
        try:  # noqa: SIM105 -- costs less than what it would be replaced with
            f(1)
        except Exception:  # noqa: BLE001, S110 -- the refusal
            pass
    return time.thread_time() - began


async def _awaited(f: Callable[[object], Any]) -> float:
    began = time.thread_time()
    for _ in repeat(None, _CALLS):
        await f(1)
    return time.thread_time() - began
