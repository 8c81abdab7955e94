"""The records of a MemoryStore by key, the order in which they give way, and what is counted about them.

Recency is a mark that a reader sets without a lock. Whoever needs room walks from the oldest key
on: a marked one loses its mark and goes to the end of the line, the first without a mark gives
way (the CLOCK algorithm, also known as second chance).
"""

from __future__ import annotations

from collections import OrderedDict
from heapq import heapify, heappop, heappush
from itertools import islice
from math import inf

from resilient.stores.contract import Record, StoreFull
from resilient.stores.entry import Bounds

_PASSED = 64
"""How many marked keys are passed for one record that has to go; then the next one goes, marked or not."""

_COMPARED = 8
"""Among how many of the coldest keys the largest is looked for, where bytes are short."""

_SLACK = 64


class Kept:
    """One record and what its store knows of it."""

    __slots__ = ("ends", "pinned", "record", "size", "tags")

    def __init__(self, record: Record, ends: float, tags: frozenset[str], size: int, *, pinned: bool) -> None:
        self.record = record
        self.ends = ends
        self.tags = tags
        self.size = size
        self.pinned = pinned

    def meant(self, variant: str | None, version: int | None, now: float) -> bool:
        """Tell whether it is alive and of this variant and version; None means any."""
        return now < self.ends and variant in {None, self.record.variant} and version in {None, self.record.version}


class Shelf:
    """The records of one key, newest first. Nothing changes on it but its mark."""

    __slots__ = ("ends", "kept", "records", "used")

    def __init__(self, kept: tuple[Kept, ...], *, used: bool) -> None:
        self.kept = kept
        self.records = tuple(each.record for each in kept)
        self.ends = min(each.ends for each in kept)
        self.used = used


