"""How a request is answered with a cache: from the store, or from behind it, which may fill the store.

`quick` answers what a fresh stored response can answer, where the store does not block; all else
goes through `answer`.
"""

from __future__ import annotations

from collections.abc import Callable

from resilient.cache.config import HttpCache
from resilient.cache.messages import (
    Answering,
    Asked,
    Background,
    Call,
    Close,
    Command,
    Fields,
    Flow,
    Got,
    Now,
    Outcome,
    Pass,
    Read,
    Reply,
    Send,
    Sink,
)
from resilient.errors import ConfigError, Unguardable

__all__ = [
    "Asked",
    "Background",
    "Call",
    "Close",
    "Command",
    "Fields",
    "Flow",
    "Got",
    "Outcome",
    "Pass",
    "Read",
    "Reply",
    "Send",
    "Sink",
    "answer",
    "failed",
    "quick",
]


def failed(error: Exception) -> bool:
    """Tell whether an error is one of the downstream or of the way there, not of whoever called."""
    return not isinstance(error, (ConfigError, Unguardable))


def answer(cache: HttpCache, asked: Asked, now: Now, fails: Callable[[Exception], bool] = failed) -> Answering:
    """Answer a request.

    Args:
        cache: The cache.
        asked: The request.
        now: The wall clock.
        fails: Which errors of `Send` and `Read` a stale answer may stand in for. All others, and
            what is no `Exception`, go through to the caller untouched.

    """
    got: Got = yield Send()
    return Pass(got)


def quick(cache: HttpCache, asked: Asked, now: Now) -> Reply | None:
    """Answer with a fresh stored response from a store that does not block; None if `answer` must be asked."""
    return None
