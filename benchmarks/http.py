"""Time `client.get()` with the whole standard pipeline in a client, as multiples of the bare client.

Over a mock transport nothing is sent, so that all there is to see is the client's own work. Over
loopback a server in another process answers at once, and the connection is kept. Time is this
thread's processor time, as a busy machine disturbs it least; it leaves out the wait for the
server, so that the multiples of what a caller waits are a little lower.

All clients of a line take their turn in every round, in shuffled order, and each is divided by
the bare client of the same round. The collector stays on, for a client's garbage is part of its
price; it runs once before each turn, and what was there before the measuring is frozen.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

from benchmarks import http_clients, http_server, timing

Get = Callable[[str], Any]

_fine = time.get_clock_info("thread_time").resolution < 1e-6  # not on Windows
_now = time.thread_time if _fine else time.perf_counter


@dataclass(slots=True)
class Measured:
    """The result of one case.

    Attributes:
        case: What was measured.
        baseline: Microseconds of one request of the bare client, median.
        ratios: Per client the ratio of every round.
        missing: Per absent client the reason.

    """

    case: http_clients.Case
    baseline: float
    ratios: dict[str, list[float]]
    missing: dict[str, str] = field(default_factory=dict)

    def median(self, name: str) -> float | None:
        """Return the median ratio of a client, None if it was not measured."""
        rounds = self.ratios.get(name)
        return statistics.median(rounds) if rounds else None


def effort_for(*, quick: bool) -> timing.Effort:
    """Return how long to measure; rounds are longer than elsewhere, for a request is."""
    return timing.Effort(5, 0.01) if quick else timing.Effort(41, 0.02)


def measure(runner: asyncio.Runner, effort: timing.Effort, tell: Callable[[str], None]) -> list[Measured]:
    """Measure every case whose client family is installed."""
    results = []
    with http_server.serving() as url:
        for case in http_clients.CASES:
            try:
                importlib.import_module(case.family)
            except ImportError as error:
                tell(f"not measured: {case.title}: {error}")
                continue
            tell(f"{case.group}: {case.title}")
            results.append(_measure(case, runner, effort, url if case.over == "loopback" else http_clients.MOCK_URL))
    return results


def _measure(case: http_clients.Case, runner: asyncio.Runner, effort: timing.Effort, url: str) -> Measured:
    finish = (lambda result: result) if case.colour == "sync" else runner.run
    clients, missing = http_clients.build(case, url, finish)
    try:
        timers = {name: _timer(case, client.get, url, runner) for name, client in clients.items()}
        seconds = alternate(timers, effort)
    finally:
        for client in clients.values():
            finish(client.close() if case.colour == "sync" else client.aclose())
    bare = seconds.pop(http_clients.BARE)
    ratios = {name: [one / other for one, other in zip(rounds, bare, strict=True)] for name, rounds in seconds.items()}
    return Measured(case, statistics.median(bare) * 1e6, ratios, missing)


def alternate(timers: dict[str, timing.Timer], effort: timing.Effort) -> dict[str, list[float]]:
    """Run the timers in turn, each round in another order; return seconds per request."""
    times = {name: _calibrate(timer, effort.seconds) for name, timer in timers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in timers}
    shuffler = random.Random(3)  # noqa: S311 -- the same orders in every run
    order = list(timers)
    with _frozen():
        for _ in range(effort.rounds):
            shuffler.shuffle(order)
            for name in order:
                gc.collect()
                seconds[name].append(timers[name](times[name]))
    return seconds


def _calibrate(timer: timing.Timer, seconds: float) -> int:
    """Warm up, and return how many requests take so long."""
    timer(200)
    return max(10, round(seconds / timer(50)))


@contextlib.contextmanager
def _frozen() -> Iterator[None]:
    """Keep what is there already from the collector."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _timer(case: http_clients.Case, get: Get, url: str, runner: asyncio.Runner) -> timing.Timer:
    """Return what sends so many requests and returns the seconds of one."""
    if case.colour == "sync":
        return lambda times: _timed(get, url, times)
    return lambda times: runner.run(_atimed(get, url, times))


def _timed(get: Get, url: str, times: int) -> float:
    began = _now()
    for _ in repeat(None, times):
        get(url)
    return (_now() - began) / times


async def _atimed(get: Get, url: str, times: int) -> float:
    began = _now()
    for _ in repeat(None, times):
        await get(url)
    return (_now() - began) / times
