"""Bulkhead at work: wait in line for a permit, give it back when the call has really ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from resilient import _check, events
from resilient._machines.permits import Line, Permit
from resilient._policy import NEVER, Colour, Env, Guard
from resilient._runtime import blocking
from resilient._runtime.threads import Job
from resilient.errors import BulkheadFull, DeadlineExceeded
from resilient.outcome import Verdict

if TYPE_CHECKING:
    from resilient.bulkhead import Bulkhead

_PATIENCE = 5.0
"""Seconds after which a permit handed to a waiter that never came for it is taken back."""

_QUIET = 1.0
"""Seconds without a refusal after which the next one is reported as saturation again."""


_MOST = 1_000_000
"""Calls in flight that a bulkhead may allow: each has its permit, made at the start."""


def checked_limit(limit: int) -> int:
    """Return a limit that may be set."""
    if _check.count("limit", limit) > _MOST:
        _check.refuse("limit", limit, f"at most {_MOST}; for no limit leave the bulkhead out")
    return limit


class BulkheadGuard(Guard):
    """One bulkhead at one position of one pipeline."""

    __slots__ = ("_policy", "_refused", "line")

    def __init__(self, env: Env, label: str, policy: Bulkhead) -> None:
        super().__init__(env, label)
        self._policy = policy
        self._refused = -NEVER
        self.line = Line(policy.limit)

    @property
    def policy(self) -> Bulkhead:
        """The configuration this guard was made from."""
        return self._policy

    def flags(self, colour: Colour) -> frozenset[str]:  # noqa: ARG002 -- the same in both
        """Return the template's conditional lines to compile in."""
        return frozenset({"queues"}) if self._policy.queue else frozenset()

    def names(self, colour: Colour) -> Mapping[str, object]:
        """Return what the template's injected names stand for."""
        return {"bulkhead": self, "enter": self.enter if colour == "sync" else self.aenter}

    def enter(self, end: float) -> Permit:
        """Take a permit, waiting in line if that is allowed."""
        line = self.line
        permit = self._free(line)
        if permit is not None:
            return permit
        now, end = self._latest(end)
        if blocking.on_event_loop():
            blocking.warn_on_loop(self.env.downstream, "wait in the bulkhead's line")
            raise self._refusal("event_loop")
        while True:
            waiter: blocking.ThreadWaiter[Permit] = blocking.ThreadWaiter()
            try:
                self._join(line, waiter)
                permit = waiter.wait(self.env.clock, end - now)
            except BaseException:
                self._give_up(line, waiter)
                raise
            if permit is not None:
                return permit
            now = self._again(line, waiter, end)

    async def aenter(self, end: float) -> Permit:
        """Take a permit, waiting in line without blocking the thread if that is allowed."""
        line = self.line
        permit = self._free(line)
        if permit is not None:
            return permit
        now, end = self._latest(end)
        from resilient._runtime.awaiting import TaskWaiter  # noqa: PLC0415 -- only async code loads asyncio

        while True:
            waiter: TaskWaiter[Permit] = TaskWaiter()
            try:
                self._join(line, waiter)
                await waiter.wait(self.env.clock, end - now)
            except BaseException:
                self._give_up(line, waiter)
                raise
            if waiter.claim():  # somebody has claimed the place before us: to give
                permit = waiter.accept()
                if permit is not None:
                    return permit
            now = self._again(line, waiter, end)

    def _again(self, line: Line, waiter: object, end: float) -> float:
        """Leave the line without a permit; return the time if there is some left to join it again."""
        line.quit(cast("blocking.ThreadWaiter[Permit]", waiter))
        now = self.env.now()
        if now >= end:
            raise self._refusal("queue_timeout")
        return now

    def at_once(self, line: Line) -> Permit:
        """Take a permit without waiting, or refuse: the way where no line is allowed."""
        permit = line.take()
        if permit is None:
            raise self._refusal("bulkhead_full")
        return permit

    def _free(self, line: Line) -> Permit | None:
        if not self._policy.queue:
            return self.at_once(line)
        if line.handed:
            line.reclaim(self.env.now(), _PATIENCE)
        return line.take()

    def _latest(self, end: float) -> tuple[float, float]:
        """Return now and the latest end of a wait, refusing a wait that cannot succeed."""
        now = self.env.now()
        end = self.env.end(end)
        if end <= now:
            self.env.emit(
                "resilient.call.rejected", policy=self.label, reason=DeadlineExceeded.default_reason, retry_after=None
            )
            raise DeadlineExceeded(self.env.downstream, self.label, None)
        longest = self._policy.max_wait
        if longest is not None:
            end = min(end, now + longest)
        if end == NEVER:
            _check.refuse("max_wait", None, "a number of seconds where no Timeout or deadline encloses the bulkhead")
        return now, end

    def _join(self, line: Line, waiter: object) -> None:
        if not line.join(cast("blocking.ThreadWaiter[Permit]", waiter), self._policy.queue):
            raise self._refusal("queue_full")

    @staticmethod
    def _give_up(line: Line, waiter: object) -> None:
        """Leave the line for another reason than time; a permit on its way is handed on."""
        place = cast("blocking.ThreadWaiter[Permit]", waiter)
        if place.claim():
            permit = place.accept()
            if permit is not None:
                line.give(permit)
        line.quit(place)

    def _refusal(self, reason: str) -> BulkheadFull:
        if events.wanted():
            now = self.env.now()
            last, self._refused = self._refused, now
            if now - last > _QUIET:  # the edge, not every refusal
                self.env.emit("resilient.bulkhead.saturated", policy=self.label, limit=self.line.limit)
            self.env.emit("resilient.call.rejected", policy=self.label, reason=reason, retry_after=None)
        return BulkheadFull(self.env.downstream, self.label, None, reason)

    def give(self, line: Line, permit: Permit, left: list[Job]) -> None:
        """Return a permit once every job that was left behind has really ended."""
        for job in left:
            if not job.ended:
                job.afterwards(lambda: self.give(line, permit, left))
                return
        line.give(permit)

    def leave(self, ticket: object, verdict: Verdict) -> None:  # noqa: ARG002 -- a permit has no verdict
        """Return a permit taken by the two-step API."""
        self.drop(ticket)

    def drop(self, ticket: object) -> None:
        """Return a permit without taking a lock."""
        line = ticket.home()  # type: ignore[attr-defined]  # a permit
        if line is not None:
            line.give(ticket)

    def resize(self, limit: int) -> None:
        """Change the limit while calls are in flight; they finish undisturbed.

        Args:
            limit: The new number of calls in flight, at least 1.

        """
        self.line.resize(checked_limit(limit))
        self._policy = replace(self._policy, limit=limit)

    def snapshot(self) -> dict[str, object]:
        """Return limit, calls in flight and calls in line."""
        line = self.line
        return {"limit": line.limit, "in_flight": line.in_flight, "queued": line.queued}

    def resting(self) -> bool:
        """Tell whether nobody holds a permit or waits."""
        line = self.line
        return not line.waiting and len(line.free) == line.limit

    def renew(self) -> None:
        """Start with full permits, in a forked child; calls of the parent return to the old line."""
        self.line = Line(self.line.limit)
