"""Time subjects side by side: round by round in turn, as multiples of the empty decorator.

The timed statement is `f(1)` in a loop, `f` a global; in async code `await f(1)` inside one
running loop. The collector is off while it runs. Time is that of this thread's processor where
the call stays in this thread, so that a busy machine disturbs less; where it hops to another
one, it is wall time. A round of a subject is divided by the empty decorator's of the same round,
and the median of these ratios counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

from benchmarks import cases, subjects

BODIES = {
    "success": ("{wait}f({lead}1)",),
    "hit": ("{wait}f({lead}1)",),
    "suspended": ("{wait}f({lead}1)",),
    "failure": (
        "{wait}f({lead}0)",
        "for _ in failures:",
        "    try:",
        "        {wait}f({lead}1)",
        "    except Exception:",
        "        pass",
    ),
    "refused": (
        "try:",
        "    {wait}f({lead}1)",
        "except Exception:",
        "    pass",
    ),
}

Timer = Callable[[int], float]
"""Runs the statement so many times and returns the seconds it took."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: rounds per case, and seconds per subject and round."""

    rounds: int
    seconds: float


@dataclass(slots=True)
class Measured:
    """The result of one case.

    Attributes:
        case: What was measured.
        baseline: Nanoseconds of one call through the empty decorator, median.
        ratios: Per subject the ratio of every round.
        missing: Per absent subject the reason.

    """

    case: cases.Case
    baseline: float
    ratios: dict[str, list[float]]
    missing: dict[str, str] = field(default_factory=dict)

    def median(self, name: str) -> float | None:
        """Return the median ratio of a subject, None if it was not measured."""
        rounds = self.ratios.get(name)
        return statistics.median(rounds) if rounds else None


def measure(case: cases.Case, runner: asyncio.Runner, effort: Effort) -> Measured:
    """Measure one case with every subject that has the feature."""
    with _one_processor() if _hops(case) else contextlib.nullcontext():
        return _measure(case, runner, effort)


def _measure(case: cases.Case, runner: asyncio.Runner, effort: Effort) -> Measured:
    finish = _finisher(case, runner)
    found, missing = subjects.build(case, finish)
    timers = {subject.name: timer(case, subject, runner) for subject in found}
    seconds = alternate(timers, effort)
    for subject in found[1:]:
        try:
            subjects.check(case, subject, finish)
        except AssertionError as error:
            missing[subject.name] = f"afterwards it {error}"
            del seconds[subject.name]
    baseline = seconds.pop(subjects.EMPTY)
    ratios = {
        name: [mine / empty for mine, empty in zip(rounds, baseline, strict=True)] for name, rounds in seconds.items()
    }
    calls = cases.FAILING_RUN + 1 if case.path == "failure" else 1
    return Measured(case, statistics.median(baseline) / calls * 1e9, ratios, missing)


def alternate(timers: dict[str, Timer], effort: Effort) -> dict[str, list[float]]:
    """Run the timers in turn, each round in another order; return seconds per statement."""
    times = {name: _calibrate(timer, effort.seconds) for name, timer in timers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in timers}
    order = list(timers)
    gc.collect()
    for _ in range(effort.rounds):
        for name in order:
            seconds[name].append(_quiet(timers[name], times[name]) / times[name])
        order.append(order.pop(0))
    return seconds


def _calibrate(timer: Timer, seconds: float) -> int:
    times = 1
    while (took := _quiet(timer, times)) < seconds / 4:
        times *= 4
    return max(1, round(times * seconds / took))


def _quiet(timer: Timer, times: int) -> float:
    enabled = gc.isenabled()
    gc.disable()
    try:
        return timer(times)
    finally:
        if enabled:
            gc.enable()


def _finisher(case: cases.Case, runner: asyncio.Runner) -> subjects.Finish:
    return (lambda result: result) if case.colour == "sync" else runner.run


def timer(case: cases.Case, subject: subjects.Subject, runner: asyncio.Runner) -> Timer:
    """Return what times the calls of a subject."""
    loop = _loop(case, subject)
    if case.path == "refused" and case.policy == "bulkhead" and subject.name != subjects.EMPTY:
        # The one permit is held by the call that does the measuring.
        run: Callable[[int], Any] = lambda times: subject.call(  # noqa: E731
            *subject.leading, lambda: loop(repeat(None, times))
        )
    else:
        run = lambda times: loop(repeat(None, times))  # noqa: E731
    if case.colour == "sync":
        return run
    return lambda times: runner.run(run(times))


@contextlib.contextmanager
def _one_processor() -> Iterator[None]:
    """Keep this thread, and those it starts, on one processor, where the system allows it.

    Whether the two threads of a hop meet on one processor or on two is the scheduler's choice; it
    doubles the time of a hop, and changes from one second to the next.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _hops(case: cases.Case) -> bool:
    return case.colour == "sync" and case.policy in {"timeout", "timeout-twice"}


def _clock(case: cases.Case) -> Callable[[], float]:
    fine = time.get_clock_info("thread_time").resolution < 1e-6  # not on Windows
    return time.thread_time if fine and not _hops(case) else time.perf_counter


def _loop(case: cases.Case, subject: subjects.Subject) -> Callable[..., Any]:
    wait, colour = ("", "") if case.colour == "sync" else ("await ", "async ")
    lead = "g, " if subject.leading else ""
    body = [line.format(wait=wait, lead=lead) for line in BODIES[case.path]]
    lines = [
        f"{colour}def timed(times):",
        "    began = now()",
        "    for _ in times:",
        *("        " + line for line in body),
        "    return now() - began",
    ]
    scope: dict[str, Any] = {
        "f": subject.call,
        "g": subject.leading[0] if subject.leading else None,
        "now": _clock(case),
        "failures": range(cases.FAILING_RUN),
    }
    exec("\n".join(lines), scope)  # noqa: S102 -- a constant text, as `timeit` does it
    return scope["timed"]
