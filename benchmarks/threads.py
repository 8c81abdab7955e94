"""Share one guarded function among 8 threads: throughput kept, permits counted.

Throughput is that of 8 threads over that of one, on the same number of calls. The count of
permits is looked at from outside: how many calls are inside the function at once, and how many
can be after the storm.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import repeat
from statistics import median
from typing import Any

from benchmarks import cases, subjects, timing
from benchmarks.nosleep import really_sleep

THREADS = 8
POLICIES = ("retry", "bulkhead", "breaker-count", "breaker-time", "stack-three")
SMALL_LIMIT = 4


@dataclass(slots=True)
class Throughput:
    """Throughput of 8 threads over that of one, per subject and round."""

    case: cases.Case
    ratios: dict[str, list[float]]
    missing: dict[str, str] = field(default_factory=dict)

    def median(self, name: str) -> float | None:
        """Return the median of a subject, None if it was not measured."""
        rounds = self.ratios.get(name)
        return median(rounds) if rounds else None


@dataclass(frozen=True, slots=True)
class Permits:
    """What a bulkhead of few permits did under 8 threads.

    Attributes:
        limit: The permits it was given.
        most: Calls seen inside at once.
        left: Permits that could be taken when all was over.
        refused: Calls that were refused meanwhile.

    """

    limit: int
    most: int
    left: int
    refused: int


def throughput(policy: str, effort: timing.Effort) -> Throughput:
    """Measure one policy with every subject that has it."""
    case = cases.Case(policy)
    found, missing = subjects.build(case, lambda result: result)
    ratios: dict[str, list[float]] = {subject.name: [] for subject in found}
    calls = {subject.name: _calibrate(subject, effort.seconds) for subject in found}
    for _ in range(effort.rounds):
        for subject in found:
            times = calls[subject.name]
            one = _spread(subject, times, 1)
            many = _spread(subject, times, THREADS)
            ratios[subject.name].append(one / many)
        found.append(found.pop(0))
    return Throughput(case, ratios, missing)


def permits(decorate: Callable[[cases.Case], Any], calls: int, limit: int = SMALL_LIMIT) -> Permits:
    """Let 8 threads fight for the permits of one bulkhead and count what happens."""
    inside: list[None] = []
    seen = [0] * THREADS
    refused = [0] * THREADS
    guarded = decorate(cases.Case("bulkhead", limit=limit))(lambda body: body())

    def body(index: int) -> None:
        inside.append(None)
        seen[index] = max(seen[index], len(inside))
        really_sleep(0)  # lets the others in while this call is inside
        inside.pop()

    def work(index: int) -> None:
        for _ in repeat(None, calls):
            try:
                guarded(lambda: body(index))
            except Exception:  # noqa: BLE001 -- each library has its own refusal
                refused[index] += 1
                really_sleep(0)

    _together(work, THREADS)
    return Permits(limit, max(seen), _free(guarded, limit), sum(refused))


def _free(guarded: Callable[[Callable[[], int]], int], limit: int) -> int:
    """Return how many calls of the bulkhead can be nested before one is refused."""
    depth = 0

    def enter() -> int:
        nonlocal depth
        depth += 1
        if depth <= 2 * limit:
            guarded(enter)
        return depth

    with contextlib.suppress(Exception):
        guarded(enter)
    return depth


def _calibrate(subject: subjects.Subject, seconds: float) -> int:
    times = THREADS
    while (took := _spread(subject, times, 1)) < seconds / 4:
        times *= 4
    return max(THREADS, round(times * seconds / took / THREADS) * THREADS)


def _spread(subject: subjects.Subject, times: int, count: int) -> float:
    """Return the seconds that `count` threads take for `times` calls together."""
    share = times // count
    call, leading = subject.call, subject.leading

    def work(_: int) -> None:
        if leading:
            function = leading[0]
            for _ in repeat(None, share):
                call(function, 1)
        else:
            for _ in repeat(None, share):
                call(1)

    return _together(work, count)


def _together(work: Callable[[int], None], count: int) -> float:
    """Run `work` in so many threads that start at once; return the seconds until all are done."""
    start = threading.Barrier(count + 1)

    def run(index: int) -> None:
        start.wait()
        work(index)

    team = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in team:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in team:
        thread.join()
    return time.perf_counter() - began
