"""Retry: try again after a failure, with jitter, within a budget, never past the deadline.

Nothing is retried that cannot help: no refusal of ours, no cancellation, no error that an
inner pipeline has given up on already, nothing sooner than the server allowed. The caller gets
the error of the last attempt that ran.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, cast

from resilient import _check
from resilient._guards.retry import RetryGuard
from resilient._policy import Env
from resilient.backoff import Backoff, pacing, stopping
from resilient.budget import RetryBudget

__all__ = ["Retry"]

# The outer `try` is for what comes between the attempts: an exception from a signal handler would
# leave everything else that runs here believing that an outer retry is at it.
TEMPLATE = """
start_ = now()                                                    #: clocked
deposit_()                                                        #: deposit_first
state_ = None
try:
    while True:
        mark_ = ledger.mark
        try:
            <inner>
        except BaseException as error:
            state_ = retry_.failed(state_, error, mark_, END)              #: !clocked & !streamed
            state_ = retry_.failed(state_, error, mark_, END, start_)      #: clocked & !streamed
            state_ = retry_.failed(state_, error, mark_, END, None, exchange)    #: !clocked & streamed
            state_ = retry_.failed(state_, error, mark_, END, start_, exchange)  #: clocked & streamed
            if state_ is None:
                raise
        else:
            break                                                 #: !results & !streamed
            state_ = retry_.returned(state_, result, END)         #: results & !clocked & !streamed
            state_ = retry_.returned(state_, result, END, start_) #: results & clocked & !streamed
            if exchange.good:                                     #: !picky & streamed
                break                                             #: !picky & streamed
            state_ = retry_.answered(state_, exchange, result, END)         #: !clocked & streamed
            state_ = retry_.answered(state_, exchange, result, END, start_) #: clocked & streamed
            if state_ is None:                                    #: results | streamed
                break                                             #: results | streamed
            result = AWAIT exchange.discard(result)               #: streamed
        AWAIT pause_(state_)                                      #: !results & !streamed
        if state_.ended or AWAIT pause_(state_):                  #: results | streamed
            break                                                 #: results | streamed
        began = now()                                             #: timed
    if state_ is not None:                                        #: !results & !streamed
        retry_.succeeded(state_)                                  #: !results & !streamed
    else:                                                         #: deposit_success & !results & !streamed
        deposit_()                                                #: deposit_success & !results & !streamed
    if exchange.good and state_ is not None:                      #: !picky & streamed
        retry_.succeeded(state_)                                  #: !picky & streamed
    elif exchange.good:                                           #: deposit_success & !picky & streamed
        deposit_()                                                #: deposit_success & !picky & streamed
except BaseException as error:
    if state_ is not None:
        retry_.close(state_, error)
    raise
"""

On = tuple[type[Exception], ...] | type[Exception] | Callable[[Exception], bool]

_DEFAULT_BACKOFF = Backoff()
_DEFAULT_BUDGET = RetryBudget()


@dataclass(frozen=True, slots=True)
class Retry:
    """Try a call again after a failure.

    Args:
        attempts: Attempts at most, the first included; or a tenacity `stop_*` object.
        on: Exception types or a predicate. By default what the classifier calls a failure
            or throttled. Our own refusals are retried only if a type listed here names them.
        on_result: A predicate: a result for which it is true is not good enough. Results that
            the classifier calls bad are retried, too.
        backoff: How long to wait between attempts; or a tenacity `wait_*` object.
        budget: The shared allowance of retries. By default a `RetryBudget()` of this pipeline;
            None allows any number.
        retry_given_up: Also retry an error that an inner pipeline has given up on.

    Example:
        >>> from resilient import Backoff, Pipeline, Retry
        >>> flaky = Pipeline("doc-retry", Retry(attempts=3, backoff=Backoff(base=0.001)))
        >>> answers = iter([OSError("reset"), "ok"])
        >>> def fetch():
        ...     answer = next(answers)
        ...     if isinstance(answer, Exception):
        ...         raise answer
        ...     return answer
        >>> flaky.call(fetch)
        'ok'

    """

    attempts: object
    on: On | None
    on_result: Callable[[object], bool] | None
    backoff: object
    budget: RetryBudget | None
    retry_given_up: bool

    kind: ClassVar[str] = "retry"
    template: ClassVar[str] = TEMPLATE

    def __init__(  # noqa: PLR0913 -- all keyword-only
        self,
        attempts: object = 3,
        *,
        on: On | None = None,
        on_result: Callable[[object], bool] | None = None,
        backoff: object = _DEFAULT_BACKOFF,
        budget: RetryBudget | None = _DEFAULT_BUDGET,
        retry_given_up: bool = False,
    ) -> None:
        """Check the settings."""
        stopping(attempts)
        _check.kinds("on", on)
        if on_result is not None:
            _check.plain("on_result", on_result, "a predicate or None")
        pacing(cast("Backoff", backoff))
        if budget is not None and not isinstance(budget, RetryBudget):
            _check.refuse_type("budget", budget, "a RetryBudget or None")
        if not isinstance(retry_given_up, bool):
            _check.refuse_type("retry_given_up", retry_given_up, "True or False")
        object.__setattr__(self, "attempts", attempts)
        object.__setattr__(self, "on", on)
        object.__setattr__(self, "on_result", on_result)
        object.__setattr__(self, "backoff", backoff)
        object.__setattr__(self, "budget", budget)
        object.__setattr__(self, "retry_given_up", retry_given_up)

    @property
    def most_attempts(self) -> int | None:
        """Attempts at most, or None where a tenacity object decides."""
        return self.attempts if isinstance(self.attempts, int) else None

    def bind(self, env: Env, label: str) -> RetryGuard:
        """Return fresh state for one position of one pipeline."""
        return RetryGuard(env, label, self)

    def describe(self) -> str:
        """Say in one line what is configured."""
        stop = stopping(self.attempts)
        attempts = f"{self.attempts} attempt{'s' * (self.attempts != 1)}" if stop is None else stop.describe()
        waits = pacing(cast("Backoff", self.backoff)).describe()
        budget = "no budget" if self.budget is None else self.budget.describe()
        return f"{attempts}, {waits}, {budget}"
