"""Timeout: give a call, or each attempt of it, an end.

Where it stands decides what it limits: outside `Retry` the whole call, inside it each attempt.
Async functions are cancelled. A plain function cannot be interrupted, so it runs in a daemon
worker thread with the caller's context variables, and the caller leaves on time; what the
function changes in context variables stays in that thread. All timeouts of one pipeline share
one thread hop and one timer, around the call itself: everything else a pipeline waits for
(sleeps, lines) is cut to the nearest end anyway.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from resilient import _check
from resilient._policy import Colour, Env, Guard
from resilient._runtime import threads
from resilient.deadline import ambient, enter, leave
from resilient.errors import CallTimeout, DeadlineExceeded, ThreadsExhausted

if TYPE_CHECKING:
    import asyncio

    from resilient._runtime.timers import LoopTimer

__all__ = ["Timeout"]

TEMPLATE = """
began = now()
end_ = began + seconds_
cut_ = timeout_
around_ = ambient_()                                   #: outermost
around_ = END                                          #: !outermost
if around_ < end_:
    end_ = around_
    cut_ = timeout_.shortened(around_, CUT, began)
<inner>
"""

# What calls the function itself, in place of a plain call, if a timeout encloses it.
THREAD = """
result = timeout_.hop(left, END, CUT, began, call, ARGS)
"""

COOPERATIVE = """
token = enter_(END)
try:
    result = call(ARGS)
finally:
    leave_(token)
"""

# On GeneratorExit the context variable is left alone: the collector may have thrown the
# coroutine away in somebody else's context.
CANCELLING = """
loop = running_loop_()
task = None if loop is None else current_task_(loop)
if task is None:
    result = await timeout_.scoped(END, CUT, began, call, ARGS)
else:
    timer = timers_.get(loop)
    if timer is None:
        timer = timeout_.timer(loop)
    cancelling = task.cancelling()
    key = timer.key()
    token = enter_(END)
    try:
        if END >= timer.last:
            timer.last = END
            timer.pending[key] = (END, task)
            if not timer.armed:
                timer.arm()
        else:
            timer.alone(key, END, task)
        result = await call(ARGS)
    except GeneratorExit:
        timer.pending.pop(key, None)
        raise
    except BaseException as error:
        leave_(token)
        if timer.interrupted(key, task, cancelling, error):
            raise timeout_.expired(CUT, began) from error
        raise
    leave_(token)
    if timer.pending.pop(key, None) is None:
        task.uncancel()
"""


class Cut(Protocol):
    """Whose end it was that cut a call."""

    @property
    def label(self) -> str:
        """Name of the timeout or deadline."""

    @property
    def seconds(self) -> float:
        """Its whole length."""


@dataclass(frozen=True, slots=True)
class AmbientCut:
    """A deadline from outside the pipeline was the nearest end."""

    seconds: float
    label: str = "deadline"


@dataclass(frozen=True, slots=True)
class Timeout:
    """End a call, or each attempt of it, after so many seconds.

    A `TimeoutError` that the function itself raises passes through untouched; ours is a
    `CallTimeout`.

    Args:
        seconds: The limit in seconds, or a timedelta.
        cooperative: For plain functions: do not hop to a worker thread, only set the ambient
            deadline that `remaining()` tells and everything inside is cut to.

    Raises:
        CallTimeout: From the guarded function, once the time is up.
        DeadlineExceeded: Instead of calling it, when the ambient deadline has passed.
        ThreadsExhausted: Instead of calling it, while 64 abandoned threads still run.

    Example:
        >>> from resilient import Pipeline, Timeout
        >>> search = Pipeline("doc-timeout", Timeout(2.0))
        >>> search.call(lambda: "found")
        'found'

    """

    seconds: float
    cooperative: bool = False

    kind: ClassVar[str] = "timeout"
    template: ClassVar[str] = TEMPLATE

    def __init__(self, seconds: _check.Duration, *, cooperative: bool = False) -> None:
        """Check and normalise the limit."""
        object.__setattr__(self, "seconds", _check.seconds("seconds", seconds))
        if not isinstance(cooperative, bool):
            _check.refuse_type("cooperative", cooperative, "True or False")
        object.__setattr__(self, "cooperative", cooperative)

    def bind(self, env: Env, label: str) -> TimeoutGuard:
        """Return fresh state for one position of one pipeline."""
        return TimeoutGuard(env, label, self)

    def describe(self) -> str:
        """Say in one line what is configured."""
        return f"{self.seconds:g} s" + (", cooperative in plain functions" if self.cooperative else "")


class TimeoutGuard(Guard):
    """One timeout at one position of one pipeline."""

    __slots__ = ("_policy", "seconds", "timers")

    def __init__(self, env: Env, label: str, policy: Timeout) -> None:
        super().__init__(env, label)
        self._policy = policy
        self.seconds = policy.seconds
        self.timers: dict[asyncio.AbstractEventLoop, LoopTimer] = {}

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
            raise DeadlineExceeded(self.env.downstream, label, None)
        return AmbientCut(end - began) if cut is None else cut

    def expired(self, cut: Cut, began: float) -> CallTimeout:
        """Return the error for a call that was cut."""
        ran = max(0.0, self.env.now() - began)
        return CallTimeout(self.env.downstream, cut.label, cut.seconds, ran)

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
            raise ThreadsExhausted(self.env.downstream, self.label, None)
        context = threads.context()
        context.run(enter, end)
        job = threads.start(context, function, args, kwargs)
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
        """Return this timeout's timer on a loop it has not met before."""
        from resilient._runtime.timers import LoopTimer  # noqa: PLC0415

        for known in [each for each in self.timers if each.is_closed()]:
            self.timers.pop(known, None)
        return self.timers.setdefault(loop, LoopTimer(loop, self.env.clock))

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
        token = enter(end)
        try:
            with self.env.clock.scope(end - self.env.now()):
                result = await function(*args, **kwargs)
                leave(token)
                return result
        except GeneratorExit:  # thrown away: this is not our context any more
            raise
        except BaseException:
            leave(token)
            raise
        leave(token)
        raise self.expired(cut, began)

    def snapshot(self) -> dict[str, object]:
        """Return the limit, the calls under a timer and the abandoned threads of the process."""
        waiting = sum(len(timer.pending) for timer in tuple(self.timers.values()))
        return {"seconds": self.seconds, "timed": waiting, "abandoned_threads": threads.abandoned()}

    def renew(self) -> None:
        """Forget timers of the parent's loops, in a forked child, and of a replaced clock."""
        self.timers.clear()


def call_template(guards: list[TimeoutGuard], colour: Colour) -> str:
    """Return what calls the function, inside all the given timeouts."""
    if colour == "async":
        return CANCELLING
    return COOPERATIVE if all(guard.policy.cooperative for guard in guards) else THREAD


NEVER = math.inf
