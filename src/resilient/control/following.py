"""This process's side of the control directory: holds come in, and what happens here is shown on its page.

It begins with the first call of any pipeline. One thread looks at the epoch's word ten times a second, so that
an idle process follows, too, and once a second at everything that changes by itself. A call never waits for
that thread; where it is late or dead, each call still compares the word before it is admitted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Event, RLock, Thread
from typing import Final

from resilient import faults
from resilient._gate.gate import GateGuard
from resilient._runtime import live
from resilient._weave import inlays
from resilient._weave.gates import gates
from resilient.clock import SYSTEM, Clock
from resilient.control import paths
from resilient.control.applying import Applying
from resilient.control.chores import Chores
from resilient.control.directory import Directory
from resilient.control.errors import ControlUnavailable
from resilient.control.news import log, tell

__all__ = ["Agent"]

_LOOK: Final = 0.1
"""Seconds between two looks at the word."""

_RETRY: Final = 5.0
"""Seconds between two attempts to reach a directory that could not be used."""

_PATIENCE: Final = 2.0
"""Seconds that a fork, or the end of the process, waits for the thread."""


class Agent:
    """Keeps one process in step with its control directory. It is the source of the gates' holds.

    Args:
        app: Name of the application.
        directory: The control directory, or None for the usual place.
        statistics: Whether calls are measured.

    """

    def __init__(self, app: str, directory: str | os.PathLike[str] | None, *, statistics: bool) -> None:
        self.app = app
        self.asked = directory
        self.statistics = statistics
        self.applying = Applying()
        self.path: Path | None = None
        self.problem = ""
        self._begun = self._beginning = False
        self._chores: Chores | None = None
        self._thread: Thread | None = None
        self._wake = Event()
        self._lock = RLock()
        self._retry = 0.0
        live.add(self)
        live.around_forks(self)

    # -- what the gates ask --------------------------------------------------------------------

    @property
    def word(self) -> Sequence[int]:
        """What to compare."""
        return self.applying.word

    def refresh(self, gate: GateGuard) -> None:
        """Have a gate take what is in force; begin, if this is the first call."""
        if not self._begun:
            self.begin()
        self.applying.refresh([gate])

    # -- life ------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Reach for the directory and start the thread, unless that was done. Never raises."""
        with self._lock:
            if self._begun or self._beginning:  # the latter by this very thread, further out
                return
            self._beginning = True
            try:
                self._reach()
                self._chores = Chores(self.app, self.applying, statistics=self.statistics)
                self._start()
            finally:
                # Not before: the first calls of other threads wait for the holds instead of passing without them.
                self._beginning, self._begun = False, True
        if "multiprocessing.util" in sys.modules:  # its children leave without `atexit`
            sys.modules["multiprocessing.util"].Finalize(None, self.end, exitpriority=-100)

    def end(self) -> None:
        """Stop the thread, show the last state, and let go of the page. What is held stays held."""
        with self._lock:
            self._stop()
            chores, self._chores, self._begun = self._chores, None, False
        if chores is not None:
            chores.close()

    def show(self) -> bool:
        """Write this process's page now; tell whether there is one."""
        chores = self._chores
        return self._begun and chores is not None and chores.show()

    def _reach(self) -> None:
        """Open the directory; where that fails, this process goes on by itself, visibly."""
        before = self.path
        try:
            self.path = paths.location(self.app, self.asked)
            directory = Directory(self.path, create=True, app=self.app)
        except Exception as fault:  # noqa: BLE001 -- control never fails a call
            self._retry = SYSTEM.now() + _RETRY
            self._lost(fault)
            return
        self.applying.use(directory)
        self._connect()
        if self.problem:
            self.problem = ""
            tell("resilient.control.restored", directory=str(self.path), revision=self.applying.intent.revision)
        elif before is None:
            log("control directory %s, for %r", self.path, self.app)

    def _lost(self, fault: Exception) -> None:
        first = not self.problem
        self.problem = str(fault) or type(fault).__name__
        self.applying.use(None)
        self._connect()
        if first:
            tell("resilient.control.lost", directory=str(self.path), problem=self.problem)
            if not isinstance(fault, ControlUnavailable):
                faults.report(Agent, fault)

    def _connect(self) -> None:
        """Have every gate compare the word that counts now."""
        for gate in gates():
            gate.unsettle()
        inlays.reweave_all()

    # -- the thread --------------------------------------------------------------------------------

    def _start(self) -> None:
        self._wake.clear()
        self._thread = Thread(target=self._run, name="resilient-control", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as fault:  # no more threads, or too late: calls alone look at the word
            self._thread = None
            faults.report(Agent, fault)

    def _stop(self) -> None:
        thread, self._thread = self._thread, None
        self._wake.set()
        if thread is not None and thread.is_alive():
            thread.join(_PATIENCE)

    def _run(self) -> None:
        due = 0.0
        while not self._wake.is_set():
            try:
                changed = not self.applying.current()
                if changed:
                    self.step()
                if SYSTEM.now() >= due:
                    due = SYSTEM.now() + 1.0
                    self.tick()
            except Exception as fault:  # noqa: BLE001 -- the thread goes on
                faults.report(Agent, fault)
            self._wake.wait(_LOOK)

    def step(self) -> None:
        """Have every gate take what is in force, and show that."""
        fresh = self.applying.refresh(gates())
        chores = self._chores
        if fresh and chores is not None:
            chores.applied()

    def tick(self) -> None:
        """Do what is due each second."""
        directory = self.applying.directory
        if directory is None:
            if SYSTEM.now() >= self._retry:
                self._reach()
        elif not directory.intact():
            self._replaced(directory)
        chores = self._chores
        if chores is not None:
            chores.tick()

    def _replaced(self, directory: Directory) -> None:
        """Go over to the directory that has the name now, or on without one."""
        known = self.applying.intent.revision
        tell("resilient.control.lost", directory=str(directory.path), problem="it was removed or replaced")
        self.problem = "it was removed or replaced"
        directory.close()
        self._reach()
        if self.applying.directory is not None:
            # Not yet shown: the page of before belongs to the old directory, and is left behind first.
            self.applying.refresh(gates())
            if self.applying.intent.revision < known:
                tell(
                    "resilient.control.regressed",
                    directory=str(self.path),
                    known=known,
                    revision=self.applying.intent.revision,
                    kept=len(self.applying.kept),
                )
        if self._chores is not None:
            self._chores.moved()

    # -- forks ---------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Stop the thread: it may hold locks, and does not live on in the child."""
        self._stop()

    def after_fork(self) -> None:
        """Go on in the parent."""
        if self._begun and self._thread is None:
            self._start()

    def renew(self) -> None:
        """Begin anew with the first call of a forked child: a page and a thread of its own."""
        self._lock = RLock()
        self._wake = Event()
        self._begun = self._beginning = False
        self._thread, self._chores = None, None
        self.applying.renew()

    def use_clock(self, clock: Clock) -> None:
        """Do nothing: what is shared with other processes runs on the system's clock."""
