"""Context managers that change, for one block, what every pipeline of the process does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from resilient import clock as clocks
from resilient import events, faults, registry
from resilient._runtime import blocking
from resilient._weave import assembly
from resilient.events import Event
from resilient.holds import Hold
from resilient.pipeline import Pipeline
from resilient.testing.fake_clock import FakeClock
from resilient.testing.instant import InstantClock

__all__ = ["Events", "capture_events", "force_open", "isolated", "no_policies", "no_waits", "use"]

C = TypeVar("C", bound=clocks.Clock)


@contextmanager
def use(clock: C) -> Iterator[C]:
    """Put a clock in force for every pipeline, also for functions decorated before; then the one before it.

    Blocks nest. Calls in flight keep working when the clock changes under them.

    Args:
        clock: A `FakeClock`, or anything with the methods of `resilient.clock.Clock`.

    Example:
        >>> from resilient import Pipeline, RateLimit
        >>> from resilient.testing import FakeClock, use
        >>> mail = Pipeline("doc-use", RateLimit(1))
        >>> with use(FakeClock()) as clock:
        ...     print(mail.call(len, "first"))
        ...     clock.advance(1)
        ...     print(mail.call(len, "second"))
        5
        6

    """
    if isinstance(clock, FakeClock):
        clock.resume()
    previous = clocks.install(clock)
    try:
        yield clock
    finally:
        clocks.install(previous)
        if isinstance(clock, FakeClock):
            clock.stop()


class Events(list[Event]):
    """What happened, in order: a list of events that can be asked for some of them."""

    def names(self) -> list[str]:
        """Return the name of every event, in order."""
        return [event.name for event in self]

    def of(self, name: str) -> list[Event]:
        """Return the events of one name, in order.

        Args:
            name: Such as "resilient.retry.scheduled".

        """
        return [event for event in self if event.name == name]


@contextmanager
def capture_events() -> Iterator[Events]:
    """Collect every event of the process.

    Example:
        >>> from resilient import Bulkhead, BulkheadFull, Pipeline
        >>> reports = Pipeline("doc-capture", Bulkhead(1))
        >>> with capture_events() as events, reports.permit():
        ...     try:
        ...         reports.call(print, "never")
        ...     except BulkheadFull:
        ...         pass
        >>> events.names()
        ['resilient.bulkhead.saturated', 'resilient.call.rejected']
        >>> events.of("resilient.call.rejected")[0].fields["reason"]
        'bulkhead_full'

    """
    captured = Events()
    unsubscribe = events.subscribe(captured.append)
    try:
        yield captured
    finally:
        unsubscribe()


@contextmanager
def force_open(pipeline: Pipeline, reason: str = "test") -> Iterator[Hold]:
    """Let a pipeline refuse every call.

    Args:
        pipeline: A pipeline, or a member of a family.
        reason: What the hold says to people.

    Example:
        >>> from resilient import BreakerOpen, CircuitBreaker, Pipeline
        >>> orders = Pipeline("doc-force-open", CircuitBreaker())
        >>> with force_open(orders):
        ...     try:
        ...         orders.call(print, "never")
        ...     except BreakerOpen as refusal:
        ...         print(refusal.reason)
        forced_open

    """
    hold = pipeline.hold("forced_open", reason=reason, expires=None, actor="resilient.testing")
    try:
        yield hold
    finally:
        hold.release()


@contextmanager
def no_waits(*, seed: int = 0) -> Iterator[InstantClock]:
    """Let every sleep (of a retry, of a rate limit) end at once, in otherwise real time.

    Args:
        seed: Seed of the randomness, so that backoffs repeat themselves.

    Example:
        >>> from resilient import Backoff, Pipeline, Retry
        >>> flaky = Pipeline("doc-no-waits", Retry(backoff=Backoff(base=10, jitter="none")))
        >>> answers = iter([OSError("reset"), "ok"])
        >>> def fetch():
        ...     answer = next(answers)
        ...     if isinstance(answer, Exception):
        ...         raise answer
        ...     return answer
        >>> with no_waits() as clock:
        ...     print(flaky.call(fetch), clock.slept)
        ok [10.0]

    """
    with use(InstantClock(seed=seed)) as clock:
        yield clock


@contextmanager
def no_policies() -> Iterator[None]:
    """Leave every policy out: guarded functions call straight through, also those decorated before.

    Calls in flight finish as they began.

    Example:
        >>> from resilient import CircuitBreaker, Pipeline
        >>> search = Pipeline("doc-no-policies", CircuitBreaker())
        >>> with force_open(search), no_policies():
        ...     search.call(len, "abc")
        3

    """
    before = assembly.enable(False)  # noqa: FBT003 -- a switch
    try:
        yield
    finally:
        assembly.enable(before)


@contextmanager
def isolated() -> Iterator[None]:
    """Start without any pipeline, reported fault or warning given; afterwards the names are as before.

    Pipelines made inside share no state with those outside, and may reuse their names.

    Example:
        >>> from resilient import Bulkhead, Pipeline, registry
        >>> outside = Pipeline("doc-isolated", Bulkhead(1))
        >>> with isolated():
        ...     inside = Pipeline("doc-isolated", Bulkhead(2))
        >>> registry.find("doc-isolated") is outside
        True

    """
    before = registry.exchange({})
    warned = blocking._warned  # noqa: SLF001 -- what tells a warning that was given already
    told = warned.copy()
    warned.clear()
    faults.reset()
    try:
        yield
    finally:
        registry.exchange(before)
        warned.clear()
        warned.update(told)
        faults.reset()
