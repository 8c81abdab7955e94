"""Timeout: give a call, or each attempt of it, an end.

Where it stands decides what it limits: outside `Retry` the whole call, inside it each attempt.
Async functions are cancelled. A plain function cannot be interrupted, so it runs in a daemon
worker thread with the caller's context variables, and the caller leaves on time; what the
function changes in context variables stays in that thread. All timeouts of one pipeline share
one thread hop and one timer, around the call itself: everything else a pipeline waits for
(sleeps, lines) is cut to the nearest end anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from resilient import _check
from resilient._guards.timeout import TimeoutGuard
from resilient._policy import Colour, Env

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

# An exception from a signal handler may arrive wherever a C function has returned: when the ambient
# deadline is set and its token lost. Then it is put back to what was read at first.
COOPERATIVE = """
token = None
try:
    token = enter_(END)
    result = CALL                                      #: !streamed
    request = exchange.prepared(END, CUT, began)       #: streamed
    result = exchange.received(exchange.send(request)) #: streamed
    if result is None:                                 #: streamed
        result = exchange.buffered()                   #: streamed
except BaseException as error:                         #: streamed
    exchange.failed(error)                             #: streamed
    raise                                              #: streamed
finally:
    if token is None:
        enter_(BEFORE)
    else:
        leave_(token)
"""

# The first thing after the call is to take it off the timer, which otherwise would cancel whatever
# the task does next. A coroutine that was thrown away leaves the context variable alone: the
# collector may have done it in somebody else's context.
CANCELLING = """
loop = running_loop_()
task = None if loop is None else current_task_(loop)
if task is None:
    result = await timeout_.scoped(END, CUT, began, TARGET, ARGS)
else:
    timer = timers_.get(loop)
    if timer is None:
        timer = timeout_.timer(loop)
    cancelling = task.cancelling()
    key = timer.key()
    token = None
    gone_ = False
    try:
        token = enter_(END)
        if END >= timer.last:
            timer.last = END
            timer.pending[key] = (END, task)
            if not timer.armed:
                timer.arm()
        else:
            timer.alone(key, END, task)
        result = await CALL                                      #: !streamed
        request = exchange.prepared(END, CUT, began)             #: streamed
        result = exchange.received(await exchange.send(request)) #: streamed
        if result is None:                                       #: streamed
            result = await exchange.buffered()                   #: streamed
    except BaseException as error:
        due_ = timer.pending.pop(key, None) is None
        gone_ = thrown_away_(error)
        if timeout_.interrupted(timer, key, due_, task, cancelling, gone_, error):
            exchange.lost()                                      #: streamed
            raise timeout_.expired(CUT, began) from error
        exchange.failed(error)                                   #: streamed
        raise
    else:
        if timer.pending.pop(key, None) is None:
            task.uncancel()
        elif timer.handles:
            timer.forget(key)
    finally:
        if token is None:
            enter_(BEFORE)
        elif not gone_:
            leave_(token)
"""


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


def call_template(colour: Colour, *, hops: bool) -> str:
    """Return what calls the function inside all timeouts of a pipeline."""
    if colour == "async":
        return CANCELLING
    return THREAD if hops else COOPERATIVE
