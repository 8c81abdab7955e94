"""Find one very key in a dictionary, whatever its hash has become since it was put there.

Keys hold the arguments of calls, and those may change while they are in use: a dictionary finds
none whose hash is another one now, and would keep it for ever.
"""

from __future__ import annotations

from collections.abc import Hashable


def finder(key: Hashable, mark: int) -> Hashable:
    """Return what finds a key that was put into a dictionary when its hash was `mark`."""
    try:
        changed = hash(key) != mark
    except Exception:  # noqa: BLE001 -- what is wrong with one caller's key is no error of another one
        changed = True
    return _Itself(key, mark) if changed else key


class _Itself:
    """Stands for a key in look-ups; it is a tuple, or what else leaves comparisons with this to this."""

    __slots__ = ("_key", "_mark")

    def __init__(self, key: Hashable, mark: int) -> None:
        self._key = key
        self._mark = mark

    def __hash__(self) -> int:
        """Return the hash that the key had."""
        return self._mark

    def __eq__(self, other: object) -> bool:
        """Tell whether it is the very key."""
        return other is self._key
