"""Fallback at work: decide whether to answer, call the function within its time."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from resilient import _check, events, faults
from resilient._policy import NEVER, Colour, Env, Guard
from resilient._runtime import threads
from resilient.errors import ConfigError, Rejected, ThreadsExhausted, Unguardable
from resilient.outcome import Outcome, thrown_away
from resilient.provenance import Provenance, note

if TYPE_CHECKING:
    from resilient.fallback import Fallback


class FallbackGuard(Guard):
    """One fallback at one position of one pipeline."""

    __slots__ = ("_policy",)

    def __init__(self, env: Env, label: str, policy: Fallback) -> None:
        super().__init__(env, label)
        self._policy = policy

    @property
    def policy(self) -> Fallback:
        """The configuration this guard was made from."""
        return self._policy

    def flags(self, colour: Colour) -> frozenset[str]:  # noqa: ARG002 -- the same in both
        """Return the template's conditional lines to compile in."""
        return frozenset() if callable(self._policy.value) else frozenset({"constant"})

    def names(self, colour: Colour) -> Mapping[str, object]:
        """Return what the template's injected names stand for.

        Raises:
            Unguardable: If a plain function would get the answer of an async fallback.

        """
        if colour == "async":
            return {"fallback": self, "rescue": self.arescue, "replace": self.areplace}
        if inspect.iscoroutinefunction(self._policy.value):
            message = f"{self.env.downstream}: an async fallback cannot answer for a plain function"
            raise Unguardable(message)
        return {"fallback": self, "rescue": self.rescue, "replace": self.replace}

    def handles(self, error: Exception) -> bool:
        """Tell whether this error is answered for."""
        if isinstance(error, (ConfigError, Unguardable)) or thrown_away(error):
            return False
        if self.env.gate.insists(error):
            return False
        on = self._policy.on
        if on is None:
            return isinstance(error, Rejected) or self.env.classifier.of_error(error).outcome is not Outcome.SUCCESS
        return _check.matches(on, error)

    def unwanted(self, result: object) -> bool:
        """Tell whether the classifier calls a result bad."""
        outcome = self.env.classifier.of_result(result).outcome
        return outcome in (Outcome.FAILURE, Outcome.THROTTLED)

    def value(self, cause: object) -> Any:  # noqa: ANN401 -- any answer
        """Return the fixed answer."""
        self._tell(cause)
        return self._policy.value

    def rescue(self, error: Exception, end: float) -> Any:  # noqa: ANN401 -- any answer
        """Return the answer, or raise the original error if the function fails."""
        return self._answer(error, end, error)

    def replace(self, result: object, end: float) -> Any:  # noqa: ANN401
        """Return the answer, or the original result if the function fails."""
        return self._answer(result, end, None)

    def _answer(self, cause: object, end: float, error: Exception | None) -> Any:  # noqa: ANN401
        try:
            value = self._call(self._policy.value, cause, self._end(end))
            if isinstance(value, CoroutineType):
                value.close()
                _check.refuse_type("value", self._policy.value, "a plain function for a plain call")
        except Exception as fault:  # noqa: BLE001 -- a fallback never replaces the error
            return self._failed(fault, cause, error)
        self._tell(cause)
        return value

    def _call(self, function: Callable[[Any], Any], cause: object, end: float) -> Any:  # noqa: ANN401
        """Call the function; in a worker thread if there is an end to keep."""
        if end == NEVER:
            return function(cause)
        if threads.abandoned() >= threads.MOST_ABANDONED:
            raise ThreadsExhausted(self.env.downstream, self.label, None)
        job = threads.start(threads.context(), function, (cause,), {})
        if not threads.finish(job, self.env.clock, max(0.0, end - self.env.now())):
            message = f"the fallback of {self.env.downstream} took too long"
            raise TimeoutError(message)
        if job.error is not None:
            raise job.error
        return job.result

    async def arescue(self, error: Exception, end: float) -> Any:  # noqa: ANN401
        """Return the answer, or raise the original error if the function fails."""
        return await self._aanswer(error, end, error)

    async def areplace(self, result: object, end: float) -> Any:  # noqa: ANN401
        """Return the answer, or the original result if the function fails."""
        return await self._aanswer(result, end, None)

    async def _aanswer(self, cause: object, end: float, error: Exception | None) -> Any:  # noqa: ANN401
        from resilient._runtime import awaiting  # noqa: PLC0415 -- only async code loads asyncio

        try:
            value = self._policy.value(cause)
            if inspect.isawaitable(value):
                value = await awaiting.bounded(value, self.env.clock, self._end(end))
        except Exception as fault:  # noqa: BLE001 -- a fallback never replaces the error
            return self._failed(fault, cause, error)
        self._tell(cause)
        return value

    def _end(self, end: float) -> float:
        """Return by when the function must have answered."""
        end = self.env.end(end)
        timeout = self._policy.timeout
        return end if timeout is None else min(end, self.env.now() + timeout)

    def _failed(self, fault: Exception, result: object, error: Exception | None) -> Any:  # noqa: ANN401
        if fault is error:  # the function looked at the cause and declined to answer
            raise error
        faults.report(self._policy.value, fault)
        if error is None:
            return result
        faults.note(error, "the fallback failed, too: %r", fault)
        raise error

    def _tell(self, cause: object) -> None:
        note(Provenance("fallback", 0.0, type(cause).__name__, self.label, self.env.downstream))
        if events.wanted():
            self.env.emit("resilient.fallback.used", policy=self.label, cause=type(cause).__name__)
