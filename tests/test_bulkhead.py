"""What `Bulkhead` promises: who gets in, who may wait, and that nothing handed over is lost."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import threading
import time

import pytest

from resilient import (
    Bulkhead,
    BulkheadFull,
    ConfigError,
    DeadlineExceeded,
    Pipeline,
    Retry,
    Timeout,
    deadline,
    subscribe,
)
from resilient._machines.permits import Line
from resilient._runtime.blocking import ThreadWaiter
from tests._stage import VirtualClock, every_colour, every_loop, installed, name, nothing_left


async def answer():
    return "answer"


def state(pipeline):
    snapshot = pipeline[Bulkhead].snapshot()
    return snapshot["in_flight"], snapshot["queued"]


class Crowd:
    """Calls that hold their permits until they are let go."""

    def __init__(self, stage, pipeline):
        self.stage, self.pipeline = stage, pipeline
        self.go = stage.gate()
        self.children = []

    async def enter(self, number=1):
        """Start calls, and return when they hold permits or stand in line."""
        for _ in range(number):
            before = sum(state(self.pipeline))
            self.children.append(self.stage.start(lambda: self.stage.call(self.pipeline, self._hold)))
            await self.stage.until(lambda before=before: sum(state(self.pipeline)) > before)

    async def _hold(self):
        await self.go.wait()
        return "held"

    async def leave(self):
        self.go.set()
        return [await child.join() for child in self.children]


# -- who gets in -------------------------------------------------------------------------------


@every_colour
def test_the_limit_is_kept_and_the_next_is_refused(colour):
    pipeline = Pipeline(name(), Bulkhead(3))
    ran = []

    async def work():
        ran.append(1)

    async def scenario(stage):
        crowd = Crowd(stage, pipeline)
        await crowd.enter(3)
        with pytest.raises(BulkheadFull) as caught:
            await stage.call(pipeline, work)
        assert await crowd.leave() == ["held"] * 3
        await stage.call(pipeline, work)
        return caught.value

    error = colour.play(scenario)
    assert (error.downstream, error.policy, error.reason) == (pipeline.name, "bulkhead", "bulkhead_full")
    assert error.retry_after is None
    assert ran == [1], "a refused function does not run"
    nothing_left(pipeline)


@every_colour
def test_no_more_than_the_queue_may_wait(colour):
    pipeline = Pipeline(name(), Bulkhead(1, queue=2, max_wait=60))

    async def scenario(stage):
        crowd = Crowd(stage, pipeline)
        await crowd.enter(3)
        assert state(pipeline) == (1, 2)
        with pytest.raises(BulkheadFull) as caught:
            await stage.call(pipeline, answer)
        assert caught.value.reason == "queue_full"
        assert await crowd.leave() == ["held"] * 3

    colour.play(scenario)
    nothing_left(pipeline)


@every_loop
def test_a_newcomer_never_passes_who_waits(colour):
    pipeline = Pipeline(name(), Bulkhead(1, queue=5, max_wait=60))
    order = []

    async def scenario(stage):
        async def serve(who):
            order.append(who)

        crowd = Crowd(stage, pipeline)
        await crowd.enter()
        first = stage.start(lambda: stage.call(pipeline, serve, "first"))
        await stage.until(lambda: state(pipeline) == (1, 1))
        crowd.go.set()
        await crowd.children[0].join()
        # The permit is free or on its way, and `first` may not have run yet.
        await stage.call(pipeline, serve, "newcomer")
        await first.join()

    colour.play(scenario)
    assert order == ["first", "newcomer"]


class Place:
    """A place in line that takes what it is offered."""

    value = seen = None

    def offer(self, value):
        self.value = value
        return True


def test_not_even_between_a_return_and_its_hand_over():
    line = Line(1)
    permit, first = line.take(), Place()
    assert line.join(first, 1)
    line.free.append(permit)  # returned, not yet handed over
    assert line.take() is None
    line.hand_over()
    assert first.value is permit


# -- how long ----------------------------------------------------------------------------------


WAITS = {
    "its own limit": (Bulkhead(1, queue=1, max_wait=dt.timedelta(seconds=3)), None, None, 3),
    "no longer than a timeout around it leaves": (Bulkhead(1, queue=1, max_wait=9), 2, None, 2),
    "up to the timeout": (Bulkhead(1, queue=1), 2, None, 2),
    "up to the caller's deadline": (Bulkhead(1, queue=1), None, 1.5, 1.5),
    "not at all": (Bulkhead(1, queue=1, max_wait=0), None, None, 0),
}


@pytest.mark.parametrize(("bulkhead", "timeout", "ambient", "waits"), WAITS.values(), ids=WAITS)
@every_loop
def test_who_waits_in_vain_waits(colour, bulkhead, timeout, ambient, waits):
    pipeline = Pipeline(name(), *([] if timeout is None else [Timeout(timeout)]), bulkhead)

    async def scenario(stage):
        async with pipeline.permit():
            began = stage.clock.now()
            with deadline(1e6 if ambient is None else ambient), pytest.raises(BulkheadFull) as caught:
                await stage.call(pipeline, answer)
            assert caught.value.reason == "queue_timeout"
            return stage.clock.now() - began

    assert colour.play(scenario) == pytest.approx(waits)
    nothing_left(pipeline)


@every_colour
def test_nobody_joins_the_line_after_the_deadline(colour):
    pipeline = Pipeline(name(), Bulkhead(1, queue=1, max_wait=9))
    heard = []

    async def scenario(stage):
        crowd = Crowd(stage, pipeline)
        await crowd.enter()
        with deadline(0), pytest.raises(DeadlineExceeded) as caught:
            await stage.call(pipeline, answer)
        await crowd.leave()
        return caught.value

    stop = subscribe(heard.append)
    try:
        error = colour.play(scenario)
    finally:
        stop()
    assert (error.downstream, error.policy) == (pipeline.name, "bulkhead")
    assert [dict(event.fields) for event in heard] == [
        {"policy": "bulkhead", "reason": "deadline", "retry_after": None}
    ]
    nothing_left(pipeline)


@every_colour
def test_a_free_permit_needs_no_end(colour):
    pipeline = Pipeline(name(), Bulkhead(1, queue=1))

    async def scenario(stage):
        assert await stage.call(pipeline, answer) == "answer"
        crowd = Crowd(stage, pipeline)
        await crowd.enter()
        with pytest.raises(ConfigError, match="max_wait must be a number of seconds"):
            await stage.call(pipeline, answer)
        await crowd.leave()

    colour.play(scenario)
    nothing_left(pipeline)


@every_loop
def test_the_time_in_line_is_not_the_attempts_time(colour):
    pipeline = Pipeline(name(), Bulkhead(1, queue=1, max_wait=9), Timeout(2))

    async def scenario(stage):
        holder = stage.start(lambda: stage.call(pipeline, stage.sleep, 1.5))
        await stage.until(lambda: state(pipeline) == (1, 0))
        await stage.call(pipeline, stage.sleep, 1.5)
        assert await holder.join() is None

    colour.play(scenario)
    nothing_left(pipeline)


# -- resized while in use ----------------------------------------------------------------------


@every_colour
def test_a_raised_limit_lets_those_in_line_in(colour):
    pipeline = Pipeline(name(), Bulkhead(1, queue=5, max_wait=60))

    async def scenario(stage):
        crowd = Crowd(stage, pipeline)
        await crowd.enter(4)
        assert state(pipeline) == (1, 3)
        pipeline[Bulkhead].resize(3)
        await stage.until(lambda: state(pipeline) == (3, 1))
        assert pipeline[Bulkhead].snapshot()["limit"] == 3
        await crowd.leave()

    colour.play(scenario)
    nothing_left(pipeline)
    assert len(pipeline[Bulkhead].line.free) == 3


@every_colour
def test_a_lowered_limit_interrupts_nobody_and_admits_nobody_until_it_is_kept(colour):
    pipeline = Pipeline(name(), Bulkhead(3, queue=5, max_wait=60))

    async def scenario(stage):
        first, second = Crowd(stage, pipeline), Crowd(stage, pipeline)
        await first.enter(2)
        await second.enter(2)
        assert state(pipeline) == (3, 1)
        pipeline[Bulkhead].resize(1)
        assert state(pipeline) == (3, 1)
        assert await first.leave() == ["held"] * 2
        assert state(pipeline) == (1, 1), "two permits are gone for good"
        assert await second.leave() == ["held"] * 2
        assert await stage.call(pipeline, answer) == "answer"

    colour.play(scenario)
    assert len(pipeline[Bulkhead].line.free) == 1
    nothing_left(pipeline)


@every_colour
def test_lowered_and_raised_again_nothing_is_owed(colour):
    pipeline = Pipeline(name(), Bulkhead(3))

    async def scenario(stage):
        crowd = Crowd(stage, pipeline)
        await crowd.enter(3)
        pipeline[Bulkhead].resize(1)
        pipeline[Bulkhead].resize(2)
        assert state(pipeline) == (3, 0)
        await crowd.leave()

    colour.play(scenario)
    assert len(pipeline[Bulkhead].line.free) == 2
    nothing_left(pipeline)


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, None, "3"])
def test_a_new_limit_is_checked_like_the_first(limit):
    pipeline = Pipeline(name(), Bulkhead(2))
    with pytest.raises((ConfigError, TypeError), match="limit must be a whole number"):
        pipeline[Bulkhead].resize(limit)
    assert pipeline[Bulkhead].snapshot()["limit"] == 2


# -- nothing handed over is lost ---------------------------------------------------------------


class Loop:
    """An asyncio loop with one task in a pipeline's line, turned by hand."""

    def __init__(self, pipeline):
        self.loop = asyncio.new_event_loop()
        self.task = self.loop.create_task(pipeline.acall(answer))
        self.turn()

    def turn(self):
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def forget(self):
        """Close the loop under its task."""
        self.task._log_destroy_pending = False
        self.loop.close()


