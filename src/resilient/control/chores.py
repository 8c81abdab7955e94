"""What a process does for its control directory once a second: its page, its events, and the keeper's work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from threading import RLock
from typing import Final

from resilient import events, faults
from resilient._weave.gates import gates
from resilient.clock import SYSTEM
from resilient.control import events_log
from resilient.control.applying import Applying
from resilient.control.host import Identity
from resilient.control.keeper import Keeper
from resilient.control.news import tell
from resilient.control.page import OwnPage
from resilient.control.snapshot import Showing
from resilient.control.telling import Telling
from resilient.events import Event
from resilient.telemetry.statistics import PROCESS

__all__ = ["Chores"]

RECORDED: Final = frozenset(
    {
        "resilient.breaker.transition",
        "resilient.breaker.would_open",
        "resilient.bulkhead.saturated",
        "resilient.control.lost",
        "resilient.control.regressed",
        "resilient.control.restored",
        "resilient.http.pool_rebuilt",
        "resilient.incident.closed",
        "resilient.incident.opened",
        "resilient.override.applied",
        "resilient.override.expired",
        "resilient.override.released",
        "resilient.rate_limit.changed",
        "resilient.retry.budget_exhausted",
        "resilient.store.bypassed",
        "resilient.store.resumed",
    }
)
"""Events that go into the record: those that happen to a downstream now and then, none that happens with each call."""

_MOST: Final = 1_000
"""Events that wait to be recorded; more of them push out the oldest."""

_SOON: Final = 300.0
"""Seconds before the end of a hold at which people are told."""


class Chores:
    """One process's regular work for its control directory.

    Args:
        app: Name of the application.
        applying: What is in force here.
        statistics: Whether calls are measured.

    """

    def __init__(self, app: str, applying: Applying, *, statistics: bool) -> None:
        """Begin to listen and to measure."""
        self.identity = Identity.own(app)
        self.errors: dict[str, int] = {}
        self._applying = applying
        self._statistics = PROCESS if statistics else None
        self._telling = None if self._statistics is None else Telling(self._statistics)
        self._showing = Showing(self.identity, self._telling)
        self._page: OwnPage | None = None
        self._keeper: Keeper | None = None
        self._heard: deque[tuple[float, Event]] = deque(maxlen=_MOST)
        self._told: set[str] = set()
        self._lock = RLock()
        if self._statistics is not None:
            self._statistics.start()
        self._unsubscribe = events.subscribe(self._hear)

    def close(self) -> None:
        """Show the last state, and stop."""
        self._attempt("events", self._record)
        self.show()
        self._unsubscribe()
        if self._statistics is not None:
            self._statistics.stop()
        if self._keeper is not None:
            self._attempt("keeper", self._keeper.close)
        if self._page is not None:
            self._page.close()

    def leave(self) -> None:
        """Do nothing more, in a forked child that has its own: page, keeper and record are the parent's."""
        self._unsubscribe()
        if self._statistics is not None:
            self._statistics.stop()

    def applied(self) -> None:
        """Carry out what was asked for once, and show that everything is in force."""
        self._attempt("commands", self._command)
        self.show()

    def moved(self) -> None:
        """Begin anew in another directory."""
        page, self._page = self._page, None
        keeper, self._keeper = self._keeper, None
        if page is not None:
            page.close()
        if keeper is not None:
            self._attempt("keeper", keeper.close)

    def show(self) -> bool:
        """Write the page; tell whether there is one."""
        # Without a directory there is none, which was told when the directory was lost.
        return self._applying.directory is not None and self._attempt("page", self._show)

    def tick(self) -> None:
        """Do what is due each second."""
        self._attempt("revision", self._catch_up)
        self._attempt("gates", self._follow)
        self._attempt("expiring", self._warn)
        if self._applying.directory is None:
            return
        self._attempt("commands", self._command)
        self._attempt("events", self._record)
        self._attempt("page", self._show)
        self._attempt("keeper", self._keep)

    # -- one chore each ------------------------------------------------------------------------

    def _catch_up(self) -> None:
        """Take in a change whose writer died before it told of it."""
        directory = self._applying.directory
        if directory is not None and directory.revision() != self._applying.intent.revision:
            self._applying.refresh(gates(), force=True)

    def _follow(self) -> None:
        """Have gates follow the clock, also without the record."""
        all_gates = gates()
        if self._applying.timed:
            self._applying.refresh(all_gates)
        for gate in all_gates:
            gate.tick()

    def _warn(self) -> None:
        there = set()
        for hold, left in self._applying.expiring(_SOON):
            there.add(hold.id)
            if hold.id not in self._told and hold.ttl > 2 * _SOON:
                fields = {"id": hold.id, "mode": hold.mode, "reason": hold.reason, "actor": hold.actor}
                tell("resilient.override.expiring", hold.target, **fields, expires=left)
        self._told = there

    def _command(self) -> None:
        for command in self._applying.due():
            for gate in gates():
                if gate.env.downstream == command.target:
                    gate.command(command.command)

    def _record(self) -> None:
        directory = self._applying.directory
        batch = [self._heard.popleft() for _ in range(len(self._heard))]
        if directory is None or not batch:
            return
        try:
            events_log.append(directory, self.identity.instance, batch)
        except BaseException:
            self._heard.extendleft(reversed(batch))
            raise

    def _show(self) -> None:
        directory = self._applying.directory
        if directory is None:
            message = "there is no control directory"
            raise OSError(message)
        with self._lock:
            if self._telling is not None:
                self._telling.use(directory.path)
            if self._page is not None and not self._page.intact():
                self._page.close()
                self._page = None
            if self._page is None:
                first = self._showing.encode(self._applying.intent.revision, self._counted())
                self._page = OwnPage(directory.path, self.identity.instance, first=first)
            self._showing.show(self._page, self._applying.intent.revision, self._counted())
            if self._telling is not None:
                self._telling.shown()

    def _keep(self) -> None:
        directory = self._applying.directory
        if directory is not None:
            if self._keeper is None:
                self._keeper = Keeper(directory)
            self._keeper.tick()

    def _hear(self, event: Event) -> None:
        self._showing.heard(event)
        if event.name in RECORDED:
            self._heard.append((SYSTEM.wall(), event))

    def _counted(self) -> Mapping[str, int]:
        failed = self._applying.failed
        return {**self.errors, **({"reload": failed} if failed else {})}

    def _attempt(self, name: str, chore: Callable[[], object]) -> bool:
        """Do a chore; one that fails is counted, reported once, and done again at its time."""
        try:
            chore()
        except Exception as fault:  # noqa: BLE001 -- control never fails anything else
            self.errors[name] = self.errors.get(name, 0) + 1
            faults.report(chore, fault)
            return False
        return True
