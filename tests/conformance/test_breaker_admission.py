"""T01 to T09: whom a recovering breaker lets pass, and what their ends may mean."""

from __future__ import annotations

import gc
import logging
import signal
import threading
import warnings
from collections.abc import Iterator

import pytest

from resilient import Bulkhead, CircuitBreaker, Classifier, Outcome, Pipeline, Timeout, events, faults
from resilient.errors import BreakerOpen, BulkheadFull
from tests.conformance._colours import (
    PATIENCE,
    Down,
    Play,
    each_form,
    facts,
    fake_time,
    in_each_colour,
    probes,
    state,
)

PROBES = 3

ends = pytest.mark.parametrize("how", ["success", "failure", "cancelled"])


async def finish(play: Play, flight: object, how: str) -> None:
    """End a call in flight in one of the ways a call can end."""
    if how == "cancelled":
        await play.cancel(flight)
    else:
        await play.end(flight, raises=Down() if how == "failure" else None)


# -- T01: a recovering downstream meets a few probes, not the crowd ------------------------------


@each_form
@in_each_colour
async def test_t01_of_twenty_callers_after_the_wait_only_the_probes_are_admitted(play, form):
    pipeline = await play.due(play.pipeline())
    flights = await play.start_many(20, pipeline, form=form)
    refused = [flight.ending.error for flight in flights if not flight.admitted]
    assert len(refused) == 20 - PROBES
    assert {type(error) for error in refused} == {BreakerOpen}
    assert {error.reason for error in refused} == {"half_open_limit"}
    assert probes(pipeline) == (0, 0, PROBES)


@in_each_colour
async def test_t01_the_places_of_ended_probes_are_not_given_away_again_in_the_same_round(play):
    pipeline = await play.due(play.pipeline(play.breaker(probes=4, failure_rate=1.0)))
    crowd = await play.start_many(20, pipeline)
    first, *_ = [flight for flight in crowd if flight.admitted]
    await play.end(first, raises=Down())
    assert state(pipeline) == "half_open"
    assert (await play.call(pipeline)).refused
    assert sum(flight.admitted for flight in crowd) == 4


@in_each_colour
async def test_t01_one_configured_probe_is_one_call(play):
    pipeline = await play.due(play.pipeline(play.breaker(probes=1)))
    flights = await play.start_many(20, pipeline)
    assert [flight.admitted for flight in flights].count(True) == 1


# -- T02: the call that flips the state is itself a probe ----------------------------------------


@pytest.fixture
def unsubscribed() -> Iterator[list]:
    """Collect functions that stop a subscription, and call them."""
    stops: list = []
    yield stops
    for stop in stops:
        stop()


@in_each_colour
async def test_t02_calls_made_by_a_listener_of_the_transition_find_its_place_taken(play, unsubscribed):
    pipeline = await play.due(play.pipeline(play.breaker(probes=1)))
    answers = []

    def listener(event: events.Event) -> None:
        if event.fields.get("to") == "half_open":
            for _ in range(20):
                try:
                    with pipeline.permit():
                        answers.append("admitted")
                except BreakerOpen:
                    answers.append("refused")

    unsubscribed.append(events.subscribe(listener))
    flight = await play.start(pipeline)
    assert flight.admitted
    assert answers == ["refused"] * 20


def test_t02_a_listener_that_takes_its_time_opens_no_gap_for_other_threads():
    with fake_time() as clock:
        pipeline = Pipeline("downstream", CircuitBreaker(probes=1, jitter=0.0, ramp=0.0))
        for _ in range(5):
            with pytest.raises(Down), pipeline.permit():
                raise Down
        clock.advance(5.0)
        listening, done = threading.Event(), threading.Event()

        def listener(event: events.Event) -> None:
            if event.fields.get("to") == "half_open":
                listening.set()
                assert done.wait(PATIENCE)

        stop = events.subscribe(listener)
        ran = []
        flipping = threading.Thread(target=pipeline.call, args=(lambda: ran.append("the flipping call"),))
        flipping.start()
        try:
            assert listening.wait(PATIENCE)
            for _ in range(19):
                with pytest.raises(BreakerOpen):
                    pipeline.call(lambda: ran.append("another"))
        finally:
            done.set()
            flipping.join(PATIENCE)
            stop()
        assert ran == ["the flipping call"]


