"""The words a circuit breaker's machine speaks: settings, moments, transitions, refusals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from resilient._machines.tally import Count, Totals

CLOSED: Final = "closed"
OPEN: Final = "open"
HALF_OPEN: Final = "half_open"


@dataclass(frozen=True, slots=True)
class Settings:
    """A breaker's configuration in plain numbers; `CircuitBreaker` explains each."""

    failure_rate: float
    window: float | Count
    min_calls: int
    consecutive: int | None
    slow_call: float | None
    slow_rate: float
    open_for: float
    max_open_for: float
    probes: int
    max_half_open: float
    ramp: float
    jitter: float


class Moment(NamedTuple):
    """What a decision may depend on beside the state.

    Attributes:
        now: The time, in seconds.
        draw: A random number in [0, 1).
        hint: Seconds for which the server asked, or None.

    """

    now: float
    draw: float
    hint: float | None = None


class Transition(NamedTuple):
    """A change of state, and what it was decided on.

    Under an observing hold it is a shadow: what would have happened.
    """

    before: str
    after: str
    cause: str
    era: int
    totals: Totals
    open_for: float | None = None
    shadow: bool = False


class Refusal(NamedTuple):
    """Why a call may not pass, and after how many seconds the next one may."""

    retry_after: float | None
    reason: str


def why_open(settings: Settings, totals: Totals, run: int) -> str | None:
    """Return the cause to open a closed circuit, or None.

    Args:
        settings: The thresholds; reaching one is enough.
        totals: What the window holds.
        run: Failures since the last success.

    """
    if totals.calls >= settings.min_calls:
        if totals.failure_rate >= settings.failure_rate:
            return "failure_ratio"
        if settings.slow_call is not None and totals.slow_rate >= settings.slow_rate:
            return "slow_ratio"
    if settings.consecutive is not None and run >= settings.consecutive:
        return "consecutive"
    return None
