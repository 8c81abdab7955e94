"""Which addresses were written to lately: an answer that was asked for before that is not stored after it."""

from __future__ import annotations

from itertools import count

__all__ = ["Written"]

_MANY = 4096


class Written:
    """The order of writes and requests, as far as it is remembered; steps are atomic, so nobody needs a lock."""

    __slots__ = ("_all", "_at", "_tick", "mark")

    def __init__(self) -> None:
        """Begin with none."""
        self._tick = count(1).__next__
        self._at: dict[str, int] = {}
        self._all = 0
        self.mark = 0
        """What a request remembers when it begins."""

    def note(self, address: str) -> int:
        """Remember that an address was written to, and return when; of many the oldest make room, and count for all."""
        at, mark = self._at, self._tick()
        self.mark = mark
        at.pop(address, None)
        at[address] = mark
        if len(at) > _MANY:
            try:
                self._all = max(self._all, at.pop(next(iter(at))))
            except (KeyError, RuntimeError, StopIteration):  # another thread was faster
                self._all = self.mark
        return mark

    def note_all(self) -> None:
        """Remember that any address may have been written to."""
        self._all = self.mark = self._tick()

    def since(self, address: str, mark: int) -> bool:
        """Tell whether an address was, or may have been, written to after a request that began with this mark."""
        return max(self._at.get(address, 0), self._all) > mark
