"""Transports that wait to be closed, and the event loop on which each of them has to be.

Whoever ends a request may be the collector, or a task on another loop. So what is to be closed
lies here until the next regular step of a request, or the closing of all, comes by.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import Any, Protocol

from resilient import faults
from resilient._http import pool_health
from resilient._runtime import awaiting

_closers: set[asyncio.Task[None]] = set()
"""Held here, because a loop holds its tasks weakly."""


class Closable(Protocol):
    """A transport, and what its connections are bound to."""

    home: object
    transport: Any


def here() -> object:
    """Return what the connections of this task are bound to: its asyncio loop, or its trio run."""
    task, loop = awaiting.task_and_loop()
    if task is not None:
        return loop
    return sys.modules["trio"].lowlevel.current_trio_token()


def gone(home: Any) -> bool:  # noqa: ANN401 -- a loop or a token
    """Tell whether an event loop is over, so that nothing on it can be closed properly."""
    closed = getattr(home, "is_closed", None)
    if closed is not None:
        return bool(closed())
    try:
        home.run_sync_soon(int)
    except RuntimeError:  # trio's way to say it
        return True
    return False


class Closing(deque[Closable]):
    """What waits to be closed. Adding to it is one atomic step."""

    def sweep(self) -> None:
        """Close everything, for threads."""
        while self:
            try:
                each = self.popleft()
            except IndexError:  # another thread took it
                return
            try:
                each.transport.close()
            except Exception as fault:  # noqa: BLE001 -- not the failure of whoever came by
                faults.report(self.sweep, fault)

    async def asweep(self) -> None:
        """Close what belongs to this loop, forget what belongs to none, and leave the rest to its own."""
        home = here()
        for _ in range(len(self)):
            try:
                each = self.popleft()
            except IndexError:
                return
            if each.home is home:
                await _shielded(each.transport)
            elif gone(each.home):
                pool_health.disown(each.transport)
            else:
                self.append(each)

    def renew(self) -> None:
        """Forget, in a forked child, what the parent has to close."""
        while self:
            pool_health.disown(self.popleft().transport)


async def _shielded(transport: Any) -> None:  # noqa: ANN401
    """Close a transport to the end, even if this task is being cancelled."""
    task, loop = awaiting.task_and_loop()
    if task is None or loop is None:
        await _quietly(transport)  # under trio the family's own shield holds
        return
    closer = loop.create_task(_quietly(transport))
    _closers.add(closer)
    closer.add_done_callback(_closers.discard)
    await asyncio.shield(closer)


async def _quietly(transport: Any) -> None:  # noqa: ANN401
    try:
        await transport.aclose()
    except Exception as fault:  # noqa: BLE001 -- not the failure of whoever came by
        faults.report(_quietly, fault)
