"""Everything alive that must hear of a fork or of another clock, held weakly.

In a forked child every lock of ours is replaced, randomness is drawn anew, permits are full
and no worker thread of the parent is counted on.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Protocol

from resilient import clock as _clock
from resilient._runtime import threads
from resilient._runtime.ledger import ledger


class Member(Protocol):
    """What is told."""

    def renew(self) -> None:
        """Start afresh in a forked child."""

    def use_clock(self, clock: _clock.Clock) -> None:
        """Run on another clock from here on."""


_members: dict[int, weakref.ref[Member]] = {}
_renewals: list[Callable[[], None]] = [threads.renew, ledger.renew]


def add(member: Member) -> None:
    """Tell `member` of forks and clocks for as long as it lives."""
    key = id(member)

    # Runs when the member is collected, perhaps while this very thread is in here: one atomic pop.
    def forget(_: object, pop: Callable[[int, None], object] = _members.pop, key: int = key) -> None:
        pop(key, None)

    _members[key] = weakref.ref(member, forget)


def members() -> list[Member]:
    """Return everything alive."""
    return [member for reference in list(_members.values()) if (member := reference()) is not None]


def renewing(renewal: Callable[[], None]) -> None:
    """Call a module's own renewal in every forked child."""
    _renewals.append(renewal)


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
    os.register_at_fork(after_in_child=_after_fork)
