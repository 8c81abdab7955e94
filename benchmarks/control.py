"""What the control directory adds to a call: the look at its word, in the same function with and without it.

The directory is a real one, and its thread runs; nothing changes in it. The function without control is a copy
of what was woven before control was there, with the same state behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import FunctionType
from typing import Any

from benchmarks import cases, functions, ours, subjects, timing
from resilient import control

GROUP = "control"
CASES = (
    cases.Case("bulkhead"),
    cases.Case("breaker-time"),
    cases.Case("stack-three"),
    cases.Case("bulkhead", "async"),
    cases.Case("stack-three", "async"),
    cases.Case("stack-five", "async"),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One pipeline.

    Attributes:
        case: Which one.
        off: A call without control, as a multiple of an empty decorator, median of the rounds.
        added: What control adds, in the same unit, median of the rounds.

    """

    case: cases.Case
    off: float
    added: float


def measure(runner: asyncio.Runner, effort: timing.Effort, tell: Callable[[str], None]) -> list[Measured]:
    """Measure every case."""
    guarded = {case: _guarded(case) for case in CASES}
    copies = {case: _copy(function) for case, function in guarded.items()}
    found = []
    with controlled():
        for case in CASES:
            tell(f"{GROUP}: {case.group}: {case.title}")
            found.append(_measure(case, copies[case], guarded[case], runner, effort))
    return found


@contextlib.contextmanager
def controlled() -> Iterator[None]:
    """Have a control directory, without statistics."""
    with tempfile.TemporaryDirectory() as folder:
        control.configure("benchmark", directory=Path(folder) / "control", statistics=False)
        try:
            yield
        finally:
            control.stop()


def _measure(
    case: cases.Case, off: FunctionType, on: FunctionType, runner: asyncio.Runner, effort: timing.Effort
) -> Measured:
    on(1) if case.colour == "sync" else runner.run(on(1))  # it begins, and is woven anew
    empty = (functions.aempty if case.colour == "async" else functions.empty)(_plain(case))
    calls = {"empty": empty, "off": off, "on": _copy(on)}
    if "word_" not in "".join(on.__code__.co_names):
        message = "there is no look at the word"
        raise AssertionError(message)
    timers = {name: timing.timer(case, subjects.Subject(name, call, (), [0]), runner) for name, call in calls.items()}
    seconds = timing.alternate(timers, effort)
    rounds = list(zip(*seconds.values(), strict=True))
    added = [(with_it - without) / bare for bare, without, with_it in rounds]
    return Measured(case, median(without / bare for bare, without, _ in rounds), median(added))


def _plain(case: cases.Case) -> Callable[..., Any]:
    return functions.asteady if case.colour == "async" else functions.steady


def _guarded(case: cases.Case) -> FunctionType:
    function: FunctionType = ours.decorate(case)(_plain(case))
    return function


def _copy(function: FunctionType) -> FunctionType:
    """Return the function as it is woven now, which is not woven anew."""
    copy = FunctionType(function.__code__, dict(function.__globals__), function.__name__)
    copy.__defaults__ = function.__defaults__
    return copy