# -- T03: a call from before the trip holds no probe's place -------------------------------------


@ends
@each_form
@in_each_colour
async def test_t03_a_call_admitted_while_closed_gives_back_no_probe_place(play, how, form):
    pipeline = play.pipeline(play.breaker(probes=1))
    straddling = await play.start(pipeline, form=form)
    await play.due(pipeline)
    probe = await play.start(pipeline, form=form)
    assert probe.admitted
    await finish(play, straddling, how)
    assert probes(pipeline) == (0, 0, 1)
    assert (await play.call(pipeline, form=form)).refused
    await play.end(probe)
    assert state(pipeline) == "closed"


# -- T04: an outcome of an older era is inert ----------------------------------------------------


@ends
@each_form
@in_each_colour
async def test_t04_a_probe_of_an_earlier_round_changes_nothing_in_the_next(play, how, form):
    pipeline = await play.due(play.pipeline(play.breaker(probes=1)))
    slow = await play.start(pipeline, form=form)
    play.clock.advance(pipeline[CircuitBreaker].lease)
    assert state(pipeline) == "open"
    play.clock.advance(facts(pipeline)["open_remaining"])
    current = await play.start(pipeline, form=form)
    assert current.admitted
    before = facts(pipeline)
    await finish(play, slow, how)
    assert facts(pipeline) == before
    assert (await play.call(pipeline, form=form)).refused
    await play.end(current, raises=Down())
    assert state(pipeline) == "open"


@ends
@in_each_colour
async def test_t04_a_probe_of_an_earlier_round_changes_nothing_after_closing(play, how):
    pipeline = await play.due(play.pipeline(play.breaker(probes=1)))
    slow = await play.start(pipeline)
    play.clock.advance(pipeline[CircuitBreaker].lease)
    play.clock.advance(facts(pipeline)["open_remaining"])
    await play.call(pipeline)
    assert state(pipeline) == "closed"
    before = facts(pipeline)
    await finish(play, slow, how)
    assert facts(pipeline) == before


@ends
@in_each_colour
async def test_t04_a_call_of_an_earlier_closed_time_changes_nothing_in_the_next(play, how):
    pipeline = play.pipeline(play.breaker(consecutive=2))
    early = await play.start(pipeline)
    await play.due(pipeline)
    for _ in range(PROBES):
        await play.call(pipeline)
    await play.call(pipeline, raises=Down())
    before = facts(pipeline)
    assert (before["automatic"], before["consecutive"]) == ("closed", 1)
    await finish(play, early, how)
    assert facts(pipeline) == before


# -- T05: callbacks of the user that raise -------------------------------------------------------


def broken(_: object) -> Outcome:
    message = "a fault in the user's classifier"
    raise RuntimeError(message)


@each_form
@in_each_colour
async def test_t05_a_classifier_that_raises_on_a_probes_error_keeps_no_place(play, form, caplog):
    pipeline = await play.due(play.pipeline(play.breaker(probes=1), classifier=Classifier(error=broken)))
    error = Down()
    for _ in range(3):
        ending = await play.call(pipeline, raises=error, form=form)
        assert ending.error is error
        assert state(pipeline) == "open", "by the default rule an error is a failure"
        play.clock.advance(facts(pipeline)["open_remaining"])
    assert (await play.call(pipeline, form=form)).ran
    assert state(pipeline) == "closed"
    assert faults.total() == 8
    assert len(caplog.records) == 1, "a fault is logged once"


@in_each_colour
async def test_t05_a_classifier_that_raises_on_a_result_does_not_take_the_result_away(play, caplog):
    pipeline = await play.due(play.pipeline(play.breaker(probes=2), classifier=Classifier(result=broken)))
    for answer in ("first", "second"):
        assert (await play.call(pipeline, answer)).value == answer
    assert state(pipeline) == "closed"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@pytest.mark.parametrize("answer", [None, 7, "failure", True])
@in_each_colour
async def test_t05_a_classifier_that_answers_nonsense_leaves_the_default_rule(play, answer, caplog):
    pipeline = play.pipeline(classifier=Classifier(error=lambda error: answer))
    await play.tripped(pipeline)
    assert faults.total() == (0 if answer is None else 5)


