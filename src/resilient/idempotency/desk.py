"""Desk: where operations are begun and brought to their end, each in one atomic step.

An operation passes through it like this: `begin` writes the key down, in a step that only one
caller can make; then it is executed, while its lease is renewed; then `finish` writes down what
came of it. A crash in between leaves a key that is begun, with a lease that ends: in doubt.
"""

from __future__ import annotations

from typing import Any

from resilient import clock, events, faults
from resilient._runtime.background import Background
from resilient.idempotency import errors
from resilient.idempotency.calls import Calls
from resilient.idempotency.keys import random_key
from resilient.idempotency.pages import Page, Pages, Seen, Ticket
from resilient.idempotency.renewal import Claim, Renewer
from resilient.stores.contract import Store
from resilient.stores.front import Front

__all__ = ["Desk"]

_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5
_LOOKS = 4
"""How often within a lease the renewer looks whether to renew it."""

_ASK_AGAIN = 60.0
"""Seconds after which to ask again about a key in doubt: somebody has to look into it."""

_DOWN = object()
_MOST_RECALLS = 32

_REFUSALS: dict[str, type[errors.KeyRefused]] = {
    "in_progress": errors.KeyInProgress,
    "in_doubt": errors.KeyInDoubt,
    "reused": errors.KeyReused,
}


