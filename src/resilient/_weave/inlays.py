"""Inlays: layers woven into every pipeline that are none of its policies, such as meters and spans.

Nothing is woven in before somebody adds one, and nothing is left after it was removed.
"""

from __future__ import annotations

from itertools import count
from threading import RLock
from typing import Literal, Protocol
from weakref import WeakKeyDictionary

from resilient._policy import Env, Guard
from resilient._runtime import live

Place = Literal["call", "attempt"]


class Inlay(Protocol):
    """What can be laid into every pipeline; hashable, and weakly referenced."""

    @property
    def place(self) -> Place:
        """Around the whole call, outside all policies; or around each attempt, inside all of them."""

    def bind(self, env: Env) -> Guard:
        """Return what is laid into one pipeline; made once for each."""


_MOST_NUMBERS = 1000
"""Names of layers are told apart by numbers, which come round after so many."""

_inlays: tuple[Inlay, ...] = ()
_numbers: WeakKeyDictionary[Inlay, int] = WeakKeyDictionary()
"""For good: calls in flight go on with the names they began with, whatever is added and removed meanwhile."""

_next = count().__next__

lock = RLock()
"""Around every weaving and every change of what is woven in, or a function might get the code of one and the names
of another. Its owner may come again, by the collector."""


def add(inlay: Inlay) -> None:
    """Lay it into every pipeline, also into functions already handed out; inside of those added before."""
    global _inlays  # noqa: PLW0603 -- one set for the process
    for member in live.members():
        if getattr(member, "woven", False):
            _bound(getattr(member, "env"), inlay)  # noqa: B009 -- of an assembly; not under the lock: it takes its own
    with lock:
        _number(inlay)
        _inlays = (*(each for each in _inlays if each is not inlay), inlay)
        reweave_all()


def remove(inlay: Inlay) -> None:
    """Leave it out from now on; calls in flight finish as they began."""
    global _inlays  # noqa: PLW0603 -- one set for the process
    with lock:
        _inlays = tuple(each for each in _inlays if each is not inlay)
        reweave_all()


def reweave_all() -> None:
    """Weave anew, in place, every function of the process."""
    with lock:
        for member in live.members():
            reweave = getattr(member, "reweave", None)
            if reweave is not None:
                reweave()


def renew() -> None:
    """Replace the lock, in a forked child."""
    global lock  # noqa: PLW0603 -- the parent's may be held by a thread that is not here
    lock = RLock()


def _number(inlay: Inlay) -> None:
    if inlay not in _numbers:
        taken = set(_numbers.values())
        _numbers[inlay] = next(number for _ in range(_MOST_NUMBERS) if (number := _next() % _MOST_NUMBERS) not in taken)


def bound(env: Env, place: Place) -> list[tuple[int, Guard]]:
    """Return what is laid into a pipeline at a place, outermost first, and the number of each."""
    return [(_numbers[inlay], _bound(env, inlay)) for inlay in _inlays if inlay.place == place]


def _bound(env: Env, inlay: Inlay) -> Guard:
    guard = env.inlaid.get(inlay)
    if guard is None:
        guard = inlay.bind(env)
        # A new dict each time: the empty one is shared, and others read without a lock.
        env.inlaid = {**{each: env.inlaid[each] for each in _inlays if each in env.inlaid}, inlay: guard}
    return guard
