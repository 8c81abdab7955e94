"""A call may be cancelled at every step, once or twice in a row: nothing stays taken, nothing is judged.

A step is a place where the call suspends. The cancellation arrives either as it suspends or as
it wakes up with what it waited for in its hands, which is the hard moment: a permit has been
handed over, a timeout has just run out.
"""

from __future__ import annotations

import asyncio
import types

import pytest
import trio

from resilient import (
    Backoff,
    BreakerOpen,
    Bulkhead,
    BulkheadFull,
    CallTimeout,
    CircuitBreaker,
    Pipeline,
    RateLimit,
    RateLimited,
    Retry,
    RetryBudget,
    Timeout,
)
from tests._stage import ASYNCIO, CANCELLED, TRIO, VirtualClock, every_loop, judged, name, nothing_left

MOST_STEPS = 60


class Down(Exception):
    """What the downstream raises when it fails."""


@types.coroutine
def stepping(coroutine, on_step):
    """Drive a coroutine and tell of every step, with what it suspends on."""
    error = value = None
    while True:
        try:
            trap = coroutine.send(value) if error is None else coroutine.throw(error)
        except StopIteration as stop:
            return stop.value
        on_step(trap)
        error = value = None
        try:
            value = yield trap
        except BaseException as thrown:
            error = thrown


class Asyncio:
    """Cancels a task at its steps."""

    colour = ASYNCIO

    def __init__(self, steps, late):
        self.steps, self.late, self.seen = steps, late, 0
        self.task = None
        self.delivered = 0

    def on_step(self, trap):
        self.seen += 1
        if self.seen not in self.steps:
            return
        if self.late and trap is not None:
            trap.add_done_callback(lambda _: self.cancel())  # before the task's own callback
        elif self.late:
            asyncio.get_running_loop().call_soon(self.cancel)
        else:
            self.cancel()

    def cancel(self):
        self.delivered += 1
        self.task.cancel()

    async def run(self, stage, thunk):
        async def main():
            return await stepping(thunk(), self.on_step)

        self.task = asyncio.get_running_loop().create_task(main())
        await asyncio.wait([self.task])
        if self.task.cancelled():
            return CANCELLED
        return self.task.exception() or self.task.result()


class Trio(trio.abc.Instrument):
    """Cancels a scope at the steps of a task; the second time, the scope around it."""

    colour = TRIO

    def __init__(self, steps, late):
        self.steps, self.late, self.seen = steps, late, 0
        self.scopes = [trio.CancelScope(), trio.CancelScope()]
        self.task, self.waking = None, False
        self.delivered = 0

    def on_step(self, trap):
        self.seen += 1
        if self.seen in self.steps:
            if self.late:
                self.waking = True
            else:
                self.cancel()

    def task_scheduled(self, task):
        if self.waking and task is self.task:
            self.waking = False
            self.cancel()

    def cancel(self):
        self.scopes[1 if self.delivered == 0 else 0].cancel()
        self.delivered += 1

    async def run(self, stage, thunk):
        done, ending = trio.Event(), []

        async def main():
            self.task = trio.lowlevel.current_task()
            try:
                with self.scopes[0], self.scopes[1]:
                    try:
                        ending.append(await stepping(thunk(), self.on_step))
                    except Exception as error:
                        ending.append(error)
            finally:
                done.set()

        trio.lowlevel.add_instrument(self)
        try:
            stage.nursery.start_soon(main)
            await done.wait()
        finally:
            trio.lowlevel.remove_instrument(self)
        return ending[0] if ending else CANCELLED


LOOPS = {"asyncio": Asyncio, "trio": Trio}


def five_policies(**breaker):
    return Pipeline(
        name("cancelled"),
        Timeout(30),
        Retry(4, backoff=Backoff(base=0.5, jitter="none"), budget=RetryBudget(start=10)),
        CircuitBreaker(jitter=0, ramp=0, **breaker),
        RateLimit(2, per=4, burst=1, max_wait=20, adaptive=False),
        Bulkhead(1, queue=3, max_wait=20),
        Timeout(5),
    )


