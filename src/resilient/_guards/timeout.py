"""Timeout at work: whose end cuts a call, and the slow ways to call a function until then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from resilient import _check
from resilient._policy import Colour, Env, Guard
from resilient._runtime import threads
from resilient.deadline import ambient, enter, leave
from resilient.errors import CallTimeout, DeadlineExceeded, ThreadsExhausted
from resilient.outcome import thrown_away

if TYPE_CHECKING:
    import asyncio

    from resilient._runtime.timers import LoopTimer
    from resilient.timeout import Timeout


class Cut(Protocol):
    """Whose end it was that cut a call."""

    @property
    def label(self) -> str:
        """Name of the timeout or deadline."""

    @property
    def seconds(self) -> float:
        """How long it gave the call."""

    @property
    def whole(self) -> float:
        """How long a call may run in full: half of that must have run for a cut to count."""


@dataclass(frozen=True, slots=True)
class AmbientCut:
    """A deadline from outside the pipeline was the nearest end."""

    seconds: float
    whole: float
    label: str = "deadline"


class TimeoutGuard(Guard):
    """One timeout at one position of one pipeline."""

    __slots__ = ("_policy", "seconds", "timers")

    def __init__(self, env: Env, label: str, policy: Timeout) -> None:
        super().__init__(env, label)
        self._policy = policy
        self.seconds = policy.seconds
        self.timers: dict[asyncio.AbstractEventLoop, LoopTimer] = {}

    @property
    def whole(self) -> float:
        """How long a call may run in full."""
        return self.seconds

    @property
    def policy(self) -> Timeout:
        """The configuration this guard was made from."""
        return self._policy

    def names(self, colour: Colour) -> Mapping[str, object]:
        """Return what the templates' injected names stand for."""
        names: dict[str, object] = {
            "timeout": self,
            "seconds": self.seconds,
            "ambient": ambient,
            "enter": enter,
            "leave": leave,
        }
        if colour == "async":
            from resilient._runtime import awaiting  # noqa: PLC0415 -- only async code loads asyncio

            names["thrown_away"] = thrown_away
            names["timers"] = self.timers
            names["running_loop"] = awaiting.running_loop
            names["current_task"] = awaiting.current_task
        return names

    def shortened(self, end: float, cut: Cut | None, began: float) -> Cut:
        """Return whose end comes before ours.

        Raises:
            DeadlineExceeded: If it has passed already.

        """
        if end <= began:
            label = self.label if cut is None else cut.label
            self.env.emit(
                "resilient.call.rejected", policy=label, reason=DeadlineExceeded.default_reason, retry_after=None
            )
            raise DeadlineExceeded(self.env.downstream, label, None)
        return AmbientCut(end - began, self.seconds) if cut is None else cut

    def expired(self, cut: Cut, began: float) -> CallTimeout:
        """Return the error for a call that was cut."""
        ran = max(0.0, self.env.now() - began)
        return CallTimeout(self.env.downstream, cut.label, cut.seconds, ran, cut.whole)

    def hop(
        self,
        left: list[threads.Job],
        end: float,
        cut: Cut,
        began: float,
        function: Any,  # noqa: ANN401 -- any function
        /,
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Call a plain function in a worker thread and wait for it until `end`.

        A job that is left behind is noted in `left`, for the permits that go with it.
        """
        if threads.abandoned() >= threads.MOST_ABANDONED:
            self.env.emit(
                "resilient.call.rejected", policy=self.label, reason=ThreadsExhausted.default_reason, retry_after=None
            )
            raise ThreadsExhausted(self.env.downstream, self.label, None)
        context = threads.context()
        context.run(enter, end)
        try:
            job = threads.start(context, function, args, kwargs)
        except RuntimeError as error:
            raise ThreadsExhausted(self.env.downstream, self.label, None) from error
        try:
            left.append(job)
            if not threads.finish(job, self.env.clock, end - self.env.now()):
                raise self.expired(cut, began)
            left.pop()
            if job.error is not None:
                raise job.error
            return job.result
        finally:
            del job, function, args, kwargs

    def timer(self, loop: asyncio.AbstractEventLoop) -> LoopTimer:
        """Return this timeout's timer on a loop it does not know.

        Loops that are closed are forgotten, and those that stand still with no call of ours: a
        program that never closes its loops keeps them for the collector, not for us.
        """
        from resilient._runtime.timers import LoopTimer  # noqa: PLC0415

        for known, timer in list(self.timers.items()):
            if known.is_closed() or not (known.is_running() or timer.pending):
                self.timers.pop(known, None)
        return self.timers.setdefault(loop, LoopTimer(loop, self.env.clock))

    @staticmethod
    def interrupted(  # noqa: PLR0913, PLR0917 -- the woven call hands over what it knows
        timer: LoopTimer,
        key: int,
        due: bool,  # noqa: FBT001
        task: asyncio.Task[object],
        cancelling: int,
        gone: bool,  # noqa: FBT001
        error: BaseException,
    ) -> bool:
        """Clean up after a call that raised; tell whether it was us who cut it."""
        if gone:
            return False
        if due:
            return timer.interrupted(task, cancelling, error)
        timer.forget(key)
        return False

    async def scoped(
        self,
        end: float,
        cut: Cut,
        began: float,
        function: Any,  # noqa: ANN401
        /,
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Await a function under trio, in a cancel scope that ends at `end`."""
        before, thrown = ambient(), False
        try:
            enter(end)
            with self.env.clock.scope(end - self.env.now()):
                return await _check.awaited(function(*args, **kwargs))
        except BaseException as error:
            thrown = thrown_away(error)
            raise
        finally:
            if not thrown:  # else this is not our context any more
                enter(before)
        raise self.expired(cut, began)

    def snapshot(self) -> dict[str, object]:
        """Return the limit, the calls under a timer and the abandoned threads of the process."""
        waiting = sum(len(timer.pending) for timer in tuple(self.timers.values()))
        return {"seconds": self.seconds, "timed": waiting, "abandoned_threads": threads.abandoned()}

    def follow_clock(self) -> None:
        """Forget the timers of the replaced clock; calls in flight keep theirs."""
        self.timers.clear()

    def renew(self) -> None:
        """Forget the timers of the parent's loops, in a forked child."""
        self.timers.clear()
