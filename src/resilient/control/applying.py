"""What operators want, as the gates of this process take it: read again when the word has changed, and by the clock.

A reading is bounded. One that fails leaves in force what was known before, for as long as each hold lasts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import count
from threading import RLock
from typing import Final

from resilient import faults
from resilient._gate.gate import NO_WORD, GateGuard
from resilient._gate.held import News
from resilient._machines.holds import CONTROL, Entry
from resilient.clock import SYSTEM
from resilient.control.directory import Directory
from resilient.control.host import boot
from resilient.control.intent import Command, Hold, Intent, Window
from resilient.control.news import tell

__all__ = ["Applying"]

_AGAIN: Final = 0.1
"""Seconds after a reading that failed before the next one."""

_LATER: Final = 1.0
"""The same for calls: they leave it to the thread while there is one, so that none waits for a record in trouble."""


class Applying:
    """The intent in force here.

    Attributes:
        word: The epoch's word that this process compares.
        intent: What was read last.
        kept: Holds of a record that was replaced by an older one, in force until their time is over.
        failed: How often a reading failed.

    """

    __slots__ = (
        "_busy",
        "_count",
        "_done",
        "_ends",
        "_failed",
        "_loaded",
        "_lock",
        "_news",
        "_older",
        "directory",
        "failed",
        "intent",
        "kept",
        "word",
    )

    def __init__(self) -> None:
        self.word: Sequence[int] = NO_WORD
        self.directory: Directory | None = None
        self.intent = Intent()
        self.kept: tuple[Hold, ...] = ()
        self._older = Intent()
        self.failed = 0
        self._count = count(1)
        self._loaded: int | None = None
        self._failed = -math.inf
        self._done: int | None = None
        self._news: list[Callable[[], None]] = []
        self._ends: dict[tuple[str, int], float] = {}
        # The collector may run a call of ours while this thread reads: it then finds the lock taken by itself.
        self._lock = RLock()
        self._busy = False

    def use(self, directory: Directory | None) -> None:
        """Read from another directory, or from none; what is in force stays until it is read."""
        with self._lock:
            before, self.directory = self.directory, directory
            self.word = NO_WORD if directory is None else directory.epoch.word
            self._loaded = self._done = None
            self._failed = -math.inf
        if before is not None:
            before.close()

    def renew(self) -> None:
        """Start afresh in a forked child."""
        self._lock = RLock()
        self._busy = False
        self._loaded = None

    def forget(self) -> None:
        """Have nothing in force."""
        with self._lock:
            self.intent, self.kept = Intent(), ()

    def current(self) -> bool:
        """Tell whether nobody has changed anything since the last reading."""
        return self.word[0] == self._loaded

    def failing(self, gate: GateGuard) -> bool:
        """Tell whether a reading has just failed and a gate has what was known before: then there is nothing to do."""
        return gate.applied == self._loaded and SYSTEM.now() < self._failed + _LATER

    def refresh(self, some: Iterable[GateGuard], *, force: bool = False, eager: bool = False) -> bool:
        """Have gates take what is in force, after a reading if one is due; tell whether that is what is wanted now.

        Args:
            some: The gates.
            force: Whether to read although the word is the same.
            eager: Whether to try again soon after a reading that failed; no call waits for this.

        """
        news: list[tuple[GateGuard, News]] = []
        with self._lock:
            if self._busy:  # this very thread, further out
                return False
            self._busy = True
            try:
                word = self.word[0]
                if word != self._loaded or force:
                    self._read(word, _AGAIN if eager or force else _LATER)
                fresh = word == self._loaded
                news.extend((gate, gate.take(self._entries(gate), self._loaded)) for gate in some)
            finally:
                self._busy = False
        while self._news:
            self._news.pop(0)()
        for gate, told in news:
            gate.publish(told)
        return fresh

    def due(self) -> list[Command]:
        """Return the commands that nobody here has carried out, oldest first, once; none from before this process."""
        with self._lock:
            done = self._done
            found = [each for each in self.intent.commands if done is not None and each.generation > done]
            self._done = found[-1].generation if found else done
        return found

    @property
    def timed(self) -> bool:
        """Whether time alone may change what is in force."""
        return bool(self.intent.windows or self.intent.holds or self.kept)

    def expiring(self, within: float) -> list[tuple[Hold, float]]:
        """Return the holds that end by themselves within so many seconds, and when."""
        left = [(hold, self._until(hold) - SYSTEM.now()) for hold in self.intent.holds]
        return [(hold, seconds) for hold, seconds in left if 0 < seconds <= within]

    def _read(self, word: int, pause: float) -> None:
        now = SYSTEM.now()
        if self.directory is None:
            self._loaded = word
            return
        if now < self._failed + pause:
            return
        try:
            intent = self.directory.load()
        except Exception as fault:  # noqa: BLE001 -- control never fails a call
            self._failed = SYSTEM.now()
            self.failed = next(self._count)
            self._news.append(partial(faults.report, Applying, fault))
            return
        known, self.intent = self.intent, intent
        self._loaded, self._failed = word, -math.inf
        self._keep(known, intent, now)
        newest = max((each.generation for each in intent.commands), default=0)
        if self._done is None or intent.revision < known.revision:  # what was asked for before is not for us
            self._done = newest
        held = {(hold.id, hold.revision) for hold in (*intent.holds, *self.kept)}
        self._ends = {key: end for key, end in self._ends.items() if key in held}

    def _keep(self, known: Intent, intent: Intent, now: float) -> None:
        """Keep the holds that an older record does not know, until their time is over or somebody acts there."""
        if intent.revision < known.revision:
            here = {hold.id for hold in intent.holds}
            self.kept = tuple(hold for hold in (*known.holds, *self.kept) if hold.id not in here)
            self._older = intent
            where = "" if self.directory is None else str(self.directory.path)
            told = partial(tell, "resilient.control.regressed", directory=where, known=known.revision)
            self._news.append(partial(told, revision=intent.revision, kept=len(self.kept)))
        elif self.kept:
            acted = {each.target for each in intent.holds if each not in self._older.holds}
            acted |= {each.target for each in intent.commands if each not in self._older.commands}
            self.kept = tuple(hold for hold in self.kept if hold.target not in acted and self._until(hold) > now)

    def _entries(self, gate: GateGuard) -> list[Entry]:
        name, clock = gate.env.downstream, gate.env.clock
        ahead = 0.0 if clock is SYSTEM else clock.now() - SYSTEM.now()
        now, wall = SYSTEM.now(), SYSTEM.wall()
        found = [
            _entry(hold, self._until(hold) + ahead)
            for hold in (*self.intent.holds, *self.kept)
            if hold.target == name and self._until(hold) > now
        ]
        return found + [
            _entry(window, now + ahead + window.ends_at - wall)
            for window in self.intent.windows
            if window.active(wall) and window.covers(name)
        ]

    def _until(self, hold: Hold) -> float:
        """Return when a hold ends, on this process's clock: fixed when it was received."""
        key = hold.id, hold.revision
        end = self._ends.get(key)
        if end is None:
            end = self._ends[key] = SYSTEM.now() + hold.remaining(SYSTEM.wall(), SYSTEM.now(), boot())
        return end


def _entry(hold: Hold | Window, until: float) -> Entry:
    return Entry(hold.id, hold.mode, hold.reason, hold.actor, until, hold.percent, hold.disposition, CONTROL)
