"""What an HTTP cache remembers beside its store: counts, claims, recent writes, and what saves time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from types import MappingProxyType

from resilient.cache.claims import Claims
from resilient.cache.entry import Entry
from resilient.cache.written import Written
from resilient.stores.contract import Record
from resilient.stores.front import Front

__all__ = ["State"]

COUNTED = ("hits", "stale", "revalidated", "misses", "bypassed", "stored", "corrupt", "refresh_failed")
_SECRET_SIZE = 32


class State:
    """The part of a cache that changes.

    Args:
        front: The store.
        shared: Whether it serves many users alike.
        secret: What digests of credentials are keyed with; None makes one, or finds that of a
            store that processes share.

    """

    def __init__(self, front: Front, *, shared: bool, secret: bytes | None) -> None:
        """Begin with nothing counted."""
        self.front = front
        self.shared = shared
        if secret is None and not front.store.blocking:
            secret = os.urandom(_SECRET_SIZE)
        self.secret = secret
        self.counts = dict.fromkeys(COUNTED, 0)
        self.claims = Claims()
        self.written = Written()
        self.addresses: dict[str, tuple[str, bytes]] = {}
        """What keys begin with and what `Host` is, by URL; bounded by whoever adds to it."""
        self.decoded: dict[bytes, Entry] = {}
        """What heads of records say, likewise."""
        self.nobody = ("s" if shared else "p",)
        """Ends of the keys of requests without credentials."""
        self.get: Callable[[str], Sequence[Record]] = partial(front.run, (), "get")
        """Returns the records of a key; it may wait for the store."""
        self.ready = not front.store.blocking
        """Whether a look into the store takes no time."""

    def snapshot(self) -> MappingProxyType[str, int]:
        """Return what was counted since the cache was made; two threads at once may count as one.

        Keys are "hits", "stale" (served past their time), "revalidated", "misses", "bypassed"
        (requests that no cache may answer), "stored", "corrupt" (records that were removed),
        "refresh_failed", and of the store's front "store_failed" and "store_bypassed".
        """
        front = {"store_failed": self.front.failed, "store_bypassed": self.front.bypassed}
        return MappingProxyType({**self.counts, **front})
