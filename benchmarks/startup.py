"""Time `import`: fresh interpreters, in turn with one that imports nothing.

Modules are compiled beforehand, as an installer leaves them. Time is that of the processor where
the system tells it, so that a busy machine disturbs less, else wall time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from statistics import median

from benchmarks.peers import PEERS

UNWANTED = ("asyncio", "anyio", "trio", "logging", "httpx", "httpx2", "tenacity", "rich")


@dataclass(frozen=True, slots=True)
class Startup:
    """Milliseconds over bare Python, median, and what was imported along the way."""

    bare: float
    imports: dict[str, float]
    dragged: list[str]


def measure(rounds: int) -> Startup:
    """Time the import of this library and of every peer that is installed."""
    with tempfile.TemporaryDirectory() as compiled:
        environment = os.environ | {"PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        return _measure(rounds, environment)


def _measure(rounds: int, environment: dict[str, str]) -> Startup:
    wanted = {"resilient": "resilient"} | {peer.name: peer.imports for peer in PEERS}
    statements = {"bare": "pass"}
    for name, module in wanted.items():
        if _run(f"import {module}", environment) is not None:  # this compiles it, too
            statements[name] = f"import {module}"
    took: dict[str, list[float]] = {name: [] for name in statements}
    for _ in range(rounds):
        for name, statement in statements.items():
            seconds = _run(statement, environment)
            if seconds is None:
                message = f"{statement!r} failed"
                raise RuntimeError(message)
            took[name].append(seconds * 1e3)
    bare = took.pop("bare")
    over = {
        name: median(mine - nothing for mine, nothing in zip(times, bare, strict=True)) for name, times in took.items()
    }
    return Startup(median(bare), over, _dragged())


def _run(statement: str, environment: dict[str, str]) -> float | None:
    began = _now()
    done = subprocess.run(  # noqa: S603 -- this interpreter, a constant statement
        [sys.executable, "-c", statement], check=False, capture_output=True, env=environment
    )
    return _now() - began if done.returncode == 0 else None


def _now() -> float:
    """Return the processor time of finished children, or the wall time where that is not told."""
    try:
        import resource  # noqa: PLC0415 -- not on Windows
    except ImportError:
        return time.perf_counter()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _dragged() -> list[str]:
    """Return which modules come along with `import resilient` that nobody asked for."""
    program = f"import sys, resilient; print(*(set({UNWANTED!r}) & set(sys.modules)))"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return sorted(done.stdout.split())
