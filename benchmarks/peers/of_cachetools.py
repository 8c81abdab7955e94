"""Build a cache of cachetools, with the lock that threads need."""

from __future__ import annotations

import threading
from typing import Any

import cachetools
import cachetools.keys

from benchmarks import cases


def decorate(case: cases.Case) -> Any:
    """Return a decorator for the case; it keeps no answers of async functions."""
    if case.policy != "cache-hit" or case.colour == "async":
        raise cases.UnavailableError
    cache = cachetools.TTLCache(cases.ENTRIES, cases.FRESH)
    return cachetools.cached(cache, key=cachetools.keys.typedkey, lock=threading.RLock())
