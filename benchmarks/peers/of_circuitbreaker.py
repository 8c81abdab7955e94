"""Build the breaker of circuitbreaker (failures in a row only)."""

from __future__ import annotations

import itertools
from typing import Any

import circuitbreaker

from benchmarks import cases

_names = itertools.count()


def decorate(case: cases.Case) -> Any:
    """Return a decorator for the case."""
    if case.policy != "breaker-consecutive":
        raise cases.UnavailableError
    return circuitbreaker.circuit(
        failure_threshold=case.consecutive,
        recovery_timeout=cases.OPEN_FOR,
        name=f"benchmark {next(_names)}",
    )