@in_each_colour
async def test_t05_a_listener_that_raises_in_the_transition_keeps_no_place(play, unsubscribed, caplog):
    pipeline = await play.due(play.pipeline(play.breaker(probes=1)))
    unsubscribed.append(events.subscribe(broken))
    assert (await play.call(pipeline, "answer")).value == "answer"
    assert state(pipeline) == "closed"
    assert faults.total() == 2, "to half-open, and to closed"


@in_each_colour
async def test_t05_an_error_whose_attributes_raise_is_settled_like_any_other(play):
    class Hostile(Exception):
        @property
        def retry_after(self) -> float:
            raise RuntimeError("no such thing")

    pipeline = await play.due(play.pipeline(play.breaker(probes=1)))
    await play.call(pipeline, raises=Hostile())
    assert state(pipeline) == "open"
    play.clock.advance(facts(pipeline)["open_remaining"])
    assert (await play.call(pipeline)).ran


# -- T06: a probe that never comes back ----------------------------------------------------------


@each_form
@in_each_colour
async def test_t06_a_probe_that_hangs_is_a_failure_when_its_lease_is_over(play, form):
    pipeline = await play.due(play.pipeline(play.breaker(probes=1)))
    await play.start(pipeline, form=form)
    lease = pipeline[CircuitBreaker].lease
    assert lease == 10.0
    play.clock.advance(lease - 0.001)
    assert state(pipeline) == "half_open"
    play.clock.advance(0.001)
    assert state(pipeline) == "open"
    assert facts(pipeline)["open_remaining"] == pytest.approx(10.0), "doubled, from the end of the lease"
    play.clock.advance(10.0)
    assert (await play.call(pipeline, form=form)).ran


@in_each_colour
async def test_t06_nobody_is_shut_out_for_ever_by_hung_probes(play):
    pipeline = await play.due(play.pipeline())
    await play.start_many(PROBES, pipeline)
    play.clock.advance(1e6)
    assert (await play.call(pipeline)).ran


@in_each_colour
async def test_t06_half_open_ends_where_no_lease_does(play):
    pipeline = await play.due(play.pipeline(play.breaker(max_half_open=30.0)))
    pipeline[CircuitBreaker].lease = 1e9
    await play.start_many(PROBES, pipeline)
    play.clock.advance(29.999)
    assert state(pipeline) == "half_open"
    play.clock.advance(0.001)
    assert state(pipeline) == "open"


@in_each_colour
async def test_t06_a_round_that_lacks_traffic_ends_too_and_proves_nothing(play):
    pipeline = await play.due(play.pipeline(play.breaker(max_half_open=30.0)))
    await play.call(pipeline)
    play.clock.advance(30.0)
    assert state(pipeline) == "open"
    assert facts(pipeline)["open_remaining"] == pytest.approx(5.0), "not doubled"


def test_t06_the_lease_is_as_long_as_an_attempt_may_take():
    with fake_time() as clock:
        pipeline = Pipeline("downstream", Timeout(60.0), CircuitBreaker(probes=1, jitter=0.0, ramp=0.0), Timeout(0.5))
        assert pipeline[CircuitBreaker].lease == 0.5
        for _ in range(5):
            with pytest.raises(Down), pipeline.permit():
                raise Down
        clock.advance(5.0)
        with pipeline.permit() as probe:
            clock.advance(0.5)
            assert state(pipeline) == "open"
            probe.dropped()


# -- T07: ignored is neither success nor failure -------------------------------------------------


class Mine(Exception):
    """An error of the caller, which says nothing about the downstream."""


IGNORING = Classifier(error=lambda error: Outcome.INCONCLUSIVE if isinstance(error, Mine) else None)


@each_form
@in_each_colour
async def test_t07_an_ignored_probe_closes_nothing_and_frees_its_place(play, form):
    pipeline = await play.due(play.pipeline(play.breaker(probes=1), classifier=IGNORING))
    for _ in range(3):
        assert (await play.call(pipeline, raises=Mine(), form=form)).ran
        assert state(pipeline) == "half_open"
        assert probes(pipeline) == (0, 0, 0)
    await play.call(pipeline, form=form)
    assert state(pipeline) == "closed"