def test_a_waiter_whose_loop_is_closed_is_passed_over():
    pipeline = Pipeline(name(), Bulkhead(1, queue=2, max_wait=60))
    request = pipeline.permit()
    request.__enter__()
    loop = Loop(pipeline)
    assert state(pipeline) == (1, 1)
    loop.forget()
    endings = []
    thread = threading.Thread(target=lambda: endings.append(pipeline.call(int, "7")))
    thread.start()
    wait_until(lambda: state(pipeline) == (1, 2))
    request.__exit__(None, None, None)
    thread.join(10)
    assert endings == [7], "the next in line was served"
    del loop
    gc.collect()
    nothing_left(pipeline)


def wait_until(condition):
    latest = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < latest, "it never came true"
        time.sleep(0.0005)


def test_a_permit_handed_to_a_loop_that_stands_still_is_taken_back():
    clock = VirtualClock()
    with installed(clock):
        pipeline = Pipeline(name(), Bulkhead(1, queue=2, max_wait=1))
        with pipeline.permit():
            loop = Loop(pipeline)
            assert state(pipeline) == (1, 1)
        assert state(pipeline) == (1, 0), "handed over, not fetched"
        with pytest.raises(BulkheadFull):  # seen for the first time: the patience begins
            pipeline.call(int)
        clock.time += 3.9  # with the second that was waited it is just not over
        with pytest.raises(BulkheadFull):
            pipeline.call(int)
        assert pipeline.call(int) == 0, "5 s are over"
        loop.turn()  # it goes on, too late
        assert not loop.task.done(), "it stands in line again, or waits for its time"
        loop.forget()
        del loop
        gc.collect()
    nothing_left(pipeline)


