"""A circuit breaker's guard: its machine joined to clock, randomness, verdicts and events."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from resilient import _check
from resilient._guards import breaker_news as news
from resilient._guards.breaker_permit import Permit
from resilient._machines.breaker import BreakerMachine
from resilient._machines.holds import FORCED_OPEN, Entry
from resilient._machines.probes import Ticket
from resilient._machines.states import Refusal, Settings
from resilient._machines.window import Window
from resilient._policy import Colour, Env, Guard, Policy
from resilient.errors import BreakerOpen
from resilient.events import wanted
from resilient.outcome import Outcome, Verdict, thrown_away

if TYPE_CHECKING:
    from resilient.holds import Hold


class BreakerPolicy(Policy, Protocol):
    """What the guard needs of a `CircuitBreaker`."""

    @property
    def settings(self) -> Settings:
        """The configuration in plain numbers."""


class BreakerGuard(Guard):
    """State of one circuit breaker; also what operators and the two-step permit API use."""

    __slots__ = ("_clock", "_policy", "machine")

    def __init__(self, env: Env, label: str, policy: BreakerPolicy) -> None:
        super().__init__(env, label)
        self._policy = policy
        self._clock = env.clock
        self.machine = BreakerMachine(policy.settings, env.now())

    @property
    def policy(self) -> BreakerPolicy:
        """The configuration in force."""
        return self._policy

    @property
    def lease(self) -> float:
        """Seconds after which a probe without an outcome counts as failed."""
        return self.machine.lease

    @lease.setter
    def lease(self, seconds: float) -> None:
        self.machine.lease = _check.seconds("lease", seconds)

    def placed(self, outside: Sequence[Guard], inside: Sequence[Guard]) -> None:
        """Lease probes for as long as an attempt may take."""
        # A timeout outside a retry bounds all attempts together, not each.
        retries = [place for place, guard in enumerate(outside) if guard.policy.kind == "retry"]
        attempt = [*inside, *outside[retries[-1] if retries else 0 :]]
        limits = [getattr(guard.policy, "seconds", math.inf) for guard in attempt if guard.policy.kind == "timeout"]
        self.lease = min(limits, default=self.lease)

    def flags(self, colour: Colour) -> frozenset[str]:  # noqa: ARG002 -- the same for both colours
        """Return "clocked" for a time window, "judged" if results are classified."""
        judged = self.env.classifier.result is not None
        flags = {"clocked": self.machine.clocked, "judged": judged}
        return frozenset(flag for flag, there in flags.items() if there)

    def names(self, colour: Colour) -> Mapping[str, object]:  # noqa: ARG002
        """Return what the template's injected names stand for."""
        return {"breaker_": self, "machine_": self.machine}

    def admit(self) -> Window | Permit:
        """Return a permit or raise `BreakerOpen`; the way of every call that has no fast path."""
        now = self._now()
        answer = self.machine.admit(now, self.env.clock.random())
        self.publish()
        if isinstance(answer, Refusal):
            raise self.refusal(answer.retry_after, answer.reason)
        return Permit(self, answer) if isinstance(answer, Ticket) else answer

    def refusal(self, retry_after: float | None, reason: str = BreakerOpen.default_reason) -> BreakerOpen:
        """Return what to raise; by its caller, so that it passes one frame less."""
        env = self.env
        if self.machine.forced:
            retry_after, reason = self.machine.held_for(env.now()), FORCED_OPEN
        if wanted():
            env.emit("resilient.call.rejected", policy=self.label, reason=reason, retry_after=retry_after)
        return BreakerOpen(env.downstream, self.label, retry_after, reason)

    def failed(self, permit: Window | Permit, error: BaseException) -> None:
        """Settle a call that raised, as the classifier judges it."""
        if thrown_away(error):
            self.drop(permit)
        else:
            self.leave(permit, self.env.classifier.of_error(error))

    def succeeded(self, permit: Window | Permit, result: object) -> None:
        """Settle a call that returned, as the classifier judges it."""
        self.leave(permit, self.env.classifier.of_result(result))

    def settle(self, permit: Window | Ticket, outcome: Outcome, hint: float | None = None) -> None:
        """Record an outcome with the machine and tell what came of it."""
        self.machine.settle(permit, outcome, self._now(), self.env.clock.random(), hint)
        self.publish()

    def enter(self, end: float) -> Window | Permit:  # noqa: ARG002 -- a breaker never waits
        """Return a permit or raise `BreakerOpen`."""
        window = self.machine.window
        if window is None or self.env.now() >= window.end:
            return self.admit()
        return window

    async def aenter(self, end: float) -> Window | Permit:
        """Do the same; it never waits."""
        return self.enter(end)

    def leave(self, ticket: object, verdict: Verdict) -> None:
        """Settle a permit."""
        outcome = verdict.outcome
        if isinstance(ticket, Permit):
            self.settle(ticket.ticket, outcome, verdict.retry_after)
        elif outcome is Outcome.SUCCESS:
            ticket.succeed(None)  # type: ignore[attr-defined]  # a window
        elif outcome is Outcome.FAILURE:
            self.settle(ticket, outcome, verdict.retry_after)  # type: ignore[arg-type]

    def drop(self, ticket: object) -> None:
        """Settle a permit as inconclusive without taking a lock."""
        if isinstance(ticket, Permit):
            self.machine.drop(ticket.ticket)

    def hold(self, mode: str, *, reason: str, actor: str = "", expires: _check.Duration | None = None) -> Hold:
        """Override the breaker until the hold is released or expires.

        Args:
            mode: "forced_open", "forced_closed" or "observe"; see `Hold`.
            reason: Why, for people.
            actor: Who, for people.
            expires: Seconds after which it ends by itself, or None for never.

        Raises:
            ConfigError: If the mode is unknown, the reason empty or the duration not above 0.

        """
        now = self._now()
        from resilient.holds import new_entry  # noqa: PLC0415 -- only who holds pays for it

        entry = new_entry(mode, reason, actor, expires, now)
        self.machine.hold(entry, now, self.env.clock.random())
        news.held(self.env, self.label, "applied", entry)
        self.publish()
        return self._held(entry, now)

    def impose(self, entries: Iterable[Entry], gone: Iterable[str]) -> None:
        """Put the gate's holds on the breaker and take others away; `publish` tells what came of it."""
        self.machine.impose(entries, gone, self._now(), self.env.clock.random())

    def holds(self) -> tuple[Hold, ...]:
        """Return the holds that are there, masked ones included."""
        return tuple(self._held(entry, self._now()) for entry in self._entries())

    def snapshot(self) -> dict[str, object]:
        """Return the state as plain data, for people, metrics and `restore`."""
        data = self.machine.snapshot(self._now(), self.env.clock.random())
        self.publish()
        return {"breaker": self.label, **data}

    def restore(self, snapshot: Mapping[str, object], *, age: _check.Duration = 0.0) -> None:
        """Go on from a snapshot, perhaps of another process; holds are left as they are.

        Args:
            snapshot: What `snapshot()` returned.
            age: Seconds since it was taken.

        Raises:
            ConfigError: If it is no such snapshot; the breaker is then unchanged.

        """
        self.machine.restore(snapshot, self._now(), _check.seconds("age", age, zero=True))
        self.publish()

    def reset(self) -> None:
        """Close and forget the history; holds stay in force."""
        self.machine.reset(self._now(), self.env.clock.random())
        self.publish()

    def probe(self) -> None:
        """Let a few calls pass now, if the breaker is open; their outcome closes it or opens it again."""
        self.machine.probe(self._now(), self.env.clock.random())
        self.publish()

    def reconfigure(self, policy: BreakerPolicy) -> None:
        """Judge the same history by new settings, from the next failure on.

        A breaker that changes between a time and a count window goes on without its fast path.
        """
        self.machine.reconfigure(policy.settings, self._now(), self.env.clock.random())
        self._policy = policy
        self.publish()

    def resting(self) -> bool:
        """Tell whether nothing would be lost with this breaker but old outcomes while closed."""
        return self.machine.resting(self._now(), self.env.clock.random())

    def follow_clock(self) -> None:
        """Carry all state over to the clock that is now in force."""
        self._now()

    def renew(self) -> None:
        """Start afresh in a forked child: a new lock, and the parent's probes forgotten."""
        self.machine.renew()

    def _now(self) -> float:
        """Return the time; on a clock put in force since, after moving all state over to it."""
        clock = self.env.clock
        if clock is not self._clock:
            before, self._clock = self._clock, clock
            self.machine.move(before.now(), clock.now())
        return clock.now()

    def _entries(self) -> tuple[Entry, ...]:
        self.snapshot()  # notices what has expired
        return self.machine.holds

    def _held(self, entry: Entry, now: float) -> Hold:
        def active(name: str) -> bool:
            return any(each.id == name for each in self._entries())

        def release(name: str) -> bool:
            there = self.machine.release(name, self._now(), self.env.clock.random())
            self.publish()
            return there

        from resilient.holds import Hold  # noqa: PLC0415

        expires = None if entry.until == math.inf else entry.until - now
        return Hold(entry.mode, entry.reason, entry.actor, expires, entry.id, release, active)

    def publish(self) -> None:
        """Tell what the machine has to tell."""
        if self.machine.news:
            news.publish(self.env, self.label, self.machine.news)
