"""Values of a label, of which only so many are told apart: the rest are `_other`."""

from __future__ import annotations

from resilient.telemetry.catalogue import OTHER

__all__ = ["Names"]


_LONGEST = 200


class Names:
    """Tell the first `most` names apart; warn once when there are more.

    The first ones keep their name for good: a counter under a name never goes back.
    """

    __slots__ = ("_known", "_most", "_told", "_what", "beyond")

    def __init__(self, most: int, what: str) -> None:
        """Begin with no name.

        Args:
            most: How many are told apart.
            what: What they are names of, for the warning.

        """
        self._known: dict[str, str] = {}
        self._most = most
        self._what = what
        self._told = False
        self.beyond = False
        """Whether there were more."""

    def of(self, name: str) -> str:
        """Return the name to count under. Its owner keeps the lock."""
        known = self._known.get(name)
        if known is not None:
            return known
        if len(self._known) >= self._most:
            self.beyond = True
            return OTHER
        shown = self._known[name] = name if len(name) <= _LONGEST and name.isprintable() else _plain(name)
        return shown

    def warn(self) -> None:
        """Say once that there are more, if there are. Never call this while holding a lock."""
        if self._told or not self.beyond:
            return
        self._told = True
        import logging  # noqa: PLC0415 -- only who has too many names pays for it

        logging.getLogger("resilient.telemetry").warning(
            "more than %d %s: the rest are counted together as %r", self._most, self._what, OTHER
        )


def _plain(name: str) -> str:
    """Return a name that fits into any encoding and any line: a class may be called whatever somebody likes."""
    return name[:_LONGEST].encode("unicode_escape").decode()[:_LONGEST]
