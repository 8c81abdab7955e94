"""Run a plain function in a daemon thread, so that its caller can leave on time.

Idle threads are kept for the next call. Only *abandoned* threads are limited, those whose
caller has left while the function still runs: busy threads are not, so that pipelines inside
pipelines cannot starve each other.
"""

from __future__ import annotations

import threading
from _thread import LockType, allocate_lock
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from itertools import count
from typing import Any

from resilient.clock import Clock

_MOST_IDLE = 32
"""How many idle threads are kept for the next calls."""

MOST_ABANDONED = 64
"""How many abandoned threads a process may have before further hops are refused."""

_idle: deque[_Worker] = deque()
_abandoned: dict[int, Job] = {}
_numbers = count(1)


class Job:
    """One function call in a worker.

    Whoever steps `claim` first decides how it counts: the worker that has the result, or the
    caller that leaves without it.
    """

    __slots__ = ("_after", "_call", "claim", "done", "ended", "error", "result")

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._after: deque[Callable[[], None]] = deque()
        self.claim = count().__next__
        self.done: LockType = allocate_lock()
        self.done.acquire()
        self.ended = False
        self.error: BaseException | None = None
        self.result: Any = None

    def run(self) -> None:
        """Call the function and tell whoever is still there; runs in the worker."""
        try:
            self.result = self._call()
        except BaseException as error:  # noqa: BLE001 -- it belongs to the caller
            self.error = error
        del self._call
        self.ended = True
        if self.claim():
            _abandoned.pop(id(self), None)
            self.error = self.result = None
        self._finish()

    def abandon(self) -> bool:
        """Leave the function to itself; False if it has just ended and its result is here."""
        _abandoned[id(self)] = self
        if self.claim():
            _abandoned.pop(id(self), None)
            return False
        return True

    def afterwards(self, callback: Callable[[], None]) -> None:
        """Call back, from the worker, once the function has really ended."""
        self._after.append(callback)
        if self.ended:
            self._finish()

    def _finish(self) -> None:
        while self._after:
            try:
                callback = self._after.popleft()
            except IndexError:  # the other side took it
                return
            callback()


class _Worker(threading.Thread):
    """A daemon thread that runs one job after another."""

    def __init__(self) -> None:
        super().__init__(name=f"resilient-{next(_numbers)}", daemon=True)
        self.wake = allocate_lock()
        self.wake.acquire()
        self.job: Job | None = None

    def run(self) -> None:
        while True:
            # Without a timeout, which would make every hop a tenth dearer.
            self.wake.acquire()
            job, self.job = self.job, None
            if job is None:
                return
            done = job.done
            job.run()
            del job
            # Idle before the caller wakes: its next call finds this very thread.
            keep = len(_idle) < _MOST_IDLE
            if keep:
                _idle.append(self)
            done.release()
            if not keep:
                return


def working() -> bool:
    """Tell whether this thread is one of the workers."""
    return isinstance(threading.current_thread(), _Worker)


def abandoned() -> int:
    """Return how many abandoned threads still run."""
    return len(_abandoned)


def start(context: Context, function: Callable[..., Any], args: Any, kwargs: Any) -> Job:  # noqa: ANN401 -- any function
    """Start a function in a worker, in the given context, and return its job."""
    job = Job(lambda: context.run(function, *args, **kwargs))
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
        worker.job = job
        worker.start()  # a RuntimeError where the system has no more threads
    else:
        worker.job = job
    worker.wake.release()
    return job


def finish(job: Job, clock: Clock, seconds: float) -> bool:
    """Wait for a job; False if it was abandoned because the time was up.

    An exception from outside (`KeyboardInterrupt`) abandons the job, too.
    """
    try:
        if clock.acquire(job.done, seconds):
            return True
    except BaseException:
        job.abandon()
        raise
    if job.abandon():
        return False
    job.done.acquire()
    return True


def context() -> Context:
    """Return a copy of the calling thread's context variables."""
    return copy_context()


def renew() -> None:
    """Forget the parent's threads, in a forked child."""
    _idle.clear()
    _abandoned.clear()
