"""The list of what is measured: a policy, a colour, a path, and the settings all subjects share."""

from __future__ import annotations

from dataclasses import dataclass

NEVER_TRIPS = 10**9
ATTEMPTS = 3
LIMIT = 20
SECONDS = 30.0
TOTAL_SECONDS = 60.0
"""The outer one of two timeouts."""
OPEN_FOR = 3600.0
RATE = 10**9
WINDOW_CALLS = 100
WINDOW_SECONDS = 10.0
CONSECUTIVE = 5
FRESH = 3600.0
STALE = 7200.0
ENTRIES = 1024
FAILING_RUN = 19
"""Failing calls after each good one on the failure path, so that no window is ever all bad."""

TITLES = {
    "retry": "retry, 3 attempts",
    "bulkhead": "bulkhead, 20 permits",
    "breaker-count": "breaker, last 100 calls",
    "breaker-time": "breaker, last 10 s",
    "breaker-consecutive": "breaker, 5 failures in a row",
    "rate-limit": "rate limit, never reached",
    "fallback": "fallback to a value",
    "timeout": "timeout, 30 s",
    "timeout-cooperative": "timeout, cooperative",
    "timeout-twice": "timeout, retry, timeout",
    "stack-three": "retry, breaker (10 s), bulkhead",
    "stack-five": "timeout, retry, breaker, bulkhead, timeout",
    "held": "breaker, forced open by a hold",
    "cache-hit": "stale cache, a stored answer",
}

REFUSED_TITLES = {
    "bulkhead": "full bulkhead, 1 permit",
    "rate-limit": "rate limit, used up",
    "breaker-count": "open breaker, last 100 calls",
    "breaker-time": "open breaker, last 10 s",
    "breaker-consecutive": "open breaker, 5 failures in a row",
    "stack-three": "retry, open breaker (10 s), bulkhead",
    "held": "breaker forced open by a hold",
}


class UnavailableError(Exception):
    """A subject has no such feature."""


@dataclass(frozen=True, slots=True)
class Trip:
    """When a breaker opens: at a failure rate of so many calls, or after failures in a row."""

    rate: float
    min_calls: int
    consecutive: int | None


TRIPS = {
    "success": Trip(rate=0.5, min_calls=20, consecutive=CONSECUTIVE),
    "failure": Trip(rate=1.0, min_calls=WINDOW_CALLS, consecutive=None),
    "refused": Trip(rate=0.5, min_calls=5, consecutive=CONSECUTIVE),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the results."""

    policy: str
    colour: str = "sync"
    path: str = "success"
    limit: int = LIMIT

    @property
    def title(self) -> str:
        """What the line measures, for people."""
        titles = REFUSED_TITLES if self.path == "refused" else TITLES
        return titles[self.policy]

    @property
    def group(self) -> str:
        """The table the line belongs to."""
        return f"{self.colour} {self.path}"

    @property
    def trip(self) -> Trip:
        """When the breakers of this case open."""
        return TRIPS.get(self.path, TRIPS["success"])

    @property
    def consecutive(self) -> int:
        """The failures in a row that open a breaker which knows nothing else."""
        return self.trip.consecutive or NEVER_TRIPS

    @property
    def burst(self) -> int:
        """The calls the rate limit admits at once, and in an hour when it is to be used up."""
        return 1 if self.path == "refused" else RATE

    @property
    def per(self) -> float:
        """The seconds of the rate limit's period."""
        return OPEN_FOR if self.path == "refused" else 1.0


_BREAKERS = ("breaker-count", "breaker-time", "breaker-consecutive")
_ALONE = ("retry", "bulkhead", *_BREAKERS, "rate-limit", "fallback", "timeout")
_SYNC = (*_ALONE, "timeout-cooperative", "timeout-twice", "stack-three")
_ASYNC = (*_ALONE, "stack-three", "stack-five")
_REFUSED = ("bulkhead", *_BREAKERS, "held", "rate-limit", "stack-three")

CASES: tuple[Case, ...] = (
    *(Case(policy, "sync", "success") for policy in _SYNC),
    *(Case(policy, "async", "success") for policy in _ASYNC),
    *(Case("cache-hit", colour, "hit") for colour in ("sync", "async")),
    *(Case(policy, "async", "suspended") for policy in ("timeout", "stack-five")),
    *(Case(policy, "sync", "failure") for policy in _SYNC if policy != "timeout-twice"),
    *(Case(policy, "async", "failure") for policy in _ASYNC),
    *(
        Case(policy, colour, "refused", limit=1 if policy == "bulkhead" else LIMIT)
        for colour in ("sync", "async")
        for policy in _REFUSED
    ),
)
