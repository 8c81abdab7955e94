"""Single flight: one asks for many, in threads and tasks; a leader that goes away hands over; nothing stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
import traceback
from random import Random

import pytest
import trio

from resilient import clock as clocks
from resilient._runtime.flight import Flight, Landing, Lead
from resilient._runtime.flights import LEASE, Flights
from tests._stage import ASYNCIO, CANCELLED, VirtualClock, every_colour, every_loop, installed

INF = float("inf")


class Down(Exception):
    """What the downstream raises when it fails."""


async def follow(stage, flights, flight, end=INF):
    """Wait in the stage's own way."""
    if type(stage).__name__ == "Stage":
        return flights.follow(flight, stage.clock, end)
    return await flights.afollow(flight, stage.clock, end)


async def answer(stage, flights, key="key", end=INF):
    """Return what a caller gets that asks nobody itself."""
    flight = flights.join(key, stage.clock.now())
    assert isinstance(flight, Flight)
    got = await follow(stage, flights, flight, end)
    return got.answer() if isinstance(got, Landing) else got


def everybody_waits(flight, many):
    return lambda: len(flight.waiting) == many


@every_colour
def test_the_first_leads_and_the_others_get_what_it_landed_with(colour):
    async def scenario(stage):
        flights = Flights()
        lead = flights.join("key", stage.clock.now())
        followers = [stage.start(lambda: answer(stage, flights)) for _ in range(5)]
        await stage.until(everybody_waits(lead._flight, 5))
        assert isinstance(flights.join("another", stage.clock.now()), Lead)
        lead.land(7)
        assert [await each.join() for each in followers] == [7] * 5
        assert "key" not in flights

    colour.play(scenario)


@every_colour
def test_an_error_is_shared_and_its_traceback_does_not_grow(colour):
    async def scenario(stage):
        flights = Flights()
        lead = flights.join("key", stage.clock.now())
        followers = [stage.start(lambda: answer(stage, flights)) for _ in range(5)]
        await stage.until(everybody_waits(lead._flight, 5))
        error = Down()
        lead.fail(error)
        got = [await each.join() for each in followers]
        assert all(each is error for each in got)
        assert len(flights) == 0

    colour.play(scenario)


def test_a_landing_raises_its_error_with_the_traceback_it_came_with():
    def fail():
        raise Down

    try:
        fail()
    except Down as error:
        landing = Landing(None, error)
    lengths = set()
    for _ in range(20):
        with pytest.raises(Down) as caught:
            landing.answer()
        lengths.add(len(traceback.extract_tb(caught.value.__traceback__)))
    assert len(lengths) == 1


def test_a_landing_and_its_error_leave_no_cycle():
    gc.collect()
    gc.disable()
    try:
        landing = Landing(None, Down())
        for _ in range(3):
            with contextlib.suppress(Down):
                landing.answer()
        del landing
        assert gc.collect() == 0
    finally:
        gc.enable()


@every_colour
def test_a_leader_that_is_lost_hands_over_to_the_first_that_waits(colour):
    async def scenario(stage):
        flights = Flights()
        lead = flights.join("key", stage.clock.now())
        flight = lead._flight

        async def first():
            got = await follow(stage, flights, flight)
            assert isinstance(got, Lead)
            assert flights.join("key", stage.clock.now()) is flight, "newcomers follow the new leader"
            got.land("second try")
            return "led"

        one = stage.start(first)
        await stage.until(everybody_waits(flight, 1))
        others = [stage.start(lambda: answer(stage, flights)) for _ in range(3)]
        await stage.until(everybody_waits(flight, 4))
        lead.lose()
        assert await one.join() == "led"
        assert [await each.join() for each in others] == ["second try"] * 3
        assert len(flights) == 0

    colour.play(scenario)


def test_a_lead_that_is_lost_while_nobody_waits_leaves_no_flight():
    flights = Flights()
    flights.join("key", 0.0).lose()
    assert len(flights) == 0
    assert isinstance(flights.join("key", 0.0), Lead)


