"""What an attempt meant for its downstream: outcome, certainty and the server's hint.

One classifier per pipeline turns an exception, and if asked a result, into a `Verdict`;
every policy of the pipeline reads the same one.
"""

from __future__ import annotations

import contextlib
import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from resilient import _check, faults
from resilient.errors import CallTimeout, ConfigError, Rejected, Unguardable

__all__ = ["Certainty", "Classifier", "Outcome", "Verdict", "from_status", "usable_hint"]


class Outcome(enum.Enum):
    """How an attempt ended, as far as the downstream's health is concerned."""

    SUCCESS = "success"
    FAILURE = "failure"
    THROTTLED = "throttled"
    INCONCLUSIVE = "inconclusive"


class Certainty(enum.Enum):
    """How sure we are that the server acted."""

    NOT_SENT = "not_sent"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    APPLIED = "applied"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a classifier says about one attempt.

    Its `retry_after` is how many seconds the server asked us to wait, or None.
    """

    outcome: Outcome
    certainty: Certainty = Certainty.UNKNOWN
    retry_after: float | None = None


_ATTACHED = "_resilient_verdict"


def attach(error: BaseException, verdict: Verdict | None) -> None:
    """Leave with an error what whoever raised it knows; the default rule goes by it. None takes it back."""
    # Not by the error's own setattr: a frozen dataclass that is an exception refuses it.
    with contextlib.suppress(AttributeError, TypeError):
        BaseException.__setattr__(error, _ATTACHED, verdict)


SUCCESS = Verdict(Outcome.SUCCESS, Certainty.APPLIED)
FAILURE = Verdict(Outcome.FAILURE)
INCONCLUSIVE = Verdict(Outcome.INCONCLUSIVE)
NOT_SENT = Verdict(Outcome.INCONCLUSIVE, Certainty.NOT_SENT)


def thrown_away(error: BaseException) -> bool:
    """Tell whether an error comes from a coroutine or generator that was closed unfinished.

    That is a `GeneratorExit`, or whatever the user's clean-up raised on its way. The collector
    may be the caller, even inside our own locks, so nothing may be done that takes one.
    """
    link: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if link is None or isinstance(link, GeneratorExit):
            break
        link = link.__context__
    return isinstance(link, GeneratorExit)


_LONGEST_CHAIN = 50  # causes of causes


def refused_by_a_hold(error: BaseException, downstream: str | None = None) -> bool:
    """Tell whether an operator's hold refused (that of one downstream), here or in a part of what the function did."""
    if isinstance(error, ExceptionGroup):
        return any(refused_by_a_hold(each, downstream) for each in error.exceptions)
    forced = isinstance(error, Rejected) and error.reason == "forced_open"
    return forced and downstream in (None, error.downstream)  # type: ignore[attr-defined]  # of a Rejected


Judged = Verdict | Outcome | None
"""What a user's classifying function may return; None means: decide by the default rule."""


