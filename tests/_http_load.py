"""What the tests of transports under load share: how to look for what a run left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio

PATIENCE = 10.0
_FILES = Path("/proc/self/fd")


def open_files() -> int:
    """How many file descriptors this process has; 0 where that is not to be seen."""
    return len(list(_FILES.iterdir())) if _FILES.exists() else 0


@contextlib.contextmanager
def many_files(needed: int) -> Iterator[None]:
    """Allow so many more file descriptors for a block, as far as the system lets us."""
    resource = __import__("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = open_files() + needed
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def pools(transport: Any) -> list[Any]:
    """The connection pools of one of our transports."""
    return list(transport._pools._pools._all())


def inners(transport: Any) -> list[Any]:
    """The family's own transports in those pools, also those that only wait for their last request."""
    return [inner for pool in pools(transport) for inner in [*pool._inners.values(), *pool._retired]]


def connections(transport: Any) -> list[Any]:
    """All connections of those pools."""
    return [each for inner in inners(transport) for each in inner.transport._pool.connections]


def leases(transport: Any) -> int:
    """How many requests the pools believe to be in progress."""
    return sum(pool.leases for pool in pools(transport))


def leftovers(transport: Any) -> dict[str, int]:
    """What must be zero when no request is in progress."""
    return {
        "leases": leases(transport),
        "busy": sum(not (each.is_idle() or each.is_closed()) for each in connections(transport)),
        "requests": sum(len(inner.transport._pool._requests) for inner in inners(transport)),
        "retired": sum(len(pool._retired) for pool in pools(transport)),
        "to_close": len(transport._pools._pools.closing),
    }


def other_tasks() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def until(condition: Callable[[], object], what: Callable[[], object] = lambda: "") -> None:
    """Wait for what must come true, on asyncio and trio."""
    latest = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < latest, f"it never came true: {what()}"
        gc.collect()
        await anyio.sleep(0.005)


def say(capsys: Any, text: str) -> None:
    """Print figures whatever pytest captures."""
    with capsys.disabled():
        sys.stdout.write("\n" + text)
