"""A thread that does a little work again and again, and can be put aside while the process is forked."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Lock, Thread, current_thread
from typing import Final

from resilient import faults

__all__ = ["Beat"]

_PATIENCE: Final = 2.0
"""Seconds that a fork, or the end of the process, waits for the thread."""


class Beat:
    """One daemon thread, or none.

    Args:
        work: What it does; a fault there is reported, and the thread goes on.
        pause: Seconds between two times.

    """

    __slots__ = ("_lock", "_pause", "_stop", "_thread", "_work")

    def __init__(self, work: Callable[[], object], pause: float) -> None:
        self._work = work
        self._pause = pause
        self._lock = Lock()
        self._stop = Event()
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin, unless it has begun."""
        with self._lock:
            if self._thread is None:
                # An event of its own: a thread for which nobody could wait any longer ends all the same.
                stop = self._stop = Event()
                self._thread = thread = Thread(target=self._run, args=(stop,), name="resilient-control", daemon=True)
                try:
                    thread.start()
                except RuntimeError as fault:  # no more threads, or too late: calls alone look at the word
                    self._thread = None
                    faults.report(Beat, fault)

    def stop(self) -> None:
        """End, and wait for that, but not for ever."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stop.set()
        if thread is not None and thread is not current_thread():
            thread.join(_PATIENCE)

    def renew(self) -> None:
        """Have no thread, in a forked child."""
        self._lock = Lock()
        self._stop = Event()
        self._thread = None

    def _run(self, stop: Event) -> None:
        while not stop.is_set():
            try:
                self._work()
            except Exception as fault:  # noqa: BLE001 -- the thread goes on
                faults.report(Beat, fault)
            stop.wait(self._pause)
