"""Everything alive that must hear of a fork or of another clock, held weakly.

In a forked child every lock of ours is replaced, randomness is drawn anew, permits are full
and no worker thread of the parent is counted on.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Protocol, TypeVar

from resilient import clock as _clock
from resilient._runtime import threads
from resilient._runtime.ledger import ledger

T = TypeVar("T")


class Member(Protocol):
    """What is told."""

    def renew(self) -> None:
        """Start afresh in a forked child."""

    def use_clock(self, clock: _clock.Clock) -> None:
        """Run on another clock from here on."""


class Forker(Protocol):
    """What has to be put aside while this process is forked."""

    def before_fork(self) -> None:
        """Put it aside; in the thread that is about to fork, while others go on."""

    def after_fork(self) -> None:
        """Take it up again in the parent, also if the fork has failed; the child renews its members instead."""


_members: dict[int, weakref.ref[Member]] = {}
_forkers: dict[int, weakref.ref[Forker]] = {}
_renewals: list[Callable[[], None]] = [threads.renew, ledger.renew]


def add(member: Member) -> None:
    """Tell `member` of forks and clocks for as long as it lives."""
    _keep(_members, member)


def around_forks(forker: Forker) -> None:
    """Tell `forker` before and after each fork, in the parent, for as long as it lives."""
    _keep(_forkers, forker)


def _keep(kept: dict[int, weakref.ref[T]], member: T) -> None:
    key = id(member)

    # Runs when the member is collected, perhaps while this very thread is in here: one atomic pop.
    def forget(_: object, pop: Callable[[int, None], object] = kept.pop, key: int = key) -> None:
        pop(key, None)

    kept[key] = weakref.ref(member, forget)


def _alive(kept: dict[int, weakref.ref[T]]) -> list[T]:
    return [member for reference in list(kept.values()) if (member := reference()) is not None]


def members() -> list[Member]:
    """Return everything alive."""
    return _alive(_members)


def renewing(renewal: Callable[[], None]) -> None:
    """Call a module's own renewal in every forked child."""
    _renewals.append(renewal)


def _before_fork() -> None:
    told: set[int] = set()
    # Again, for what others have made while one was waited for.
    while fresh := [forker for forker in _alive(_forkers) if id(forker) not in told]:
        for forker in fresh:
            told.add(id(forker))
            forker.before_fork()


def _after_in_parent() -> None:
    for forker in _alive(_forkers):
        forker.after_fork()


def _after_fork() -> None:
    _clock.SYSTEM.reseed()
    for renewal in _renewals:
        renewal()
    for member in members():
        member.renew()


def _use(clock: _clock.Clock) -> None:
    for member in members():
        member.use_clock(clock)


_clock.watch(_use)
if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_fork)
