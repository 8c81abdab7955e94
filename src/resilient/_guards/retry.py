"""Retry at work: decide after each attempt, pay, pause, and keep layers from multiplying."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from resilient import _check, events, faults
from resilient._guards.retry_pause import Pausing
from resilient._machines.backoff import Tried
from resilient._machines.budget import Budget
from resilient._machines.retry import Attempts, Ending, next_pause
from resilient._policy import Colour, Env, Exchange
from resilient._runtime import blocking
from resilient._runtime.ledger import given_up_since, ledger, repeating
from resilient.backoff import Backoff, pacing, stopping
from resilient.errors import CallTimeout, ConfigError, Rejected, Unguardable
from resilient.outcome import Outcome, Verdict, refused_by_a_hold, thrown_away

if TYPE_CHECKING:
    from resilient.retry import Retry

_USUAL_ATTEMPTS = 3
"""What a budget starts for where a tenacity object decides about the attempts."""


class RetryGuard(Pausing):
    """One retry at one position of one pipeline."""

    __slots__ = ("_pacing", "_policy", "_stop")

    def __init__(self, env: Env, label: str, policy: Retry, budget: Budget | None = None) -> None:
        self._policy = policy
        self._pacing = pacing(cast("Backoff", policy.backoff))
        self._stop = stopping(policy.attempts)
        if budget is None and policy.budget is not None:
            budget = policy.budget.bind(env, policy.most_attempts or _USUAL_ATTEMPTS)
        super().__init__(env, label, budget)

    @property
    def policy(self) -> Retry:
        """The configuration this guard was made from."""
        return self._policy

    def with_attempts(self, attempts: int) -> RetryGuard:
        """Return a guard with another number of attempts and the same budget."""
        return RetryGuard(self.env, self.label, replace(self._policy, attempts=attempts), self.budget)

    def flags(self, colour: Colour) -> frozenset[str]:  # noqa: ARG002 -- the same in both
        """Return the template's conditional lines to compile in."""
        flags = set()
        if self.budget is not None:
            flags.add("deposit_first" if self.budget.rules.deposit_first else "deposit_success")
        if self._stop is not None or not isinstance(self._policy.backoff, Backoff):
            flags.add("clocked")
        if self._policy.on_result is not None or self.env.classifier.result is not None:
            flags.add("results")
        if self._policy.on_result is not None:
            flags.add("picky")
        return frozenset(flags)

    def names(self, colour: Colour) -> Mapping[str, object]:
        """Return what the template's injected names stand for."""
        deposit = None if self.budget is None else self.budget.step
        return {"retry": self, "deposit": deposit, "pause": self.pause if colour == "sync" else self.apause}

    def failed(  # noqa: PLR0913, PLR0917 -- what the woven call knows
        self,
        state: Attempts | None,
        error: BaseException,
        mark: int,
        end: float,
        start: float | None = None,
        exchange: Exchange | None = None,
    ) -> Attempts | None:
        """Decide after an attempt that raised: return the state to try again, None to raise."""
        if not isinstance(error, Exception) or thrown_away(error):
            if state is not None:
                self.close(state, error)
            return None
        if isinstance(error, Rejected) and not _check.listed(self._policy.on, error, Rejected):
            return self._refused(state, error, exchange)
        verdict = self.env.classifier.of_error(error)
        decided = None
        wanted = self._wanted(error, verdict)
        if wanted and self.budget is not None:
            self.budget.failed()
        if wanted and (self._policy.retry_given_up or not given_up_since(error, mark)):
            decided = self._decide(state, Ending(error, None, verdict), end, start, exchange)
            # Not where an outer retry left us one attempt only: the outer one is not done yet.
            stood_down = state is None and repeating()
            if decided is None and self._policy.most_attempts != 1 and not stood_down:
                ledger.gave_up(error)
        if decided is None:
            if state is not None:
                self.close(state)
            return None
        if state is None:
            decided.mark = mark
        decided.error = error
        return decided

    def _refused(self, state: Attempts | None, error: Rejected, exchange: Exchange | None) -> Attempts | None:
        """Give up after a refusal; if an earlier attempt ran, the caller gets that one's error or result."""
        if state is None:
            if self.budget is not None and self.budget.rules.deposit_first:
                self.budget.unstep()
            return None
        self.close(state)
        last, state.error = state.error, None
        if last is None:
            if exchange is not None and not exchange.spare:
                return None
            state.ended = True
            return state
        faults.note(last, "attempt %d was refused: %s", state.number, error)
        raise last

    def returned(
        self, state: Attempts | None, result: object, end: float, start: float | None = None
    ) -> Attempts | None:
        """Decide after an attempt that returned: the state to try again, None if it is good enough.

        At the end of all attempts the last result is returned as it is.
        """
        verdict = self.env.classifier.of_result(result)
        bad = verdict.outcome in (Outcome.FAILURE, Outcome.THROTTLED)
        if not bad and self._policy.on_result is not None:
            bad = _check.ask(self._policy.on_result, result)
            verdict = Verdict(Outcome.FAILURE, verdict.certainty, verdict.retry_after)
        if bad:
            return self._again(state, Ending(None, result, verdict), end, start, None)
        self._good(state)
        return None

    def answered(
        self, state: Attempts | None, exchange: Exchange, result: object, end: float, start: float | None = None
    ) -> Attempts | None:
        """Decide after an answer whose body is still open: the state to try again, None to hand it on."""
        verdict = exchange.verdict
        if exchange.good:
            if self._policy.on_result is None or not _check.ask(self._policy.on_result, result):
                self._good(state)
                return None
            verdict = Verdict(Outcome.FAILURE, verdict.certainty, verdict.retry_after)
        stood_down = state is None and repeating()
        state = self._again(state, Ending(None, result, verdict), end, start, exchange)
        if state is not None and exchange.blocks and state.delay > 0 and blocking.on_event_loop():
            self._stay_awake(state)
            state = None
        if state is None and self._policy.most_attempts != 1 and not stood_down:
            exchange.gave_up(ledger.step())
        return state

    def _again(
        self, state: Attempts | None, ending: Ending, end: float, start: float | None, exchange: Exchange | None
    ) -> Attempts | None:
        """Decide after a bad result."""
        if self.budget is not None:
            self.budget.failed()
        decided = self._decide(state, ending, end, start, exchange)
        if decided is not None:
            decided.error = None
        elif state is not None:
            self.close(state)
        return decided

    def _good(self, state: Attempts | None) -> None:
        if state is not None:
            self.succeeded(state)
        elif self.budget is not None and not self.budget.rules.deposit_first:
            self.budget.step()

    def succeeded(self, state: Attempts) -> None:
        """Close the books of a call that succeeded after retries."""
        self.close(state)
        if self.budget is not None and state.paid is not None:
            self.budget.returned(state.paid)

    def _wanted(self, error: Exception, verdict: Verdict) -> bool:
        if isinstance(error, (ConfigError, Unguardable)) or refused_by_a_hold(error):
            return False
        on = self._policy.on
        if on is None:
            return verdict.outcome in (Outcome.FAILURE, Outcome.THROTTLED)
        return _check.matches(on, error)

    def _decide(
        self,
        state: Attempts | None,
        ending: Ending,
        end: float,
        start: float | None,
        exchange: Exchange | None = None,
    ) -> Attempts | None:
        """Return the state with the next pause, or None to give up."""
        most = self._policy.most_attempts
        number = (1 if state is None else state.number) + (0 if exchange is None else exchange.retries)
        if most is not None and number >= most:
            self._gave_up(number, ending, "attempts")
            return None
        obstacle = None if self.env.gate.retries else "switched_off"
        if exchange is not None and obstacle is None:
            obstacle = exchange.obstacle(ending.verdict, ending.error)
        if obstacle is not None:
            self._gave_up(number, ending, obstacle)
            return None
        if state is None and repeating():  # an outer retry is at it already: layers do not multiply
            return None
        return self._scheduled(state, number, ending, end, start)

    def _scheduled(
        self, state: Attempts | None, number: int, ending: Ending, end: float, start: float | None
    ) -> Attempts | None:
        """Return the state with the next pause, if the server, the deadline and the budget allow one."""
        now = self.env.now()
        if state is None:
            state = Attempts(now if start is None else start, self._pacing.delays())
        tried = Tried(state.number, now - state.started, state.slept, ending.error, ending.result)
        random = self.env.clock.random
        delay = next_pause(state, ending.verdict, tried, random(), random())
        if delay is None or now + delay >= self.env.end(end):
            self._gave_up(number, ending, "hint" if delay is None else "deadline")
            return None
        if self._stop is not None and self._stop.stops(tried, delay):
            self._gave_up(number, ending, "stop")
            return None
        if not self._pay(state, ending):
            return None
        state.delay = delay
        if events.wanted():
            self.env.emit(
                "resilient.retry.scheduled", policy=self.label, attempt=number + 1, delay=delay, cause=ending.name
            )
        return state

    def _pay(self, state: Attempts, ending: Ending) -> bool:
        if self.budget is None:
            return True
        throttled = ending.verdict.outcome is Outcome.THROTTLED
        state.paid = self.budget.withdraw(throttled=throttled, timeout=isinstance(ending.error, CallTimeout))
        if state.paid is None and events.wanted():
            fields = {"policy": self.label, "attempts": state.number, "cause": ending.name}
            self.env.emit("resilient.retry.budget_exhausted", **fields)
        return state.paid is not None

    def _gave_up(self, attempts: int, ending: Ending, why: str) -> None:
        if events.wanted():
            self.env.emit("resilient.retry.exhausted", policy=self.label, attempts=attempts, why=why, cause=ending.name)
