"""What an answer of a store must look like, for stores that others have written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from resilient.stores.contract import Record, Stats

__all__ = ["SOUND"]

_TYPES = (str, bytes, bytes)


def _records(answer: object) -> bool:
    if not isinstance(answer, (tuple, list)) and (not isinstance(answer, Sequence) or isinstance(answer, (str, bytes))):
        return False
    for each in answer:  # noqa: SIM110 -- for each read, and twice as quick
        if not isinstance(each, Record) or _types(each) != _TYPES:
            return False
    return True


def _types(record: Record) -> tuple[type, type, type]:
    return type(record.variant), type(record.head), type(record.body)


def _version(answer: object) -> bool:
    return answer is None or (type(answer) is int and answer > 0)


def _number(answer: object) -> bool:
    return type(answer) is int and answer >= 0


def _stats(answer: object) -> bool:
    return isinstance(answer, Stats)


SOUND: Mapping[str, Callable[[object], bool]] = MappingProxyType(
    {"get": _records, "put": _version, "delete": _number, "purge": _number, "stats": _stats}
)
"""By the name of the method: whether an answer is of its kind."""
