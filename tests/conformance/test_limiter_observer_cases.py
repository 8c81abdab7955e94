"""Rate limits and listeners keep none of the bugs that others have shown: T60 to T63, T69, T70."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from resilient import (
    Backoff,
    BreakerOpen,
    Bulkhead,
    BulkheadFull,
    CircuitBreaker,
    Keyed,
    Pipeline,
    RateLimit,
    RateLimited,
    Retry,
    Timeout,
    deadline,
    faults,
    subscribe,
)
from tests._stage import CANCELLED, VirtualClock, every_colour, every_loop, installed, name


class Down(Exception):
    """What the downstream raises when it fails."""


async def answer():
    return "answer"


async def fail():
    raise Down


@contextmanager
def heard():
    """Collect the events of a block."""
    events = []
    stop = subscribe(events.append)
    try:
        yield events
    finally:
        stop()


# -- T60: nobody waits who did not ask for it --------------------------------------------------


@every_loop
def test_t60_who_may_not_wait_is_answered_at_once_though_others_wait(colour):
    pipeline = Pipeline(name(), RateLimit(1, per=10, max_wait=100))

    async def scenario(stage):
        await stage.call(pipeline, answer)
        waiting = [stage.start(lambda: stage.call(pipeline, answer)) for _ in range(2)]
        await stage.sleep(0.5)
        before = stage.clock.now()
        with deadline(0.001), pytest.raises(RateLimited):
            await stage.call(pipeline, answer)
        assert pipeline[RateLimit].peek().limited
        assert stage.clock.now() == before
        assert [await each.join() for each in waiting] == ["answer"] * 2
        assert stage.clock.now() == pytest.approx(1020)

    colour.play(scenario)


def test_t60_a_thread_that_may_not_wait_is_answered_though_another_sleeps():
    pipeline = Pipeline(name(), RateLimit(1, per=0.4, burst=1, max_wait=10))
    pipeline.call(int)
    sleeping = threading.Thread(target=lambda: pipeline.call(int))
    sleeping.start()
    latest = time.monotonic() + 10
    while pipeline[RateLimit].peek().retry_after < 0.4:
        assert time.monotonic() < latest, "the other thread never took its turn"
    before = time.monotonic()
    with deadline(0.001), pytest.raises(RateLimited):
        pipeline.call(int)
    took = time.monotonic() - before
    still = sleeping.is_alive()
    sleeping.join(10)
    assert still
    assert took < 0.2


@every_colour
def test_t60_names_keep_limits_apart_though_they_share_a_policy(colour):
    policy = RateLimit(1, per=60)
    one, other = Pipeline(name(), policy), Pipeline(name(), policy)
    family = Keyed(name(), policy)

    async def scenario(stage):
        for pipeline in (one, other, family["a"], family["b"]):
            assert await stage.call(pipeline, answer) == "answer"
            with pytest.raises(RateLimited) as caught:
                await stage.call(pipeline, answer)
            assert caught.value.retry_after == pytest.approx(60)

    colour.play(scenario)


# -- T61: first come, first served -------------------------------------------------------------


@every_loop
def test_t61_small_calls_do_not_starve_a_big_one(colour):
    served = []
    pipeline = Pipeline(name(), RateLimit(1, burst=10, max_wait=1000, cost=lambda cost, _: cost))

    async def scenario(stage):
        async def serve(cost, number):
            served.append((number, round(stage.clock.now() - 1000, 6)))

        await stage.call(pipeline, serve, 10, "first")
        calls = [(1, "small 1"), (10, "big"), *((1, f"small {number}") for number in range(2, 20))]
        children = []
        for cost, number in calls:
            children.append(stage.start(lambda cost=cost, number=number: stage.call(pipeline, serve, cost, number)))
            await stage.sleep(0.01)
        for child in children:
            await child.join()

    colour.play(scenario)
    assert [who for who, _ in served] == ["first", "small 1", "big", *(f"small {number}" for number in range(2, 20))]
    assert dict(served)["big"] == pytest.approx(11)
    assert dict(served)["small 2"] == pytest.approx(12)


@every_loop
def test_t61_a_turn_that_was_cancelled_goes_to_the_next(colour):
    pipeline = Pipeline(name(), RateLimit(1, per=10, max_wait=100))

    async def scenario(stage):
        await stage.call(pipeline, answer)
        for _ in range(3):
            waiting = stage.start(lambda: stage.call(pipeline, answer))
            await stage.sleep(1)
            waiting.cancel()
            assert await waiting.join() == CANCELLED
        await stage.call(pipeline, answer)
        return stage.clock.now()

    assert colour.play(scenario) == pytest.approx(1010)


# -- T62, T63: one lock, no thread, nobody forgotten -------------------------------------------


def test_t62_threads_never_get_more_than_the_burst():
    with installed(VirtualClock()):  # no time passes
        for _ in range(20):
            pipeline = Pipeline(name(), RateLimit(7, per=60, burst=7))
            passed, start = [], threading.Barrier(8)

            def work(pipeline=pipeline, passed=passed, start=start):
                start.wait(10)
                for _ in range(10):
                    with suppress(RateLimited):
                        passed.append(pipeline.call(int))

            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
            assert len(passed) == 7


@every_colour
def test_t62_a_burst_starts_no_thread(colour):
    family = Keyed(name(), RateLimit(3, per=60, burst=3))

    async def scenario(stage):
        before = set(threading.enumerate())
        for key in range(50):
            for _ in range(5):
                with suppress(RateLimited):
                    await stage.call(family[key], answer)
        assert set(threading.enumerate()) == before

    colour.play(scenario)


@every_colour
def test_t63_a_limited_key_is_not_forgotten_for_newer_keys(colour):
    family = Keyed(name(), RateLimit(1, per=600, burst=1), most=64, idle=1)

    async def scenario(stage):
        await stage.call(family["blocked"], answer)
        passed = 0
        for number in range(1000):
            await stage.sleep(0.3)
            with suppress(RateLimited):
                await stage.call(family[number], answer)
                passed += 1
            if number % 100 == 0:
                with pytest.raises(RateLimited):
                    await stage.call(family["blocked"], answer)
        assert len(family) <= 64
        assert passed == 64, "63 keys, and the one that all others share"
        with pytest.raises(RateLimited):
            await stage.call(family["blocked"], answer)
        await stage.sleep(600)
        assert await stage.call(family["blocked"], answer) == "answer"

    colour.play(scenario)


# -- T69: half-open admits by number, not by luck ----------------------------------------------


@pytest.mark.parametrize("draw", [0.0, 0.25, 0.5, 0.999999])
@every_colour
def test_t69_the_number_of_probes_does_not_depend_on_luck(colour, draw):
    clock = VirtualClock()
    clock.random = lambda: draw
    breaker = CircuitBreaker(consecutive=2, probes=3, open_for=5, jitter=0, ramp=0)
    pipeline = Pipeline(name(), breaker)

    async def scenario(stage):
        for _ in range(2):
            with pytest.raises(Down):
                await stage.call(pipeline, fail)
        with pytest.raises(BreakerOpen):
            await stage.call(pipeline, answer)
        await stage.sleep(5.001)
        go, inside = stage.gate(), []

        async def probe():
            inside.append(1)
            await go.wait()

        children = [stage.start(lambda: stage.call(pipeline, probe)) for _ in range(9)]
        await stage.until(lambda: len(inside) + sum(child.outcome is not None for child in children) == 9)
        go.set()
        endings = [await child.join() for child in children]
        assert len(inside) == 3
        assert [type(ending) for ending in endings].count(BreakerOpen) == 6
        assert pipeline[CircuitBreaker].snapshot()["state"] == "closed"

    colour.play(scenario, clock)


# -- T70: who listens changes nothing ----------------------------------------------------------


def boom(event):
    raise RuntimeError(f"a listener that cannot stand {event.name}")


class Harsh(BaseException):
    """Not even an Exception."""


@every_colour
def test_t70_a_raising_listener_changes_no_outcome_and_is_reported_once(colour, caplog):
    pipeline = Pipeline(
        name(),
        Retry(3, backoff=Backoff(base=0.01), budget=None),
        CircuitBreaker(consecutive=4, open_for=5, ramp=0),
        RateLimit(100, burst=100),
        Bulkhead(1),
    )
    good = []
    raised = Down("real")

    async def down():
        raise raised

    async def scenario(stage):
        stops = [subscribe(boom), subscribe(good.append)]
        try:
            endings = []
            for _ in range(3):
                try:
                    endings.append(await stage.call(pipeline, down))
                except Exception as error:
                    endings.append(error)
            await stage.sleep(60)
            endings += [await stage.call(pipeline, answer) for _ in range(3)]
            return endings
        finally:
            for stop in stops:
                stop()

    with caplog.at_level(logging.ERROR, "resilient"):
        endings = colour.play(scenario)
    assert endings[:2] == [raised, raised]
    assert isinstance(endings[2], BreakerOpen)
    assert endings[3:] == ["answer"] * 3
    assert len(good) > 6, "the listener behind it hears everything"
    assert faults.total() == len(good)
    assert [record.name for record in caplog.records] == ["resilient"]
    assert pipeline[Bulkhead].resting()


@every_colour
def test_t70_an_event_tells_of_each_transition_once_and_in_order(colour):
    breaker = CircuitBreaker(consecutive=3, probes=1, open_for=5, jitter=0, ramp=0)
    pipeline = Pipeline(name(), breaker)

    async def scenario(stage):
        async def repeat(body, times):
            for _ in range(times):
                with suppress(Down, BreakerOpen):
                    await stage.call(pipeline, body)

        await repeat(fail, 20)  # opens; 17 are refused
        await stage.sleep(5.001)
        await repeat(fail, 5)  # one probe, then refused
        await stage.sleep(10.001)
        await repeat(answer, 5)  # closes

    with heard() as events:
        colour.play(scenario)
    moves = [
        (event.fields["from"], event.fields["to"]) for event in events if event.name == "resilient.breaker.transition"
    ]
    assert moves == [
        ("closed", "open"),
        ("open", "half_open"),
        ("half_open", "open"),
        ("open", "half_open"),
        ("half_open", "closed"),
    ]
    refused = [event for event in events if event.name == "resilient.call.rejected"]
    assert len(refused) == 17 + 4
    assert len(events) == len(moves) + len(refused)


@every_colour
def test_t70_late_failures_do_not_tell_the_opening_again(colour):
    breaker = CircuitBreaker(consecutive=2, open_for=5, jitter=0)
    pipeline = Pipeline(name(), breaker)

    async def scenario(stage):
        go, inside = stage.gate(), []

        async def late():
            inside.append(1)
            await go.wait()
            raise Down

        children = [stage.start(lambda: stage.call(pipeline, late)) for _ in range(6)]
        await stage.until(lambda: len(inside) == 6)
        go.set()
        endings = [await child.join() for child in children]
        assert [type(ending) for ending in endings] == [Down] * 6

    with heard() as events:
        colour.play(scenario)
    assert [(event.name, event.fields["to"]) for event in events] == [("resilient.breaker.transition", "open")]


@every_colour
def test_t70_who_subscribes_hears_the_very_next_event(colour):
    pipeline = Pipeline(name(), Bulkhead(1))

    async def scenario(stage):
        go, inside = stage.gate(), []

        async def hold():
            inside.append(1)
            await go.wait()

        child = stage.start(lambda: stage.call(pipeline, hold))
        await stage.until(lambda: inside)
        with pytest.raises(BulkheadFull):  # nobody listens
            await stage.call(pipeline, answer)
        with heard() as events, pytest.raises(BulkheadFull):
            await stage.call(pipeline, answer)
        assert "resilient.call.rejected" in [event.name for event in events]
        heard_before = len(events)
        with pytest.raises(BulkheadFull):  # nobody listens any more
            await stage.call(pipeline, answer)
        assert len(events) == heard_before
        go.set()
        await child.join()

    colour.play(scenario)


@every_loop
def test_t70_a_slow_listener_delays_its_call_and_changes_nothing(colour):
    pipeline = Pipeline(name(), Timeout(10), Retry(3, backoff=Backoff(base=0.01), budget=None), Bulkhead(1))
    attempts = []

    async def flaky():
        attempts.append(1)
        if len(attempts) < 3:
            raise Down
        return "done"

    async def scenario(stage):
        stop = subscribe(lambda event: time.sleep(0.005))
        try:
            return await stage.call(pipeline, flaky)
        finally:
            stop()

    assert colour.play(scenario) == "done"
    assert len(attempts) == 3


@every_colour
def test_t70_a_listener_may_use_the_pipeline_it_listens_to(colour):
    pipeline = Pipeline(name(), CircuitBreaker(consecutive=2, open_for=5), Bulkhead(1))
    states = []

    def look(event):
        states.append((event.name, pipeline.snapshot()["circuit_breaker"]["state"]))
        if event.name == "resilient.breaker.transition":
            with suppress(BreakerOpen):  # a call out of a listener, which is refused, which is an event
                pipeline.call(int)

    async def scenario(stage):
        for _ in range(2):
            with suppress(Down):
                await stage.call(pipeline, fail)

    stop = subscribe(look)
    try:
        colour.play(scenario)
    finally:
        stop()
    assert states == [("resilient.breaker.transition", "open"), ("resilient.call.rejected", "open")]


@every_colour
def test_t70_a_harsh_listener_leaks_no_permit(colour):
    """A `KeyboardInterrupt` that hits inside a listener goes to the caller, but nothing stays taken."""
    pipeline = Pipeline(name(), Retry(2, backoff=Backoff(base=0.01)), CircuitBreaker(consecutive=1), Bulkhead(1))

    def harsh(event):
        raise Harsh

    async def scenario(stage):
        stop = subscribe(harsh)
        try:
            with pytest.raises(Harsh):
                await stage.call(pipeline, fail)
        finally:
            stop()

    colour.play(scenario)
    assert pipeline[Bulkhead].resting()
    assert pipeline[CircuitBreaker].snapshot()["state"] == "open"
