"""Who may pass a gate: the holds on a downstream, and the slow return after the last one that refused.

A gate is a value: what changes it returns another one. So it is read without a lock while somebody changes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from resilient._machines.holds import FORCED_CLOSED, FORCED_OPEN, NO_RETRIES, OBSERVE, Entry, in_force
from resilient._machines.recovery import Ramp
from resilient._machines.states import Refusal

_ALL = 100

_ADMITS_ALL = frozenset({OBSERVE, FORCED_CLOSED})
"""Modes under which a ramp refuses nobody."""


class Gate(NamedTuple):
    """What the holds of a downstream ask for now.

    Attributes:
        holds: Those in force and those masked by a stronger one.
        ramp: The growing share of calls after a release, or None.

    """

    holds: tuple[Entry, ...] = ()
    ramp: Ramp | None = None

    @property
    def plain(self) -> bool:
        """Whether everybody passes, and will until somebody places a hold."""
        return not self.holds and self.ramp is None

    @property
    def shut(self) -> bool:
        """Whether nobody passes."""
        return self.shut_until > -math.inf

    @property
    def shut_until(self) -> float:
        """Until when nobody passes, if nobody lifts a hold before."""
        whole = (entry.until for entry in self.holds if entry.mode == FORCED_OPEN and entry.percent == _ALL)
        return max(whole, default=-math.inf)

    @property
    def mode(self) -> str:
        """The most restrictive mode, be it for a part of the calls, or `AUTO`."""
        return in_force(self.holds)

    @property
    def retries(self) -> bool:
        """Whether failed attempts may be repeated."""
        return not any(entry.mode == NO_RETRIES for entry in self.holds)

    @property
    def rejects(self) -> bool:
        """Whether what is refused reaches the caller past any fallback."""
        return any(entry.mode == FORCED_OPEN and entry.disposition == "reject" for entry in self.holds)

    @property
    def next_end(self) -> float:
        """When the first hold ends by itself."""
        return min((entry.until for entry in self.holds), default=math.inf)

    def share(self, now: float) -> float:
        """Return the share of calls that pass."""
        refused = max((entry.percent for entry in self.holds if entry.mode == FORCED_OPEN), default=0)
        ramp = None if self.mode in _ADMITS_ALL else self.ramp
        return min(1 - refused / _ALL, 1.0 if ramp is None else ramp.share(now, 0.0))

    def ask(self, now: float, draw: Callable[[], float]) -> Refusal | None:
        """Return None to let a call pass, or why not.

        Args:
            now: The current time.
            draw: Returns a random number in [0, 1); asked only where a part of the calls pass.

        """
        share = self.share(now)
        if share >= 1 or (share > 0 and draw() < share):
            return None
        if self.mode != FORCED_OPEN:
            return Refusal(0.0, "ramping")
        if share > 0:
            return Refusal(0.0, FORCED_OPEN)
        end = self.shut_until
        return Refusal(None if end == math.inf else max(0.0, end - now), FORCED_OPEN)

    def changed(self, new: Iterable[Entry], gone: Iterable[str], now: float, *, ramped: bool) -> Gate:
        """Return the gate with some holds more and some less.

        Args:
            new: Those to add; one that is there is replaced, perhaps by a weaker one.
            gone: Names of those to take away.
            now: The current time.
            ramped: Whether calls return by and by where nobody else sees to that.

        """
        fresh, out = {entry.id: entry for entry in new}, set(gone)
        left = [entry for entry in self.holds if entry.id not in fresh]
        after = self._replace(holds=tuple(entry for entry in (*left, *fresh.values()) if entry.id not in out))
        if ramped and self.shut and not after.shut and after.mode != FORCED_CLOSED:
            # From its end on, though nobody may have called for long since then.
            after = after._replace(ramp=Ramp(min(now, self.shut_until), operator=True)).settled(now)
        return OPEN_GATE if after.plain else after

    def over(self, now: float) -> list[Entry]:
        """Return the holds whose time is over."""
        return [entry for entry in self.holds if entry.until <= now]

    def settled(self, now: float) -> Gate:
        """Return the gate without a ramp that has reached the top."""
        if self.ramp is not None and self.ramp.share(now, 0.0) >= 1:
            return self.unramped()
        return self

    def unramped(self) -> Gate:
        """Return the gate without a ramp."""
        return self._replace(ramp=None) if self.holds else OPEN_GATE

    def moved(self, before: float, now: float) -> Gate:
        """Return the gate by another clock, which reads `now` where the old one read `before`."""
        holds = tuple(replace(entry, until=entry.until - before + now) for entry in self.holds)
        ramp = None if self.ramp is None else Ramp(self.ramp.began - before + now, operator=self.ramp.operator)
        return self if self.plain else Gate(holds, ramp)


OPEN_GATE = Gate()
"""Everybody passes."""
