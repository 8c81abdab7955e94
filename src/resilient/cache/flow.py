"""How a request is answered with a cache: from the store, or from behind it, which may fill the store.

`quick`, and `aquick` where a task would have to wait for the store, answer what a fresh stored
response can answer; all else goes through `answer`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from resilient.cache.case import Case
from resilient.cache.looking import look
from resilient.cache.messages import Answering, Asked, Got, Now, Send
from resilient.cache.placing import passed
from resilient.cache.quick import aquick, quick
from resilient.cache.wanted import SAFE, wanted
from resilient.cache.writing import write_through
from resilient.errors import ConfigError, Unguardable

if TYPE_CHECKING:
    from resilient.cache.config import HttpCache

__all__ = ["answer", "aquick", "failed", "quick"]


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
    if asked.method not in SAFE:
        return (yield from write_through(cache, asked))
    want = wanted(asked)
    want.mark = cache.written.mark
    if want.bypass is None:
        found = yield from look(cache, want)
        if found is not None:
            return (yield from Case(cache, want, found, now, fails).answer())
        want.bypass = "partition"
    cache.counts["bypassed"] += 1
    got: Got = yield Send()
    if want.bypass == "method":
        return passed(got, "method")
    return passed(got, "bypass", detail=want.bypass)
