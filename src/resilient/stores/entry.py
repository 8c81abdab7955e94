"""What a store is asked to keep, checked and measured: the same for every store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from resilient import _check
from resilient.stores.contract import Record, StoreFull

__all__ = ["Bounds", "Entry", "name"]

_SHARE = 4
"""One record takes at most this part of the bytes, so that it never drives out all others."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much there may be.

    Attributes:
        entries: Records.
        size: Their bytes.
        variants: Records of one key.
        record: Bytes of one record; None for a quarter of `size`.

    """

    entries: int
    size: int
    variants: int
    record: int | None

    def __post_init__(self) -> None:
        """Check each of them, by the name that a store has for it."""
        _check.count("max_entries", self.entries)
        _check.count("max_bytes", self.size)
        _check.count("max_variants", self.variants)
        if self.record is not None:
            _check.count("max_record_bytes", self.record)

    @property
    def most(self) -> int:
        """Bytes of the largest record that there may be."""
        return max(1, self.size // _SHARE) if self.record is None else min(self.size, self.record)


class Entry:
    """The arguments of one `put`.

    Attributes:
        key: The key.
        variant: The record's variant.
        head: Its head, as bytes of its own.
        body: Its body, as bytes of its own.
        lifetime: Seconds.
        tags: Each tag once.
        size: Bytes of all texts and bytes in it.

    """

    __slots__ = ("body", "head", "key", "lifetime", "size", "tags", "variant")

    def __init__(  # noqa: PLR0913, PLR0917 -- the arguments of `put`, and what they are held to
        self, key: str, record: Record, lifetime: float, tags: Iterable[str], expected: int | None, most: int
    ) -> None:
        """Check each of them, so that a store never holds what it cannot give back.

        Raises:
            StoreFull: If it is larger than `most`.

        """
        self.key = name("key", key)
        self.variant = name("record.variant", record.variant)
        self.head = _owned("record.head", record.head)
        self.body = _owned("record.body", record.body)
        self.lifetime = _check.seconds("lifetime", lifetime)
        if isinstance(tags, str):
            _check.refuse_type("tags", tags, "several names, not one text")
        self.tags = frozenset(tags) if tags else frozenset()
        size = len(self.head) + len(self.body) + weight(key) + weight(self.variant)
        for tag in self.tags:
            size += weight(name("tags", tag))
        self.size = size
        if expected is not None:
            _check.count("expected", expected, least=0)
        if size > most:
            message = f"a record of {size} bytes, where {most} are allowed"
            raise StoreFull(message)


def name(parameter: str, value: object) -> str:
    """Return a text, refusing everything else."""
    if not isinstance(value, str):
        _check.refuse_type(parameter, value, "a text")
    return value


def weight(text: str) -> int:
    """Return how many bytes a text takes as UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _owned(parameter: str, value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, (bytearray, memoryview)):
        _check.refuse_type(parameter, value, "bytes")
    return bytes(value)
