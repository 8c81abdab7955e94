"""What the store says about a key, and the steps that change it: one compare-and-set each.

A key's record is a *page*. It begins as "started", with an owner and a lease; its owner makes it
"done", with the answer. Whoever is not the owner changes nothing: the version that the owner has
seen last is its fencing token. A page that is started, and whose lease is over, is in doubt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any, Literal, NamedTuple

from resilient.clock import current
from resilient.stores.contract import Record, Stats, Store, StoreFull

__all__ = ["Judge", "Page", "Pages", "Seen", "Ticket"]

_SCHEMA = 1
_TRIES = 8
"""How often a step begins anew because somebody else was quicker."""

State = Literal["begun", "done", "in_progress", "in_doubt", "reused"]


class Page(NamedTuple):
    """One record, read.

    Attributes:
        fingerprint: Of the operation's content.
        owner: Who executes it, or has.
        until: When the lease ends, in seconds since 1970; None: it is done.
        answer: What the operation returned, for those who can read it; None: it was not kept.
        body: The rest of the answer.

    """

    fingerprint: str
    owner: str
    until: float | None
    answer: Any = None
    body: bytes = b""

    def record(self) -> Record:
        """Return what to store."""
        head = {"v": _SCHEMA, "fp": self.fingerprint, "owner": self.owner, "until": self.until, "answer": self.answer}
        return Record("", json.dumps(head).encode(), self.body)

    @staticmethod
    def read(record: Record) -> Page:
        """Return the page of a record; one that makes no sense is in doubt, never a key that is free."""
        try:
            head = json.loads(record.head)
            if head["v"] == _SCHEMA:
                until = head["until"]
                return Page(
                    head["fp"], head["owner"], None if until is None else float(until), head["answer"], record.body
                )
        except (ValueError, TypeError, KeyError):
            pass
        return _UNREADABLE


_UNREADABLE = Page("", "", 0.0)


class Seen(NamedTuple):
    """What a key was found to be.

    Attributes:
        state: "begun": it is ours now.
        version: Our fencing token.
        left: Seconds until the lease of somebody else ends.
        page: What stands there.

    """

    state: State
    version: int = 0
    left: float = 0.0
    page: Page | None = None


Judge = Callable[[Page, int, str], Seen | None]
"""Says what a page that stands there means, given its version and our fingerprint; None: take it over."""


class Ticket:
    """Who of two comes first: the step that has begun a key, or its caller, who left."""

    __slots__ = ("late",)

    def __init__(self) -> None:
        self.late = count().__next__
        """Returns 0 to the first who asks."""


class Pages:
    """A store, with the steps as further methods, so that a front calls each of them in one hop.

    Args:
        store: The store.
        lifetime: Seconds for which a page is kept.
        lease: Seconds for which somebody may be silent.

    """

    def __init__(self, store: Store, lifetime: float, lease: float) -> None:
        """Bind to a store."""
        self.store = store
        self.blocking = store.blocking
        self.lifetime = lifetime
        self.lease = lease
        self.get = store.get
        self.delete = store.delete
        self.purge = store.purge
        self.close = store.close

    def stats(self) -> Stats:
        """Return what the store holds."""
        return self.store.stats()

    def put(  # noqa: PLR0913 -- the contract
        self,
        key: str,
        record: Record,
        *,
        lifetime: float,
        tags: Iterable[str] = (),
        expected: int | None = None,
        pinned: bool = False,
    ) -> int | None:
        """Write a record."""
        return self.store.put(key, record, lifetime=lifetime, tags=tags, expected=expected, pinned=pinned)

    def _write(self, key: str, page: Page, expected: int) -> int | None:
        return self.store.put(key, page.record(), lifetime=self.lifetime, expected=expected, pinned=True)

    def look(self, key: str) -> tuple[Page, int] | None:
        """Return a key's page and its version, or None for a key that is free."""
        records: Sequence[Record] = self.store.get(key)
        return (Page.read(records[0]), records[0].version) if records else None

    def check(self, key: str, fingerprint: str, judge: Judge) -> Seen | None:
        """Say what stands there, without writing; None if the operation can be begun."""
        found = self.look(key)
        return None if found is None else judge(*found, fingerprint)

    def begin(self, key: str, fingerprint: str, owner: str, ticket: Ticket, judge: Judge) -> Seen:
        """Begin an operation, unless it was begun before."""
        page, expected = None, 0
        for _ in range(_TRIES):
            if page is not None:
                seen = judge(page, expected, fingerprint)
                if seen is not None:
                    return seen
            started = Page(fingerprint, owner, current().wall() + self.lease)
            version = self._write(key, started, expected)
            if version is not None:
                if ticket.late() and not expected:  # nobody waits for this any more, so nobody executes it
                    self.store.delete(key, expected=version)
                return Seen("begun", version)
            found = self.look(key)
            page, expected = found or (None, 0)
        return Seen("in_progress", left=self.lease, page=page)

    def recall(self, key: str, owner: str) -> None:
        """Free a key that was begun for a caller who has left before anything was executed."""
        found = self.look(key)
        if found is not None and found[0].owner == owner:
            self.forget(key, found[0], found[1])

    def renew(self, key: str, page: Page, version: int, freed: Callable[[], bool]) -> int | None:
        """Prolong a lease; return the new version, or None if it is lost, or was `freed` in the meantime."""
        return self._own(key, page._replace(until=current().wall() + self.lease), version, freed)

    def finish(self, key: str, page: Page, version: int) -> bool:
        """Write down how an operation ended; False if it is no longer its owner's."""
        try:
            return self._own(key, page, version) is not None
        except StoreFull:  # that it was executed matters more than what came of it
            return self._own(key, page._replace(answer=None, body=b""), version) is not None

    def forget(self, key: str, page: Page, version: int) -> bool:
        """Free a key whose operation did nothing; False if it is no longer its owner's."""
        for _ in range(_TRIES):
            if self.store.delete(key, expected=version):
                return True
            found = self.look(key)
            if found is None:
                return True
            if found[0].owner != page.owner or found[0].until is None:
                return False
            version = found[1]
        return False

    def _own(self, key: str, page: Page, version: int, freed: Callable[[], bool] = lambda: False) -> int | None:
        """Write a page unless it is somebody else's; a renewal of our own may have raised the version meanwhile.

        A record that is gone (purged, or past a lifetime that a clock has ended) is written again, so
        that nobody executes what runs or has run: only one who was `freed` leaves it so.
        """
        for _ in range(_TRIES):
            written = self._write(key, page, version)
            if written is not None:
                if version or not freed():
                    return written
                self.store.delete(key, expected=written)  # freed while it was written again
                return None
            found = self.look(key)
            if found is None:
                if freed():
                    return None
                version = 0
                continue
            if found[0].owner != page.owner:
                return None
            if found[0].until is None:  # done: an earlier try of ours that was slow to land
                return found[1]
            version = found[1]
        return None

    def settle(self, key: str, page: Page, free: bool, lives: Callable[[str], bool]) -> bool:  # noqa: FBT001 -- asked through a front
        """End a doubt by hand: free the key, or write down what is known; False if there is no doubt.

        Args:
            key: The key.
            page: What to write down, but for the fingerprint.
            free: Whether to free the key instead.
            lives: Tells of an owner whether it is at work in this very process, whatever the clocks say.

        """
        found = self.look(key)
        if found is None:
            return False
        doubted, version = found
        if doubted.until is None or doubted.until > current().wall() or lives(doubted.owner):
            return False
        if free:
            return self.store.delete(key, expected=version) > 0
        known = page._replace(fingerprint=doubted.fingerprint)
        if not doubted.owner:  # it could not be read, so nobody knows what it is to be compared with
            known = known._replace(owner="")
        return self._write(key, known, version) is not None
