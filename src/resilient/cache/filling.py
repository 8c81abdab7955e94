"""Takes the body that a client reads, up to a size, and stores it at its end."""

from __future__ import annotations

from collections.abc import Callable

from resilient.cache.messages import Flow

__all__ = ["Filling"]


class Filling:
    """A body on its way into the store.

    Args:
        most: Bytes that are kept at most.
        store: Returns the flow that stores a body.

    """

    __slots__ = ("_chunks", "_most", "_size", "_store")

    def __init__(self, most: int, store: Callable[[bytes], Flow]) -> None:
        """Begin with nothing."""
        self._chunks: list[bytes] | None = []
        self._size = 0
        self._most = most
        self._store = store

    def take(self, chunk: bytes) -> bool:
        """Take the next raw bytes; return False once nothing more is wanted: the body is too large."""
        chunks = self._chunks
        if chunks is None:
            return False
        self._size += len(chunk)
        if self._size > self._most:
            self._chunks = None
            return False
        chunks.append(bytes(chunk))
        return True

    def done(self) -> Flow | None:
        """Return the flow that stores what was taken: the body ended, and completely."""
        chunks, self._chunks = self._chunks, None
        return None if chunks is None else self._store(b"".join(chunks))

    def broken(self) -> None:
        """Forget what was taken: the body did not end as it should."""
        self._chunks = None