@every_colour
def test_who_comes_to_a_flight_whose_leader_has_just_left_leads_it_at_once(colour):
    async def scenario(stage):
        flights = Flights()
        lead = flights.join("key", stage.clock.now())
        flight = flights.join("key", stage.clock.now())
        lead.lose()
        before = stage.clock.now()
        got = await follow(stage, flights, flight)
        assert isinstance(got, Lead)
        assert stage.clock.now() == before
        assert flights.join("key", stage.clock.now()) is flight, "newcomers find it again"
        got.land(1)
        assert len(flights) == 0

    colour.play(scenario)


def test_a_lead_that_is_forgotten_loses_itself():
    flights = Flights()
    lead = flights.join("key", 0.0)
    assert len(flights) == 1
    del lead
    assert len(flights) == 0


def test_a_lead_is_settled_once():
    flights = Flights()
    lead = flights.join("key", 0.0)
    lead.land(1)
    again = flights.join("key", 0.0)
    lead.land(2)
    lead.fail(Down())
    lead.lose()
    del lead
    assert len(flights) == 1, "the second flight is none of its business"
    again.land(3)


def test_a_landing_that_was_interrupted_is_finished_when_the_duty_is_let_go():
    flights = Flights()
    lead = flights.join("key", 0.0)
    lead._flight.landing = Landing(7)  # and then a signal handler raised
    follower = flights.join("key", 0.0)
    del lead
    assert len(flights) == 0
    assert flights.follow(follower, clocks.current(), INF).answer() == 7


@every_loop
def test_a_leader_among_those_who_wait_that_is_cancelled_hands_on(colour):
    async def scenario(stage):
        flights = Flights()
        lead = flights.join("key", stage.clock.now())
        flight = lead._flight
        gate = stage.gate()
        led = []

        async def hang():
            got = await follow(stage, flights, flight)
            try:
                led.append(got)
                await gate.wait()
            finally:
                got.lose()

        child = stage.start(hang)
        await stage.until(everybody_waits(flight, 1))
        other = stage.start(lambda: follow(stage, flights, flight))
        await stage.until(everybody_waits(flight, 2))
        lead.lose()
        await stage.until(lambda: led)
        child.cancel()
        assert await child.join() == CANCELLED
        got = await other.join()
        assert isinstance(got, Lead)
        got.land(None)
        assert len(flights) == 0

    colour.play(scenario)


@every_loop
@pytest.mark.parametrize("seed", range(40))
def test_a_cancelled_follower_that_was_just_made_the_leader_hands_on(colour, seed):
    """Whichever comes first, the cancellation or the duty: somebody answers, and nothing stays behind."""
    order = Random(seed)

    async def scenario(stage):
        flights = Flights()
        lead = flights.join("key", stage.clock.now())
        flight = lead._flight

        async def caller():
            got = await follow(stage, flights, flight)
            if isinstance(got, Lead):
                try:
                    await stage.sleep(0)
                    got.land("asked")
                finally:
                    got.lose()
                return "asked"
            return got.answer()

        children = [stage.start(caller) for _ in range(6)]
        await stage.until(everybody_waits(flight, 6))
        steps = [lead.lose, *(child.cancel for child in children[:5])]
        order.shuffle(steps)
        for step in steps:
            step()
            if order.random() < 0.4:
                await stage.sleep(0)
        ends = [await child.join() for child in children]
        assert ends[5] == "asked", ends
        assert set(ends) <= {"asked", CANCELLED}
        assert (len(flights), len(flight.waiting)) == (0, 0)

    colour.play(scenario)


@every_colour
def test_who_waits_leaves_at_its_own_end_and_the_others_stay(colour):
    async def scenario(stage):
        flights = Flights()
        lead = flights.join("key", stage.clock.now())
        now = stage.clock.now()
        assert await answer(stage, flights, end=now + 0.5) is None
        assert stage.clock.now() == pytest.approx(now + 0.5)
        assert len(lead._flight.waiting) == 0
        assert len(flights) == 1
        lead.land(1)

    colour.play(scenario)


