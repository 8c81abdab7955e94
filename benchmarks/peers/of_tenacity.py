"""Build the retry of tenacity."""

from __future__ import annotations

from typing import Any

import tenacity

from benchmarks import cases


def decorate(case: cases.Case) -> Any:
    """Return a decorator for the case."""
    if case.policy != "retry":
        raise cases.UnavailableError
    return tenacity.retry(
        stop=tenacity.stop_after_attempt(cases.ATTEMPTS),
        retry=tenacity.retry_if_exception_type(ConnectionError),
        wait=tenacity.wait_none(),
        reraise=True,
    )
