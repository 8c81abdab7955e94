"""Who fetches what at the moment: one at a time, and a claim that is never given back ends by itself."""

from __future__ import annotations

from collections.abc import Hashable

__all__ = ["Claims"]

_LEASE = 60.0
_MANY = 1024


class Claims:
    """Claims of this process; every step is atomic, so nobody needs a lock."""

    __slots__ = ("_ends",)

    def __init__(self) -> None:
        """Begin with none."""
        self._ends: dict[Hashable, float] = {}

    def take(self, what: Hashable, now: float) -> bool:
        """Claim something; return False if somebody else has it."""
        end = now + _LEASE
        held = self._ends.setdefault(what, end)
        if held is end:
            if len(self._ends) > _MANY:
                self._sweep(now)
            return True
        if now < held <= end:  # a clock that was set back ends claims, too
            return False
        self._ends[what] = end
        return True

    def give_back(self, what: Hashable) -> None:
        """End a claim."""
        self._ends.pop(what, None)

    def _sweep(self, now: float) -> None:
        for what, end in list(self._ends.items()):
            if end <= now:
                self._ends.pop(what, None)