def usable_hint(value: object) -> float | None:
    """Return a server's hint in seconds, or None where it makes no sense.

    Hostile hints (negative, NaN, infinite, not a number) are ignored, never an error.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        hint = float(value)
    except OverflowError:
        return None
    return hint if math.isfinite(hint) and hint >= 0 else None


def from_status(status: int, retry_after: float | None = None) -> Verdict:
    """Return the verdict on an HTTP status.

    429, and 503 with a hint, are throttled; other 5xx and 408 are failures; every other
    status is a success of the downstream (a 4xx is the caller's error). Only 429 says for sure
    that the server did nothing: a gateway may answer 503 for a request that was worked on.

    Args:
        status: The HTTP status code.
        retry_after: The server's hint in seconds, if it gave one.

    """
    hint = usable_hint(retry_after)
    if status == 429:  # noqa: PLR2004 -- HTTP's own numbers
        return Verdict(Outcome.THROTTLED, Certainty.REFUSED, hint)
    if status == 503 and hint is not None:  # noqa: PLR2004
        return Verdict(Outcome.THROTTLED, Certainty.UNKNOWN, hint)
    if status >= 500 or status == 408:  # noqa: PLR2004
        return Verdict(Outcome.FAILURE, Certainty.UNKNOWN, hint)
    return SUCCESS


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """Decide what errors and results mean, once for all policies of a pipeline.

    Attributes:
        error: Called with an exception (each leaf of an exception group); returns a
            `Verdict`, an `Outcome`, or None to use the default rule. By default our own
            refusals are inconclusive, every other exception is a failure, and a
            `retry_after` attribute (seconds) is the server's hint.
        result: Called with what the function returned; returns a `Verdict`, an `Outcome`,
            or None for success. Without it results are not looked at, which costs nothing.

    A function that raises is reported once and the default rule is used.

    Example:
        >>> from resilient import Classifier, Outcome
        >>> missing = Classifier(error=lambda e: Outcome.SUCCESS if isinstance(e, KeyError) else None)
        >>> missing.of_error(KeyError("no such order")).outcome
        <Outcome.SUCCESS: 'success'>

    """

    error: Callable[[Exception], Judged] | None = None
    result: Callable[[object], Judged] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be called."""
        for name in ("error", "result"):
            function = getattr(self, name)
            if function is not None:
                _check.plain(name, function, "a function or None")

    def of_error(self, error: BaseException) -> Verdict:
        """Return the verdict on an attempt that raised.

        Anything that is no `Exception` (cancellation, `KeyboardInterrupt`, `GeneratorExit`)
        is inconclusive. Of an exception group the gravest leaf decides.
        """
        if isinstance(error, _SPECIAL):
            return self._of_special(error)
        if not isinstance(error, Exception):
            return INCONCLUSIVE
        return self._of_plain(error)

    def _of_special(self, error: BaseException) -> Verdict:
        if isinstance(error, ExceptionGroup):
            return max(map(self.of_error, error.exceptions), key=_gravity)
        if isinstance(error, Rejected):
            return Verdict(Outcome.INCONCLUSIVE, Certainty.NOT_SENT, error.retry_after)
        if isinstance(error, (ConfigError, Unguardable)):
            return NOT_SENT
        if isinstance(error, CallTimeout) and error.ran >= error.whole / 2:
            return self._of_plain(error)
        # Cut by a deadline that was mostly spent before this attempt: says nothing.
        return INCONCLUSIVE

    def _of_plain(self, error: Exception) -> Verdict:
        if type(error).__name__ == "CancelledError":  # that of concurrent.futures is an Exception
            return INCONCLUSIVE
        given = _attribute(error, "retry_after")
        hint = None if given is None else usable_hint(given)
        if self.error is not None:
            judged = _ask(self.error, error)
            if judged is not None:
                return _with_hint(judged, hint)
        attached = error.__dict__.get(_ATTACHED)
        if isinstance(attached, Verdict):
            return _with_hint(attached, hint)
        return FAILURE if hint is None else Verdict(Outcome.FAILURE, Certainty.UNKNOWN, hint)

    def of_result(self, result: object, default: Verdict = SUCCESS) -> Verdict:
        """Return the verdict on an attempt that returned; `default` where nothing else is said."""
        if self.result is None:
            return default
        judged = _ask(self.result, result)
        if judged is None:
            return default
        return _with_hint(judged, None)


_SPECIAL = (ExceptionGroup, Rejected, ConfigError, Unguardable, CallTimeout)
_ORDER = (Outcome.SUCCESS, Outcome.INCONCLUSIVE, Outcome.THROTTLED, Outcome.FAILURE)


def _gravity(verdict: Verdict) -> tuple[int, float]:
    return _ORDER.index(verdict.outcome), verdict.retry_after or 0.0


def _with_hint(judged: Verdict | Outcome, hint: float | None) -> Verdict:
    if isinstance(judged, Verdict):
        given = usable_hint(judged.retry_after)
        if given == judged.retry_after and (given is not None or hint is None):
            return judged
        return Verdict(judged.outcome, judged.certainty, hint if given is None else given)
    return SUCCESS if judged is Outcome.SUCCESS else Verdict(judged, retry_after=hint)


def _attribute(error: Exception, name: str) -> object:
    """Read an attribute of somebody else's exception, whose property may raise."""
    try:
        return getattr(error, name, None)
    except Exception:  # noqa: BLE001 -- a hostile property is the same as no hint
        return None


def _ask(function: Callable[..., Judged], subject: object) -> Verdict | Outcome | None:
    try:
        judged = function(subject)
    except Exception as fault:  # noqa: BLE001 -- a user's classifier never changes a result
        faults.report(function, fault)
        return None
    if judged is None or isinstance(judged, (Verdict, Outcome)):
        return judged
    faults.report(function, TypeError(f"a classifier must return a Verdict, an Outcome or None, got {judged!r}"))
    return None
