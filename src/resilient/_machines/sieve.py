"""A bounded shelf whose readers take no lock: what is not looked at goes first.

The rule of eviction is SIEVE's (Zhang et al., NSDI 2024): a queue in the order of arrival, and a
hand that moves from the oldest to the newest; who was looked at since the hand came by last is
passed over, the first who was not goes. A look only counts up on the thing itself. What is past
its time goes before that.

Keys are compared outside of the lock, for their comparison may be somebody else's code. So two
writers of one key may leave a node in the queue that nobody finds; it counts until its turn.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from threading import Lock
from typing import Generic, TypeVar

from resilient._machines.itself import finder


class Node:
    """Something on the shelf.

    Attributes:
        key: What it is found by.
        mark: The key's hash when it is put on the shelf.
        end: Time from which it is past its time.
        size: Bytes that it counts for.
        hits: How often it was looked at; steps of threads that race may be lost.
        seen: `hits` when the hand came by last.
        queue: The queue that it stands in.

    """

    __slots__ = ("end", "hits", "key", "mark", "newer", "older", "queue", "seen", "size")

    def __init__(self, key: Hashable, end: float, size: int) -> None:
        self.key = key
        self.end = end
        self.size = size
        self.mark = hash(key)
        self.hits = self.seen = 0
        self.older: Node | None = None
        self.newer: Node | None = None
        self.queue: object = None


def _end(node: Node) -> float:
    return node.end


N = TypeVar("N", bound=Node)


class Sieve(Generic[N]):
    """At most so many nodes, of at most so many bytes together.

    Attributes:
        entries: The nodes by key; readers look in here.
        size: Bytes of all nodes.
        evicted: Nodes that made room for others.
        expired: Nodes that went because their time was over.

    """

    __slots__ = (
        "_count",
        "_hand",
        "_lock",
        "_most",
        "_newest",
        "_oldest",
        "_past",
        "_queue",
        "_room",
        "entries",
        "evicted",
        "expired",
        "size",
    )

    def __init__(self, most: int, room: int | None) -> None:
        self.entries: dict[Hashable, N] = {}
        self._most = most
        self._room = room
        self.evicted = self.expired = self._past = 0
        self._lock = Lock()
        self._start()

    def _start(self) -> None:
        self._queue = object()
        self._oldest: Node | None = None
        self._newest: Node | None = None
        self._hand: Node | None = None
        self._count = self.size = 0

    def __len__(self) -> int:
        """Return how many nodes are kept."""
        return self._count

    def nodes(self) -> Iterator[Node]:
        """Iterate over the queue, oldest first; for people, while nobody writes."""
        node = self._oldest
        while node is not None:
            yield node
            node = node.newer

    @property
    def hits(self) -> int:
        """How often anything was looked at, about: steps of threads that race may be lost."""
        return self._past + sum(node.hits for node in list(self.entries.values()))

    def put(self, node: N, now: float) -> bool:
        """Keep a node in place of the one with its key; False if it is larger than all the room."""
        known = self.entries.get(node.key)
        if self._room is not None and node.size > self._room:
            if known is not None:
                self.drop(known)
            return False
        if known is not None:
            node.key = known.key  # the very object, which the dictionary finds without comparing
            node.hits, node.seen = known.hits, known.seen
        # First found, then linked: what is found can be evicted.
        self.entries[node.key] = node
        with self._lock:
            if known is not None:
                self._unlink(known)
            gone = self._make_room(node.size, now)
            self._link(node)
        for each in gone:
            self._take_out(each)
        if len(self.entries) > 2 * self._most:  # a signal handler's error came between the two steps
            self._link_anew()
        return True

    def drop(self, node: Node) -> bool:
        """Remove a node; False if it is not there any more."""
        there = self._take_out(node)
        with self._lock:
            self._unlink(node)
        return there

    def clear(self) -> int:
        """Remove everything; return how much it was."""
        count = len(self.entries)
        self._past = self.hits
        with self._lock:
            self._start()
        self.entries.clear()
        return count

    def renew(self) -> None:
        """Take a new lock and link all nodes anew: in a forked child the links may be half made."""
        self._lock = Lock()
        self._link_anew()

    def _link_anew(self) -> None:
        with self._lock:
            self._start()
            for node in sorted(self.entries.values(), key=_end):
                node.seen = node.hits
                self._link(node)

    def _take_out(self, node: Node) -> bool:
        key = finder(node.key, node.mark)
        if self.entries.get(key) is not node:
            return False
        self._past += node.hits
        return self.entries.pop(key, None) is node

    def _make_room(self, size: int, now: float) -> list[Node]:
        gone = []
        while self._oldest is not None and self._oldest.end <= now:
            gone.append(self._oldest)
            self._unlink(self._oldest)
            self.expired += 1
        while self._oldest is not None and self._full(size):
            node = self._next_out(self._oldest)
            gone.append(node)
            self._hand = node.newer
            self._unlink(node)
            self.evicted += 1
        return gone

    def _full(self, size: int) -> bool:
        return self._count >= self._most or (self._room is not None and self.size + size > self._room)

    def _next_out(self, oldest: Node) -> Node:
        node = self._hand or oldest
        for _ in range(2 * self._count):  # no more, though others may look at everything meanwhile
            if node.hits == node.seen:
                break
            node.seen = node.hits
            node = node.newer or oldest
        return node

    def _link(self, node: Node) -> None:
        node.older, node.newer = self._newest, None
        if self._newest is None:
            self._oldest = node
        else:
            self._newest.newer = node
        self._newest = node
        node.queue = self._queue
        self._count += 1
        self.size += node.size

    def _unlink(self, node: Node) -> None:
        if node.queue is not self._queue:
            return
        if self._hand is node:
            self._hand = node.newer
        if node.older is None:
            self._oldest = node.newer
        else:
            node.older.newer = node.newer
        if node.newer is None:
            self._newest = node.older
        else:
            node.newer.older = node.older
        node.older = node.newer = None
        node.queue = None
        self._count -= 1
        self.size -= node.size
