"""Hold the results against what was promised; the marks are printed and gate nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks import cases, control, http, http_clients, memory, startup, subjects, telemetry, threads, timing

MULTIPLES = {
    ("sync", "success", "retry"): 1.3,
    ("sync", "success", "bulkhead"): 1.5,
    ("sync", "success", "breaker-count"): 1.6,
    ("sync", "success", "breaker-time"): 2.1,
    ("sync", "success", "stack-three"): 2.8,
    ("async", "success", "stack-five"): 9.0,
    ("sync", "hit", "cache-hit"): 4.0,
    ("async", "hit", "cache-hit"): 4.0,
    ("sync", "refused", "breaker-count"): 6.0,
    ("sync", "refused", "breaker-time"): 6.0,
    ("async", "refused", "breaker-count"): 6.0,
    ("async", "refused", "breaker-time"): 6.0,
}
"""Multiples of an empty decorator that a call may cost at most."""

OF_ASYNCIO_TIMEOUT = 0.75
OF_PEERS_SYNC_TIMEOUT = 0.5
OF_ONE_HOP = 1.5
"""Two timeouts of one pipeline against one: two hops would double it."""

HTTP = {"mock": 1.12, "loopback": 1.05}
"""Multiples of a bare client's request that one through the whole standard pipeline may cost at most."""

HTTP_HIT = {http_clients.CACHED: 1.25, http_clients.CACHED_SQLITE: 2.0}
"""Multiples of a bare client's request over a mock transport that a fresh hit of the cache may cost at most.

A hit in SQLite has one hop to a thread more in tasks, for which there is no mark.
"""

CONTROL = 0.3
"""Multiples of an empty decorator that the look at the control directory's word may cost at each admission."""

STATISTICS_US = 1.5
"""Microseconds that statistics may add to a call."""

THROUGHPUT = 0.8
IMPORT_MS = 60.0
BREAKER_BYTES = 4096.0
KEYED_MB = 400.0
FLAT_BYTES = 65_536.0
"""Growth that is noise of the allocator's, not 90 000 decorations."""

OWN = {subjects.EMPTY, subjects.OURS, subjects.OURS_CALL}


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise and what was reached."""

    text: str
    limit: float
    reached: float
    unit: str = ""
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether it holds in this run."""
        return self.reached >= self.limit if self.at_least else self.reached <= self.limit


def limit_of(case: cases.Case) -> float | None:
    """Return the promised multiple of a case, None without a promise."""
    return MULTIPLES.get((case.colour, case.path, case.policy))


def fastest_peer(measured: timing.Measured) -> tuple[str, float] | None:
    """Return the fastest other library with the same policy."""
    medians = {name: measured.median(name) for name in measured.ratios if name not in OWN}
    if measured.case.policy == "stack-five":
        medians.pop("asyncio.timeout", None)  # one timeout, not five policies
    medians.pop("functools.lru_cache", None)  # for scale: its answers have no age
    found = [(median, name) for name, median in medians.items() if median is not None]
    return min(found)[::-1] if found else None


def of_calls(results: list[timing.Measured]) -> Iterator[Promise]:
    """Yield the promises about the cost of calls."""
    by_case = {(each.case.colour, each.case.path, each.case.policy): each for each in results}
    for measured in results:
        ours = measured.median(subjects.OURS)
        if ours is None:
            continue
        case = measured.case
        what = f"{case.colour}, {case.path}: {case.title}"
        limit = limit_of(case)
        if limit is not None:
            yield Promise(f"{what}; multiple of an empty decorator", limit, ours)
        peer = fastest_peer(measured)
        if peer is not None:
            yield Promise(f"{what}; against the fastest peer, {peer[0]}", 1.0, ours / peer[1])
        yield from _of_timeouts(measured, ours, what)
    once = by_case.get(("sync", "success", "timeout"))
    twice = by_case.get(("sync", "success", "timeout-twice"))
    one = once and once.median(subjects.OURS)
    two = twice and twice.median(subjects.OURS)
    if one and two:
        yield Promise("sync: two timeouts of one pipeline against one", OF_ONE_HOP, two / one)


def _of_timeouts(measured: timing.Measured, ours: float, what: str) -> Iterator[Promise]:
    case = measured.case
    if case.policy == "stack-five" and case.path in {"success", "suspended"}:
        alone = measured.median("asyncio.timeout")
        if alone:
            yield Promise(f"{what}; against `asyncio.timeout` alone", OF_ASYNCIO_TIMEOUT, ours / alone)
    if (case.colour, case.path, case.policy) == ("sync", "success", "timeout"):
        for name in ("nopanic", "pyresilience"):
            theirs = measured.median(name)
            if theirs:
                yield Promise(f"{what}; against {name}", OF_PEERS_SYNC_TIMEOUT, ours / theirs)


def of_threads(results: list[threads.Throughput], counted: threads.Permits | None) -> Iterator[Promise]:
    """Yield the promises about 8 threads."""
    for measured in results:
        ours = measured.median(subjects.OURS)
        if ours is not None:
            what = f"8 threads: {measured.case.title}; throughput against one thread"
            yield Promise(what, THROUGHPUT, ours, at_least=True)
    if counted is not None:
        yield Promise("8 threads: calls in flight in a bulkhead", counted.limit, counted.most)
        lost = counted.limit - counted.left
        yield Promise("8 threads: permits lost or gained", 0, abs(lost))


def of_http(results: list[http.Measured]) -> Iterator[Promise]:
    """Yield the promises about the standard pipeline in an HTTP client."""
    for measured in results:
        ours = measured.median(subjects.OURS)
        if ours is not None:
            what = f"{measured.case.title}: standard pipeline; multiple of a bare client"
            yield Promise(what, HTTP[measured.case.over], ours)
        for name, limit in HTTP_HIT.items():
            hit = measured.median(name)
            if hit is not None and not (name == http_clients.CACHED_SQLITE and measured.case.colour == "async"):
                yield Promise(f"{measured.case.title}: {name}; multiple of a bare client", limit, hit)


def of_telemetry(results: list[telemetry.Measured]) -> Iterator[Promise]:
    """Yield the promises about statistics."""
    for measured in results:
        if measured.case.path == "success":
            what = f"{measured.case.colour}: {measured.case.title}; what statistics add"
            yield Promise(what, STATISTICS_US, measured.added, " µs")


def of_control(results: list[control.Measured]) -> Iterator[Promise]:
    """Yield the promises about the control directory."""
    for measured in results:
        what = f"{measured.case.colour}: {measured.case.title}; what control adds, as a multiple of an empty decorator"
        yield Promise(what, CONTROL, measured.added)


def of_startup(measured: startup.Startup) -> Iterator[Promise]:
    """Yield the promises about `import resilient`."""
    ours = measured.imports.get("resilient")
    if ours is not None:
        yield Promise("`import resilient` over bare Python", IMPORT_MS, ours, " ms")
    yield Promise("extras, asyncio, anyio or logging imported by it", 0, len(measured.dragged))


def of_memory(measured: memory.Memory) -> Iterator[Promise]:
    """Yield the promises about memory."""
    for name, used in measured.breakers.items():
        if name.startswith(subjects.OURS):
            window = name.removeprefix(subjects.OURS).strip()
            yield Promise(
                f"memory of a pipeline with one policy: {cases.TITLES[window]}", BREAKER_BYTES, used, " bytes"
            )
    if measured.keyed_resident is not None:
        yield Promise("100 000 keyed breakers, resident", KEYED_MB, measured.keyed_resident, " MB")
    yield Promise("heap growth over 90 000 short-lived decorations", FLAT_BYTES, measured.decorations, " bytes")
