"""Bulkhead and timeout keep none of the bugs that other libraries have shown: cases T51 to T58."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
import time
from contextlib import suppress
from contextvars import ContextVar

import pytest
import trio

from resilient import (
    Bulkhead,
    BulkheadFull,
    CallTimeout,
    Fallback,
    Pipeline,
    Retry,
    Timeout,
    Unguardable,
    deadline,
)
from resilient._machines.permits import Line
from resilient._runtime import threads
from resilient._runtime.awaiting import TaskWaiter
from resilient._runtime.blocking import ThreadWaiter
from tests._stage import (
    ASYNCIO,
    CANCELLED,
    THREADS,
    TRIO,
    VirtualClock,
    every_colour,
    every_loop,
    installed,
    name,
    nothing_left,
)

FOREVER = 1e9


def state(pipeline):
    """Return the calls in flight and in line."""
    now = pipeline[Bulkhead].snapshot()
    return now["in_flight"], now["queued"]


async def answer():
    return "answer"


# -- T51, T52: cancellation returns permits and places ----------------------------------------


@every_loop
def test_t51_cancelled_calls_return_their_permits(colour):
    pipeline = Pipeline(name(), Bulkhead(2))

    async def scenario(stage):
        for _ in range(3):
            children = [stage.start(lambda: stage.call(pipeline, stage.sleep, FOREVER)) for _ in range(2)]
            await stage.until(lambda: state(pipeline) == (2, 0))
            with pytest.raises(BulkheadFull):
                await stage.call(pipeline, answer)
            for child in children:
                child.cancel()
                assert await child.join() == CANCELLED
        assert await stage.together(*[lambda: stage.call(pipeline, answer)] * 2) == ["answer"] * 2

    colour.play(scenario)
    nothing_left(pipeline)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError, OSError])
@every_colour
def test_t51_whatever_ends_a_call_returns_its_permit(colour, kind):
    pipeline = Pipeline(name(), Bulkhead(1))

    async def end():
        raise kind

    async def scenario(stage):
        for _ in range(3):
            with suppress(kind):
                await stage.call(pipeline, end)
            assert await stage.call(pipeline, answer) == "answer"

    colour.play(scenario)
    nothing_left(pipeline)


@every_loop
def test_t52_a_cancelled_waiter_leaves_the_line(colour):
    pipeline = Pipeline(name(), Bulkhead(1, queue=2, max_wait=50))

    async def scenario(stage):
        go = stage.gate()
        holder = stage.start(lambda: stage.call(pipeline, go.wait))
        await stage.until(lambda: state(pipeline) == (1, 0))
        for _ in range(4):
            waiters = [stage.start(lambda: stage.call(pipeline, answer)) for _ in range(2)]
            await stage.until(lambda: state(pipeline) == (1, 2))
            waiters[0].cancel()
            assert await waiters[0].join() == CANCELLED
            assert state(pipeline) == (1, 1)
            waiters[1].cancel()
            assert await waiters[1].join() == CANCELLED
            assert state(pipeline) == (1, 0)
        go.set()
        await holder.join()
        assert await stage.call(pipeline, answer) == "answer"

    colour.play(scenario)
    nothing_left(pipeline)


@every_loop
def test_t52_a_permit_handed_to_a_cancelled_waiter_goes_to_the_next(colour):
    pipeline = Pipeline(name(), Bulkhead(1, queue=3, max_wait=50))

    async def scenario(stage):
        async with pipeline.permit():
            waiters = [stage.start(lambda: stage.call(pipeline, answer)) for _ in range(2)]
            await stage.until(lambda: state(pipeline) == (1, 2))
        assert state(pipeline) == (1, 1), "the permit is on its way to the first in line"
        waiters[0].cancel()
        return [await waiter.join() for waiter in waiters]

    assert colour.play(scenario) == [CANCELLED, "answer"]
    nothing_left(pipeline)


@every_loop
def test_t52_who_waits_in_vain_gets_nothing_and_keeps_nothing(colour):
    pipeline = Pipeline(name(), Bulkhead(1, queue=2, max_wait=1))

    async def scenario(stage):
        go = stage.gate()
        holder = stage.start(lambda: stage.call(pipeline, go.wait))
        await stage.until(lambda: state(pipeline) == (1, 0))
        before = stage.clock.now()
        endings = await stage.together(*[lambda: stage.call(pipeline, answer)] * 3)
        assert stage.clock.now() - before == pytest.approx(1)
        assert [(type(ending), ending.reason) for ending in sorted(endings, key=str)] == [
            (BulkheadFull, "queue_full"),
            (BulkheadFull, "queue_timeout"),
            (BulkheadFull, "queue_timeout"),
        ]
        assert state(pipeline) == (1, 0)
        go.set()
        await holder.join()

    colour.play(scenario)
    nothing_left(pipeline)


@every_colour
def test_t52_the_line_is_served_in_order(colour):
    pipeline = Pipeline(name(), Bulkhead(1, queue=20, max_wait=50))
    served = []

    async def scenario(stage):
        go = stage.gate()
        holder = stage.start(lambda: stage.call(pipeline, go.wait))
        await stage.until(lambda: state(pipeline) == (1, 0))

        async def serve(number):
            served.append(number)

        children = []
        for number in range(10):
            children.append(stage.start(lambda number=number: stage.call(pipeline, serve, number)))
            await stage.until(lambda number=number: state(pipeline) == (1, number + 1))
        go.set()
        for child in [holder, *children]:
            await child.join()

    colour.play(scenario)
    assert served == list(range(10))
    nothing_left(pipeline)


def test_t52_a_waiter_that_was_stopped_while_accepting_does_not_keep_the_permit():
    line, waiter = Line(1), ThreadWaiter()
    permit = line.take()
    assert line.join(waiter, 1)
    line.give(permit)
    del permit
    waiter.accepted()  # a signal handler raises right after this step of accept()
    for now in (100, 105, 109):
        line.reclaim(now, 5)
        assert len(line.free) == 0, "it may be about to take it"
    line.reclaim(110, 5)
    assert len(line.free) == 1
    assert waiter.accept() is None


@every_colour
def test_t52_who_has_left_is_handed_nothing(colour):
    async def scenario(stage):
        waiter = ThreadWaiter() if colour is THREADS else TaskWaiter()
        assert waiter.claim() == 0, "it leaves"
        assert not waiter.offer("permit"), "the giver has just picked it"
        assert waiter.value is None

    colour.play(scenario)


# -- T53, T58: one limit, whoever calls -------------------------------------------------------


def test_t53_two_event_loops_share_one_limit():
    pipeline = Pipeline(name(), Bulkhead(1, queue=50, max_wait=10))
    most, inside, lock = [0], [0], threading.Lock()

    async def work():
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        await asyncio.sleep(0.0005)
        with lock:
            inside[0] -= 1

    async def many():
        await asyncio.gather(*(pipeline.acall(work) for _ in range(20)))

    loops = [threading.Thread(target=lambda: asyncio.run(many())) for _ in range(2)]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join(20)
        assert not loop.is_alive()
    assert most == [1]
    nothing_left(pipeline)


def test_t53_a_loop_after_another_finds_the_limit_unchanged():
    pipeline = Pipeline(name(), Bulkhead(1))

    async def scenario():
        go = asyncio.Event()
        holder = asyncio.create_task(pipeline.acall(go.wait))
        await asyncio.sleep(0)
        with pytest.raises(BulkheadFull):
            await pipeline.acall(answer)
        go.set()
        await holder

    for _ in range(3):
        asyncio.run(scenario())
    nothing_left(pipeline)


def test_t58_threads_asyncio_and_trio_share_one_limit():
    pipeline = Pipeline(name(), Bulkhead(3))
    arrived, go = threading.Barrier(4), threading.Event()

    def hold():
        arrived.wait(10)
        go.wait(10)

    async def ahold():
        hold()  # blocks its own loop, which is all that runs there

    runs = [
        threading.Thread(target=lambda: pipeline.call(hold)),
        threading.Thread(target=lambda: asyncio.run(pipeline.acall(ahold))),
        threading.Thread(target=lambda: trio.run(pipeline.acall, ahold)),
    ]
    for run in runs:
        run.start()
    arrived.wait(10)
    try:
        assert state(pipeline) == (3, 0)
        with pytest.raises(BulkheadFull):
            pipeline.call(int)
        with pytest.raises(BulkheadFull):
            asyncio.run(pipeline.acall(answer))
        with pytest.raises(BulkheadFull):
            trio.run(pipeline.acall, answer)
        with pytest.raises(BulkheadFull), pipeline.permit():
            pass
    finally:
        go.set()
        for run in runs:
            run.join(10)
    nothing_left(pipeline)


def test_t58_the_line_is_one_for_threads_asyncio_and_trio():
    pipeline = Pipeline(name(), Bulkhead(1, queue=3, max_wait=10))
    served = []

    async def aserve(who):
        served.append(who)

    go, held = threading.Event(), threading.Event()

    def hold():
        held.set()
        go.wait(10)

    runs = [threading.Thread(target=lambda: pipeline.call(hold))]
    runs[0].start()
    assert held.wait(10)
    for target in (
        lambda: asyncio.run(pipeline.acall(aserve, "asyncio")),
        lambda: pipeline.call(served.append, "thread"),
        lambda: trio.run(pipeline.acall, aserve, "trio"),
    ):
        runs.append(threading.Thread(target=target))
        runs[-1].start()
        latest = time.monotonic() + 10
        while state(pipeline)[1] < len(runs) - 1:
            assert time.monotonic() < latest
            time.sleep(0.0005)
    go.set()
    for run in runs:
        run.join(10)
        assert not run.is_alive()
    assert served == ["asyncio", "thread", "trio"]
    nothing_left(pipeline)


# -- T54: whose timeout was it? ---------------------------------------------------------------


class Late(TimeoutError):
    """A timeout of the function's own kind."""