def test_who_lost_the_permit_by_standing_still_gets_in_later():
    pipeline = Pipeline(name(), Bulkhead(1, queue=2, max_wait=3600))
    clock = VirtualClock()
    with installed(clock):
        with pipeline.permit():
            loop = Loop(pipeline)
        pipeline[Bulkhead].line.reclaim(clock.now(), 5)
        pipeline[Bulkhead].line.reclaim(clock.now() + 5, 5)
        assert state(pipeline) == (0, 0)
        assert loop.loop.run_until_complete(loop.task) == "answer"
        loop.loop.close()
    nothing_left(pipeline)


@every_loop
def test_an_abandoned_coroutine_leaves_the_line(colour):
    pipeline = Pipeline(name(), Bulkhead(1, queue=2, max_wait=60))

    async def scenario(stage):
        async with pipeline.permit():
            call = pipeline.acall(answer)
            call.send(None)
            assert state(pipeline) == (1, 1)
            call.close()
            assert state(pipeline) == (1, 0)
        assert await stage.call(pipeline, answer) == "answer"

    colour.play(scenario)
    nothing_left(pipeline)


class Interrupted(VirtualClock):
    """A clock on which waiting in line ends by a signal, after `first` was done."""

    def __init__(self, first=lambda: None):
        super().__init__()
        self.first = first

    def acquire(self, lock, seconds):
        self.first()
        raise KeyboardInterrupt


