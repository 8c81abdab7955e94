"""Inlays: layers woven into every pipeline that are none of its policies, such as meters and spans.

Nothing is woven in before somebody adds one, and nothing is left after it was removed.
"""

from __future__ import annotations

from typing import Literal, Protocol

from resilient._policy import Env, Guard
from resilient._runtime import live

Place = Literal["call", "attempt"]


class Inlay(Protocol):
    """What can be laid into every pipeline."""

    @property
    def place(self) -> Place:
        """Around the whole call, outside all policies; or around each attempt, inside all of them."""

    def bind(self, env: Env) -> Guard:
        """Return what is laid into one pipeline; made once for each."""


_inlays: tuple[Inlay, ...] = ()


def add(inlay: Inlay) -> None:
    """Lay it into every pipeline, also into functions already handed out; inside of those added before."""
    global _inlays  # noqa: PLW0603 -- one set for the process
    _inlays = (*(each for each in _inlays if each is not inlay), inlay)
    reweave_all()


def remove(inlay: Inlay) -> None:
    """Leave it out from now on; calls in flight finish as they began."""
    global _inlays  # noqa: PLW0603 -- one set for the process
    _inlays = tuple(each for each in _inlays if each is not inlay)
    reweave_all()


def reweave_all() -> None:
    """Weave anew, in place, every function of the process."""
    for member in live.members():
        reweave = getattr(member, "reweave", None)
        if reweave is not None:
            reweave()


def bound(env: Env, place: Place) -> list[Guard]:
    """Return what is laid into a pipeline at a place, outermost first."""
    return [_bound(env, inlay) for inlay in _inlays if inlay.place == place]


def _bound(env: Env, inlay: Inlay) -> Guard:
    guard = env.inlaid.get(inlay)
    if guard is None:
        guard = inlay.bind(env)
        # A new dict each time: the empty one is shared, and others read without a lock.
        env.inlaid = {**{each: env.inlaid[each] for each in _inlays if each in env.inlaid}, inlay: guard}
    return guard
