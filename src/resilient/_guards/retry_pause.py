"""The pause between two attempts, and what one call's attempts leave behind when they end."""

from __future__ import annotations

from resilient._machines.budget import Budget
from resilient._machines.retry import Attempts, Turn
from resilient._policy import Env, Guard
from resilient._runtime import blocking
from resilient._runtime.ledger import set_repeating


class Pausing(Guard):
    """The waiting half of a retry: who pays for a pause that does not end, and who is told."""

    __slots__ = ("budget",)

    def __init__(self, env: Env, label: str, budget: Budget | None) -> None:
        super().__init__(env, label)
        self.budget = budget

    def pause(self, state: Attempts) -> bool:
        """Sleep until the next attempt; on an event loop's thread raise the error, or return True for a bad result."""
        if state.delay > 0 and blocking.on_event_loop():
            self._stay_awake(state)
            if state.error is not None:
                raise state.error
            return True
        try:
            self.env.clock.sleep(state.delay)
        except BaseException:
            self._refund(state)
            self.close(state)
            raise
        self._next(state)
        return False

    def _stay_awake(self, state: Attempts) -> None:
        """Give up a pause that would block an event loop."""
        blocking.warn_on_loop(self.env.downstream, "sleep before a retry")
        self._refund(state)
        self.close(state)

    async def apause(self, state: Attempts) -> bool:
        """Sleep until the next attempt without blocking the thread."""
        try:
            await self.env.clock.asleep(state.delay)
        except BaseException as error:
            self._refund(state)
            self.close(state, error)
            raise
        self._next(state)
        return False

    def _next(self, state: Attempts) -> None:
        state.number += 1
        state.slept += state.delay
        if state.turn is None:
            state.turn = Turn(state.mark)
            set_repeating(state.turn)
        state.turn.number = state.number

    def _refund(self, state: Attempts) -> None:
        if self.budget is not None and state.paid is not None:
            self.budget.refund(state.paid)

    @staticmethod
    def close(state: Attempts, error: BaseException | None = None) -> None:
        """End the later attempts for everything inside, also for tasks that outlive the call."""
        if state.turn is not None:
            state.turn.over = True
            if not isinstance(error, GeneratorExit):  # thrown away, perhaps in somebody else's context
                set_repeating(None)

    def snapshot(self) -> dict[str, object]:
        """Return the budget's balance."""
        if self.budget is None:
            return {"budget": None}
        return {"budget": self.budget.tokens(), "budget_ratio": self.budget.ratio()}

    def renew(self) -> None:
        """Start with a fresh budget, in a forked child."""
        if self.budget is not None:
            self.budget.renew()
