"""Build the retry of stamina, without its hooks."""

from __future__ import annotations

from typing import Any

import stamina
from stamina import instrumentation

from benchmarks import cases

instrumentation.set_on_retry_hooks([])


def decorate(case: cases.Case) -> Any:
    """Return a decorator for the case."""
    if case.policy != "retry":
        raise cases.UnavailableError
    return stamina.retry(
        on=ConnectionError,
        attempts=cases.ATTEMPTS,
        timeout=None,
        wait_initial=0.0,
        wait_max=0.0,
        wait_jitter=0.0,
    )