@every_colour
def test_a_leader_that_ran_out_of_time_hands_over_only_to_those_with_time_left(colour):
    async def scenario(stage):
        flights = Flights()
        now = stage.clock.now()
        lead = flights.join("key", now)
        flight = lead._flight

        async def caller(end):
            got = await follow(stage, flights, flight, end)
            if isinstance(got, Lead):
                got.land("answer")
                return "led"
            return got.answer()

        short = stage.start(lambda: caller(now + 1))
        await stage.until(everybody_waits(flight, 1))
        long = stage.start(lambda: caller(now + 9))
        await stage.until(everybody_waits(flight, 2))
        last = stage.start(lambda: caller(now + 1))
        await stage.until(everybody_waits(flight, 3))
        error = Down()
        lead.lose(now + 2, error)
        assert await short.join() is error
        assert await long.join() == "led"
        assert await last.join() == "answer", "it waited on"

    colour.play(scenario)


@every_colour
def test_a_silent_leader_is_not_waited_for_longer_than_its_lease(colour):
    async def scenario(stage):
        flights = Flights()
        start = stage.clock.now()
        silent = flights.join("key", start)
        flight = silent._flight
        got = await follow(stage, flights, flight)
        assert isinstance(got, Lead)
        assert got._flight is not flight
        assert stage.clock.now() == pytest.approx(start + LEASE)
        assert flights.join("key", stage.clock.now()) is got._flight
        silent.land("late")
        assert len(flights) == 1, "the late landing takes nothing from the new leader"
        got.land("new")
        assert len(flights) == 0

    colour.play(scenario)


def test_newcomers_do_not_wait_for_a_leader_that_is_lost():
    flights = Flights()
    silent = flights.join("key", 0.0)
    assert isinstance(flights.join("key", LEASE - 1), Flight)
    new = flights.join("key", LEASE)
    assert isinstance(new, Lead)
    assert isinstance(flights.join("key", LEASE + 1), Flight)
    silent.lose()
    assert len(flights) == 1
    new.land(1)


@every_colour
def test_the_time_of_a_new_leader_is_its_own(colour):
    async def scenario(stage):
        flights = Flights()
        lead = flights.join("key", stage.clock.now())
        await stage.sleep(LEASE - 1)

        async def caller():
            return await follow(stage, flights, lead._flight)

        child = stage.start(caller)
        flight = lead._flight
        await stage.until(everybody_waits(flight, 1))
        lead.lose()
        got = await child.join()
        assert flights.join("key", stage.clock.now() + LEASE - 1) is flight
        got.land(1)

    colour.play(scenario)


@pytest.mark.parametrize("run", [asyncio.run, trio.run])
def test_a_plain_caller_on_the_thread_of_a_running_loop_asks_alone(run):
    flights = Flights()
    lead = flights.join("key", 0.0)

    async def main():
        flight = flights.join("key", 0.0)
        return flights.follow(flight, clocks.current(), INF)

    got = run(main) if run is trio.run else run(main())
    assert isinstance(got, Lead)
    assert len(flights) == 1
    got.land("mine")
    assert len(flights) == 1, "nobody follows it"
    lead.land("ours")
    assert len(flights) == 0


# -- forgetting ------------------------------------------------------------------------------------


def test_an_answer_that_was_asked_for_before_it_was_forgotten_is_not_valid():
    flights = Flights()
    old, other = flights.join("key", 0.0), flights.join("other", 0.0)
    assert old.valid
    flights.forget("key")
    new = flights.join("key", 0.0)
    assert isinstance(new, Lead), "newcomers ask anew"
    assert (old.valid, new.valid, other.valid) == (False, True, True)
    old.land(1)
    assert len(flights) == 2
    flights.clear()
    assert (new.valid, other.valid, len(flights)) == (False, False, 0)


def test_what_nobody_can_find_is_not_valid_after_anything_was_forgotten():
    flights = Flights()
    silent = flights.join("key", 0.0)
    new = flights.join("key", LEASE)
    alone = flights.alone("third", 0.0)
    assert silent.valid
    assert new.valid
    assert alone.valid
    flights.forget("other")
    assert not silent.valid
    assert not alone.valid
    assert new.valid


@every_colour
def test_who_waits_for_a_forgotten_flight_gets_its_answer_or_leads_a_valid_one(colour):
    async def scenario(stage):
        flights = Flights()
        lead = flights.join("key", stage.clock.now())
        flight = lead._flight
        child = stage.start(lambda: follow(stage, flights, flight))
        await stage.until(everybody_waits(flight, 1))
        flights.forget("key")
        lead.lose()
        got = await child.join()
        assert isinstance(got, Lead)
        assert got.valid
        assert "key" in flights
        got.land(1)
        assert len(flights) == 0

    colour.play(scenario)