@pytest.mark.parametrize("kind", [TimeoutError, Late])
@every_colour
def test_t54_a_timeout_error_of_the_function_passes_untouched(colour, kind):
    pipeline = Pipeline(name(), Timeout(60))
    raised = kind("of the function")

    async def fail():
        raise raised

    async def scenario(stage):
        with pytest.raises(kind) as caught:
            await stage.call(pipeline, fail)
        return caught.value

    ending = colour.play(scenario)
    assert ending is raised
    assert not isinstance(ending, CallTimeout)


@every_loop
def test_t54_our_own_timeout_says_whose_it_was(colour):
    pipeline = Pipeline(name("slow"), Timeout(2), Retry(1), Timeout(0.5))

    async def scenario(stage):
        with pytest.raises(CallTimeout) as caught:
            await stage.call(pipeline, stage.sleep, FOREVER)
        return caught.value

    ending = colour.play(scenario)
    assert isinstance(ending, TimeoutError)
    assert (ending.downstream, ending.policy, ending.seconds) == (pipeline.name, "timeout_2", 0.5)
    assert ending.ran == pytest.approx(0.5)


def test_t54_a_thread_that_timed_out_hurts_no_later_call():
    pipeline = Pipeline(name(), Timeout(0.02))
    go = threading.Event()
    try:
        for _ in range(3):
            with pytest.raises(CallTimeout):
                pipeline.call(go.wait, 20)
            for _ in range(20):
                assert pipeline.call(int, "7") == 7
            with pytest.raises(TimeoutError, match="mine") as caught:
                pipeline.call(raise_, TimeoutError("mine"))
            assert type(caught.value) is TimeoutError
    finally:
        go.set()
    wait_until(lambda: threads.abandoned() == 0)


