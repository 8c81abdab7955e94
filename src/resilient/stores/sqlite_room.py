"""Where room for a record comes from in a SQLite file: what is over goes first, then what nobody reads.

Who gives way is found as in memory (CLOCK): of those in line, oldest first, one that has a mark of
use loses it and goes to the end, and the first without one is removed. Each transaction does a
little of it only, so that nobody waits long.
"""

from __future__ import annotations

from resilient.stores.entry import Bounds
from resilient.stores.sqlite_rows import Row, Sheet
from resilient.stores.sqlite_writing import Writing

__all__ = ["place", "remove_matching", "remove_of_key"]

_SWEPT = 8
"""How many records that are over one change clears away."""

_MOST_SWEPT = 1_000
"""The same, where there would be no room otherwise."""

_BATCH = 8
"""How many of the coldest records are looked at together; of these the largest gives way where bytes are short."""

_PASSED = 64
"""How many marked records are passed for one that gives way; then the next one goes, marked or not."""

_MOST_EVICTED = 256
"""How many records give way in one transaction."""

_UNDER = "WHERE key >= ? AND key < ? AND version <= ? LIMIT ?"
_TAGGED = """WHERE version IN (SELECT version FROM tags WHERE tag = ?)
    AND key >= ? AND (? = X'' OR key < ?) AND version <= ? LIMIT ?"""


def place(writing: Writing, bounds: Bounds, sheet: Sheet, expected: int | None) -> int | None:
    """Write a record, if the version of what it replaces is the expected one.

    Returns:
        The new version; None if `expected` was not met, or if there is no room, which `writing.full` tells.

    """
    _sweep(writing)
    siblings = _of_key(writing, sheet.key)
    before = _find(siblings, sheet.variant)
    if expected is not None and expected != (before.version if before and writing.now < before.ends else 0):
        return None
    if not _fits(writing, bounds, sheet, siblings):
        _sweep(writing, _MOST_SWEPT)
        siblings = _of_key(writing, sheet.key)
        before = _find(siblings, sheet.variant)
        if not _fits(writing, bounds, sheet, siblings):
            writing.full = f"no room for {sheet.size} bytes: what is there is pinned"
            return None
    if before is None and len(siblings) >= bounds.variants:
        _evict(writing, next(row for row in reversed(siblings) if not row.pinned))
    if not _make_room(writing, bounds, sheet.size, before):
        writing.full = f"no room for {sheet.size} bytes yet: it is made in small steps"
        return None
    if before is not None:
        writing.remove([before])
    return writing.insert(sheet)


def remove_of_key(writing: Writing, key: bytes, variant: bytes | None, expected: int | None) -> int:
    """Remove a record of a key, or all; return how many of them were not over."""
    rows = [row for row in _of_key(writing, key) if variant in {None, row.variant} and expected in {None, row.version}]
    writing.remove(rows)
    return sum(writing.now < row.ends for row in rows)


def remove_matching(writing: Writing, prefix: bytes, tag: bytes | None, last: int | None, most: int) -> tuple[int, int]:
    """Remove some of the records whose key begins with `prefix` and that carry `tag`, if given.

    Args:
        writing: The transaction.
        prefix: May be empty.
        tag: None for all.
        last: The last version to remove: what comes later is not meant. None for what is there now.
        most: How many to remove.

    Returns:
        How many of them were not over, and `last` for the next time; 0 if that is not needed.

    """
    if not prefix and tag is None:
        return writing.clear(), 0
    if last is None:
        last = writing.totals.last
    end = _behind(prefix)
    if tag is None:
        rows = writing.rows(_UNDER, prefix, end, last, most)
    else:
        rows = writing.rows(_TAGGED, tag, prefix, end, end, last, most)
    writing.remove(rows)
    return sum(writing.now < row.ends for row in rows), last if len(rows) == most else 0


def _behind(prefix: bytes) -> bytes:
    """Return the first bytes behind all that begin with these, which are UTF-8 and never end in 0xff."""
    return prefix[:-1] + bytes([prefix[-1] + 1]) if prefix else b""


def _of_key(writing: Writing, key: bytes) -> list[Row]:
    """Return the records of a key, newest first."""
    return writing.rows("WHERE key = ? ORDER BY version DESC", key)


def _find(siblings: list[Row], variant: bytes) -> Row | None:
    """Return the one of a variant."""
    return next((row for row in siblings if row.variant == variant), None)


def _sweep(writing: Writing, most: int = _SWEPT) -> None:
    """Remove some of what is over."""
    writing.remove(writing.rows("WHERE ends <= ? LIMIT ?", writing.now, most))


def _fits(writing: Writing, bounds: Bounds, sheet: Sheet, siblings: list[Row]) -> bool:
    """Tell whether there is room, or would be without all that may give way."""
    before = _find(siblings, sheet.variant)
    entries, size = writing.totals.pinned_entries, writing.totals.pinned_size
    if before is not None and before.pinned:
        entries, size = entries - 1, size - before.size
    crowded = before is None and len(siblings) >= bounds.variants and all(row.pinned for row in siblings)
    return entries < bounds.entries and size + sheet.size <= bounds.size and not crowded


def _make_room(writing: Writing, bounds: Bounds, size: int, before: Row | None) -> bool:
    """Remove others until there is room; False if it takes more than one transaction should."""
    entries, size = (1, size) if before is None else (0, size - before.size)
    spared = 0 if before is None else before.version
    while (heavy := writing.totals.size + size > bounds.size) or writing.totals.entries + entries > bounds.entries:
        row = _victim(writing, spared, heavy=heavy) if writing.evicted < _MOST_EVICTED else None
        if row is None:
            writing.recount()  # in vain, unless the totals were wrong
            return False
        _evict(writing, row)
    return True


def _victim(writing: Writing, spared: int, *, heavy: bool) -> Row | None:
    """Return the first in line without a mark or, where bytes are short, the largest of a few."""
    first = "WHERE pinned = 0 AND version <> ? ORDER BY turn LIMIT ?"
    for _ in range(_PASSED // _BATCH):
        batch = writing.rows(first, spared, _BATCH)
        cold = [row for row in batch if not row.used]
        writing.pass_over(batch[: batch.index(cold[0])] if cold else batch)
        if cold:
            return max(cold, key=_size) if heavy else cold[0]
    return next(iter(writing.rows(first, spared, 1)), None)


def _size(row: Row) -> int:
    return row.size


def _evict(writing: Writing, row: Row) -> None:
    writing.evicted += 1
    writing.remove([row])
