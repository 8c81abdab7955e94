"""This process's side of the control directory: holds come in, and what happens here is shown on its page.

It begins with the first call of any pipeline. One thread looks at the epoch's word ten times a second, so that
an idle process follows, too, and once a second at everything that changes by itself. A call never waits for
that thread; where it is late or dead, each call still compares the word before it is admitted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Final

from resilient import faults
from resilient._gate.gate import GateGuard
from resilient._runtime import live
from resilient._weave import inlays
from resilient._weave.gates import gates
from resilient.clock import SYSTEM, Clock
from resilient.control import paths
from resilient.control.applying import Applying
from resilient.control.beat import Beat
from resilient.control.chores import Chores
from resilient.control.crossing import Crossing
from resilient.control.directory import Directory
from resilient.control.errors import ControlUnavailable
from resilient.control.news import log, tell

__all__ = ["Agent"]

_LOOK: Final = 0.1
"""Seconds between two looks at the word."""

_RETRY: Final = 5.0
"""Seconds between two attempts to reach a directory that could not be used."""


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
        self._begun = self._beginning = self._over = False
        self._chores: Chores | None = None
        self._parents: Chores | None = None
        self._beat = Beat(self.beat, _LOOK)
        self._lock = RLock()
        self._crossing = Crossing()
        self._retry = self._due = 0.0
        self._shown: int | None = None
        live.add(self)
        live.around_forks(self)

    # -- what the gates ask --------------------------------------------------------------------

    @property
    def word(self) -> Sequence[int]:
        """What to compare."""
        return self.applying.word

    @property
    def begun(self) -> bool:
        """Whether the first call was."""
        return self._begun

    def refresh(self, gate: GateGuard) -> None:
        """Have a gate take what is in force; begin, if this is the first call. Never raises."""
        try:
            if not self._begun:
                self.begin()
            if not self.applying.failing(gate):
                self.applying.refresh([gate])
        except Exception as fault:  # noqa: BLE001 -- control never fails a call
            faults.report(Agent, fault)

    # -- life ------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Reach for the directory and start the thread, unless that was done, or this process ends."""
        with self._lock:
            if self._begun or self._beginning or self._over:  # beginning: this very thread, further out
                return
            self._beginning = True
            try:
                self._crossing.enter()
                news = self._reach()
                self._chores = self._chores or self._employed()
                self._beat.start()
                # Not before: the first calls of other threads wait for the holds instead of passing without them.
                # And not at all if an exception from a signal handler cut this short: the next call does it again.
                self._begun = True
            finally:
                self._beginning = False
                self._crossing.leave()
        news()  # when the lock is gone: listeners may call
        if "multiprocessing.util" in sys.modules:  # its children leave without `atexit`
            sys.modules["multiprocessing.util"].Finalize(None, self.end, exitpriority=-100)

    def _employed(self) -> Chores | None:
        try:
            chores = Chores(self.app, self.applying, statistics=self.statistics)
        except Exception as fault:  # noqa: BLE001 -- holds are followed all the same
            faults.report(Agent, fault)
            return None
        parents, self._parents = self._parents, None
        if parents is not None:
            parents.leave()
        return chores

    def end(self) -> None:
        """Stop the thread, show the last state, and let go of the page, for good. What is held stays held."""
        with self._lock:
            self._over, self._begun = True, False
            chores, self._chores = self._chores, None
            parents, self._parents = self._parents, None
        self._beat.stop()
        if chores is not None:
            chores.close()
        if parents is not None:
            parents.leave()

    def show(self) -> bool:
        """Write this process's page now; tell whether there is one."""
        chores = self._chores
        return self._begun and chores is not None and chores.show()

    def _reach(self) -> Callable[[], None]:
        """Open the directory; where that fails, this process goes on by itself. Return what tells of it."""
        before = self.path
        try:
            self.path = paths.location(self.app, self.asked)
            directory = Directory(self.path, create=True, app=self.app)
        except Exception as fault:  # noqa: BLE001 -- control never fails a call
            self._retry = SYSTEM.now() + _RETRY
            return self._lost(fault)
        self.applying.use(directory)
        self._connect()
        problem, self.problem = self.problem, ""
        if problem:
            revision = self.applying.intent.revision
            return partial(tell, "resilient.control.restored", directory=str(self.path), revision=revision)
        return partial(log, "control directory %s, for %r", self.path, self.app) if before is None else _nothing

    def _lost(self, fault: Exception) -> Callable[[], None]:
        first, self.problem = not self.problem, str(fault) or type(fault).__name__
        if first or self.applying.directory is not None:
            self.applying.use(None)
            self._connect()
        if not isinstance(fault, ControlUnavailable):
            faults.report(Agent, fault)
        if not first:
            return _nothing
        return partial(tell, "resilient.control.lost", directory=str(self.path), problem=self.problem)

    def _connect(self) -> None:
        """Have every gate compare the word that counts now."""
        for gate in gates():
            gate.unsettle()
        inlays.reweave_all()

    # -- the thread --------------------------------------------------------------------------------

    def beat(self) -> None:
        """Do what is due now."""
        word = self.word[0]
        if word != self._shown or not self.applying.current():
            self.step(word)
        if SYSTEM.now() >= self._due:
            self._due = SYSTEM.now() + 1.0
            self.tick()

    def step(self, word: int) -> None:
        """Have every gate take what is in force, and show that; calls may have read it before."""
        fresh = self.applying.refresh(gates(), eager=True)
        chores = self._chores
        if fresh and chores is not None:
            self._shown = word
            chores.applied()

    def tick(self) -> None:
        """Do what is due each second."""
        directory = self.applying.directory
        if directory is None:
            if SYSTEM.now() >= self._retry:
                self._reach()()
        elif not directory.intact():
            self._replaced(directory)
        chores = self._chores
        if chores is not None:
            chores.tick()

    def _replaced(self, directory: Directory) -> None:
        """Go over to the directory that has the name now, or on without one."""
        self.problem = "it was removed or replaced"
        tell("resilient.control.lost", directory=str(directory.path), problem=self.problem)
        self._reach()()
        if self.applying.directory is not None:
            # Not yet shown: the page of before belongs to the old directory, and is left behind first.
            self.applying.refresh(gates(), eager=True)
        if self._chores is not None:
            self._chores.moved()

    # -- forks ---------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Stop the thread: it may hold locks, and does not live on in the child. Wait for who begins just now."""
        self._beat.stop()
        self._crossing.before_fork()

    def after_fork(self) -> None:
        """Go on in the parent."""
        self._crossing.after_fork()
        if self._begun:
            self._beat.start()

    def renew(self) -> None:
        """Begin anew with the first call of a forked child: a page and a thread of its own."""
        self._lock = RLock()
        self._begun = self._beginning = self._over = False
        self._parents, self._chores = self._chores or self._parents, None
        self._shown = None
        self._crossing.renew()
        self._beat.renew()
        self.applying.renew()

    def use_clock(self, clock: Clock) -> None:
        """Do nothing: what is shared with other processes runs on the system's clock."""


def _nothing() -> None:
    """Tell nothing."""
