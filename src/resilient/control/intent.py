"""What operators want of downstreams: holds, windows, commands and rules, as plain records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

__all__ = [
    "DAY",
    "MODES",
    "Command",
    "Disposition",
    "Hold",
    "Intent",
    "Mode",
    "Rule",
    "RuleKind",
    "Via",
    "Window",
    "matches",
    "strictest",
    "strictness",
]

Mode = Literal["forced_open", "observe", "forced_closed", "no_retries"]
Disposition = Literal["fallback", "reject"]
Via = Literal["cli", "api", "dashboard", "code"]
RuleKind = Literal["min_available", "max_forced_open_fraction", "never", "max_ttl", "wait_period"]

MODES: Final[tuple[Mode, ...]] = ("forced_open", "observe", "forced_closed", "no_retries")
"""The most restrictive first; `no_retries` stands beside the others, masks none and is masked by none."""

DAY: Final = 86_400.0
"""Seconds: the longest life of a hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """An operator's override of one downstream, with a reason, a name and an end.

    Attributes:
        id: Unique name.
        target: Name of the downstream.
        mode: "forced_open" refuses calls, "observe" admits them and tells what would have been refused,
            "forced_closed" admits them and never opens, "no_retries" takes second attempts away.
        percent: Share of the calls that "forced_open" refuses, 1 to 100; 100 for other modes.
        disposition: "fallback" refuses like an open breaker, so that the pipeline's own Fallback or
            StaleCache may answer; "reject" takes the refusal to the caller, past any Fallback.
        reason: Why, for people.
        ticket: Where more is written, perhaps empty.
        actor: Who.
        via: Through what.
        created_at: Seconds since 1970.
        expires_at: Seconds since 1970, for people and after a restart of the host.
        ends: The same end on the host's monotonic clock, which nobody sets.
        boot: Which start of the host `ends` belongs to, empty if unknown.
        ttl: Seconds it was given when it was placed or extended last.
        revision: The change of the record that made it what it is.
        status: "active", "released" or "expired".
        ended_at: Seconds since 1970, or None.
        ended_by: Who released it.
        end_reason: Why it ended.
        notes: What was added later.

    """

    id: str
    target: str
    mode: Mode
    percent: int = 100
    disposition: Disposition = "fallback"
    reason: str
    ticket: str = ""
    actor: str
    via: Via
    created_at: float
    expires_at: float
    ends: float
    boot: str
    ttl: float = DAY
    revision: int
    status: Literal["active", "released", "expired"] = "active"
    ended_at: float | None = None
    ended_by: str = ""
    end_reason: str = ""
    notes: tuple[str, ...] = ()

    def remaining(self, wall: float, now: float, boot: str) -> float:
        """Return the seconds until the hold ends by itself, never below 0.

        Args:
            wall: Seconds since 1970.
            now: The host's monotonic clock.
            boot: Which start of the host this is.

        """
        left = self.ends - now
        if not boot or boot != self.boot or left > self.ttl:  # another clock than the one it was measured by
            left = min(self.expires_at - wall, self.ttl)
        return max(0.0, left)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A planned maintenance: a hold on every downstream of a pattern, from a start to an end; never deleted.

    Attributes:
        id: Unique name.
        selector: Pattern over names of downstreams, such as "payments-*".
        mode: As of a hold.
        percent: As of a hold.
        disposition: As of a hold.
        reason: Why, for people.
        ticket: Where more is written, perhaps empty.
        actor: Who planned it.
        via: Through what.
        created_at: Seconds since 1970.
        starts_at: Seconds since 1970.
        ends_at: Seconds since 1970.
        revision: The change of the record that made it what it is.
        status: "scheduled", "active" or "ended".
        ended_at: Seconds since 1970, or None.
        ended_by: Who ended it before its time.
        end_reason: Why it ended.

    """

    id: str
    selector: str
    mode: Mode
    percent: int = 100
    disposition: Disposition = "fallback"
    reason: str
    ticket: str = ""
    actor: str
    via: Via
    created_at: float
    starts_at: float
    ends_at: float
    revision: int
    status: Literal["scheduled", "active", "ended"] = "scheduled"
    ended_at: float | None = None
    ended_by: str = ""
    end_reason: str = ""

    def active(self, wall: float) -> bool:
        """Tell whether the window is in force at a time (seconds since 1970)."""
        return self.status != "ended" and self.starts_at <= wall < self.ends_at

    def covers(self, target: str) -> bool:
        """Tell whether a downstream's name matches the selector."""
        return matches(self.selector, target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Something to do once, by every process that was there when it was given.

    Attributes:
        generation: Rises with each command; who starts later begins behind the last one.
        target: Name of the downstream.
        command: "reset" forgets what a breaker has seen, "probe" lets an open one try now.
        reason: Why, for people.
        actor: Who.
        via: Through what.
        at: Seconds since 1970.

    """

    generation: int
    target: str
    command: Literal["reset", "probe"]
    reason: str
    actor: str
    via: Via
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """An interlock: what operators may not do, however much they want to.

    Attributes:
        id: Unique name.
        kind: "min_available" (at least `n` of a group stay open to calls), "max_forced_open_fraction" (at
            most that share of a group is forced open), "never" (names that nobody forces open), "max_ttl"
            (no hold longer than `seconds`), "wait_period" (`seconds` between two changes of one target).
            Whatever is placed, extended or planned keeps them at each moment of its time, planned windows included.
        group: Patterns over names of downstreams; all of them by default.
        n: A number of downstreams.
        fraction: A share, 0 to 1.
        seconds: A duration.

    """

    id: str
    kind: RuleKind
    group: tuple[str, ...] = ("*",)
    n: int | None = None
    fraction: float | None = None
    seconds: float | None = None

    def covers(self, target: str) -> bool:
        """Tell whether a downstream belongs to the group."""
        return any(matches(pattern, target) for pattern in self.group)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """All that processes need to know, as of one revision of the record.

    Attributes:
        revision: Rises with every change.
        holds: Those in force.
        windows: Those not ended yet.
        commands: Those of the last hour, oldest first.
        rules: All interlocks.

    """

    revision: int = 0
    holds: tuple[Hold, ...] = ()
    windows: tuple[Window, ...] = ()
    commands: tuple[Command, ...] = ()
    rules: tuple[Rule, ...] = ()


def matches(pattern: str, name: str) -> bool:
    """Tell whether a name matches a pattern of `fnmatch`, upper and lower case told apart."""
    from fnmatch import fnmatchcase  # noqa: PLC0415 -- holds alone need no patterns

    return fnmatchcase(name, pattern)


def strictness(mode: str, percent: int = 100) -> tuple[int, int]:
    """Return what orders modes: greater is more restrictive; `no_retries` is no member of the order, and lowest."""
    order = {"forced_open": 3, "observe": 2, "forced_closed": 1}
    # A share of refusals is weaker than all of them, and still stronger than observing.
    return order.get(mode, 0), percent if mode == "forced_open" else 0


def strictest(entries: Iterable[Hold | Window]) -> Hold | Window | None:
    """Return the hold or window that counts for the admission of calls, or None."""
    gates = [entry for entry in entries if entry.mode != "no_retries"]
    return max(gates, key=lambda entry: strictness(entry.mode, entry.percent), default=None)