@each_form
@in_each_colour
async def test_t07_an_ignored_error_does_not_interrupt_a_row_of_failures(play, form):
    pipeline = play.pipeline(classifier=IGNORING)
    for _ in range(4):
        await play.call(pipeline, raises=Down(), form=form)
        await play.call(pipeline, raises=Mine(), form=form)
    assert (facts(pipeline)["consecutive"], facts(pipeline)["calls"]) == (4, 4)
    await play.call(pipeline, raises=Down(), form=form)
    assert state(pipeline) == "open"


@in_each_colour
async def test_t07_ignored_errors_never_open(play):
    pipeline = play.pipeline(classifier=IGNORING)
    for _ in range(50):
        await play.call(pipeline, raises=Mine())
    assert (state(pipeline), facts(pipeline)["calls"]) == ("closed", 0)


@in_each_colour
async def test_t07_a_refusal_of_our_own_inside_the_breaker_is_ignored(play):
    pipeline = play.pipeline(play.breaker(), Bulkhead(1))
    await play.start(pipeline)
    for _ in range(50):
        assert (await play.call(pipeline)).refused
    assert (state(pipeline), facts(pipeline)["calls"]) == ("closed", 0)


@in_each_colour
async def test_t07_a_probe_refused_by_a_full_bulkhead_frees_its_place(play):
    pipeline = await play.due(play.pipeline(play.breaker(probes=2), Bulkhead(1)))
    running = await play.start(pipeline)
    for _ in range(3):
        ending = await play.call(pipeline)
        assert isinstance(ending.error, BulkheadFull)
        assert probes(pipeline) == (0, 0, 1)
    await play.end(running)
    await play.call(pipeline)
    assert state(pipeline) == "closed"


@in_each_colour
async def test_t07_throttled_is_no_failure_and_no_success(play):
    busy = Classifier(error=lambda error: Outcome.THROTTLED if isinstance(error, Mine) else None)
    pipeline = play.pipeline(classifier=busy)
    for _ in range(4):
        await play.call(pipeline, raises=Down())
        await play.call(pipeline, raises=Mine())
    assert (facts(pipeline)["consecutive"], facts(pipeline)["calls"]) == (4, 4)
    await play.call(pipeline, raises=Down())
    play.clock.advance(5.0)
    await play.call(pipeline, raises=Mine())
    assert (state(pipeline), probes(pipeline)) == ("half_open", (0, 0, 0))


# -- T08: cancelled is no success ----------------------------------------------------------------


@each_form
@in_each_colour
async def test_t08_a_cancelled_probe_closes_nothing_and_frees_its_place(play, form):
    pipeline = await play.due(play.pipeline(play.breaker(probes=1)))
    for _ in range(3):
        await play.cancel(await play.start(pipeline, form=form))
        assert (state(pipeline), probes(pipeline)) == ("half_open", (0, 0, 0))
    await play.call(pipeline, form=form)
    assert state(pipeline) == "closed"


@each_form
@in_each_colour
async def test_t08_a_cancelled_call_does_not_interrupt_a_row_of_failures(play, form):
    pipeline = play.pipeline()
    for _ in range(4):
        await play.call(pipeline, raises=Down(), form=form)
        await play.cancel(await play.start(pipeline, form=form))
    await play.call(pipeline, raises=Down(), form=form)
    assert state(pipeline) == "open"


# -- T09: cancelled is no failure ----------------------------------------------------------------


@each_form
@in_each_colour
async def test_t09_cancelled_calls_never_open(play, form):
    pipeline = play.pipeline(play.breaker(min_calls=1, consecutive=1))
    for _ in range(25):
        await play.cancel(await play.start(pipeline, form=form))
    assert (state(pipeline), facts(pipeline)["calls"]) == ("closed", 0)


@in_each_colour
async def test_t09_a_cancelled_probe_does_not_reopen(play):
    pipeline = await play.due(play.pipeline(play.breaker(probes=2, failure_rate=0.5)))
    await play.cancel(await play.start(pipeline))
    assert (state(pipeline), probes(pipeline)) == ("half_open", (0, 0, 0))


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
@each_form
@in_each_colour
async def test_t09_what_is_no_exception_passes_untouched_and_counts_in_no_rate(play, kind, form):
    pipeline = play.pipeline(play.breaker(min_calls=1, consecutive=1))
    for _ in range(3):
        thrown = kind()
        ending = await play.call(pipeline, raises=thrown, form=form)
        assert ending.error is thrown
    assert (state(pipeline), facts(pipeline)["calls"]) == ("closed", 0)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
