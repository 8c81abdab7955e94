"""T10 to T14, T17 to T19 and T21: what can be guarded, by whom at once, and what callers see of it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import operator
import sys
import threading
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest
import trio

from resilient import Bulkhead, CircuitBreaker, Classifier, Count, Keyed, Outcome, Pipeline, Retry, events
from resilient.errors import BreakerOpen, ConfigError, Rejected, Unguardable
from tests.conformance._colours import (
    PATIENCE,
    Down,
    FakeClock,
    each_form,
    facts,
    fake_time,
    in_each_colour,
    probes,
    state,
)


@pytest.fixture
def clock():
    with fake_time() as made:
        yield made


# -- T10: every shape is guarded, or refused loudly ----------------------------------------------


def plain(*_: object) -> None:
    raise Down


async def coroutine(*_: object) -> None:
    raise Down


class Methods:
    def plain(self, *_: object) -> None:
        raise Down

    async def coroutine(self, *_: object) -> None:
        raise Down

    @classmethod
    def of_class(cls, *_: object) -> None:
        raise Down

    @classmethod
    async def coroutine_of_class(cls, *_: object) -> None:
        raise Down

    @staticmethod
    def static(*_: object) -> None:
        raise Down


class Callable_:
    def __call__(self, *_: object) -> None:
        raise Down


class AsyncCallable:
    async def __call__(self, *_: object) -> None:
        raise Down


@functools.wraps(plain)
def wrapped(*arguments: object) -> None:
    return plain(*arguments)


@functools.wraps(coroutine)
async def async_wrapped(*arguments: object) -> None:
    return await coroutine(*arguments)


@types.coroutine
def by_generator(*_: object) -> Any:
    raise Down
    yield


GUARDED: dict[str, Callable[..., Any]] = {
    "function": plain,
    "lambda": lambda *_: plain(),
    "partial": functools.partial(plain, 1),
    "partial of a partial": functools.partial(functools.partial(plain, 1), 2),
    "bound method": Methods().plain,
    "method of the class": Methods.of_class,
    "static method": Methods.static,
    "callable object": Callable_(),
    "partial of a callable object": functools.partial(Callable_(), 1),
    "wrapper": wrapped,
    "cached": functools.lru_cache(plain),
    "partialmethod": functools.partial(Methods.plain, Methods()),
    "C function": functools.partial(operator.truediv, 1, 0),
    "mock": mock.Mock(side_effect=Down),
}
ASYNC_GUARDED: dict[str, Callable[..., Any]] = {
    "async function": coroutine,
    "partial": functools.partial(coroutine, 1),
    "partial of a partial": functools.partial(functools.partial(coroutine, 1), 2),
    "bound method": Methods().coroutine,
    "method of the class": Methods.coroutine_of_class,
    "callable object": AsyncCallable(),
    "partial of a callable object": functools.partial(AsyncCallable(), 1),
    "wrapper": async_wrapped,
}


@pytest.mark.parametrize("shape", GUARDED)
def test_t10_failures_of_every_plain_shape_open_the_breaker(shape, clock):
    pipeline = Pipeline("downstream", CircuitBreaker())
    guarded = pipeline(GUARDED[shape])
    for _ in range(5):
        with pytest.raises((Down, ZeroDivisionError)):
            guarded()
    assert state(pipeline) == "open"
    with pytest.raises(BreakerOpen):
        guarded()


@pytest.mark.parametrize("shape", ASYNC_GUARDED)
@pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])
def test_t10_failures_of_every_async_shape_open_the_breaker(shape, run, clock):
    pipeline = Pipeline("downstream", CircuitBreaker())
    guarded = pipeline(ASYNC_GUARDED[shape])

    async def main() -> None:
        for _ in range(5):
            with pytest.raises(Down):
                await guarded()
        assert state(pipeline) == "open"
        with pytest.raises(BreakerOpen):
            await guarded()

    run(main) if run is trio.run else run(main())


@pytest.mark.parametrize("shape", ["plain", "coroutine", "of_class", "coroutine_of_class", "static"])
def test_t10_methods_guarded_in_the_class_body_stay_methods(shape, clock):
    pipeline = Pipeline("downstream", CircuitBreaker())

    class Guarded(Methods):
        guarded = pipeline(Methods.__dict__[shape])

    for _ in range(5):
        with pytest.raises(Down):
            answer = Guarded().guarded(1)
            asyncio.run(answer)
    assert state(pipeline) == "open"


def generator(*_: object) -> Any:
    yield 1


async def async_generator(*_: object) -> Any:
    yield 1


class GeneratorCallable:
    def __call__(self) -> Any:
        yield 1


class AsyncGeneratorCallable:
    async def __call__(self) -> Any:
        yield 1


class GeneratorMethods:
    def generator(self) -> Any:
        yield 1

    @classmethod
    async def async_generator(cls) -> Any:
        yield 1


REFUSED: dict[str, object] = {
    "generator function": generator,
    "async generator function": async_generator,
    "partial of a generator function": functools.partial(generator, 1),
    "partial of an async generator function": functools.partial(async_generator, 1),
    "generator-based coroutine function": by_generator,
    "generator method": GeneratorMethods().generator,
    "async generator method": GeneratorMethods.async_generator,
    "classmethod of an async generator": GeneratorMethods.__dict__["async_generator"],
    "object that makes generators": GeneratorCallable(),
    "object that makes async generators": AsyncGeneratorCallable(),
    "partial of such an object": functools.partial(GeneratorCallable()),
    "class": Methods,
    "exception class": Down,
    "not callable": 7,
    "None": None,
}


@pytest.mark.parametrize("shape", REFUSED)
def test_t10_what_cannot_be_guarded_is_a_type_error_at_decoration(shape, clock):
    with pytest.raises(TypeError, match=r"generator|class|callable"):
        Pipeline("downstream", CircuitBreaker())(REFUSED[shape])  # type: ignore[type-var]


LATE: dict[str, Callable[..., Any]] = {
    "plain function that returns a coroutine": lambda *arguments: coroutine(*arguments, "added"),
    "wrapper of an async function": functools.wraps(coroutine)(lambda *_: coroutine()),
    "async mock": mock.AsyncMock(side_effect=Down),
}


@pytest.mark.parametrize("shape", LATE)
@pytest.mark.parametrize("way", ["decorated", "call"])
def test_t10_a_coroutine_out_of_a_plain_function_is_refused_and_closed(shape, way, clock):
    pipeline = Pipeline("downstream", CircuitBreaker())
    for _ in range(5):
        try:
            answer = pipeline(LATE[shape])() if way == "decorated" else pipeline.call(LATE[shape])
            asyncio.run(answer)
        except (Unguardable, Down):
            pass
        else:
            pytest.fail("neither guarded nor refused")
    if way == "call":
        assert facts(pipeline)["calls"] == 0, "a misuse is not the downstream's failure"


# -- T11: nothing is locked while a call runs ----------------------------------------------------


@each_form
@in_each_colour
async def test_t11_calls_are_inside_the_downstream_at_the_same_time(play, form):
    pipeline = play.pipeline()
    flights = await play.start_many(8, pipeline, form=form)
    assert all(flight.admitted and not flight.over.is_set() for flight in flights)
    for flight in reversed(flights):
        await play.end(flight)
    assert facts(pipeline)["calls"] == 8


@each_form
@in_each_colour
async def test_t11_probes_are_inside_the_downstream_at_the_same_time(play, form):
    pipeline = await play.due(play.pipeline())
    flights = await play.start_many(3, pipeline, form=form)
    assert all(flight.admitted and not flight.over.is_set() for flight in flights)
    assert probes(pipeline) == (0, 0, 3)


@in_each_colour
async def test_t11_operators_and_metrics_do_not_wait_for_calls_in_flight(play):
    pipeline = play.pipeline()
    flight = await play.start(pipeline)
    breaker = pipeline[CircuitBreaker]
    hold = breaker.hold("forced_open", reason="maintenance")
    assert (await play.call(pipeline)).refused
    assert hold.release()
    breaker.reset()
    assert (await play.call(pipeline)).ran
    await play.end(flight)


def test_t11_a_stalled_listener_does_not_hold_up_other_threads(clock):
    pipeline = Pipeline("downstream", CircuitBreaker(probes=1, jitter=0.0, ramp=0.0))
    stalled, go_on = threading.Event(), threading.Event()

    def listener(event: events.Event) -> None:
        stalled.set()
        assert go_on.wait(PATIENCE)

    def trip() -> None:
        for _ in range(5):
            with pytest.raises(Down):
                pipeline.call(plain)

    stop = events.subscribe(listener)
    tripping = threading.Thread(target=trip)
    tripping.start()
    try:
        assert stalled.wait(PATIENCE)
        stop()
        with pytest.raises(BreakerOpen):
            pipeline.call(int)
        clock.advance(5.0)
        assert pipeline.call(int) == 0
        assert state(pipeline) == "closed"
    finally:
        go_on.set()
        tripping.join(PATIENCE)


# -- T12: threads that meet inside the breaker ---------------------------------------------------


@pytest.fixture
def quick_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("window", [Count(10_000), 10.0], ids=["count", "time"])
@pytest.mark.parametrize("slow_call", [None, 100.0], ids=["untimed", "timed"])
def test_t12_no_outcome_is_lost_between_threads(window, slow_call, clock, quick_switches):
    breaker = CircuitBreaker(window=window, min_calls=9_000, consecutive=None, slow_call=slow_call)
    pipeline = Pipeline("downstream", breaker)
    together = threading.Barrier(8)

    def work(number: int) -> None:
        together.wait(PATIENCE)
        for each in range(250):
            with contextlib.suppress(Down):
                pipeline.call(plain if each % 5 == number % 5 else int)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert (facts(pipeline)["calls"], facts(pipeline)["failures"]) == (8 * 250, 8 * 50)
    assert facts(pipeline)["in_flight"] == 0


class ParkingClock(FakeClock):
    """A clock on which chosen threads stop when they draw, which is just before the lock."""

    def __init__(self) -> None:
        super().__init__()
        self.chosen: set[str] = set()
        self.parked = threading.Semaphore(0)
        self.go_on = threading.Event()

    def random(self) -> float:
        if threading.current_thread().name in self.chosen:
            self.parked.release()
            assert self.go_on.wait(PATIENCE)
        return super().random()


@pytest.fixture
def parking(clock):
    from resilient.clock import install

    made = ParkingClock()
    before = install(made)
    yield made
    install(before)


def started(target: Callable[[], None], name: str) -> threading.Thread:
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


def test_t12_twenty_threads_that_all_saw_the_wait_over_share_the_probes(parking):
    pipeline = Pipeline("downstream", CircuitBreaker(jitter=0.0, ramp=0.0))
    for _ in range(5):
        with pytest.raises(Down):
            pipeline.call(plain)
    parking.advance(5.0)
    parking.chosen = {f"caller {number}" for number in range(20)}
    inside, leave = [], threading.Event()
    settled = threading.Semaphore(0)

    def call() -> None:
        def body() -> None:
            inside.append(1)
            settled.release()
            assert leave.wait(PATIENCE)

        try:
            pipeline.call(body)
        except BreakerOpen:
            settled.release()

    threads = [started(call, name) for name in parking.chosen]
    for _ in threads:
        assert parking.parked.acquire(timeout=PATIENCE)
    assert state(pipeline) == "open", "all of them stand before the decision"
    parking.chosen = set()
    parking.go_on.set()
    for _ in threads:
        assert settled.acquire(timeout=PATIENCE)
    assert len(inside) == 3
    leave.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert state(pipeline) == "closed"


def test_t12_a_failure_that_stops_before_the_lock_while_others_trip_is_inert(parking):
    pipeline = Pipeline("downstream", CircuitBreaker(jitter=0.0, ramp=0.0, open_for=5.0))
    for _ in range(4):
        with pytest.raises(Down):
            pipeline.call(plain)
    parking.chosen = {"late"}

    def late() -> None:
        with pytest.raises(Down):
            pipeline.call(plain)

    thread = started(late, "late")
    assert parking.parked.acquire(timeout=PATIENCE)
    with pytest.raises(Down):
        pipeline.call(plain)
    parking.advance(3.0)
    before = facts(pipeline)
    assert before["automatic"] == "open"
    parking.go_on.set()
    thread.join(PATIENCE)
    assert facts(pipeline) == before


# -- T13: outcomes that arrive after the trip ----------------------------------------------------


def decisive(pipeline: Pipeline) -> list[object]:
    """Return what later decisions depend on; late outcomes may be counted beside it."""
    return [facts(pipeline)[name] for name in ("automatic", "era", "open_remaining", "level", "probes", "ramp")]


@each_form
@in_each_colour
async def test_t13_a_success_admitted_before_the_trip_does_not_close(play, form):
    pipeline = play.pipeline()
    early = await play.start(pipeline, form=form)
    await play.tripped(pipeline)
    before = decisive(pipeline)
    await play.end(early, "late")
    assert early.ending.value == "late", "its caller gets the result all the same"
    assert decisive(pipeline) == before
    assert (await play.call(pipeline, form=form)).refused


@each_form
@in_each_colour
async def test_t13_a_late_failure_does_not_push_the_reopening_forward(play, form):
    pipeline = play.pipeline()
    early = await play.start_many(10, pipeline, form=form)
    await play.tripped(pipeline)
    for flight in early:
        play.clock.advance(0.25)
        await play.end(flight, raises=Down())
    assert facts(pipeline)["open_remaining"] == 2.5
    play.clock.advance(2.5)
    assert (await play.call(pipeline, form=form)).ran
    assert state(pipeline) == "half_open"


@in_each_colour
async def test_t13_a_burst_of_failures_in_flight_opens_once(play):
    pipeline = play.pipeline()
    seen = []
    stop = events.subscribe(lambda event: seen.append((event.fields["from"], event.fields["to"])))
    flights = await play.start_many(10, pipeline)
    for flight in flights:
        await play.end(flight, raises=Down())
    stop()
    assert seen == [("closed", "open")]
    assert facts(pipeline)["level"] == 1


# -- T14: the block form refuses too -------------------------------------------------------------


@in_each_colour
async def test_t14_the_body_of_a_with_block_does_not_run_while_open(play):
    pipeline = await play.tripped(play.pipeline())
    for _ in range(3):
        with pytest.raises(BreakerOpen), pipeline.permit():
            pytest.fail("the body ran")
        assert (await play.call(pipeline, form="permit")).refused
    assert state(pipeline) == "open"


# -- T17: every refusal is its own exception -----------------------------------------------------


@each_form
@in_each_colour
async def test_t17_two_hundred_refusals_are_two_hundred_exceptions_that_do_not_grow(play, form):
    pipeline = await play.tripped(play.pipeline())
    errors = [(await play.call(pipeline, form=form)).error for _ in range(200)]
    assert all(isinstance(error, BreakerOpen) for error in errors)
    assert len({id(error) for error in errors}) == 200
    assert len({len(traceback.extract_tb(error.__traceback__)) for error in errors}) == 1
    assert all(error.__context__ is None and error.__cause__ is None for error in errors)


@in_each_colour
async def test_t17_refusals_of_half_open_and_held_breakers_are_fresh_as_well(play):
    pipeline = await play.due(play.pipeline(play.breaker(probes=1)))
    await play.start(pipeline)
    refused = [(await play.call(pipeline)).error for _ in range(5)]
    pipeline.hold("forced_open", reason="maintenance", expires=None)
    refused += [(await play.call(pipeline)).error for _ in range(5)]
    assert len({id(error) for error in refused}) == 10
    assert {error.reason for error in refused} == {"half_open_limit", "forced_open"}


# -- T18: zero, None and nonsense ----------------------------------------------------------------

NO_ZERO = (
    "failure_rate window min_calls consecutive slow_call slow_rate open_for max_open_for probes max_half_open".split()
)
DURATIONS = "window slow_call open_for max_open_for max_half_open ramp".split()


@pytest.mark.parametrize("parameter", NO_ZERO)
@pytest.mark.parametrize("value", [0, -1])
def test_t18_a_zero_that_cannot_work_is_refused_and_never_read_as_unset(parameter, value):
    with pytest.raises(ConfigError, match=f"{parameter}.*{value}"):
        CircuitBreaker(**{parameter: value})


@pytest.mark.parametrize("parameter", DURATIONS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.001])
def test_t18_a_duration_that_is_none_is_refused(parameter, value):
    with pytest.raises(ConfigError, match=parameter):
        CircuitBreaker(**{parameter: value})


@pytest.mark.parametrize("parameter", [*NO_ZERO, "ramp", "jitter"])
@pytest.mark.parametrize("value", ["5", True, [], object()])
def test_t18_a_value_of_another_type_is_refused(parameter, value):
    with pytest.raises(TypeError, match=parameter):
        CircuitBreaker(**{parameter: value})


@pytest.mark.parametrize("parameter", sorted({*NO_ZERO, "ramp", "jitter"} - {"consecutive", "slow_call"}))
def test_t18_none_is_refused_where_it_means_nothing(parameter):
    with pytest.raises(TypeError, match=parameter):
        CircuitBreaker(**{parameter: None})


@in_each_colour
async def test_t18_none_turns_the_row_of_failures_off(play):
    pipeline = play.pipeline(play.breaker(consecutive=None))
    for _ in range(19):
        await play.call(pipeline, raises=Down())
    assert state(pipeline) == "closed"
    await play.call(pipeline, raises=Down())
    assert state(pipeline) == "open"


@in_each_colour
async def test_t18_a_ramp_of_zero_is_no_ramp(play):
    pipeline = await play.due(play.pipeline(play.breaker(ramp=0, probes=1)))
    await play.call(pipeline)
    play.clock.draw = 0.999_999
    assert [(await play.call(pipeline)).ran for _ in range(20)] == [True] * 20


@in_each_colour
async def test_t18_a_jitter_of_zero_is_no_jitter(play):
    for draw in (0.0, 0.5, 0.999_999):
        play.clock.draw = draw
        pipeline = await play.tripped(play.pipeline(play.breaker(jitter=0), name=f"downstream {draw}"))
        assert facts(pipeline)["open_remaining"] == 5.0


@in_each_colour
async def test_t18_the_least_values_are_honoured(play):
    least = play.breaker(consecutive=1, min_calls=1, probes=1, open_for=0.125, window=Count(1))
    pipeline = play.pipeline(least)
    await play.call(pipeline, raises=Down())
    assert facts(pipeline)["open_remaining"] == 0.125
    play.clock.advance(0.125)
    await play.call(pipeline)
    assert state(pipeline) == "closed"


# -- T19: one name, one configuration ------------------------------------------------------------


@dataclass(frozen=True)
class Kinds:
    """A classifying function that compares by what it ignores."""

    ignored: tuple[type[Exception], ...]

    def __call__(self, error: Exception) -> Outcome | None:
        return Outcome.INCONCLUSIVE if isinstance(error, self.ignored) else None


OTHER_WAYS: dict[str, Callable[[], object]] = {
    "another threshold": lambda: Pipeline("downstream", CircuitBreaker(consecutive=4)),
    "another classifier": lambda: Pipeline("downstream", CircuitBreaker(), classifier=Classifier(error=Kinds(()))),
    "another policy": lambda: Pipeline("downstream", CircuitBreaker(), Bulkhead(1)),
    "no policy": lambda: Pipeline("downstream"),
    "another order": lambda: Pipeline("downstream", Retry(), CircuitBreaker()),
    "a family": lambda: Keyed("downstream", CircuitBreaker()),
}


@pytest.mark.parametrize("other", OTHER_WAYS)
def test_t19_a_name_declared_again_in_another_way_is_refused_and_changes_nothing(other, clock):
    mine = Classifier(error=Kinds((KeyError,)))
    pipeline = Pipeline("downstream", CircuitBreaker(), classifier=mine)
    with pytest.raises(ConfigError, match="downstream"):
        OTHER_WAYS[other]()
    for _ in range(9):
        with pytest.raises(KeyError):
            pipeline.call({}.__getitem__, "mine is still ignored")
    assert (state(pipeline), facts(pipeline)["calls"]) == ("closed", 0)


def test_t19_a_name_declared_again_in_the_same_way_is_the_same_breaker(clock):
    def declare() -> Pipeline:
        return Pipeline("downstream", CircuitBreaker(), classifier=Classifier(error=Kinds((KeyError,))))

    first, second = declare(), declare()
    for pipeline in (first, second, first, second, first):
        with pytest.raises(Down):
            pipeline.call(plain)
    assert (state(first), state(second)) == ("open", "open")
    assert first[CircuitBreaker] is second[CircuitBreaker]


def test_t19_a_replaced_name_leaves_those_who_hold_the_old_one_alone(clock):
    old = Pipeline("downstream", CircuitBreaker())
    new = Pipeline("downstream", CircuitBreaker(consecutive=1), replace=True)
    with pytest.raises(Down):
        new.call(plain)
    assert (state(old), state(new)) == ("closed", "open")


# -- T21: the caller sees the real error ---------------------------------------------------------


@each_form
@in_each_colour
async def test_t21_the_call_that_trips_raises_its_own_error(play, form):
    pipeline = play.pipeline()
    for _ in range(5):
        cause = ValueError("why")
        real = Down("down")
        real.__cause__ = cause
        ending = await play.call(pipeline, raises=real, form=form)
        assert ending.error is real
        assert (real.__cause__, real.__context__) == (cause, None)
    assert state(pipeline) == "open"


@each_form
@in_each_colour
async def test_t21_the_probe_that_reopens_raises_its_own_error(play, form):
    pipeline = await play.due(play.pipeline(play.breaker(probes=1)))
    real = Down("down")
    assert (await play.call(pipeline, raises=real, form=form)).error is real
    assert state(pipeline) == "open"


@in_each_colour
async def test_t21_an_error_of_ours_that_the_function_itself_raises_passes_untouched(play):
    pipeline = play.pipeline()
    theirs = BreakerOpen("another downstream", "circuit_breaker", 3.0, "breaker_open")
    for _ in range(9):
        assert (await play.call(pipeline, raises=theirs)).error is theirs
    assert (state(pipeline), theirs.downstream) == ("closed", "another downstream")


@in_each_colour
async def test_t21_a_refused_retry_raises_the_error_of_the_attempt_that_ran(play):
    pipeline = play.pipeline(Retry(attempts=3, budget=None), play.breaker(consecutive=1))
    real = Down()
    ending = await play.call(pipeline, raises=real)
    assert ending.error is real
    assert not isinstance(real, Rejected)
    assert any("refused" in note for note in real.__notes__)
