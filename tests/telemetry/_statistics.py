"""Statistics for one test, and short ways to ask them."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

from resilient.telemetry.statistics import Statistics

CALLS = "resilient_call_duration_seconds"
ATTEMPTS = "resilient_attempt_duration_seconds"


@contextlib.contextmanager
def measured(**settings: int) -> Iterator[Statistics]:
    gc.collect()  # hundreds of pipelines of earlier tests would take up the names that are told apart
    statistics = Statistics(**settings)
    statistics.start()
    try:
        yield statistics
    finally:
        statistics.stop()


def counts(statistics: Statistics, metric: str) -> dict[tuple[str, ...], float]:
    """What was counted, by labels: a counter's value, or how many a histogram holds."""
    series = statistics.totals().series(metric)
    return {labels: value[1] if isinstance(value, list) else value for labels, value in series.items()}
