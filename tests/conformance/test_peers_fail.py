"""Rules that can fail: what holds for this library does not hold for the library that has the bug.

Each rule of `_rules.py` is held against this library, where it must hold, and against a pinned
release of a library in which it is known to be broken, where it must not. So a rule that has
become unable to fail shows. All of those libraries must be installed: the dependency group
`peers`.
"""

from __future__ import annotations

import asyncio
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of other people's modules, at their import
    import aiobreaker
    import aiolimiter  # noqa: F401 -- proves that the whole group is installed
    import aioresilience
    import backoff
    import circuitbreaker
    import hyx.circuitbreaker
    import interlock
    import nopanic
    import purgatory
    import pybreaker
    import pyresilience
    import pyresilience._circuit_breaker
    import tenacity

from resilient import Bulkhead, CircuitBreaker, Classifier, Outcome, Pipeline, Retry, events
from tests.conformance import _rules
from tests.conformance._colours import FakeClock, fake_time
from tests.conformance._rules import MANY, OPENING, THRESHOLD, Mine, Subject

PINNED = {
    "aiobreaker": "1.2.0",
    "aiolimiter": "1.3.0",
    "aioresilience": "0.2.1",
    "backoff": "2.2.1",
    "circuitbreaker": "2.1.3",
    "hyx": "0.0.2",
    "interlock-cb": "2.8.2",
    "nopanic": "0.3.0",
    "purgatory": "3.0.1",
    "pybreaker": "1.4.1",
    "pyresilience": "0.4.1",
    "tenacity": "9.2.1",
}


@pytest.mark.parametrize("name", PINNED)
def test_the_peer_is_the_release_that_has_the_bug(name):
    assert version(name) == PINNED[name]


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with fake_time() as made:
        yield made


# -- this library ---------------------------------------------------------------------------------


class Switch:
    """A callback that can be broken and mended."""

    def __init__(self) -> None:
        self.broken = False

    def set(self, broken: bool) -> None:
        self.broken = broken

    def __call__(self, *_: object) -> Any:
        if self.broken:
            raise RuntimeError("a fault in the user's callback")
        return True


def ours(clock: FakeClock, patch: pytest.MonkeyPatch, *, probes: int = 1, retrying: bool = False) -> Subject:
    switch = Switch()

    def judge(error: Exception) -> Outcome | None:
        switch()
        return Outcome.INCONCLUSIVE if isinstance(error, Mine) else None

    breaker = CircuitBreaker(open_for=OPENING, probes=probes, jitter=0.0, ramp=0.0)
    policies = (Retry(attempts=3, budget=None), breaker) if retrying else (breaker,)
    pipeline = Pipeline("downstream", *policies, classifier=Classifier(error=judge))
    return Subject(
        guard=pipeline,
        advance=clock.advance,
        probes=probes,
        block=pipeline.permit,
        break_callback=switch.set,
        hold=lambda: pipeline.hold("forced_open", reason="maintenance", expires=None),
        step_wall_clock=lambda seconds: step_wall_clock(patch, seconds),
        others=lambda: Pipeline("downstream", CircuitBreaker()),
        slept=clock.slept,
        listen=lambda: events.subscribe(lambda event: None),
    )


def our_two_probes(clock: FakeClock, patch: pytest.MonkeyPatch) -> Subject:
    return ours(clock, patch, probes=2)


def our_retry_around(clock: FakeClock, patch: pytest.MonkeyPatch) -> Subject:
    return ours(clock, patch, retrying=True)


def our_retry(clock: FakeClock, patch: pytest.MonkeyPatch) -> Subject:
    clock.draw = 0.5
    return Subject(Pipeline("downstream", Retry(attempts=MANY, budget=None, on=lambda error: True)))


def our_bulkhead(clock: FakeClock, patch: pytest.MonkeyPatch) -> Subject:
    return Subject(Pipeline("downstream", Bulkhead(2)))


# -- the others -----------------------------------------------------------------------------------


def step_wall_clock(patch: pytest.MonkeyPatch, seconds: float) -> None:
    stepped = time.time() + seconds
    patch.setattr(time, "time", lambda: stepped)


def with_circuitbreaker(clock: FakeClock, patch: pytest.MonkeyPatch) -> Subject:
    patch.setattr(circuitbreaker, "monotonic", clock.now)
    breaker = circuitbreaker.CircuitBreaker(failure_threshold=THRESHOLD, recovery_timeout=OPENING, name="downstream")
    return Subject(breaker, clock.advance, block=lambda: breaker)


def with_pybreaker(clock: FakeClock, patch: pytest.MonkeyPatch) -> Subject:
    breaker = pybreaker.CircuitBreaker(fail_max=THRESHOLD, reset_timeout=OPENING)
    return Subject(breaker)


