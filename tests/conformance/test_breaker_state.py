"""T15, T16, T20, T22, T23 and T25 to T27: what a breaker's state may depend on, and what must keep it."""

from __future__ import annotations

import abc
import asyncio
import pickle
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
import trio

from resilient import (
    Backoff,
    CircuitBreaker,
    Count,
    Fallback,
    Keyed,
    Pipeline,
    Retry,
    events,
    registry,
)
from resilient.clock import SystemClock, install
from resilient.errors import BreakerOpen, ConfigError
from tests.conformance._colours import Down, each_form, facts, fake_time, in_each_colour, probes, state

DAY = 86_400.0


@pytest.fixture
def clock():
    with fake_time() as made:
        yield made


@pytest.fixture
def real_time() -> Iterator[None]:
    """Run on the system's monotonic clock."""
    registry.clear()
    before = install(SystemClock())
    yield
    install(before)
    registry.clear()


def fail(pipeline: Pipeline, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(Down), pipeline.permit():
            raise Down


# -- T15: the wall clock moves nothing -----------------------------------------------------------


def step_wall_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the time of day jump, as NTP or an administrator makes it jump."""
    real, real_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: real() + seconds)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(seconds * 1e9))


@pytest.mark.parametrize("step", [DAY, -DAY], ids=["forward", "back"])
def test_t15_an_open_breaker_stays_open_when_the_wall_clock_steps(step, real_time, monkeypatch):
    pipeline = Pipeline("downstream", CircuitBreaker(jitter=0.0, open_for=30.0))
    fail(pipeline, 5)
    hold = pipeline.hold("observe", reason="maintenance", expires=3_600.0)
    step_wall_clock(monkeypatch, step)
    assert state(pipeline) == "open"
    assert 25.0 < facts(pipeline)["open_remaining"] <= 30.0
    assert hold.active
    assert hold.release()
    with pytest.raises(BreakerOpen) as refused:
        pipeline.call(int)
    assert 25.0 < refused.value.retry_after <= 30.0


@pytest.mark.parametrize("step", [DAY, -DAY], ids=["forward", "back"])
def test_t15_a_window_keeps_its_failures_when_the_wall_clock_steps(step, real_time, monkeypatch):
    pipeline = Pipeline("downstream", CircuitBreaker(consecutive=None, min_calls=4, window=30.0))
    fail(pipeline, 3)
    step_wall_clock(monkeypatch, step)
    assert facts(pipeline)["failures"] == 3
    fail(pipeline)
    assert state(pipeline) == "open"


@pytest.mark.parametrize("step", [DAY, -DAY], ids=["forward", "back"])
@in_each_colour
async def test_t15_recovery_takes_monotonic_time_and_nothing_else(play, step, monkeypatch):
    pipeline = await play.tripped(play.pipeline())
    with monkeypatch.context() as patched:
        step_wall_clock(patched, step)
        assert (await play.call(pipeline)).refused
        play.clock.advance(5.0)
        assert (await play.call(pipeline)).ran


# -- T16: neither does the time zone -------------------------------------------------------------

ZONES = ["UTC", "America/New_York", "Asia/Tokyo", "Asia/Kathmandu", "Pacific/Kiritimati"]


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system cannot change its zone")
@pytest.mark.parametrize("zone", ZONES)
@in_each_colour
async def test_t16_what_remains_of_an_opening_is_the_same_in_every_zone(play, zone, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setenv("TZ", zone)
        time.tzset()
        pipeline = await play.tripped(play.pipeline())
        play.clock.advance(2.0)
        assert (await play.call(pipeline)).error.retry_after == 3.0
        assert facts(pipeline)["open_remaining"] == 3.0
        hold = pipeline.hold("forced_open", reason="maintenance", expires=timedelta(minutes=1))
        assert (await play.call(pipeline)).error.retry_after == 60.0
        play.clock.advance(60.0)
        assert not hold.active
    time.tzset()


# -- T20: exception types of every kind ----------------------------------------------------------


class Meta(type):
    """A metaclass like those that frameworks give their errors."""


class Odd(Exception, metaclass=Meta):
    """An error whose type's type is not `type`."""


class AbstractError(Exception, abc.ABC):
    """An error with registered, virtual subclasses."""


@each_form
@in_each_colour
async def test_t20_errors_of_a_type_with_a_metaclass_are_failures(play, form):
    pipeline = play.pipeline()
    for _ in range(5):
        await play.call(pipeline, raises=Odd(), form=form)
    assert state(pipeline) == "open"


@pytest.mark.parametrize("kind", [Odd, AbstractError, (Odd, KeyError), (AbstractError,)])
@in_each_colour
async def test_t20_a_type_with_a_metaclass_is_a_type_and_not_a_predicate(play, kind):
    listed = kind[0] if isinstance(kind, tuple) else kind
    pipeline = play.pipeline(Retry(attempts=2, on=kind, budget=None, backoff=Backoff(base=0.01)), play.breaker())
    await play.call(pipeline, raises=listed())
    assert facts(pipeline)["calls"] == 2, "what is listed is retried"
    await play.call(pipeline, raises=Down())
    assert facts(pipeline)["calls"] == 3, "and nothing else is"


@in_each_colour
async def test_t20_a_fallback_for_such_a_type_lets_other_errors_pass(play):
    pipeline = play.pipeline(Fallback("instead", on=Odd), play.breaker())
    assert (await play.call(pipeline, raises=Odd())).value == "instead"
    error = Down()
    assert (await play.call(pipeline, raises=error)).error is error
    assert facts(pipeline)["failures"] == 2


# -- T22: old failures are forgotten -------------------------------------------------------------


@each_form
@in_each_colour
async def test_t22_a_success_ends_a_row_of_failures(play, form):
    pipeline = play.pipeline()
    for _ in range(10):
        for _ in range(4):
            await play.call(pipeline, raises=Down(), form=form)
        await play.call(pipeline, form=form)
        play.clock.advance(11.0)
    assert state(pipeline) == "closed"


@pytest.mark.parametrize("window", [10.0, Count(100)], ids=["time", "count"])
@in_each_colour
async def test_t22_a_few_failures_a_year_between_successes_never_open(play, window):
    pipeline = play.pipeline(play.breaker(window=window, min_calls=3, failure_rate=0.5))
    for _ in range(60):
        await play.call(pipeline, raises=Down())
        await play.call(pipeline)
        await play.call(pipeline)
        play.clock.advance(6 * DAY)
    assert state(pipeline) == "closed"


@in_each_colour
async def test_t22_failures_older_than_the_window_count_in_no_rate(play):
    pipeline = play.pipeline(play.breaker(consecutive=None, min_calls=4, window=10.0))
    for _ in range(8):
        for _ in range(3):
            await play.call(pipeline, raises=Down())
        play.clock.advance(11.0)
    assert (state(pipeline), facts(pipeline)["calls"]) == ("closed", 0)


# -- T23: round after round, and no growth -------------------------------------------------------


@each_form
@in_each_colour
async def test_t23_every_opening_ends_in_a_round_with_all_its_places(play, form):
    pipeline = await play.tripped(play.pipeline(play.breaker(max_open_for=40.0)))
    waits = []
    for _ in range(12):
        waits.append(facts(pipeline)["open_remaining"])
        play.clock.advance(waits[-1])
        flights = await play.start_many(5, pipeline, form=form)
        assert [flight.admitted for flight in flights].count(True) == 3
        for flight in flights:
            if flight.admitted:
                await play.end(flight, raises=Down())
        assert state(pipeline) == "open"
    assert waits == [5.0, 10.0, 20.0, *[40.0] * 9]
    play.clock.advance(40.0)
    for _ in range(3):
        await play.call(pipeline, form=form)
    assert state(pipeline) == "closed"


@in_each_colour
async def test_t23_many_recoveries_leave_a_whole_breaker_behind(play):
    pipeline = play.pipeline()
    for _ in range(20):
        await play.due(pipeline)
        for _ in range(2):
            await play.call(pipeline)
        assert state(pipeline) == "closed", "two of three probes are a majority"
    assert facts(pipeline)["probes"] is None


@in_each_colour
async def test_t23_a_family_does_not_grow_with_its_keys(play):
    family = Keyed("hosts", CircuitBreaker(), most=50, idle=10.0)
    for number in range(500):
        await play.call(family[f"GET https://api.example/orders?page={number}"])
        play.clock.advance(1.0)
    assert len(family) <= 50


def test_t23_a_full_family_shares_one_more_member(clock):
    family = Keyed("hosts", CircuitBreaker(consecutive=1), most=3)
    for key in range(3):
        fail(family[key])
    assert family["another"] is family["and another"]
    assert len(family) == 3
    assert [state(family[key]) for key in range(3)] == ["open"] * 3


# -- T25: a hold lasts ---------------------------------------------------------------------------


@each_form
@in_each_colour
async def test_t25_a_maintenance_hold_outlasts_time_successes_and_resets(play, form):
    pipeline = play.pipeline()
    straddling = await play.start(pipeline, form=form)
    hold = pipeline.hold("forced_open", reason="database upgrade", actor="alice", expires=None)
    for _ in range(5):
        play.clock.advance(365 * DAY)
        refused = await play.call(pipeline, form=form)
        assert (refused.refused, refused.error.reason, refused.error.retry_after) == (True, "forced_open", None)
    await play.end(straddling)
    pipeline[CircuitBreaker].reset()
    assert (await play.call(pipeline, form=form)).refused
    assert (hold.active, hold.reason, hold.actor, hold.expires) == (True, "database upgrade", "alice", None)


@in_each_colour
async def test_t25_a_hold_on_a_tripped_breaker_survives_the_end_of_the_opening(play):
    pipeline = await play.tripped(play.pipeline())
    pipeline.hold("forced_open", reason="maintenance", expires=None)
    play.clock.advance(1e6)
    assert (await play.call(pipeline)).refused


@in_each_colour
async def test_t25_a_hold_with_an_expiry_ends_then_and_not_before(play):
    pipeline = play.pipeline()
    hold = pipeline.hold("forced_open", reason="deploy", expires=60.0)
    play.clock.advance(59.5)
    refused = await play.call(pipeline)
    assert (refused.error.reason, refused.error.retry_after) == ("forced_open", 0.5)
    play.clock.advance(0.5)
    assert (await play.call(pipeline)).ran
    assert not hold.active
    assert not hold.release()


@in_each_colour
async def test_t25_after_a_release_traffic_comes_back_by_probes_and_steps(play):
    pipeline = play.pipeline()
    hold = pipeline.hold("forced_open", reason="maintenance", expires=None)
    assert hold.release()
    assert [flight.admitted for flight in await play.start_many(5, pipeline)].count(True) == 3
    for flight in play.flights:
        if flight.admitted:
            await play.end(flight)
    assert state(pipeline) == "closed"
    shares = []
    for _ in range(4):
        shares.append(facts(pipeline)["share"])
        play.clock.draw = shares[-1] - 0.001
        assert (await play.call(pipeline)).ran
        play.clock.draw = min(shares[-1], 0.999)
        assert (await play.call(pipeline)).ran == (shares[-1] == 1.0)
        play.clock.advance(20.0)
    assert shares == [0.05, 0.25, 0.5, 1.0]


@in_each_colour
async def test_t25_of_several_holds_each_ends_by_itself_and_the_strictest_counts(play):
    pipeline = play.pipeline()
    watched = pipeline.hold("observe", reason="new thresholds", expires=None)
    shut = pipeline.hold("forced_open", reason="maintenance", actor="alice", expires=None)
    assert (await play.call(pipeline)).refused
    assert shut.release()
    assert watched.active
    for _ in range(3):
        assert (await play.call(pipeline)).ran
    assert state(pipeline) == "closed"
    for _ in range(9):
        assert (await play.call(pipeline, raises=Down())).ran
    assert (state(pipeline), facts(pipeline)["would_reject"]) == ("open", 4)


@in_each_colour
async def test_t25_a_breaker_held_closed_never_opens(play):
    pipeline = play.pipeline()
    hold = pipeline.hold("forced_closed", reason="the breaker is wrong", expires=None)
    for _ in range(50):
        assert (await play.call(pipeline, raises=Down())).ran
    assert facts(pipeline)["state"] == "forced_closed"
    hold.release()
    assert (await play.call(pipeline)).ran


@pytest.mark.parametrize(
    ("mode", "reason", "expires"),
    [("open", "why", None), ("forced_open", "", None), ("forced_open", "why", 0), ("forced_open", "why", -1.0)],
)
def test_t25_a_hold_without_a_meaning_is_refused(mode, reason, expires, clock):
    pipeline = Pipeline("downstream", CircuitBreaker())
    with pytest.raises(ConfigError):
        pipeline.hold(mode, reason=reason, expires=expires)
    assert pipeline.call(int) == 0


# -- T26: a hold is not retried ------------------------------------------------------------------


@pytest.mark.parametrize(
    "retry",
    [
        Retry(attempts=4, budget=None),
        Retry(attempts=4, budget=None, on=BreakerOpen),
        Retry(attempts=4, budget=None, on=(BreakerOpen, Down)),
        Retry(attempts=4, budget=None, on=lambda error: True),
    ],
    ids=["default", "refusals listed", "refusals among others", "everything"],
)
@pytest.mark.parametrize("expires", [None, 0.01, 3_600.0])
@in_each_colour
async def test_t26_a_call_refused_by_a_hold_is_neither_delayed_nor_tried_again(play, retry, expires):
    pipeline = play.pipeline(retry, play.breaker())
    pipeline.hold("forced_open", reason="maintenance", expires=expires)
    seen = []
    stop = events.subscribe(lambda event: seen.append(event.name))
    ending = await play.call(pipeline)
    stop()
    assert (ending.refused, ending.error.reason) == (True, "forced_open")
    assert play.clock.slept == []
    assert seen == ["resilient.call.rejected"]


@in_each_colour
async def test_t26_refusals_are_not_retried_unless_they_are_listed(play):
    unlisted = play.pipeline(Retry(attempts=3, budget=None), play.breaker(), name="unlisted")
    for _ in range(2):
        await play.call(unlisted, raises=Down())
    assert state(unlisted) == "open"
    play.clock.slept.clear()
    assert (await play.call(unlisted)).refused
    assert play.clock.slept == []


@in_each_colour
async def test_t26_a_listed_refusal_of_an_open_breaker_is_waited_for(play):
    listed = play.pipeline(
        Retry(attempts=2, budget=None, on=BreakerOpen, backoff=Backoff(base=5.0, jitter="none")), play.breaker()
    )
    await play.tripped(listed)
    assert (await play.call(listed, "answer")).value == "answer"
    assert len(play.clock.slept) == 1
    assert play.clock.slept[0] >= 5.0


# -- T27: one downstream, one breaker ------------------------------------------------------------


def test_t27_plain_asyncio_and_trio_callers_of_one_name_share_one_breaker(clock):
    pipeline = Pipeline("downstream", CircuitBreaker())

    def plain() -> None:
        raise Down

    async def coroutine() -> None:
        raise Down

    async def failing_async() -> None:
        with pytest.raises(Down):
            await Pipeline("downstream", CircuitBreaker())(coroutine)()

    with pytest.raises(Down):
        pipeline.call(plain)
    with pytest.raises(Down):
        pipeline(plain)()
    asyncio.run(failing_async())
    trio.run(failing_async)
    assert facts(pipeline)["consecutive"] == 4
    fail(pipeline)
    assert state(pipeline) == "open"

    async def refused() -> None:
        with pytest.raises(BreakerOpen):
            await pipeline.acall(coroutine)

    asyncio.run(refused())
    trio.run(refused)
    with pytest.raises(BreakerOpen):
        pipeline(plain)()


def test_t27_the_registry_finds_what_callers_use(clock):
    pipeline = Pipeline("downstream", CircuitBreaker())
    assert registry.find("downstream") is pipeline
    replaced = Pipeline("downstream", CircuitBreaker(consecutive=1), replace=True)
    assert registry.find("downstream") is replaced
    fail(replaced)
    assert registry.find("downstream").snapshot()["circuit_breaker"]["state"] == "open"


UNRESTING: dict[str, Callable[[Pipeline, object], object]] = {
    "open": lambda member, clock: fail(member),
    "held open": lambda member, clock: member.hold("forced_open", reason="maintenance", expires=None),
    "held closed": lambda member, clock: member.hold("forced_closed", reason="maintenance", expires=None),
    "observed": lambda member, clock: member.hold("observe", reason="maintenance", expires=None),
}


@pytest.mark.parametrize("why", UNRESTING)
@pytest.mark.parametrize("idle", [0.5, 600.0])
def test_t27_eviction_keeps_every_breaker_that_is_not_plainly_closed(why, idle, clock):
    family = Keyed("tenants", CircuitBreaker(consecutive=1), most=10, idle=idle)
    kept = family["kept"]
    UNRESTING[why](kept, clock)
    before = facts(kept)["state"]
    for number in range(200):
        family[number].call(int)
        clock.advance(0.01)
    clock.advance(2 * idle)
    family.evict_idle()
    assert len(family) <= 10
    assert "kept" in family
    assert family["kept"] is kept
    assert facts(kept)["state"] == before


def test_t27_eviction_keeps_a_breaker_with_probes_in_flight(clock):
    family = Keyed("tenants", CircuitBreaker(consecutive=1, probes=1, jitter=0.0, ramp=0.0), most=2, idle=1.0)
    kept = family["kept"]
    fail(kept)
    clock.advance(5.0)
    with kept.permit():
        for number in range(50):
            family[number].call(int)
        clock.advance(5.0)
        family.evict_idle()
        assert family["kept"] is kept
        assert probes(kept) == (0, 0, 1)
    assert state(kept) == "closed"


def test_t27_a_member_at_rest_is_evicted_so_that_the_family_stays_bounded(clock):
    family = Keyed("tenants", CircuitBreaker(), most=10, idle=5.0)
    for number in range(10):
        family[number].call(int)
    clock.advance(5.0)
    assert family.evict_idle() == 10
    assert len(family) == 0


def test_t27_a_refusal_survives_pickling_with_all_it_says(clock):
    pipeline = Pipeline("downstream", CircuitBreaker(consecutive=1, jitter=0.0))
    fail(pipeline)
    with pytest.raises(BreakerOpen) as refused:
        pipeline.call(int)
    copy = pickle.loads(pickle.dumps(refused.value))
    said = ("downstream", "policy", "retry_after", "reason")
    assert [getattr(copy, name) for name in said] == ["downstream", "circuit_breaker", 5.0, "breaker_open"]
    assert str(copy) == str(refused.value)
