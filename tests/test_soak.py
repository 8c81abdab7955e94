"""A long storm of calls that are cancelled, fail and time out at random leaves nothing behind.

The suite plays a seeded hundredth of it; `nox -s soak` plays a million calls.
"""

from __future__ import annotations

import gc
import threading
import time
from contextlib import suppress
from random import Random

import pytest

from resilient import (
    Backoff,
    BreakerOpen,
    Bulkhead,
    BulkheadFull,
    CallTimeout,
    CircuitBreaker,
    DeadlineExceeded,
    Pipeline,
    RateLimit,
    RateLimited,
    Rejected,
    Retry,
    RetryBudget,
    Timeout,
    deadline,
)
from resilient._runtime import threads
from tests._stage import ASYNCIO, CANCELLED, TRIO, VirtualClock, name, nothing_left

FULL = 1_000_000
SHARES = {"asyncio": 0.5, "trio": 0.3, "threads": 0.2}

sizes = pytest.mark.parametrize(
    "calls",
    [
        pytest.param(FULL // 100, id="seeded hundredth"),
        pytest.param(FULL, id="in full", marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
    ],
)


class Down(Exception):
    """What the downstream raises when it fails."""


class Busy(Exception):
    """What it raises when it throttles."""

    retry_after = 0.02


EXPECTED = (Down, Busy, CallTimeout, BreakerOpen, BulkheadFull, RateLimited, DeadlineExceeded)


def pipeline_of(prefix):
    return Pipeline(
        name(prefix),
        Timeout(20),
        Retry(3, backoff=Backoff(base=0.05), budget=RetryBudget(ratio=0.5)),
        CircuitBreaker(
            failure_rate=0.6, consecutive=None, min_calls=10, window=5, open_for=0.2, max_open_for=1, ramp=1
        ),
        RateLimit(200, burst=20, max_wait=2),
        Bulkhead(5, queue=15, max_wait=3),
        Timeout(1),
    )


def finished(pipeline):
    """Demand that all is back to zero."""
    gc.collect()
    nothing_left(pipeline)
    state = pipeline.snapshot()
    assert state["circuit_breaker"]["in_flight"] == 0
    assert state["bulkhead"]["in_flight"] == state["bulkhead"]["queued"] == 0


@sizes
@pytest.mark.parametrize("colour", [ASYNCIO, TRIO], ids=repr)
def test_a_storm_of_tasks_leaves_nothing_behind(colour, calls):
    calls = int(calls * SHARES[colour.label])
    clock, generator = VirtualClock(calls), Random(calls)
    draw = generator.random
    tally = {}

    weather = [0.0]

    async def body(stage):
        fate = draw()
        if fate < weather[0]:
            raise Down
        if fate > 0.98:
            raise Busy
        try:
            await stage.sleep(draw() * 0.06)
            if 0.94 < fate < 0.97:
                await stage.sleep(100)  # until somebody ends it
            if 0.9 < fate < 0.94:
                raise Down
        finally:
            if fate > 0.95:
                await stage.tick()
        return "done"

    async def call(stage, pipeline):
        if draw() < 0.1:
            with deadline(draw() * 0.5):
                return await stage.call(pipeline, body, stage)
        return await stage.call(pipeline, body, stage)

    async def scenario(stage):
        pipeline = pipeline_of("soak")
        left = calls
        while left > 0:
            crowd = []
            weather[0] = draw() ** 3
            for _ in range(min(50, left)):
                crowd.append(stage.start(lambda: call(stage, pipeline)))
                if draw() < 0.7:
                    await stage.sleep(draw() * 0.01)
                if draw() < 0.4:
                    generator.choice(crowd).cancel()
            left -= len(crowd)
            for child in crowd:
                ending = await child.join()
                kind = ending if isinstance(ending, str) else type(ending).__name__
                tally[kind] = tally.get(kind, 0) + 1
                assert ending in ("done", CANCELLED) or isinstance(ending, EXPECTED), repr(ending)
            nothing_left(pipeline)
        finished(pipeline)
        await stage.sleep(120)
        assert pipeline[RateLimit].peek().reset_after == 0
        if pipeline[CircuitBreaker].snapshot()["state"] == "closed":
            assert await stage.call(pipeline, answer) == "answer"

    colour.play(scenario, clock)
    assert sum(tally.values()) == calls
    for kind in ("done", CANCELLED, "Down", "Busy", "CallTimeout", "BreakerOpen", "BulkheadFull"):
        assert tally.get(kind, 0) > calls / 10_000, (kind, tally)


async def answer():
    return "answer"


class Interrupt(BaseException):
    """What stands for a signal in a thread: it comes out of the function."""


@sizes
def test_a_storm_of_threads_leaves_nothing_behind(calls):
    calls = int(calls * SHARES["threads"])
    pipeline = Pipeline(
        name("soak"),
        Timeout(10),
        Retry(3, backoff=Backoff(base=0.0001), budget=RetryBudget(ratio=0.5)),
        CircuitBreaker(failure_rate=0.6, consecutive=None, min_calls=20, window=1, open_for=0.005, max_open_for=0.01),
        RateLimit(1e6, burst=100, max_wait=0.1),
        Bulkhead(4, queue=6, max_wait=0.1),
        Timeout(0.02),
    )
    inside, most, late, problems, tally = [], [], [], [], []
    go = threading.Event()

    def body(generator):
        fate = generator.random()
        inside.append(1)
        try:
            most.append(len(inside))
            if fate < 0.15:
                raise Down
            if fate < 0.17:
                raise Interrupt
            if fate < 0.18:
                time.sleep(0.03)  # past the timeout
                late.append(1)
            if fate < 0.4:
                time.sleep(0)
            return "done"
        finally:
            inside.pop()

    def work(seed):
        generator = Random(seed)
        go.wait(10)
        for _ in range(calls // 8):
            try:
                if generator.random() < 0.05:
                    with deadline(generator.random() * 0.01):
                        tally.append(pipeline.call(body, generator))
                elif generator.random() < 0.1:
                    with pipeline.permit() as permit:
                        if generator.random() < 0.5:
                            permit.failed(Down())
                        tally.append("permit")
                else:
                    tally.append(pipeline.call(body, generator))
            except Interrupt:
                tally.append("Interrupt")
            except EXPECTED as error:
                tally.append(type(error).__name__)
            except Rejected as error:
                tally.append(type(error).__name__)
            except BaseException as error:
                problems.append(error)

    crowd = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(8)]
    for each in crowd:
        each.start()
    go.set()
    for each in crowd:
        each.join(3000)
        assert not each.is_alive()
    assert problems == []
    assert max(most) <= 4, "more were in flight than the bulkhead allows"
    latest = time.monotonic() + 10
    while threads.abandoned() or pipeline[Bulkhead].snapshot()["in_flight"]:
        assert time.monotonic() < latest, pipeline.snapshot()
        time.sleep(0.001)
    finished(pipeline)
    assert len(tally) == calls // 8 * 8
    for kind in ("done", "Down", "Interrupt", "permit"):
        assert tally.count(kind) > 0, (kind, {each: tally.count(each) for each in set(tally)})
    assert len(late) > calls / 1000
    with suppress(BreakerOpen):
        assert pipeline.call(int) == 0