def with_aiobreaker(clock: FakeClock, patch: pytest.MonkeyPatch) -> Subject:
    breaker = aiobreaker.CircuitBreaker(fail_max=THRESHOLD, timeout_duration=timedelta(seconds=OPENING))

    def advance(seconds: float) -> None:
        breaker.timeout_duration -= timedelta(seconds=seconds)

    return Subject(breaker, advance)


def with_hyx(clock: FakeClock, patch: pytest.MonkeyPatch) -> Subject:
    breaker = hyx.circuitbreaker.consecutive_breaker(
        failure_threshold=THRESHOLD, recovery_time_secs=OPENING, recovery_threshold=1
    )

    def advance(seconds: float) -> None:
        breaker.state._failing_until -= timedelta(seconds=seconds)

    return Subject(breaker, advance)


def with_purgatory(clock: FakeClock, patch: pytest.MonkeyPatch) -> Subject:
    patch.setattr(time, "time", clock.now)
    guards = purgatory.SyncCircuitBreakerFactory(default_threshold=THRESHOLD, default_ttl=OPENING)
    mine = guards.get_breaker("downstream", exclude=[Mine])

    def guard(function: Callable[[], Any]) -> Callable[[], Any]:
        if asyncio.iscoroutinefunction(function):

            async def acall() -> Any:
                with mine:
                    return await function()

            return acall

        def call() -> Any:
            with mine:
                return function()

        return call

    return Subject(guard, clock.advance, step_wall_clock=clock.advance, others=lambda: guards.get_breaker("downstream"))


def with_pyresilience(clock: FakeClock, patch: pytest.MonkeyPatch) -> Subject:
    patch.setattr(pyresilience._circuit_breaker, "_monotonic", clock.now)
    config = pyresilience.CircuitBreakerConfig(
        failure_threshold=THRESHOLD, recovery_timeout=OPENING, success_threshold=1
    )
    breaker = pyresilience.CircuitBreaker(config)

    def guard(function: Callable[[], Any]) -> Callable[[], Any]:
        """Do what its decorator does around a call, without its thread pool."""

        def admit() -> None:
            if not breaker.allow_request():
                raise pyresilience.CircuitOpenError("open")

        if asyncio.iscoroutinefunction(function):

            async def acall() -> Any:
                admit()
                try:
                    result = await function()
                except Exception:
                    breaker.record_failure()
                    raise
                breaker.record_success()
                return result

            return acall

        def call() -> Any:
            admit()
            result = function()
            breaker.record_success()
            return result

        return call

    return Subject(guard, clock.advance, hold=breaker.force_open)


def with_nopanic(clock: FakeClock, patch: pytest.MonkeyPatch, probes: int = 1, threshold: float = 0.5) -> Subject:
    switch = Switch()
    breaker = nopanic.CircuitBreaker(
        failure_threshold=threshold,
        min_calls=THRESHOLD,
        reset_timeout=OPENING,
        half_open_max_calls=probes,
        on=switch,
        clock=clock.now,
    )
    return Subject(breaker, clock.advance, probes, break_callback=switch.set)


def with_nopanic_two_probes(clock: FakeClock, patch: pytest.MonkeyPatch) -> Subject:
    return with_nopanic(clock, patch, probes=2)


def with_nopanic_retry(clock: FakeClock, patch: pytest.MonkeyPatch) -> Subject:
    breaker = nopanic.CircuitBreaker(min_calls=THRESHOLD, reset_timeout=OPENING, clock=clock.now)
    retry = nopanic.retry(attempts=3, backoff=0.01)
    patch.setattr(time, "sleep", clock.sleep)
    return Subject(lambda function: retry(breaker(function)), hold=breaker.force_open, slept=clock.slept)


def with_interlock(clock: FakeClock, patch: pytest.MonkeyPatch) -> Subject:
    class Time:
        monotonic = staticmethod(clock.now)

    switch = Switch()

    class Judge:
        def is_failure(self, *, result: object, exception: Exception | None) -> bool:
            switch()
            return exception is not None

    config = interlock.Config(
        minimum_number_of_calls=THRESHOLD, permitted_calls_in_half_open=1, wait_duration_in_open=OPENING
    )
    breaker = interlock.CircuitBreaker(name="downstream", config=config, clock=Time(), classifier=Judge())
    return Subject(breaker, clock.advance, break_callback=switch.set)


def with_aioresilience(clock: FakeClock, patch: pytest.MonkeyPatch) -> Subject:
    patch.setattr(time, "time", clock.now)
    config = aioresilience.CircuitConfig(failure_threshold=THRESHOLD, recovery_timeout=OPENING, half_open_max_calls=1)
    breaker = aioresilience.CircuitBreaker(name="downstream", config=config)

    async def listener(event: object) -> None:
        await asyncio.sleep(0)

    def listen() -> Callable[[], None]:
        breaker.events.add_handler("*", listener)
        return lambda: breaker.events.remove_handler("*", listener)

    return Subject(lambda function: lambda: breaker.call(function), clock.advance, listen=listen)