class Story:
    """Calls whose every wait happens: for a turn, in line, in the body, between attempts."""

    def __init__(self, loop, steps, late):
        self.canceller = LOOPS[loop](steps, late)
        self.failed = self.succeeded = self.attempts = 0

    async def body(self, stage):
        self.attempts += 1
        try:
            await self.attempt(stage)
        except Down:
            self.failed += 1
            raise
        self.succeeded += 1
        return "done"

    async def attempt(self, stage):
        try:
            await stage.tick()
            await stage.sleep(0.1)
            if self.attempts == 1:
                raise Down
            if self.attempts == 2:
                await stage.sleep(100)  # our timeout ends it
            await stage.sleep(0.1)
        finally:
            await stage.tick()  # cleaning up suspends, too: here the second cancellation arrives

    async def play(self, stage):
        pipeline = five_policies(consecutive=None, min_calls=100, window=1000)
        go = stage.gate()
        holder = stage.start(lambda: stage.call(pipeline, go.wait))  # takes turn and permit
        await stage.until(lambda: pipeline[Bulkhead].snapshot()["in_flight"])

        async def open_the_gate():
            while not (pipeline[Bulkhead].snapshot()["queued"] or over):
                await stage.sleep(0.05)
            await stage.sleep(1)
            go.set()

        over = []
        opener = stage.start(open_the_gate)
        ending = await self.canceller.run(stage, lambda: stage.call(pipeline, self.body, stage))
        over.append(1)
        await opener.join()
        await holder.join()
        return pipeline, ending

    async def look_back(self, stage):
        pipeline, ending = await self.play(stage)
        nothing_left(pipeline)
        calls, failures = judged(pipeline)
        timeouts = failures - self.failed
        assert timeouts in (0, 1)
        assert timeouts <= (self.attempts >= 2)
        assert calls == 1 + self.succeeded + failures, "a cancelled attempt was judged"
        if ending == CANCELLED:
            assert self.succeeded == 0
        await stage.sleep(30)
        assert pipeline[RateLimit].peek() == (False, 1, 0.0, 0.0), "turns that were given back are free again"
        for _ in range(2):
            assert await stage.call(pipeline, returns, "after") == "after"
        tokens = pipeline[Retry].budget.tokens()
        # A retry pays when its pause is over, though it may still be cancelled before its turn.
        assert round(10 - tokens) - max(0, self.attempts - 1) in (0, 1)
        return ending


async def returns(value):
    return value


def steps_of_a_whole_call(loop):
    story = Story(loop, (), False)
    assert story.canceller.colour.play(story.look_back) == "done"
    assert story.attempts == 3
    return story.canceller.seen


@pytest.mark.parametrize("late", [False, True], ids=["suspending", "waking"])
@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
@pytest.mark.parametrize("loop", LOOPS)
def test_a_call_may_be_cancelled_at_every_step(loop, times, late):
    whole = steps_of_a_whole_call(loop)
    assert 10 < whole < MOST_STEPS
    endings = []
    for step in range(1, whole + 1):
        story = Story(loop, range(step, step + times), late)
        endings.append(story.canceller.colour.play(story.look_back))
        assert story.canceller.delivered >= 1, f"no cancellation arrived at step {step}"
    cancelled = endings.count(CANCELLED)
    # As it wakes for the last time, trio's task has nothing left to be interrupted in.
    assert cancelled >= whole - 1 if loop == "asyncio" else cancelled >= whole * 0.7
    assert set(map(str, endings)) <= {CANCELLED, "done"}


@pytest.mark.parametrize("late", [False, True], ids=["suspending", "waking"])
@pytest.mark.parametrize("loop", LOOPS)
def test_a_probe_may_be_cancelled_at_every_step(loop, late):
    def play(steps):
        canceller = LOOPS[loop](steps, late)

        async def fail():
            raise Down

        async def slow(stage):
            for _ in range(3):
                await stage.sleep(0.1)
            return "done"

        async def scenario(stage):
            pipeline = Pipeline(
                name("probe"),
                CircuitBreaker(consecutive=1, probes=1, open_for=5, jitter=0, ramp=0),
                Bulkhead(2),
                Timeout(3),
            )
            with pytest.raises(Down):
                await stage.call(pipeline, fail)
            await stage.sleep(5.001)
            ending = await canceller.run(stage, lambda: stage.call(pipeline, slow, stage))
            state = pipeline[CircuitBreaker].snapshot()
            assert state["state"] == ("half_open" if ending == CANCELLED else "closed")
            nothing_left(pipeline)
            assert await stage.call(pipeline, returns, "next probe") == "next probe"
            assert pipeline[CircuitBreaker].snapshot()["state"] == "closed"
            return ending

        return canceller.colour.play(scenario), canceller.seen

    ending, whole = play(())
    assert ending == "done"
    for step in range(1, whole + 1):
        ending, _ = play((step,))
        assert ending == CANCELLED or (loop == "trio" and late and step == whole)


@every_loop
def test_a_crowd_that_is_cancelled_at_random_leaves_nothing(colour):
    clock = VirtualClock(11)
    draw = clock.random
    refusals = (BreakerOpen, BulkheadFull, RateLimited, CallTimeout, Down)

    async def body(stage):
        await stage.sleep(draw() * 8)
        if draw() < 0.2:
            raise Down

    async def scenario(stage):
        pipeline = Pipeline(
            name("crowd"),
            Timeout(30),
            Retry(3),
            CircuitBreaker(consecutive=None, open_for=1, max_open_for=2, ramp=0),
            RateLimit(20, burst=5, max_wait=5),
            Bulkhead(3, queue=10, max_wait=5),
            Timeout(5),
        )
        endings = []
        for _ in range(20):
            children = [stage.start(lambda: stage.call(pipeline, body, stage)) for _ in range(20)]
            for child in children:
                if draw() < 0.5:
                    await stage.sleep(draw() * 0.4)
                    child.cancel()
            endings += [await child.join() for child in children]
            assert pipeline[Bulkhead].line.limit == 3
        nothing_left(pipeline)
        return endings

    endings = colour.play(scenario, clock)
    assert endings.count(CANCELLED) > 50
    assert all(ending is None or ending == CANCELLED or isinstance(ending, refusals) for ending in endings)
    assert {type(ending) for ending in endings if isinstance(ending, Exception)} >= {BulkheadFull, CallTimeout}