class Desk:
    """Begins and ends operations, for a book whose settings it has."""

    def __init__(  # noqa: PLR0913 -- the settings of a book
        self,
        store: Store,
        *,
        name: str,
        lifetime: float,
        lease: float,
        patience: float,
        takes_over: bool,
        goes_on: bool,
    ) -> None:
        """Bind to a store."""
        self.name = name
        self._lease = lease
        self._patience = patience
        self._takes_over = takes_over
        self._goes_on = goes_on
        self._pages = Pages(store, lifetime, lease)
        self._front = self._fresh()
        self._renewing = self._fresh()
        self._recalls = Background(_MOST_RECALLS)
        self._renewer = Renewer(self._renewed, lease / _LOOKS, self._forgive)

    def _fresh(self) -> Front:
        """Return a front that knows nothing of what the store did to others, and so does not spare it."""
        return Front(self._pages, name=self.name, patience=self._patience)

    async def resolve(self, calls: Calls, key_id: str, answer: object, body: bytes, *, free: bool) -> bool:
        """End a doubt by hand; tell whether there was one.

        Raises:
            KeyStoreDown: If the store does not answer.

        """
        page = Page("", random_key(), None, answer, body)
        found = await calls.call(self._fresh(), _DOWN, "settle", key_id, page, free, self._renewer.owns)
        if found is _DOWN:
            raise self._refused(errors.KeyStoreDown, key_id, None)
        return bool(found)

    async def begin(self, calls: Calls, key_id: str, fingerprint: str, wait: float) -> Claim | Page | None:
        """Begin an operation.

        Args:
            calls: How to reach the store.
            key_id: The operation's key.
            fingerprint: Of its content.
            wait: Seconds to wait for one that is in progress.

        Returns:
            A claim: execute it, and `finish` or `free` or `abandon` it. A page: it was executed.
            None: execute it, nobody remembers.

        Raises:
            KeyRefused: Do not execute it.

        """
        end = clock.current().now() + wait
        while True:
            seen = await self._begun(calls, key_id, fingerprint)
            if not isinstance(seen, Seen):
                return seen
            if seen.state == "in_progress":
                seen = await self._awaited(calls, key_id, fingerprint, seen, end)
            if seen is not None:
                break
        if seen.state == "done":
            self._tell("replayed", key_id)
            return seen.page
        raise self._refused(_REFUSALS[seen.state], key_id, seen.left or None)

    async def _awaited(self, calls: Calls, key_id: str, fingerprint: str, seen: Seen, end: float) -> Seen | None:
        """Wait for somebody else's operation; return what became of it, or None if it is to be begun anew."""
        now, pause = clock.current().now, _FIRST_PAUSE
        while seen.state == "in_progress" and now() < end and await calls.pause(min(pause, end - now())):
            pause = min(2 * pause, _LONGEST_PAUSE)
            found = await calls.call(self._front, seen, "check", key_id, fingerprint, self._judge)
            if found is None:
                return None
            seen = found
        return seen

    async def _begun(self, calls: Calls, key_id: str, fingerprint: str) -> Claim | Seen | None:
        if self._renewer.executes(key_id):
            return await self._beside(calls, key_id, fingerprint)
        owner, ticket = random_key(), Ticket()
        seen: Any = _DOWN
        try:
            seen = await calls.call(self._front, _DOWN, "begin", key_id, fingerprint, owner, ticket, self._judge)
        finally:
            if seen is _DOWN and ticket.late():  # it was begun, and we do not know
                self._recalls.start(self._pages.recall, key_id, owner)
        if seen is _DOWN:
            if self._goes_on:
                return None
            raise self._refused(errors.KeyStoreDown, key_id, 1.0)
        found: Seen = seen
        if found.state != "begun":
            return found
        claim = Claim(key_id, Page(fingerprint, owner, 0.0), found.version)
        self._renewer.watch(claim)
        return claim

    async def _beside(self, calls: Calls, key_id: str, fingerprint: str) -> Seen:
        """Look at a key whose operation runs in this process: even if its record is gone, it is not begun again."""
        busy = Seen("in_progress", left=self._lease)
        found: Seen | None = await calls.call(self._front, busy, "check", key_id, fingerprint, self._judge)
        return busy if found is None else found

    def _judge(self, page: Page, version: int, fingerprint: str) -> Seen | None:
        """Say what a page means to somebody who wants to execute the same; None: take it over."""
        if page.owner and page.fingerprint != fingerprint:
            return Seen("reused", version, page=page)
        if page.until is None:
            return Seen("done", version, page=page)
        left = page.until - clock.current().wall()
        if self._renewer.owns(page.owner):
            left = self._lease if left <= 0 else left
        if left > 0:
            return Seen("in_progress", version, min(left, self._lease), page)
        if not self._takes_over or not page.owner:  # written by somebody newer than we are
            return Seen("in_doubt", version, _ASK_AGAIN, page)
        return None

    async def finish(self, calls: Calls, claim: Claim, answer: object, body: bytes = b"") -> bool:
        """Write down what came of an operation; False if that failed, and the key will be in doubt."""
        page = claim.page._replace(until=None, answer=answer, body=body)
        return await self._settled(calls, claim, "finish", page)

    async def free(self, calls: Calls, claim: Claim) -> bool:
        """Free the key of an operation that did nothing; False if that failed."""
        claim.free()
        return await self._settled(calls, claim, "forget", claim.page)

    async def _settled(self, calls: Calls, claim: Claim, step: str, page: Page) -> bool:
        # Not the front of `begin`: that it spares the store after others' failures must not put this key in doubt.
        claim.ending = True
        try:
            done = await self._written(calls, step, claim, page)
        except BaseException:  # left while it was written, which may have come to its end
            self.abandon(claim)
            raise
        self._renewer.leave(claim)
        if done is not True:
            self._unrecorded(claim, "store_down" if done is _DOWN else "lease_lost")
        return done is True

    async def _written(self, calls: Calls, step: str, claim: Claim, page: Page) -> object:
        """Try for as long as the book is patient: a store that is busy for a moment must leave no doubt behind."""
        now, pause, front = clock.current().now, _FIRST_PAUSE, self._fresh()
        end = now() + self._patience
        while True:
            done = await calls.call(front, _DOWN, step, claim.key, page, claim.version)
            if done is not _DOWN or now() >= end or not await calls.pause(min(pause, end - now())):
                return done
            pause, front = 2 * pause, self._fresh()

    def abandon(self, claim: Claim) -> None:
        """Leave an operation that was cut short: it is in doubt when its lease is over."""
        self._renewer.leave(claim)
        self._unrecorded(claim, "cut_short")

    def _unrecorded(self, claim: Claim, cause: str) -> None:
        self._tell("unrecorded", claim.key, cause=cause)
        if cause == "lease_lost":  # the other causes were reported where they came from
            message = f"the lease of {claim.key} was lost: somebody else has taken the operation over"
            faults.report(Desk, RuntimeError(message))

    def _forgive(self) -> None:
        """Try a store that has failed at each look again: while it is spared, leases of what lives here run out."""
        self._renewing.use_clock(clock.current())

    def _renewed(self, claim: Claim) -> bool:
        version = self._renewing.run(_DOWN, "renew", claim.key, claim.page, claim.version, claim.freed)
        if version is _DOWN:  # the store does not answer: the next look tries again
            return True
        if version is None:
            if not claim.ending:
                self._unrecorded(claim, "lease_lost")
            return False
        claim.version = version
        return True

    def _refused(self, kind: type[errors.KeyRefused], key_id: str, retry_after: float | None) -> errors.KeyRefused:
        """Return a refusal, and tell of it."""
        error = kind(self.name, "idempotency", retry_after, kind.default_reason, key_id)
        if kind is errors.KeyInDoubt:
            self._tell("in_doubt", key_id)
        if events.wanted():
            fields = {"policy": error.policy, "reason": error.reason, "retry_after": retry_after}
            events.publish("resilient.call.rejected", self.name, fields)
        return error

    def _tell(self, what: str, key_id: str, **fields: object) -> None:
        if events.wanted():
            events.publish(f"resilient.idempotency.{what}", self.name, {"key": key_id, **fields})
