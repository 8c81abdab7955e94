"""Answers that are kept in a store, too: they survive a restart, and processes share them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Protocol
from zlib import crc32

from resilient import clock, faults
from resilient._machines.staleness import Stored
from resilient.errors import ConfigError, Unguardable
from resilient.stores.contract import Record, Store
from resilient.stores.front import Front

_VERSION = 1
_FARTHEST = 5.0
"""Seconds by which the clocks of two machines may differ: what comes from farther ahead is not believed."""

Key = tuple[Any, ...]


class Codec(Protocol):
    """Turns answers into bytes and back."""

    def encode(self, value: Any) -> bytes:  # noqa: ANN401 -- any answer
        """Return bytes; raise whatever it likes for an answer that has none."""

    def decode(self, data: bytes) -> Any:  # noqa: ANN401
        """Return the answer; raise whatever it likes for bytes that are none."""


class JsonCodec:
    """Answers as JSON: those that come back from it as they were, and no others."""

    def encode(self, value: Any) -> bytes:  # noqa: ANN401
        """Return JSON.

        Raises:
            ValueError: If the answer would come back as something else, such as a tuple as a list.

        """
        data = json.dumps(value, separators=(",", ":")).encode()
        if not _same(json.loads(data), value):
            message = f"JSON gives this {type(value).__name__} back as something else; pass a codec"
            raise ValueError(message)
        return data

    def decode(self, data: bytes) -> Any:  # noqa: ANN401
        """Return what JSON says."""
        return json.loads(data)


def _same(one: object, other: object) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other


@dataclass(frozen=True, slots=True)
class Loaded:
    """An answer out of the store.

    Attributes:
        value: The answer.
        age: Seconds since the downstream gave it.
        kept: Seconds since it was stored.
        took: Seconds that asking took.

    """

    value: Any
    age: float
    kept: float
    took: float


class Backing:
    """The store of one stale cache."""

    __slots__ = ("_codec", "_prefix", "corrupt", "front")

    def __init__(self, store: Store, codec: Codec | None, downstream: str, label: str) -> None:
        self._codec = JsonCodec() if codec is None else codec
        self._prefix = f"{downstream}\n{label}\n"
        self.front = Front(store, name=downstream)
        self.corrupt = 0
        """Records that could not be read; each was removed."""

    def name(self, key: Key) -> str:
        """Return what a key is called in the store.

        Raises:
            Unguardable: If the function has no name that is the same after a restart.
            ConfigError: If the key is no string.

        """
        text = key[1]
        if type(text) is not str:
            message = f"{self._prefix.split()[0]}: key must return a string where answers are kept in a store"
            raise ConfigError(message)
        return f"{self._prefix}{self.function_name(key[0])}\n{text}"

    def load(self, key: Key) -> Loaded | None:
        """Return the stored answer to a key."""
        name = self.name(key)
        records = self.front.run((), "get", name)
        loaded = self._read(records)
        if records and loaded is None:
            self.front.run(0, "delete", name)
        return loaded

    async def aload(self, key: Key) -> Loaded | None:
        """Do the same without blocking the event loop."""
        name = self.name(key)
        records = await self.front.arun((), "get", name)
        loaded = self._read(records)
        if records and loaded is None:
            await self.front.arun(0, "delete", name)
        return loaded

    def _read(self, records: Sequence[Record]) -> Loaded | None:
        if not records:
            return None
        now = clock.current().wall()
        try:
            head = json.loads(records[0].head)
            if head["v"] != _VERSION or head["crc"] != crc32(records[0].body):
                raise ValueError(head)  # noqa: TRY301 -- one way out for all that is unreadable
            born, kept, took = (float(head[name]) for name in ("born", "kept", "took"))
            if not (born <= kept <= now + _FARTHEST and 0 <= took < now):
                raise ValueError(head)  # noqa: TRY301
            value = self._codec.decode(records[0].body)
        except Exception:  # noqa: BLE001 -- a record that cannot be read is none
            self.corrupt += 1
            return None
        return Loaded(value, max(0.0, now - born), max(0.0, now - kept), took)

    def save(self, key: Key, stored: Stored, now: float) -> None:
        """Keep an answer."""
        record = self._write(stored, now)
        if record is not None:
            self.front.run(None, "put", self.name(key), record, lifetime=stored.end - now)

    async def asave(self, key: Key, stored: Stored, now: float) -> None:
        """Do the same without blocking the event loop."""
        record = self._write(stored, now)
        if record is not None:
            await self.front.arun(None, "put", self.name(key), record, lifetime=stored.end - now)

    def _write(self, stored: Stored, now: float) -> Record | None:
        if stored.end <= now:
            return None
        try:
            body = self._codec.encode(stored.value)
        except Exception as fault:  # noqa: BLE001 -- an answer without bytes is kept in memory only
            faults.report(self._codec.encode, fault)
            return None
        wall = clock.current().wall()
        head = {"v": _VERSION, "born": wall - (now - stored.born), "kept": wall, "took": stored.took}
        return Record("", json.dumps({**head, "crc": crc32(body)}).encode(), body)

    def drop(self, key: Key) -> None:
        """Remove the stored answer to a key."""
        self.front.run(0, "delete", self.name(key))

    async def adrop(self, key: Key) -> None:
        """Do the same without blocking the event loop."""
        await self.front.arun(0, "delete", self.name(key))

    def clear(self) -> None:
        """Remove all answers of this cache."""
        self.front.run(0, "purge", prefix=self._prefix)

    async def aclear(self) -> None:
        """Do the same without blocking the event loop."""
        await self.front.arun(0, "purge", prefix=self._prefix)

    @staticmethod
    def function_name(function: Callable[..., Any]) -> str:
        """Return a function's name, if it means the same function after a restart.

        Raises:
            Unguardable: If it does not.

        """
        name = getattr(function, "__qualname__", "")
        if type(function) is FunctionType and "<" not in name:
            return f"{function.__module__}.{name}"
        message = (
            f"{name or type(function).__name__} has no name that means the same function after a restart, as a "
            "store needs it: define the function at the top of a module or in a class"
        )
        raise Unguardable(message)
