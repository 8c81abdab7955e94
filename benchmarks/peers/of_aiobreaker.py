"""Build the breaker of aiobreaker (failures in a row only)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import aiobreaker

from benchmarks import cases


def decorate(case: cases.Case) -> Any:
    """Return a decorator for the case."""
    if case.policy != "breaker-consecutive":
        raise cases.UnavailableError
    return aiobreaker.CircuitBreaker(fail_max=case.consecutive, timeout_duration=timedelta(seconds=cases.OPEN_FOR))
