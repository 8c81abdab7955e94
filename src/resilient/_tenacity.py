"""Let tenacity's `wait_*` and `stop_*` objects pace our retries.

They are recognised by the module of their base class and called with a look-alike of the state
that tenacity would hand them, so tenacity itself is never imported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol, TypeGuard

from resilient import faults
from resilient._machines.backoff import Tried
from resilient.outcome import usable_hint

LONGEST = 86_400.0
"""No wait object makes a call sleep longer than a day; some of tenacity's know no maximum."""


class Wait(Protocol):
    """One of tenacity's `wait_*` objects."""

    def __call__(self, retry_state: Any, /) -> float:  # noqa: ANN401 -- tenacity's own class, not importable here
        """Return seconds."""


class Stop(Protocol):
    """One of tenacity's `stop_*` objects."""

    def __call__(self, retry_state: Any, /) -> bool:  # noqa: ANN401
        """Tell whether to give up."""


def is_wait(value: object) -> TypeGuard[Wait]:
    """Tell whether a value is one of tenacity's `wait_*` objects."""
    return _descends(value, "wait_base")


def is_stop(value: object) -> TypeGuard[Stop]:
    """Tell whether a value is one of tenacity's `stop_*` objects."""
    return _descends(value, "stop_base")


def _descends(value: object, base: str) -> bool:
    return any(
        each.__name__ == base and each.__module__.partition(".")[0] == "tenacity" for each in type(value).__mro__
    )


class Ended:
    """The part of tenacity's `Future` that describes how an attempt ended."""

    __slots__ = ("_tried", "attempt_number")

    def __init__(self, tried: Tried) -> None:
        self._tried = tried
        self.attempt_number = tried.attempt

    @property
    def failed(self) -> bool:
        """Whether the attempt raised."""
        return self._tried.error is not None

    def done(self) -> bool:
        """Tell that the attempt is over."""
        return True

    def cancelled(self) -> bool:
        """Tell that it was not cancelled."""
        return False

    def exception(self, timeout: float | None = None) -> BaseException | None:  # noqa: ARG002 -- tenacity's signature
        """Return what the attempt raised."""
        return self._tried.error

    def result(self, timeout: float | None = None) -> object:  # noqa: ARG002
        """Return what the attempt returned, or raise what it raised."""
        if self._tried.error is not None:
            raise self._tried.error
        return self._tried.result


@dataclass(slots=True)
class RetryState:
    """A look-alike of tenacity's `RetryCallState`, whose clock starts at 0."""

    attempt_number: int
    outcome: Ended
    outcome_timestamp: float
    idle_for: float
    upcoming_sleep: float = 0.0
    start_time: float = 0.0
    next_action: object = None
    retry_object: object = None
    fn: object = None
    args: tuple[object, ...] = ()
    kwargs: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def seconds_since_start(self) -> float:
        """Seconds from the start of the first attempt to the end of the last."""
        return self.outcome_timestamp - self.start_time


def state_of(tried: Tried, upcoming: float = 0.0) -> RetryState:
    """Return the state that tenacity would have at this point."""
    return RetryState(tried.attempt, Ended(tried), tried.elapsed, tried.slept, upcoming)


@dataclass(frozen=True, slots=True)
class WaitPacing:
    """Delays from a `wait_*` object; it draws its own random numbers."""

    wait: Wait

    def delays(self) -> WaitPacing:
        """Return the object itself: a wait object keeps nothing between calls."""
        return self

    def next(self, tried: Tried, random: float, *, throttled: bool) -> float:  # noqa: ARG002 -- our own curves use them
        """Return the delay in seconds; our default's largest, should the object fail."""
        try:
            answer: object = self.wait(state_of(tried))
        except Exception as fault:  # noqa: BLE001 -- a wait that raises never replaces the call's error
            faults.report(self.wait, fault)
            return FALLBACK
        seconds = usable_hint(answer)
        if seconds is None:
            faults.report(self.wait, ValueError(f"a wait must be a finite number of seconds, got {answer!r}"))
            return FALLBACK
        return min(seconds, LONGEST)

    def restart(self) -> None:
        """Do nothing: the object counts attempts, not delays."""

    def describe(self) -> str:
        """Name the object."""
        return f"tenacity's {type(self.wait).__name__}"


FALLBACK = 1.0
"""Seconds to wait where a wait object fails to say."""


@dataclass(frozen=True, slots=True)
class StopRule:
    """When to give up, from a `stop_*` object."""

    stop: Stop

    def stops(self, tried: Tried, upcoming: float) -> bool:
        """Tell whether to give up; an object that fails to say means yes.

        Args:
            tried: What is known of the call so far.
            upcoming: Seconds that would be waited before the next attempt.

        """
        try:
            return bool(self.stop(state_of(tried, upcoming)))
        except Exception as fault:  # noqa: BLE001 -- a stop that raises never replaces the call's error
            faults.report(self.stop, fault)
            return True

    def describe(self) -> str:
        """Name the object."""
        return f"tenacity's {type(self.stop).__name__}"
