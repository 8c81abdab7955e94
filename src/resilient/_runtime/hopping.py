"""Call a plain function in a worker thread from async code, and leave it when its time is up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from functools import partial
from typing import Any

from resilient._runtime import threads
from resilient._runtime.awaiting import TaskWaiter
from resilient.clock import Clock


async def in_thread(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], clock: Clock, seconds: float
) -> threads.Job | None:
    """Return the job once the function has ended, or None if it was left behind because its time was up.

    Cancellation leaves it behind, too. The function sees no context variables of the caller's.

    Raises:
        RuntimeError: Where the system has no more threads.

    """
    job = threads.start(Context(), function, args, kwargs)
    return job if await ended(job, clock, seconds) else None


async def ended(job: threads.Job, clock: Clock, seconds: float) -> bool:
    """Wait for a job; False if it was abandoned because the time was up. Cancellation abandons it, too."""
    waiter: TaskWaiter[None] = TaskWaiter()
    job.afterwards(partial(_ring, waiter))
    try:
        await waiter.wait(clock, seconds)
    except BaseException:
        job.abandon()
        raise
    return not job.abandon()


def _ring(waiter: TaskWaiter[None]) -> None:
    waiter.offer(None)