def raise_(error):
    raise error


def wait_until(condition):
    latest = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < latest, "it never came true"
        time.sleep(0.001)


def test_t54_the_permit_of_an_abandoned_thread_comes_back_when_it_really_ends():
    pipeline = Pipeline(name(), Bulkhead(1), Timeout(0.02))
    go = threading.Event()
    try:
        with pytest.raises(CallTimeout):
            pipeline.call(go.wait, 20)
        assert state(pipeline) == (1, 0)
        with pytest.raises(BulkheadFull):
            pipeline.call(int)
    finally:
        go.set()
    wait_until(lambda: state(pipeline) == (0, 0))
    assert pipeline.call(int) == 0
    nothing_left(pipeline)


# -- T55: worker threads ----------------------------------------------------------------------


def test_t55_no_call_waits_for_a_worker():
    pipeline = Pipeline(name(), Timeout(10))
    together = threading.Barrier(24)  # passes only if all of them run at the same time
    endings = []

    def work():
        together.wait(10)
        return "done"

    callers = [threading.Thread(target=lambda: endings.append(pipeline.call(work))) for _ in range(24)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(20)
    assert endings == ["done"] * 24


def test_t55_context_variables_go_with_the_call():
    variable = ContextVar("variable", default="unset")
    pipeline = Pipeline(name(), Timeout(10))
    variable.set("set")
    caller = threading.get_ident()

    def look():
        found = variable.get()
        variable.set("changed")
        return found, threading.get_ident() != caller

    for _ in range(3):
        assert pipeline.call(look) == ("set", True)
    assert variable.get() == "set"


def test_t55_pipelines_inside_pipelines_do_not_starve_each_other():
    pipelines = [Pipeline(name(), Timeout(20)) for _ in range(40)]

    def nest(depth):
        return depth if depth == len(pipelines) else pipelines[depth].call(nest, depth + 1)

    assert nest(0) == 40


# -- T56: one object, many calls --------------------------------------------------------------


@every_loop
def test_t56_every_user_of_one_timeout_has_an_end_of_its_own(colour):
    policy = Timeout(1)
    pipelines = [Pipeline(name(), policy), Pipeline(name(), policy)]
    ended = {}

    async def scenario(stage):
        start = stage.clock.now()

        async def use(number):
            await stage.sleep(number * 0.1)
            try:
                await stage.call(pipelines[number % 2], stage.sleep, 0.05 if number % 3 == 0 else FOREVER)
            finally:
                ended[number] = round(stage.clock.now() - start, 6)

        return await stage.together(*(lambda number=number: use(number) for number in range(12)))

    endings = colour.play(scenario)
    for number, ending in enumerate(endings):
        lasts = 0.05 if number % 3 == 0 else 1
        assert isinstance(ending, CallTimeout) == (lasts == 1), number
        assert ended[number] == pytest.approx(number * 0.1 + lasts)


@every_loop
def test_t56_a_deadline_cuts_a_call_before_those_that_began_earlier(colour):
    pipeline = Pipeline(name(), Timeout(10))
    ended = {}

    async def scenario(stage):
        start = stage.clock.now()

        async def use(number, seconds):
            try:
                with deadline(seconds):
                    await stage.call(pipeline, stage.sleep, FOREVER)
            finally:
                ended[number] = round(stage.clock.now() - start, 6)

        limits = (20, 3, 5, 1, 20, 4, 4)
        cases = [functools.partial(use, number, seconds) for number, seconds in enumerate(limits)]
        return await stage.together(*cases)

    endings = colour.play(scenario)
    assert [type(ending) for ending in endings] == [CallTimeout] * 7
    assert [ended[number] for number in range(7)] == pytest.approx([10, 3, 5, 1, 10, 4, 4])
    assert [ending.policy for ending in endings] == ["timeout", *["deadline"] * 3, "timeout", *["deadline"] * 2]
    nothing_left(pipeline)


def test_t56_every_thread_under_one_timeout_has_an_end_of_its_own():
    pipeline = Pipeline(name(), Timeout(0.05))
    go, endings = threading.Event(), []

    def use(number):
        began = time.monotonic()
        time.sleep(number * 0.01)
        try:
            pipeline.call(go.wait, 20)
        except CallTimeout:
            endings.append(time.monotonic() - began - number * 0.01)

    callers = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(20)
    go.set()
    assert len(endings) == 6
    assert all(0.05 <= took < 2 for took in endings)
    wait_until(lambda: threads.abandoned() == 0)


at_import = Pipeline(name("at-import"), Timeout(5), Bulkhead(2))


@at_import
async def decorated_without_a_loop():
    return "async"


@at_import
def decorated_plain():
    return "sync"


def test_t56_decorating_needs_no_running_loop():
    assert asyncio.run(decorated_without_a_loop()) == "async"
    assert trio.run(decorated_without_a_loop) == "async"
    assert decorated_plain() == "sync"
    assert asyncio.run(decorated_without_a_loop()) == "async"
    nothing_left(at_import)


# -- T57: what kind of function is it? --------------------------------------------------------


def test_t57_a_function_is_judged_by_itself_not_by_its_address():
    pipeline = Pipeline(name(), Timeout(5, cooperative=True), Retry(1))
    seen, same = set(), 0
    for number in range(200):
        plain = lambda number=number: number  # noqa: E731
        assert pipeline(plain)() == number
        seen.add(id(plain))
        del plain
        gc.collect(0)

        async def later(number=number):
            return number

        same += id(later) in seen
        with pytest.raises(Unguardable, match="returned the coroutine"):
            pipeline.call(later)
        assert asyncio.run(pipeline(later)()) == number
        del later
    assert same > 0, "no address was used again, so this proves nothing"


@pytest.mark.parametrize(
    "policies",
    [(), (Timeout(5),), (Timeout(5, cooperative=True),), (Retry(5),), (Fallback("instead"), Bulkhead(1))],
    ids=["no policy", "timeout", "cooperative", "retry", "fallback"],
)
def test_t57_a_coroutine_out_of_a_plain_function_is_refused_and_closed(policies):
    pipeline = Pipeline(name(), *policies)
    made = []

    async def later():
        raise AssertionError("nobody may run this")

    def plain():
        made.append(later())
        return made[-1]

    with pytest.raises(TypeError, match="returned the coroutine of"):
        pipeline.call(plain)
    with pytest.raises(TypeError, match="returned the coroutine of"):
        pipeline(plain)()
    assert len(made) == 2, "it was called again"
    assert [coroutine.cr_frame for coroutine in made] == [None, None]


def test_t57_a_plain_function_does_not_run_on_the_thread_of_the_loop():
    pipeline = Pipeline(name(), Timeout(5))

    async def scenario():
        return await asyncio.to_thread(pipeline.call, threading.get_ident), threading.get_ident()

    worker, loop = asyncio.run(scenario())
    assert worker != loop


def test_t57_a_plain_call_that_would_wait_on_a_loop_is_refused():
    pipeline = Pipeline(name(), Bulkhead(1, queue=1, max_wait=10))

    async def scenario(stage):
        go = stage.gate()
        holder = stage.start(lambda: stage.call(pipeline, go.wait))
        await stage.until(lambda: state(pipeline) == (1, 0))
        with pytest.raises(BulkheadFull) as caught, pytest.warns(RuntimeWarning, match="running event loop"):
            pipeline.call(int)
        assert caught.value.reason == "event_loop"
        with pytest.raises(BulkheadFull):  # warned once
            pipeline.call(int)
        go.set()
        await holder.join()

    ASYNCIO.play(scenario)
    pipeline = Pipeline(name(), Bulkhead(1, queue=1, max_wait=10))
    TRIO.play(scenario)


def test_t58_a_waiting_thread_gets_its_time_and_no_more():
    pipeline = Pipeline(name(), Bulkhead(1, queue=1, max_wait=3))
    clock = VirtualClock()
    with installed(clock), pipeline.permit():
        with pytest.raises(BulkheadFull) as caught:
            pipeline.call(int)
        assert caught.value.reason == "queue_timeout"
        assert clock.now() == 1003
    nothing_left(pipeline)
    assert THREADS.play(lambda stage: stage.call(pipeline, answer)) == "answer"
