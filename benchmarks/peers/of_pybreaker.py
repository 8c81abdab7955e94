"""Build the breaker of pybreaker (no asyncio; failures in a row only)."""

from __future__ import annotations

from typing import Any

import pybreaker

from benchmarks import cases


def decorate(case: cases.Case) -> Any:
    """Return a decorator for the case."""
    if case.policy != "breaker-consecutive" or case.colour == "async":
        raise cases.UnavailableError
    return pybreaker.CircuitBreaker(fail_max=case.consecutive, reset_timeout=cases.OPEN_FOR)
