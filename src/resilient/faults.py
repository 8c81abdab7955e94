"""Report a fault of user callbacks and of our own parts once, without hurting the call.

A predicate, classifier, listener or fallback that raises must be visible and must not
change an outcome. The first fault of each callback is logged with its traceback on the
logger "resilient"; later ones are only counted.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from itertools import count

__all__ = ["report", "reset", "total"]

_REMEMBERED = 1024
_seen: OrderedDict[object, None] = OrderedDict()
_tick = count(1).__next__
_total = 0


def report(source: object, fault: BaseException) -> None:
    """Log the first fault of `source` and count the later ones."""
    global _total  # noqa: PLW0603 -- one counter per process
    _total = _tick()
    key = _name(source)
    if key in _seen:
        return
    _seen[key] = None
    if len(_seen) > _REMEMBERED:
        try:
            _seen.popitem(last=False)
        except KeyError:  # another thread emptied it
            _seen.clear()
    import logging  # noqa: PLC0415 -- kept off the import path of the library

    logging.getLogger("resilient").error(
        "%s raised %s; the call was not affected, and this is reported once",
        key,
        type(fault).__name__,
        exc_info=(type(fault), fault, fault.__traceback__),
    )


def note(error: BaseException, text: str, *parts: object) -> None:
    """Add a note to somebody else's exception, be it a frozen dataclass; never fail.

    Args:
        error: The exception.
        text: The note, with a place such as `%s` for each of `parts`.
        parts: What is put there; of a kind that may refuse to be shown.

    """
    with suppress(Exception):  # the note is not worth the error that it is about
        text %= parts
        try:
            error.add_note(text)
        except Exception:  # noqa: BLE001
            BaseException.__setattr__(error, "__notes__", [*error.__dict__.get("__notes__", ()), text])


def total() -> int:
    """Return how many faults were reported or counted since the start or `reset`."""
    return _total


def reset() -> None:
    """Forget what was reported, so that tests start clean."""
    global _tick, _total  # noqa: PLW0603
    _seen.clear()
    _tick = count(1).__next__
    _total = 0


def _name(source: object) -> str:
    module = getattr(source, "__module__", None) or type(source).__module__
    name = getattr(source, "__qualname__", None) or type(source).__qualname__
    return f"{module}.{name}"
