"""How one call's attempts go on: what it remembers, and how long the next pause is.

The rules about server hints: never sooner than the server allowed, a little later so that its
clients do not return together, and not at all if the hint is far beyond our own delay.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from resilient._machines.backoff import Delays, Tried
from resilient.outcome import Outcome, Verdict

_HINT_SLACK = 5.0
"""A server's hint may exceed our own delay by so many seconds; a longer one means: do not retry."""

_HINT_SPREAD = 0.1
"""We wait up to a tenth longer than the server asked, so that its clients do not return together."""

_LONGEST_PAUSE = 60.0
"""Seconds; no pause is longer, whatever asked for it."""


class Turn:
    """The later attempts of one call, as everything that runs inside them sees it.

    Attributes:
        since: The ledger's mark as the first attempt began; infinite if that is not known.
        number: Which attempt it is now.
        over: Whether the call has ended.

    """

    __slots__ = ("number", "over", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.number = 2
        self.over = False


class Attempts:
    """What one call remembers from its first failure on."""

    __slots__ = ("delay", "delays", "ended", "error", "mark", "number", "paid", "slept", "started", "turn")

    def __init__(self, started: float, delays: Delays) -> None:
        self.number = 1
        self.started = started
        self.delays = delays
        self.error: Exception | None = None
        self.mark = inf
        self.delay = 0.0
        self.slept = 0.0
        self.paid: int | None = None
        self.turn: Turn | None = None
        self.ended = False  # with the result that it has


class Ending(NamedTuple):
    """How an attempt ended that was not good enough."""

    error: Exception | None
    result: object
    verdict: Verdict

    @property
    def name(self) -> str:
        """What to call it in events."""
        return type(self.result if self.error is None else self.error).__name__


def next_pause(state: Attempts, verdict: Verdict, tried: Tried, jitter: float, spread: float) -> float | None:
    """Return the next pause in seconds; None if the server's hint says not to try.

    Args:
        state: What the call remembers.
        verdict: How the attempt ended, with the server's hint.
        tried: The same for the backoff.
        jitter: A random number in [0, 1) for our own delay.
        spread: Another one, for how much later than the hint to come back.

    """
    own = state.delays.next(tried, jitter, throttled=verdict.outcome is Outcome.THROTTLED)
    hint = verdict.retry_after
    if hint is not None and hint > own:
        if hint > own + _HINT_SLACK or hint > _LONGEST_PAUSE:
            return None
        state.delays.restart()
        return max(hint, min(hint + spread * hint * _HINT_SPREAD, _LONGEST_PAUSE))
    return min(own, _LONGEST_PAUSE)
