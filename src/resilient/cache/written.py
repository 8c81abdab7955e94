"""Which addresses were written to lately: an answer that was asked for before that is not stored after it."""

from __future__ import annotations

__all__ = ["Written"]

_MANY = 4096


class Written:
    """When addresses were written to, as far as it is remembered; steps are atomic, so nobody needs a lock."""

    __slots__ = ("_all", "_at")

    def __init__(self) -> None:
        """Begin with none."""
        self._at: dict[str, float] = {}
        self._all = 0.0

    def note(self, address: str, now: float) -> None:
        """Remember that an address was written to; of many the oldest make room, and count for all."""
        at = self._at
        at.pop(address, None)
        at[address] = now
        if len(at) > _MANY:
            try:
                oldest = next(iter(at))
                self._all = max(self._all, at.pop(oldest))
            except (KeyError, RuntimeError, StopIteration):  # another thread was faster
                self._all = now

    def note_all(self, now: float) -> None:
        """Remember that any address may have been written to."""
        self._all = max(self._all, now)

    def since(self, address: str, moment: float) -> bool:
        """Tell whether an address was, or may have been, written to at a moment or later."""
        return max(self._at.get(address, 0.0), self._all) >= moment