class Shelves:
    """All shelves. Whoever changes them holds the store's lock; `by_key` is read without it."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.by_key: dict[str, Shelf] = {}
        self.evicted = 0
        self._version = 0
        self.recount()

    def recount(self) -> None:
        """Make everything beside the shelves anew from them."""
        self.entries = self.size = self._pinned_entries = self._pinned_size = 0
        self._line: OrderedDict[str, None] = OrderedDict()  # keys with a record that may give way
        self._tags: dict[str, set[tuple[str, str]]] = {}
        self._ends: list[tuple[float, int, str, str]] = []
        for key, each in self.everything():
            self._version = max(self._version, each.record.version)
            self._count(key, each)

    def find(self, key: str, variant: str) -> Kept | None:
        """Return a record with what is known of it."""
        shelf = self.by_key.get(key)
        if shelf is not None:
            for each in shelf.kept:
                if each.record.variant == variant:
                    return each
        return None

    def version(self, key: str, variant: str, now: float) -> int:
        """Return the version of a record, 0 if there is none."""
        kept = self.find(key, variant)
        return kept.record.version if kept is not None and now < kept.ends else 0

    def everything(self) -> list[tuple[str, Kept]]:
        """Return all records and their keys."""
        return [(key, each) for key, shelf in self.by_key.items() for each in shelf.kept]

    def tagged(self, tag: str) -> list[tuple[str, Kept]]:
        """Return the records that carry a tag, and their keys."""
        found = ((key, self.find(key, variant)) for key, variant in self._tags.get(tag, ()))
        return [(key, each) for key, each in found if each is not None]

    def place(self, key: str, new: Kept, now: float, gone: list[Kept]) -> int:
        """Put a record in the place of the one of its variant, making room; return its version.

        Raises:
            StoreFull: If there is no room; nothing has changed then.

        """
        if not self._fits(key, new):
            self.sweep(now, gone)
            if not self._fits(key, new):
                message = f"no room for {new.size} bytes: what is there is pinned"
                raise StoreFull(message)
        self._version += 1
        new.record.version = self._version
        before = self.find(key, new.record.variant)
        self._make_room(key, new, before, gone)
        shelf = self.by_key.get(key)
        others = () if shelf is None else tuple(each for each in shelf.kept if each is not before)
        self.by_key[key] = Shelf((new, *others), used=False)
        if before is not None:
            self._uncount(key, before)
            gone.append(before)
        self._count(key, new)
        return self._version

    def _fits(self, key: str, new: Kept) -> bool:
        """Tell whether there is room, or would be without all that may give way."""
        before = self.find(key, new.record.variant)
        entries, size = self._pinned_entries, self._pinned_size
        if before is not None and before.pinned:
            entries, size = entries - 1, size - before.size
        shelf = self.by_key.get(key)
        crowded = shelf is not None and before is None and len(shelf.kept) >= self._bounds.variants
        return (
            entries < self._bounds.entries
            and size + new.size <= self._bounds.size
            and not (crowded and shelf is not None and all(each.pinned for each in shelf.kept))
        )

    def _make_room(self, key: str, new: Kept, before: Kept | None, gone: list[Kept]) -> None:
        entries, size = (1, new.size) if before is None else (0, new.size - before.size)
        shelf = self.by_key.get(key)
        if entries and shelf is not None and len(shelf.kept) >= self._bounds.variants:
            self._evict(key, next(each for each in reversed(shelf.kept) if not each.pinned), gone)
        while (heavy := self.size + size > self._bounds.size) or self.entries + entries > self._bounds.entries:
            self._evict(*self._victim(before, heavy=heavy), gone)

    def take(self, key: str, kept: Kept, gone: list[Kept]) -> None:
        """Remove one record."""
        gone.append(kept)
        shelf = self.by_key[key]
        left = tuple(each for each in shelf.kept if each is not kept)
        if left:
            self.by_key[key] = Shelf(left, used=shelf.used)
        else:
            del self.by_key[key]
        self._uncount(key, kept)

    def sweep(self, now: float, gone: list[Kept], most: float = inf) -> None:
        """Remove what is over, or the first `most` of it."""
        while most > 0 and self._ends and self._ends[0][0] <= now:
            most -= 1
            _, version, key, variant = heappop(self._ends)
            kept = self.find(key, variant)
            if kept is not None and kept.record.version == version:
                self.take(key, kept, gone)

    def _victim(self, spared: Kept | None, *, heavy: bool) -> tuple[str, Kept]:
        """Return whose turn it is to give way."""
        line = self._line
        for _ in range(min(len(line), _PASSED)):
            key = next(iter(line))
            if not self.by_key[key].used:
                break
            self.by_key[key].used = False
            line.move_to_end(key)
        candidates = (
            (key, each)
            for key in islice(line, _COMPARED if heavy else 2)
            for each in self.by_key[key].kept[::-1]
            if not each.pinned and each is not spared
        )
        first = next(candidates)
        return max((first, *candidates), key=lambda one: one[1].size) if heavy else first

    def _evict(self, key: str, kept: Kept, gone: list[Kept]) -> None:
        self.evicted += 1
        self.take(key, kept, gone)

    def _count(self, key: str, kept: Kept) -> None:
        record = kept.record
        self.entries += 1
        self.size += kept.size
        for tag in kept.tags:
            self._tags.setdefault(tag, set()).add((key, record.variant))
        if kept.pinned:
            self._pinned_entries += 1
            self._pinned_size += kept.size
        else:
            self._line[key] = None
            self._line.move_to_end(key)
        heappush(self._ends, (kept.ends, record.version, key, record.variant))
        if len(self._ends) > 2 * self.entries + _SLACK:  # most of them speak of records that are no more
            self._ends = [(each.ends, each.record.version, key, each.record.variant) for key, each in self.everything()]
            heapify(self._ends)

    def _uncount(self, key: str, kept: Kept) -> None:
        record = kept.record
        self.entries -= 1
        self.size -= kept.size
        for tag in kept.tags:
            marked = self._tags[tag]
            marked.discard((key, record.variant))
            if not marked:
                del self._tags[tag]
        if kept.pinned:
            self._pinned_entries -= 1
            self._pinned_size -= kept.size
        shelf = self.by_key.get(key)
        if shelf is None or all(each.pinned for each in shelf.kept):
            self._line.pop(key, None)
