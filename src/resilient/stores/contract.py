"""What every store promises. `tests/stores/contract.py` holds each of them to it.

A store keeps *records*: a key has one or more of them, told apart by `variant`. A record is two
byte strings: the head is small and says what the body is, so that a reader can judge by it.

Stores know nothing of HTTP, of functions or of idempotency. They keep what they are given until
its lifetime is over, give room for new records by dropping those that were used least recently,
and change one record in one atomic step, which is all that a lock with a lease needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

__all__ = ["Record", "Stats", "Store", "StoreFull"]


class StoreFull(Exception):
    """There is no room for a record: it is larger than the store, or all others are pinned."""


@dataclass(slots=True)
class Record:
    """One answer, or the state of one key.

    Attributes:
        variant: Tells the records of one key apart; "" where there is only one.
        head: What the body is, for whoever wrote it.
        body: The rest.
        version: A number, 1 or more, that a store gives to every change of a record. It rises,
            and none is given twice: not even to a record that was gone and comes again.
        memo: What a reader made of the record. A store that keeps records in memory keeps it,
            too, so that they are decoded once.

    """

    variant: str
    head: bytes
    body: bytes
    version: int = 0
    memo: Any = None


@dataclass(frozen=True, slots=True)
class Stats:
    """What a store holds and has done since it was opened.

    Attributes:
        entries: Records.
        size: Bytes of heads, bodies, keys, variants and tags.
        evicted: Records that made room for others.
        corrupt: Records that did not pass their integrity check; each was removed and read as missing.

    """

    entries: int
    size: int
    evicted: int = 0
    corrupt: int = 0


@runtime_checkable
class Store(Protocol):
    """Keeps records, for threads and tasks at once.

    Methods are plain: a caller that must not wait goes through `front.Front`, which calls a
    blocking store in another thread and leaves it after a bounded time. A method that fails
    raises whatever it likes; the front sees to it. One that was left may still end later.
    """

    blocking: bool
    """Whether methods may wait for a disk, a network or another process.

    A blocking store that bounds the waiting of its `get` by itself may say so by a further
    attribute, `direct_reads = True`: then plain code reads on its own thread.
    """

    def get(self, key: str) -> Sequence[Record]:
        """Return the records of a key whose lifetime is not over, the one written last first."""

    def put(  # noqa: PLR0913 -- what a record is, and what is to become of it
        self,
        key: str,
        record: Record,
        *,
        lifetime: float,
        tags: Iterable[str] = (),
        expected: int | None = None,
        pinned: bool = False,
    ) -> int | None:
        """Write one record, whole or not at all; the record's own `version` is not looked at.

        Args:
            key: Any text.
            record: What to keep, in place of the key's record of the same variant.
            lifetime: Seconds, above 0, after which the record is gone.
            tags: Names under which `purge` finds it.
            expected: None writes in any case; 0 only if there is no such record; a version only
                if the record has it still. Of several who try at once exactly one succeeds.
            pinned: Whether it must stay until its lifetime is over, however full the store is.

        Returns:
            The new version, or None if `expected` was not met.

        Raises:
            StoreFull: If there is no room, or the record is too large for this store.
            TypeError: If the key, a tag, the variant, head or body is of a wrong type.
            ConfigError: If the lifetime is not above 0.

        """

    def delete(self, key: str, variant: str | None = None, *, expected: int | None = None) -> int:
        """Remove a record, or all of a key; return how many. `expected` is a version, as for `put`."""

    def purge(self, *, prefix: str = "", tag: str | None = None) -> int:
        """Remove all records whose key begins with `prefix` and, if given, that carry `tag`; return how many."""

    def stats(self) -> Stats:
        """Return what the store holds."""

    def close(self) -> None:
        """Give back files and connections. A later call opens them again."""
