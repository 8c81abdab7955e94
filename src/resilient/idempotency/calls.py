"""How the book of keys reaches its store: from a thread, or from a task without blocking the loop.

Both have the same async methods. Those for threads never suspend, so that `complete` runs whatever
is written with them without an event loop: what happens at each key stands once for both.
"""

from __future__ import annotations

from typing import Any

from resilient._runtime.blocking import on_event_loop
from resilient.clock import current
from resilient.stores.front import Front

__all__ = ["Calls", "InTasks", "InThreads"]


class InThreads:
    """For plain code."""

    __slots__ = ()

    async def call(self, front: Front, default: object, method: str, *args: object) -> Any:  # noqa: ANN401 -- of any method
        """Ask the store; return `default` if it does not answer."""
        return front.run(default, method, *args)

    async def pause(self, seconds: float) -> bool:
        """Wait; False on the thread of an event loop, which must go on."""
        if on_event_loop():
            return False
        current().sleep(seconds)
        return True


class InTasks:
    """For async code."""

    __slots__ = ()

    async def call(self, front: Front, default: object, method: str, *args: object) -> Any:  # noqa: ANN401
        """Ask the store; return `default` if it does not answer."""
        return await front.arun(default, method, *args)

    async def pause(self, seconds: float) -> bool:
        """Wait."""
        await current().asleep(seconds)
        return True


Calls = InThreads | InTasks
