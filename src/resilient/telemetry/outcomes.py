"""How a call or an attempt ended, in the words that metrics and spans use."""

from __future__ import annotations

from typing import Final

from resilient._policy import Env
from resilient.errors import CallTimeout, Rejected
from resilient.outcome import Outcome, Verdict

__all__ = ["BAD", "OUTCOMES", "PASSED", "of_error", "of_verdict"]

SUCCESS: Final = "success"
FAILURE: Final = "failure"
THROTTLED: Final = "throttled"
TIMEOUT: Final = "timeout"
REJECTED: Final = "rejected"
CANCELLED: Final = "cancelled"
INCONCLUSIVE: Final = "inconclusive"
FALLBACK: Final = "fallback"
CACHED: Final = "cached"

OUTCOMES: Final = (SUCCESS, FAILURE, THROTTLED, TIMEOUT, REJECTED, CANCELLED, INCONCLUSIVE, FALLBACK, CACHED)

BAD: Final = frozenset({FAILURE, THROTTLED, TIMEOUT})
"""Outcomes that count as errors of the downstream."""

PASSED: Final = frozenset({SUCCESS, *BAD})
"""Outcomes whose durations tell how fast the downstream is."""

_WORDS: Final = {
    Outcome.SUCCESS: SUCCESS,
    Outcome.FAILURE: FAILURE,
    Outcome.THROTTLED: THROTTLED,
    Outcome.INCONCLUSIVE: INCONCLUSIVE,
}


def of_verdict(verdict: Verdict) -> str:
    """Return the word for an answer."""
    return _WORDS[verdict.outcome]


def of_error(env: Env, error: BaseException, *, gone: bool) -> tuple[str, str]:
    """Return the words for an error: its outcome, and its type or the reason of a refusal.

    The type is empty for an error that is a success of the downstream.

    Args:
        env: The pipeline.
        error: The error.
        gone: Whether a coroutine was thrown away, as `thrown_away` tells; then no user is asked, and no
            lock is taken: the collector may be the caller.

    """
    name = type(error).__qualname__
    if gone or not isinstance(error, Exception):
        return CANCELLED, name
    if isinstance(error, Rejected):
        return REJECTED, error.reason
    if isinstance(error, CallTimeout):
        return TIMEOUT, name
    outcome = of_verdict(env.classifier.of_error(error))
    return outcome, "" if outcome == SUCCESS else name
