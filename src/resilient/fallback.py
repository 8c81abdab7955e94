"""Fallback: answer with something else when the call cannot.

Put it outermost to cover refusals and timeouts of everything inside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from resilient import _check
from resilient._guards.fallback import FallbackGuard
from resilient._policy import Env

__all__ = ["Fallback"]

TEMPLATE = """
try:
    <inner>
except Exception as error:
    if not fallback_.handles(error):
        raise
    result = fallback_.value(error)                      #: constant
    result = AWAIT rescue_(error, END)                   #: !constant
    result = exchange.replaced(result)                   #: streamed
else:                                                    #: judged & !streamed
    if fallback_.unwanted(result):                       #: judged & !streamed
        result = fallback_.value(result)                 #: judged & !streamed & constant
        result = AWAIT replace_(result, END)             #: judged & !streamed & !constant
else:                                                    #: streamed
    if exchange.bad:                                     #: streamed
        answer_ = fallback_.value(result)                #: streamed & constant
        answer_ = AWAIT replace_(result, END)            #: streamed & !constant
        if answer_ is not result:                        #: streamed
            AWAIT exchange.discard(result)               #: streamed
            result = exchange.replaced(answer_)          #: streamed
"""

On = tuple[type[Exception], ...] | type[Exception] | Callable[[Exception], bool]


@dataclass(frozen=True, slots=True)
class Fallback:
    """Answer with `value` when the call was refused, failed or was throttled.

    Args:
        value: What to answer with; or a function of the cause (the exception, or the result
            that the classifier calls bad), plain or, for async calls, async.
        on: Exception types or a predicate. By default everything but an error that the
            classifier calls a success of the downstream (the caller's own error).
        timeout: Longest time in seconds for the function; None leaves it to the deadline.

    A function declines to answer by raising the cause itself. One that raises anything else is
    reported once, and the caller gets the original error.

    Example:
        >>> from resilient import Fallback, Pipeline
        >>> rates = Pipeline("doc-fallback", Fallback(lambda cause: {"EUR": 1.0}))
        >>> def fetch():
        ...     raise OSError("unreachable")
        >>> rates.call(fetch)
        {'EUR': 1.0}

    """

    value: Any
    on: On | None = None
    timeout: float | None = None

    kind: ClassVar[str] = "fallback"
    template: ClassVar[str] = TEMPLATE

    def __init__(
        self,
        value: Any,  # noqa: ANN401 -- any answer
        *,
        on: On | None = None,
        timeout: _check.Duration | None = None,
    ) -> None:
        """Check the settings."""
        _check.kinds("on", on)
        if timeout is not None:
            timeout = _check.seconds("timeout", timeout)
            if not callable(value):
                _check.refuse("timeout", timeout, "None where value is no function")
        object.__setattr__(self, "value", value)
        object.__setattr__(self, "on", on)
        object.__setattr__(self, "timeout", timeout)

    def bind(self, env: Env, label: str) -> FallbackGuard:
        """Return fresh state for one position of one pipeline."""
        return FallbackGuard(env, label, self)

    def describe(self) -> str:
        """Say in one line what is configured."""
        what = "a function of the cause" if callable(self.value) else "a fixed value"
        return what if self.timeout is None else f"{what}, within {self.timeout:g} s"