def test_an_interrupted_thread_leaves_the_line():
    pipeline = Pipeline(name(), Bulkhead(1, queue=2, max_wait=60))
    with pipeline.permit(), installed(Interrupted()), pytest.raises(KeyboardInterrupt):
        pipeline.call(int)
    nothing_left(pipeline)


def test_a_thread_that_is_interrupted_with_the_permit_on_its_way_hands_it_on():
    pipeline = Pipeline(name(), Bulkhead(1, queue=2, max_wait=60))
    request = pipeline.permit()
    request.__enter__()
    clock = Interrupted(lambda: request.__exit__(None, None, None))
    with installed(clock), pytest.raises(KeyboardInterrupt):
        pipeline.call(int)
    nothing_left(pipeline)
    assert pipeline.call(int) == 0


def test_a_permit_that_comes_as_the_time_is_up_is_taken():
    waiter = ThreadWaiter()

    class Clock(VirtualClock):
        def acquire(self, lock, seconds):
            assert waiter.offer("permit")
            return False

    assert waiter.wait(Clock(), 1) == "permit"


def test_a_permit_that_comes_after_the_time_was_up_goes_to_somebody_else():
    waiter = ThreadWaiter()
    assert waiter.wait(VirtualClock(), 0) is None
    assert not waiter.offer("permit")
    assert waiter.value is None


def test_an_attempt_gives_its_permit_back_before_the_next_one_takes_it():
    pipeline = Pipeline(name(), Retry(attempts=3, budget=None), Bulkhead(1))
    tries = []

    def flaky():
        tries.append(state(pipeline))
        if len(tries) < 3:
            raise OSError
        return "answer"

    with installed(VirtualClock()):
        assert pipeline.call(flaky) == "answer"
    assert tries == [(1, 0)] * 3


def test_a_call_that_began_before_a_fork_of_its_line_returns_to_the_old_one():
    pipeline = Pipeline(name(), Bulkhead(1))

    def work():
        pipeline[Bulkhead].renew()
        return state(pipeline)

    assert pipeline.call(work) == (0, 0)
    nothing_left(pipeline)


# -- settings ----------------------------------------------------------------------------------


def test_it_says_what_it_does():
    assert Bulkhead(20).describe() == "at most 20 in flight, no queue"
    assert Bulkhead(2, queue=5, max_wait=0.5).describe() == "at most 2 in flight, 5 may wait up to 0.5 s"
    assert Bulkhead(2, queue=5).describe() == "at most 2 in flight, 5 may wait up to the deadline"
    assert Bulkhead(2) == Bulkhead(2, queue=0)
    assert Bulkhead(2, queue=1, max_wait=dt.timedelta(seconds=1)) == Bulkhead(2, queue=1, max_wait=1)


def test_the_snapshot_tells_limit_flight_and_line():
    pipeline = Pipeline(name(), Bulkhead(5, queue=2, max_wait=1))
    with pipeline.permit(), pipeline.permit():
        assert pipeline.snapshot() == {"bulkhead": {"limit": 5, "in_flight": 2, "queued": 0}}
        assert not pipeline.resting()
    assert pipeline.resting()
