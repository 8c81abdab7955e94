"""Count memory: of one breaker, of 100 000 keyed ones, and of decorations that come and go.

Each measurement runs in an interpreter of its own, so that none sees the garbage of another.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tracemalloc
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

BREAKERS = 2_000
KEYS = 100_000
DECORATIONS = 100_000


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes, but for the resident memory, which is in megabytes.

    Attributes:
        breakers: Bytes per breaker by library and window, after 200 calls each.
        keyed_resident: Growth of the process for 100 000 keyed breakers, all called, in MB.
        keyed_each: Bytes per keyed breaker, as Python's allocator counts.
        decorations: Bytes by which Python's heap grew over the last nine tenths of 100 000
            decorations that are dropped at once.

    """

    breakers: dict[str, float]
    keyed_resident: float | None
    keyed_each: float
    decorations: float


def measure(*, quick: bool) -> Memory:
    """Run every measurement."""
    keys = KEYS // 10 if quick else KEYS
    keyed = _child("keyed", keys)
    return Memory(
        breakers=_child("breakers", BREAKERS // 10 if quick else BREAKERS),
        keyed_resident=None if keyed["resident"] is None else keyed["resident"] * KEYS / keys,
        keyed_each=_child("keyed_heap", keys // 10),
        decorations=_child("decorations", DECORATIONS // 10 if quick else DECORATIONS),
    )


def breakers(count: int) -> dict[str, float]:
    """Return bytes per breaker for every library that has one."""
    import importlib  # noqa: PLC0415 -- only the child needs it

    from benchmarks import cases, functions, subjects  # noqa: PLC0415
    from benchmarks.peers import PEERS  # noqa: PLC0415

    found: dict[str, float] = {}
    makers = [(subjects.OURS, "benchmarks.ours")]
    makers += [(peer.name, f"benchmarks.peers.{peer.builder}") for peer in PEERS]
    for name, module in makers:
        for policy in ("breaker-count", "breaker-time", "breaker-consecutive"):
            try:
                decorate = importlib.import_module(module).decorate
                decorate(cases.Case(policy))(functions.steady)(0)
            except Exception:  # noqa: BLE001, S112 -- not there or not sync: a dash
                continue
            found[f"{name} {policy}"] = _per_item(
                lambda: decorate(cases.Case(policy)),  # noqa: B023 -- called at once
                count,
                keeps_in_function=name == "pyresilience",
            )
    return found


def _per_item(make: Any, count: int, *, keeps_in_function: bool) -> float:
    from benchmarks import functions  # noqa: PLC0415

    kept: list[Any] = [None] * count
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for index in range(count):
        breaker = make()
        kept[index] = breaker
        guarded = breaker(functions.steady)
        if keeps_in_function:
            kept[index] = guarded
        for _ in range(200):
            guarded(0)
    del breaker, guarded
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return used / count


def keyed(count: int) -> dict[str, float | None]:
    """Return by how many megabytes the process grew for so many keyed breakers."""
    before = _resident()
    family = _family(count)
    after = _resident()
    _expect(family, count)
    return {"resident": None if before is None or after is None else after - before}


def keyed_heap(count: int) -> float:
    """Return bytes per keyed breaker."""
    _family(10)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    family = _family(count)
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] - before
    _expect(family, count)
    return used / count


def _family(count: int) -> Any:
    from resilient import CircuitBreaker, Keyed  # noqa: PLC0415

    family = Keyed(f"tenants {count}", CircuitBreaker(), most=count)
    for key in range(count):
        family.call(key, int)
    return family


def _expect(family: Any, count: int) -> None:
    # It also keeps the family alive until the memory was read.
    if len(family) != count:
        message = f"{len(family)} members instead of {count}"
        raise RuntimeError(message)


def decorations(count: int) -> float:
    """Return by how many bytes the heap grew while decorated functions came and went."""
    from resilient import Bulkhead, CircuitBreaker, Pipeline, Retry  # noqa: PLC0415

    pipeline = Pipeline("short-lived", Retry(), CircuitBreaker(), Bulkhead(20))

    def come_and_go(times: int) -> int:
        for index in range(times):
            pipeline(lambda value, index=index: (value, index))(index)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    early = come_and_go(count // 10)
    return come_and_go(count - count // 10) - early


def _resident() -> float | None:
    """Return the resident memory of this process in megabytes, None where it cannot be told."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        import resource  # noqa: PLC0415 -- not on Windows

        return pages * resource.getpagesize() / 2**20
    except (OSError, ImportError):
        return None


def _child(what: str, count: int) -> Any:
    done = subprocess.run(  # noqa: S603 -- this interpreter, this module
        [sys.executable, "-m", "benchmarks.memory", what, str(count)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout)


def as_json(memory: Memory) -> dict[str, Any]:
    """Return plain data."""
    return asdict(memory)


if __name__ == "__main__":
    known = {each.__name__: each for each in (breakers, keyed, keyed_heap, decorations)}
    print(json.dumps(known[sys.argv[1]](int(sys.argv[2]))))
