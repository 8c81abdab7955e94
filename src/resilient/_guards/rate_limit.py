"""Rate limit at work: wait for a turn, and tell the machine what the server thinks of the rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from resilient import _check, events, faults
from resilient._machines.gcra import Allowance, Turn
from resilient._machines.limiter import Limiter
from resilient._policy import NEVER, Colour, Env, Guard
from resilient._runtime import blocking
from resilient.errors import DeadlineExceeded, RateLimited
from resilient.outcome import Outcome, Verdict, thrown_away

if TYPE_CHECKING:
    from resilient.rate_limit import RateLimit


class RateLimitGuard(Guard):
    """One rate limit at one position of one pipeline."""

    __slots__ = ("_clock", "_policy", "machine")

    def __init__(self, env: Env, label: str, policy: RateLimit) -> None:
        super().__init__(env, label)
        self._policy = policy
        self._clock = env.clock
        self.machine = Limiter(policy.settings)

    @property
    def policy(self) -> RateLimit:
        """The configuration this guard was made from."""
        return self._policy

    def flags(self, colour: Colour) -> frozenset[str]:  # noqa: ARG002 -- the same in both
        """Return the template's conditional lines to compile in."""
        policy = self._policy
        flags = {"adaptive": policy.adaptive, "costed": callable(policy.cost), "waits": policy.max_wait != 0}
        return frozenset(flag for flag, is_set in flags.items() if is_set)

    def names(self, colour: Colour) -> Mapping[str, object]:
        """Return what the template's injected names stand for."""
        return {
            "limit": self,
            "machine": self.machine,
            "admit": self.machine.gcra.admit,
            "acquire": self.acquire if colour == "sync" else self.aacquire,
            "price": self.price,
            "cost": self._policy.cost,
        }

    def price(self, /, *args: Any, **kwargs: Any) -> int:  # noqa: ANN401 -- the call's own arguments
        """Return what a call counts for."""
        cost = self._policy.cost
        if not callable(cost):
            return cost
        try:
            price = cost(*args, **kwargs)
            return _check.count("cost", price, least=0)
        except Exception as fault:  # noqa: BLE001 -- a user's function never fails the call
            faults.report(cost, fault)
            return 1

    def acquire(self, end: float, cost: int) -> None:
        """Wait for the turn of a call that may not pass at once, or refuse it.

        Raises:
            RateLimited: If no turn comes in time, or this thread runs an event loop.

        """
        turn = self._reserve(end, cost, blocks=True)
        pause = turn.wait
        try:
            while pause > 0:
                self.env.clock.sleep(pause)
                pause = self._lag(turn)
        except BaseException:
            self.machine.gcra.give_back(turn)
            raise

    async def aacquire(self, end: float, cost: int) -> None:
        """Do the same without blocking the thread; a cancelled wait gives its turn back."""
        turn = self._reserve(end, cost, blocks=False)
        pause = turn.wait
        try:
            while pause > 0:
                await self.env.clock.asleep(pause)
                pause = self._lag(turn)
        except BaseException:
            self.machine.gcra.give_back(turn)
            raise

    def _reserve(self, end: float, cost: int, *, blocks: bool) -> Turn:
        now = self.env.now()
        patience = self._patience(now, self.env.end(end))
        if blocks and patience > 0 and self._would_block(now, cost, patience):
            raise self.refusal(cost, "event_loop")
        turn = self.machine.gcra.reserve(now, cost, patience)
        if turn is None:
            raise self.refusal(cost)
        return turn

    def _patience(self, now: float, end: float) -> float:
        """Return how long a call may wait, refusing a wait that cannot succeed."""
        if end <= now:
            self.env.emit(
                "resilient.call.rejected", policy=self.label, reason=DeadlineExceeded.default_reason, retry_after=None
            )
            raise DeadlineExceeded(self.env.downstream, self.label, None)
        longest = self._policy.max_wait
        if longest is None:
            if end == NEVER:
                allowed = "a number of seconds where no Timeout or deadline encloses the rate limit"
                _check.refuse("max_wait", None, allowed)
            return end - now
        return min(longest, end - now)

    def _would_block(self, now: float, cost: int, patience: float) -> bool:
        if not blocking.on_event_loop():
            return False
        wait = self.machine.gcra.wait(now, cost)
        if wait is None or not 0 < wait <= patience:
            return False
        blocking.warn_on_loop(self.env.downstream, "wait for its turn in the rate limit")
        return True

    def _lag(self, turn: Turn) -> float:
        """Return what is left to wait because a pause came in between."""
        lag = self.machine.gcra.lag(turn)
        if lag is None:
            raise self._refused(self.machine.gcra.until(turn, self.env.now()))
        return lag

    def refusal(self, cost: int, reason: str = RateLimited.default_reason) -> RateLimited:
        """Return what to raise for a call that may not pass and may not wait."""
        return self._refused(self.machine.gcra.wait(self.env.now(), cost), reason)

    def _refused(self, retry_after: float | None, reason: str = RateLimited.default_reason) -> RateLimited:
        if events.wanted():
            self.env.emit("resilient.call.rejected", policy=self.label, reason=reason, retry_after=retry_after)
        return RateLimited(self.env.downstream, self.label, retry_after, reason)

    def enter(self, end: float) -> object:
        """Admit or refuse an attempt of the two-step API."""
        cost = self._fixed_cost()
        if not self.machine.gcra.admit(self.env.now(), cost):
            self.acquire(end, cost)
        return None

    async def aenter(self, end: float) -> object:
        """Do the same, waiting without blocking the thread."""
        cost = self._fixed_cost()
        if not self.machine.gcra.admit(self.env.now(), cost):
            await self.aacquire(end, cost)
        return None

    def _fixed_cost(self) -> int:
        self.follow_clock()
        cost = self._policy.cost
        if callable(cost):
            message = "cost is a function of the call's arguments, which permit() does not know; use a whole number"
            raise TypeError(message)
        return cost

    def failed(self, error: Exception) -> None:
        """Note an attempt that raised."""
        if thrown_away(error):
            return
        self.settle(self.env.classifier.of_error(error))

    def succeeded(self) -> None:
        """Note a success while the rate is reduced."""
        now = self.env.now()
        self._tell(now, self.machine.succeeded(now))

    def paced(self, pace: float, seconds: float, remaining: int | None) -> None:
        """Go no faster than the server says is safe, where the rate may adapt at all.

        Args:
            pace: Requests per second.
            seconds: How long that holds; 60 s at most are believed.
            remaining: Requests that the server would still take; with 0, none is sent in that time.

        """
        if self._policy.adaptive:
            now = self.env.now()
            self._tell(now, self.machine.advised(now, pace, seconds, remaining))

    def returned(self, result: object) -> None:
        """Note an attempt that returned, where a classifier looks at results."""
        self.settle(self.env.classifier.of_result(result))

    def leave(self, ticket: object, verdict: Verdict) -> None:  # noqa: ARG002 -- a call in flight holds nothing
        """Settle an attempt of the two-step API."""
        if self._policy.adaptive:
            self.settle(verdict)

    def drop(self, ticket: object) -> None:
        """Do nothing: a call in flight holds nothing, and its turn is spent."""

    def settle(self, verdict: Verdict) -> None:
        """Let an outcome change the rate."""
        outcome = verdict.outcome
        if outcome is Outcome.THROTTLED or (outcome is Outcome.FAILURE and self._policy.on_failure):
            now = self.env.now()
            self._tell(now, self.machine.throttled(now, outcome.value, verdict.retry_after))
        elif outcome is Outcome.SUCCESS and self.machine.adapting:
            self.succeeded()

    def _tell(self, now: float, news: list[str]) -> None:
        for cause in news:
            self.env.emit("resilient.rate_limit.changed", policy=self.label, rate=self.machine.rate(now), cause=cause)

    def peek(self, cost: int = 1) -> Allowance:
        """Return what a call would be told now, and take nothing."""
        self.follow_clock()
        return self.machine.gcra.peek(self.env.now(), cost)

    @property
    def rate(self) -> float:
        """The rate in force, in calls per `per`."""
        return self.machine.rate(self.env.now())

    def snapshot(self) -> dict[str, object]:
        """Return the rate in force and what is left of the burst."""
        allowance = self.peek()
        return {
            "rate": self.rate,
            "configured_rate": self._policy.settings.rate,
            "adapting": self.machine.reduced(self.env.now()),
            "burst": self._policy.settings.burst,
            "remaining": allowance.remaining,
            "retry_after": allowance.retry_after,
        }

    def resting(self) -> bool:
        """Tell whether the rate is the configured one and the burst is full."""
        return not self.machine.reduced(self.env.now()) and self.peek().reset_after == 0

    def renew(self) -> None:
        """Start afresh in a forked child: new locks, the full burst, the configured rate."""
        self._clock = self.env.clock
        self.machine.renew()

    def follow_clock(self) -> None:
        """Start afresh on a replaced clock: its times mean nothing to the other's."""
        if self.env.clock is not self._clock:
            self.renew()