@each_form
@in_each_colour
async def test_t09_what_is_no_exception_frees_the_place_of_a_probe(play, kind, form):
    pipeline = await play.due(play.pipeline(play.breaker(probes=1)))
    for _ in range(2):
        assert (await play.call(pipeline, raises=kind(), form=form)).ran
        assert (state(pipeline), probes(pipeline)) == ("half_open", (0, 0, 0))
    await play.call(pipeline, form=form)
    assert state(pipeline) == "closed"


def test_t09_an_interrupt_from_a_signal_handler_counts_in_no_rate():
    with fake_time():
        pipeline = Pipeline("downstream", CircuitBreaker(min_calls=1, consecutive=1))
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                pipeline.call(signal.raise_signal, signal.SIGINT)
        finally:
            signal.signal(signal.SIGINT, before)
        assert (state(pipeline), facts(pipeline)["calls"]) == ("closed", 0)


class Suspended:
    """An awaitable that suspends once, for coroutines driven by hand."""

    def __await__(self) -> Iterator[None]:
        yield


async def suspended() -> None:
    await Suspended()


@pytest.mark.parametrize("torn_down_by", ["close", "collector"])
def test_t09_an_abandoned_coroutine_is_inconclusive_and_frees_the_place_of_a_probe(torn_down_by):
    with fake_time() as clock:
        pipeline = Pipeline("downstream", CircuitBreaker(probes=1, consecutive=1, jitter=0.0, ramp=0.0))
        assert_abandoning_tells_nothing(pipeline, torn_down_by, "closed")
        with pytest.raises(Down), pipeline.permit():
            raise Down
        clock.advance(5.0)
        assert_abandoning_tells_nothing(pipeline, torn_down_by, "half_open")
        assert probes(pipeline) == (0, 0, 0)
        pipeline.call(lambda: None)
        assert state(pipeline) == "closed"


def assert_abandoning_tells_nothing(pipeline: Pipeline, torn_down_by: str, expected: str) -> None:
    call = pipeline.acall(suspended)
    call.send(None)
    if torn_down_by == "close":
        call.close()
    else:
        del call
        gc.collect()
    assert state(pipeline) == expected


@pytest.mark.parametrize("torn_down_by", ["close", "collector"])
@pytest.mark.parametrize("recovering", [False, True], ids=["closed", "half-open"])
def test_t09_a_coroutine_torn_down_in_the_middle_of_a_decision_waits_for_no_lock(torn_down_by, recovering):
    with fake_time() as clock:
        pipeline = Pipeline("downstream", CircuitBreaker(consecutive=1, probes=2, jitter=0.0, ramp=0.0))
        if recovering:
            with pytest.raises(Down), pipeline.permit():
                raise Down
            clock.advance(5.0)
        calls = [pipeline.acall(suspended)]
        calls[0].send(None)
        done = threading.Event()

        def collect() -> None:
            with pipeline[CircuitBreaker].machine._lock:
                if torn_down_by == "close":
                    calls[0].close()
                calls.clear()
                gc.collect()
            done.set()

        threading.Thread(target=collect, daemon=True).start()
        assert done.wait(PATIENCE / 5)
        assert state(pipeline) == ("half_open" if recovering else "closed")
        if recovering:
            assert probes(pipeline) == (0, 0, 0)


def test_t09_a_forgotten_permit_is_inconclusive_and_says_so():
    with fake_time() as clock:
        pipeline = Pipeline("downstream", CircuitBreaker(probes=1, consecutive=1, jitter=0.0, ramp=0.0))
        with pytest.raises(Down), pipeline.permit():
            raise Down
        clock.advance(5.0)
        request = pipeline.permit()
        request.__enter__()
        assert probes(pipeline) == (0, 0, 1)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            del request
            gc.collect()
        assert [each.category for each in told] == [ResourceWarning]
        assert (state(pipeline), probes(pipeline)) == ("half_open", (0, 0, 0))