# -- crowds ----------------------------------------------------------------------------------------


def test_threads_and_tasks_of_two_loops_share_one_flight():
    flights = Flights()
    clock = clocks.current()
    lead = flights.join("key", clock.now())
    flight = lead._flight
    got = []

    def in_thread():
        got.append(flights.follow(flight, clock, INF).answer())

    async def task():
        got.append((await flights.afollow(flight, clock, INF)).answer())

    async def on_asyncio():
        await asyncio.gather(*(task() for _ in range(20)))

    async def on_trio():
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(task)

    crowd = [threading.Thread(target=in_thread) for _ in range(20)]
    crowd += [
        threading.Thread(target=asyncio.run, args=(on_asyncio(),)),
        threading.Thread(target=trio.run, args=(on_trio,)),
    ]
    for each in crowd:
        each.start()
    end = clock.now() + 10
    while len(flight.waiting) < 60:
        assert clock.now() < end
        clock.sleep(0.001)
    lead.land("x")
    for each in crowd:
        each.join(10)
        assert not each.is_alive()
    assert got == ["x"] * 60


@pytest.mark.parametrize("seed", range(4))
def test_in_a_crowd_of_threads_whose_leaders_get_lost_everybody_is_answered(seed):
    """Leaders land, fail or get lost while newcomers join: nobody waits for ever, no flight is left."""
    flights = Flights()
    clock = clocks.current()
    ends, faults = [], []

    def caller(number):
        order = Random(f"{seed} {number}")
        try:
            for _ in range(60):
                got = flights.join(order.randrange(3), clock.now())
                if isinstance(got, Flight):
                    got = flights.follow(got, clock, clock.now() + 5)
                assert got is not None, "nobody answered"
                if isinstance(got, Lead):
                    fate = order.randrange(4)
                    if fate == 0:
                        got.lose()
                    elif fate == 1:
                        got = None
                    elif fate == 2:
                        got.fail(Down())
                    else:
                        got.land(number)
            ends.append(number)
        except BaseException as error:
            faults.append(error)

    crowd = [threading.Thread(target=caller, args=(number,)) for number in range(16)]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join(30)
    assert faults == []
    assert len(ends) == 16
    assert len(flights) == 0


def test_a_follower_that_was_thrown_away_holds_nobody_up():
    async def scenario(stage):
        flights = Flights()
        lead = flights.join("key", stage.clock.now())
        flight = lead._flight
        thrown = flights.afollow(flight, stage.clock, INF)
        thrown.send(None)
        assert len(flight.waiting) == 1
        lead.lose()
        assert len(flights) == 1, "the duty is on its way"
        thrown.close()
        assert len(flights) == 0, "the duty came back, and nobody else waited"

    ASYNCIO.play(scenario)


def test_a_closed_loop_whose_task_waits_holds_nobody_up():
    flights = Flights()
    clock = clocks.current()
    lead = flights.join("key", clock.now())
    flight = lead._flight
    loop = asyncio.new_event_loop()
    task = loop.create_task(flights.afollow(flight, clock, INF))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    got = []
    waits = threading.Thread(target=lambda: got.append(flights.follow(flight, clock, INF)))
    waits.start()
    while len(flight.waiting) < 2:
        clock.sleep(0.001)
    lead.lose()
    waits.join(10)
    assert isinstance(got[0], Lead), "the duty went on to who can do it"
    got[0].land(1)
    task._log_destroy_pending = False
    coroutine = task.get_coro()
    coroutine.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_starts_with_none():
    flights = Flights()
    lead = flights.join("key", 0.0)
    flights.renew()
    assert len(flights) == 0
    assert isinstance(flights.join("key", 0.0), Lead)
    lead.land(1)


def test_another_clock_gives_the_leaders_their_time_anew():
    flights = Flights()
    lead = flights.join("key", clocks.current().now())
    clock = VirtualClock()
    clock.time = 1e9
    with installed(clock):
        assert isinstance(flights.join("key", clock.now()), Flight)
    lead.land(1)