def with_aioresilience_bulkhead(clock: FakeClock, patch: pytest.MonkeyPatch) -> Subject:
    bulkhead = aioresilience.Bulkhead("downstream", aioresilience.BulkheadConfig(max_concurrent=2))
    return Subject(lambda function: lambda: bulkhead.execute(function))


def with_tenacity(clock: FakeClock, patch: pytest.MonkeyPatch) -> Subject:
    return Subject(
        tenacity.retry(stop=tenacity.stop_after_attempt(3), retry=tenacity.retry_if_not_exception_type(ValueError))
    )


def with_backoff(clock: FakeClock, patch: pytest.MonkeyPatch) -> Subject:
    patch.setattr(time, "sleep", clock.slept.append)  # no clock survives its waits
    logging.getLogger("backoff").setLevel(logging.CRITICAL + 1)
    return Subject(backoff.on_exception(backoff.expo, Exception, max_tries=MANY))


# -- the verdicts ---------------------------------------------------------------------------------

CASES = [
    (_rules.t01_a_recovering_downstream_meets_only_the_probes, ours, with_circuitbreaker),
    (_rules.t01_a_recovering_downstream_meets_only_the_probes, ours, with_aiobreaker),
    (_rules.t01_a_recovering_downstream_meets_only_the_probes, ours, with_purgatory),
    (_rules.t01_a_recovering_downstream_meets_only_the_probes, ours, with_hyx),
    (_rules.t01_a_recovering_downstream_meets_only_the_probes, ours, with_pyresilience),
    (_rules.t02_a_listener_opens_no_gap_for_more_probes, ours, with_aioresilience),
    (_rules.t04_an_outcome_of_an_older_round_frees_no_place, our_two_probes, with_nopanic_two_probes),
    (_rules.t05_a_callback_that_raises_keeps_no_place, ours, with_nopanic),
    (_rules.t05_a_callback_that_raises_keeps_no_place, ours, with_interlock),
    (_rules.t06_a_hung_probe_shuts_nobody_out_for_ever, ours, with_nopanic),
    (_rules.t06_a_hung_probe_shuts_nobody_out_for_ever, ours, with_interlock),
    (_rules.t08_a_cancelled_call_is_no_success, ours, with_circuitbreaker),
    (_rules.t09_cancelled_calls_are_no_failures, ours, with_purgatory),
    (_rules.t09_an_interrupt_is_no_failure, ours, with_pybreaker),
    (_rules.t10_an_async_function_is_guarded_or_refused, ours, with_pybreaker),
    (_rules.t11_calls_overlap, ours, with_pybreaker),
    (_rules.t13_a_late_success_does_not_close, ours, with_circuitbreaker),
    (_rules.t14_the_block_form_refuses, ours, with_circuitbreaker),
    (_rules.t15_the_wall_clock_opens_no_door, ours, with_purgatory),
    (_rules.t17_every_refusal_is_its_own_exception, ours, with_purgatory),
    (_rules.t19_nobody_else_changes_what_i_ignore, ours, with_purgatory),
    (_rules.t21_the_caller_sees_the_real_error, ours, with_pybreaker),
    (_rules.t21_the_caller_sees_the_real_error, ours, with_aiobreaker),
    (_rules.t25_a_hold_outlasts_any_opening, ours, with_pyresilience),
    (_rules.t26_a_hold_is_not_waited_for, our_retry_around, with_nopanic_retry),
    (_rules.t30_a_cancelled_call_is_not_tried_again, our_retry, with_tenacity),
    (_rules.t37_the_thousandth_wait_does_not_overflow, our_retry, with_backoff),
    (_rules.t51_cancelled_calls_give_their_places_back, our_bulkhead, with_aioresilience_bulkhead),
]
HELD = list(dict.fromkeys((rule, mine) for rule, mine, _ in CASES))


@pytest.mark.parametrize(("rule", "mine"), HELD, ids=[f"{rule.__name__}-{mine.__name__}" for rule, mine in HELD])
def test_the_rule_holds_here(rule, mine, clock, monkeypatch):
    rule(mine(clock, monkeypatch))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("rule", "peer"),
    [(rule, peer) for rule, _, peer in CASES],
    ids=[f"{rule.__name__}-{peer.__name__}" for rule, _, peer in CASES],
)
def test_the_rule_can_fail(rule, peer, clock, monkeypatch):
    with pytest.raises(AssertionError):
        rule(peer(clock, monkeypatch))
