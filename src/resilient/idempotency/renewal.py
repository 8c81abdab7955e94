"""Renew the leases of all operations that this process executes, from one thread.

A thread, because it serves plain code, asyncio and trio alike, and goes on while a handler keeps
its event loop busy. It runs only while there is something to renew.
"""

from __future__ import annotations

import weakref
from _thread import allocate_lock
from collections.abc import Callable
from contextvars import Context

from resilient import faults
from resilient._runtime import live, threads
from resilient.clock import Clock, current
from resilient.idempotency.pages import Page

__all__ = ["Claim", "Renewer"]


class Claim:
    """An operation that we execute: its page, and the version of it that is our fencing token."""

    __slots__ = ("__weakref__", "_freed", "ending", "key", "page", "seen", "version")

    def __init__(self, key: str, page: Page, version: int) -> None:
        self.key = key
        self.page = page
        self.version = version
        self.ending = False
        """Whether it is on its way to its end, so that losing its lease is no news."""
        self.seen = current().now()
        """When its lease was renewed last."""
        self._freed = False

    def free(self) -> None:
        """Say that it did nothing, so that a renewal under way leaves no record behind."""
        self.ending = self._freed = True

    def freed(self) -> bool:
        """Tell whether it did nothing."""
        return self._freed


class Renewer:
    """Renews the leases of a book's claims while they live.

    Args:
        renew: Renews one claim, in time bounded by itself; False if its lease is lost.
        every: Seconds between two looks at all claims.
        before: Called before each look.

    """

    __slots__ = ("__weakref__", "_at_work", "_before", "_claims", "_every", "_lock", "_renew", "_running")

    def __init__(
        self, renew: Callable[[Claim], bool], every: float, before: Callable[[], object] = lambda: None
    ) -> None:
        self._renew = renew
        self._before = before
        self._every = every
        self._claims: dict[str, weakref.ref[Claim]] = {}
        self._at_work: weakref.WeakValueDictionary[str, Claim] = weakref.WeakValueDictionary()
        self._lock = allocate_lock()
        self._running = False
        live.add(self)

    def owns(self, owner: str) -> bool:
        """Tell whether an operation is executed in this very process, whatever the clocks say."""
        return owner in self._claims

    def executes(self, key: str) -> bool:
        """Tell whether a key's operation runs in this very process, whatever became of its record."""
        return key in self._at_work

    def watch(self, claim: Claim) -> None:
        """Renew a claim's lease until it is left, or lost, or nobody holds it any more."""
        claims, owner = self._claims, claim.page.owner

        # The collector runs it: one atomic step.
        def gone(_: object, pop: Callable[[str, None], object] = claims.pop, owner: str = owner) -> None:
            pop(owner, None)

        claims[owner] = weakref.ref(claim, gone)
        self._at_work[claim.key] = claim
        with self._lock:
            starts, self._running = not self._running, True
        if starts:
            try:
                threads.start(Context(), self._run, (), {})
            except RuntimeError as fault:  # the system has no more threads: this lease ends on its day
                self._running = False
                faults.report(Renewer, fault)

    def leave(self, claim: Claim) -> None:
        """Renew it no more: it has ended."""
        self._claims.pop(claim.page.owner, None)
        if self._at_work.get(claim.key) is claim:
            self._at_work.pop(claim.key, None)

    def _run(self) -> None:
        never = allocate_lock()
        never.acquire()
        while True:
            current().acquire(never, self._every)
            self.look()
            with self._lock:
                if not self._claims:
                    self._running = False
                    return

    def look(self) -> None:
        """Renew each claim that has not just begun; so it happens within three quarters of a lease."""
        self._before()
        for reference in list(self._claims.values()):
            claim = reference()
            if claim is not None and current().now() - claim.seen >= self._every / 2:
                self._one(claim)
            del claim

    def _one(self, claim: Claim) -> None:
        try:
            kept = self._renew(claim)
        except Exception as fault:  # noqa: BLE001 -- the others are to be renewed, too
            faults.report(Renewer, fault)
            return
        if kept:
            claim.seen = current().now()
        else:  # somebody else has the lease; that it runs here is as true as before
            self._claims.pop(claim.page.owner, None)

    def renew(self) -> None:
        """Leave the parent's operations to the parent, in a forked child."""
        self._claims = {}
        self._at_work = weakref.WeakValueDictionary()
        self._lock = allocate_lock()
        self._running = False

    def use_clock(self, clock: Clock) -> None:
        """Each wait asks which clock is in force."""
