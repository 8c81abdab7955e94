"""Build the cache of the standard library, written in C: for scale, as its answers have no age."""

from __future__ import annotations

import functools
from typing import Any

from benchmarks import cases


def decorate(case: cases.Case) -> Any:
    """Return a decorator for the case; it keeps no answers of async functions."""
    if case.policy != "cache-hit" or case.colour == "async":
        raise cases.UnavailableError
    return functools.lru_cache(cases.ENTRIES, typed=True)
