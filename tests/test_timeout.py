"""What `Timeout` promises: whose end cuts a call, where plain functions run, and what they leave behind."""

from __future__ import annotations

import asyncio
import contextvars
import datetime as dt
import pickle
import threading
import time
from contextlib import contextmanager

import pytest

from resilient import (
    Backoff,
    Bulkhead,
    CallTimeout,
    DeadlineExceeded,
    Fallback,
    Pipeline,
    Retry,
    ThreadsExhausted,
    Timeout,
    deadline,
    remaining,
    subscribe,
)
from resilient._runtime import threads
from tests._stage import THREADS, VirtualClock, every_colour, every_loop, installed, name

FOREVER = 1e6
QUICK = Backoff(base=0)


class Down(Exception):
    """What the downstream raises when it fails."""


def until(condition):
    latest = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < latest, "it never came true"
        time.sleep(0.0005)


@contextmanager
def gate():
    """Yield what functions hang on; they are let go at the end, and all of them have ended then."""
    event = threading.Event()
    try:
        yield event
    finally:
        event.set()
        until(lambda: threads.abandoned() == 0)


def in_flight(pipeline):
    return pipeline[Bulkhead].snapshot()["in_flight"]


@pytest.fixture
def hops(monkeypatch):
    """Return the list of functions that were started in a worker thread."""
    started = []
    start = threads.start

    def counting(context, function, *rest):
        started.append(function)
        return start(context, function, *rest)

    monkeypatch.setattr(threads, "start", counting)
    return started


# -- whose end ---------------------------------------------------------------------------------


@every_colour
def test_what_is_done_in_time_returns(colour):
    pipeline = Pipeline(name(), Timeout(dt.timedelta(seconds=2)))

    async def answer():
        return "answer"

    assert colour.play(lambda stage: stage.call(pipeline, answer)) == "answer"


CUTS = {
    "the only one": ((Timeout(2),), None, ("timeout", 2, 2)),
    "the inner one, which is shorter": ((Timeout(5), Timeout(2)), None, ("timeout_1", 2, 2)),
    "the caller's deadline": ((Timeout(5), Timeout(2)), 1.5, ("deadline", 1.5, 1.5)),
    "the inner one, although there is a deadline": ((Timeout(5), Timeout(2)), 3, ("timeout_1", 2, 2)),
}


@pytest.mark.parametrize(("policies", "ambient", "cut"), CUTS.values(), ids=CUTS)
@every_loop
def test_the_error_names_the_end_that_came_first(colour, policies, ambient, cut):
    pipeline = Pipeline(name(), *policies)

    async def scenario(stage):
        began = stage.clock.now()
        with deadline(FOREVER if ambient is None else ambient), pytest.raises(CallTimeout) as caught:
            await stage.call(pipeline, stage.sleep, FOREVER)
        assert stage.clock.now() - began == pytest.approx(cut[1])
        return caught.value

    error = colour.play(scenario)
    assert (error.downstream, error.policy, error.seconds) == (pipeline.name, *cut[:2])
    assert error.ran == pytest.approx(cut[2])


@every_loop
def test_the_end_of_the_whole_call_cuts_the_attempt_that_meets_it(colour):
    pipeline = Pipeline(name(), Timeout(5), Retry(attempts=9, backoff=QUICK, budget=None), Timeout(2))

    async def scenario(stage):
        began = stage.clock.now()
        with pytest.raises(CallTimeout) as caught:
            await stage.call(pipeline, stage.sleep, FOREVER)
        assert stage.clock.now() - began == pytest.approx(5)
        return caught.value

    error = colour.play(scenario)
    assert (error.policy, error.seconds) == ("timeout_0", 5)
    assert error.ran == pytest.approx(1), "the third attempt alone"


def test_in_a_thread_too():
    with gate() as hang:
        for policies, label in (((Timeout(0.03),), "timeout"), ((Timeout(9), Timeout(0.03)), "timeout_1")):
            with pytest.raises(CallTimeout) as caught:
                Pipeline(name(), *policies).call(hang.wait, 20)
            assert (caught.value.policy, caught.value.seconds) == (label, 0.03)
            assert 0.03 <= caught.value.ran < 5
        with deadline(0.03), pytest.raises(CallTimeout) as caught:
            Pipeline(name(), Timeout(9)).call(hang.wait, 20)
        assert caught.value.policy == "deadline"
        assert caught.value.seconds == pytest.approx(0.03, abs=0.01)


def test_the_error_tells_what_happened_and_survives_pickling():
    error = pickle.loads(pickle.dumps(CallTimeout("payments", "timeout_1", 0.5, 0.51)))
    assert str(error) == "payments: timeout_1 of 0.5 s ran out"
    assert (error.downstream, error.policy, error.seconds, error.ran) == ("payments", "timeout_1", 0.5, 0.51)
    assert (error.retry_after, error.reason) == (None, "timeout")
    assert isinstance(error, TimeoutError)


@every_colour
def test_a_passed_deadline_refuses_and_says_so(colour):
    ran, heard = [], []
    pipeline = Pipeline(name(), Timeout(5))

    async def work():
        ran.append(1)

    async def scenario(stage):
        with deadline(0), pytest.raises(DeadlineExceeded) as caught:
            await stage.call(pipeline, work)
        return caught.value

    stop = subscribe(heard.append)
    try:
        error = colour.play(scenario)
    finally:
        stop()
    assert (error.downstream, error.policy) == (pipeline.name, "timeout")
    assert ran == []
    assert [(event.name, dict(event.fields)) for event in heard] == [
        ("resilient.call.rejected", {"policy": "timeout", "reason": "deadline", "retry_after": None})
    ]


@every_loop
def test_no_deadline_is_left_behind_however_the_call_ends(colour):
    pipeline = Pipeline(name(), Timeout(2))

    async def answer():
        return remaining()

    async def fail():
        raise Down

    async def scenario(stage):
        assert await stage.call(pipeline, answer) == 2
        assert remaining() is None
        for body, error in ((fail, Down), (lambda: stage.sleep(FOREVER), CallTimeout)):
            with pytest.raises(error):
                await stage.call(pipeline, body)
            assert remaining() is None
        with deadline(60):
            await stage.call(pipeline, answer)
            assert remaining() == 60

    colour.play(scenario)


@every_loop
def test_a_fallback_inside_a_timeout_has_no_more_time_than_is_left(colour):
    async def slowly(cause):
        await clock.asleep(FOREVER)

    clock = VirtualClock()
    pipeline = Pipeline(name(), Timeout(2), Fallback(slowly, timeout=9))

    async def fail():
        raise Down

    async def scenario(stage):
        began = stage.clock.now()
        with pytest.raises(Down):
            await stage.call(pipeline, fail)
        return stage.clock.now() - began

    assert colour.play(scenario, clock) == pytest.approx(2)


def test_timers_of_closed_loops_are_forgotten():
    pipeline = Pipeline(name(), Timeout(9))
    for _ in range(5):
        assert asyncio.run(pipeline.acall(_answer)) == "answer"
    assert len(pipeline[Timeout].timers) == 1


class Handle:
    def cancel(self):
        pass


class Coarse(VirtualClock):
    """A clock whose loops call back a little early."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def call_later(self, loop, seconds, callback):
        self.asked.append((seconds, callback))
        return Handle()


def test_a_loop_that_calls_back_early_is_asked_again():
    from resilient._runtime.timers import LoopTimer

    cancelled = []

    class Task:
        def cancel(self):
            cancelled.append(clock.time)

    for start in ("line", "alone"):
        clock = Coarse()
        timer = LoopTimer(asyncio.new_event_loop(), clock)
        end = clock.time + 5
        if start == "alone":
            timer.alone(0, end, Task())
        else:
            timer.pending[0] = (end, Task())
            timer.arm()
        clock.time += 4.999
        clock.asked[0][1]()
        assert cancelled == []
        clock.time = end
        clock.asked[1][1]()
        assert [round(seconds, 6) for seconds, _ in clock.asked] == [5, 0.001]
        assert cancelled == [end]
        assert not timer.pending
        cancelled.clear()
        timer.loop.close()


# -- where plain functions run -----------------------------------------------------------------


def test_all_timeouts_of_a_pipeline_share_one_hop(hops):
    pipeline = Pipeline(name(), Timeout(9), Timeout(8), Retry(), Timeout(7), Bulkhead(1), Timeout(6))
    caller = threading.get_ident()
    assert pipeline.call(threading.get_ident) != caller
    assert len(hops) == 1
    guarded = pipeline(threading.get_ident)
    assert guarded() != caller
    assert len(hops) == 2


def test_each_attempt_makes_its_own_hop(hops):
    endings = iter([Down(), "answer"])

    def flaky():
        ending = next(endings)
        if isinstance(ending, Exception):
            raise ending
        return ending

    pipeline = Pipeline(name(), Timeout(9), Retry(backoff=QUICK), Timeout(6))
    assert pipeline.call(flaky) == "answer"
    assert len(hops) == 2


def test_workers_are_daemons_and_used_again():
    pipeline = Pipeline(name(), Timeout(9))
    first = pipeline.call(threading.current_thread)
    assert first.daemon
    assert first.name.startswith("resilient-")
    assert [pipeline.call(threading.current_thread) for _ in range(5)] == [first] * 5


def test_arguments_results_and_errors_come_and_go_unchanged():
    pipeline = Pipeline(name(), Timeout(9))
    raised = Down()

    def fail():
        raise raised

    given = object()
    assert pipeline.call(lambda *args, **kwargs: (args, kwargs), given, call=1, self=2) == (
        (given,),
        {"call": 1, "self": 2},
    )
    with pytest.raises(Down) as caught:
        pipeline.call(fail)
    assert caught.value is raised
    assert caught.traceback[-1].name == "fail"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_reaches_the_caller_from_the_worker(kind):
    raised = kind()

    def stop():
        raise raised

    with pytest.raises(kind) as caught:
        Pipeline(name(), Timeout(9)).call(stop)
    assert caught.value is raised


def test_what_a_function_changes_in_context_variables_stays_in_its_thread():
    variable = contextvars.ContextVar("variable", default="unset")
    pipeline = Pipeline(name(), Timeout(9), Retry(backoff=QUICK), Timeout(8))
    seen = []

    def work():
        seen.append(variable.get())
        variable.set("changed")
        if len(seen) == 1:
            raise Down

    variable.set("the caller's")
    pipeline.call(work)
    assert seen == ["the caller's"] * 2
    assert variable.get() == "the caller's"


def test_cooperative_stays_in_the_thread_and_tells_how_long_it_has(hops):
    pipeline = Pipeline(name(), Timeout(9, cooperative=True), Timeout(4, cooperative=True))
    clock = VirtualClock()

    def work():
        before = remaining()
        clock.time += 1
        nested = Pipeline(name(), Timeout(60, cooperative=True)).call(remaining)
        clock.time += 30  # nobody cuts it
        return threading.get_ident(), before, nested, remaining()

    with installed(clock):
        assert pipeline.call(work) == (threading.get_ident(), 4, 3, 0)
        assert remaining() is None
    assert hops == []


def test_a_cooperative_timeout_leaves_no_deadline_behind_when_the_function_raises():
    with pytest.raises(Down):
        Pipeline(name(), Timeout(9, cooperative=True)).call(_raise, Down())
    assert remaining() is None


def _raise(error):
    raise error


def test_cooperative_only_if_all_of_a_pipelines_timeouts_are(hops):
    pipeline = Pipeline(name(), Timeout(0.2, cooperative=True), Retry(1), Timeout(0.1))
    with gate() as hang, pytest.raises(CallTimeout):
        pipeline.call(hang.wait, 20)
    assert len(hops) == 1


@every_loop
def test_cooperative_does_not_spare_async_functions(colour):
    pipeline = Pipeline(name(), Timeout(2, cooperative=True))

    async def scenario(stage):
        with pytest.raises(CallTimeout):
            await stage.call(pipeline, stage.sleep, FOREVER)

    colour.play(scenario)


# -- what is left behind -----------------------------------------------------------------------


def test_a_hundred_nested_calls_at_once_do_not_starve_each_other():
    outer, middle, inner = (Pipeline(name(), Timeout(30), Bulkhead(100), Timeout(25 - n)) for n in range(3))
    together = threading.Barrier(100)
    endings = []

    def deepest():
        together.wait(20)  # passes only if all hundred have got this far
        return "done"

    def call():
        endings.append(outer.call(middle.call, inner.call, deepest))

    callers = [threading.Thread(target=call) for _ in range(100)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(25)
    assert endings == ["done"] * 100


@contextmanager
def crowd():
    """Yield what functions hang on, while as many abandoned threads run as may."""
    pipeline = Pipeline(name(), Timeout(0.001))
    with gate() as hang:
        while threads.abandoned() < threads.MOST_ABANDONED:
            with pytest.raises(CallTimeout):
                pipeline.call(hang.wait, 60)
        yield hang


@pytest.fixture
def crowded():
    with crowd() as hang:
        yield hang


def test_no_more_than_64_threads_are_abandoned(crowded):
    assert threads.abandoned() == 64
    ran, heard = [], []
    pipeline = Pipeline(name(), Timeout(5))
    stop = subscribe(heard.append)
    try:
        with pytest.raises(ThreadsExhausted) as caught:
            pipeline.call(ran.append, 1)
    finally:
        stop()
    assert ran == []
    assert (caught.value.downstream, caught.value.policy) == (pipeline.name, "timeout")
    assert caught.value.reason == "abandoned_threads"
    assert [(event.name, dict(event.fields)) for event in heard] == [
        ("resilient.call.rejected", {"policy": "timeout", "reason": "abandoned_threads", "retry_after": None})
    ]
    assert pipeline.snapshot()["timeout"]["abandoned_threads"] == 64
    assert Pipeline(name(), Timeout(1, cooperative=True)).call(int) == 0, "which needs no thread"


def test_refusing_for_want_of_threads_returns_the_permit(crowded):
    pipeline = Pipeline(name(), Retry(), Bulkhead(1), Timeout(1))
    for _ in range(3):
        with pytest.raises(ThreadsExhausted):
            pipeline.call(int)
    assert in_flight(pipeline) == 0


def test_a_fallback_makes_no_more_abandoned_threads_either(crowded, caplog):
    pipeline = Pipeline(name(), Fallback(lambda cause: crowded.wait(60), timeout=0.001))
    raised = Down()
    with pytest.raises(Down) as caught:
        pipeline.call(_raise, raised)
    assert caught.value is raised
    assert threads.abandoned() == 64
    assert "ThreadsExhausted" in caught.value.__notes__[0]


def test_once_they_have_ended_calls_pass_again():
    pipeline = Pipeline(name(), Timeout(5))
    with crowd(), pytest.raises(ThreadsExhausted):
        pipeline.call(int)
    assert pipeline.call(int) == 0


def test_busy_threads_do_not_count():
    pipeline = Pipeline(name(), Timeout(30))
    number = threads.MOST_ABANDONED + 6
    inside = threading.Barrier(number + 1)
    with gate() as hang:

        def work():
            inside.wait(20)
            hang.wait(20)

        callers = [threading.Thread(target=pipeline.call, args=(work,)) for _ in range(number)]
        for caller in callers:
            caller.start()
        inside.wait(20)
        assert threads.abandoned() == 0
        assert pipeline.call(int, "7") == 7
    for caller in callers:
        caller.join(20)


def hangs_once(hang):
    """Return a function that hangs in its first attempt."""
    tries = []

    def work():
        tries.append(1)
        if len(tries) == 1:
            hang.wait(20)
        return "answer"

    return work


def test_the_permit_of_a_call_comes_back_when_its_last_function_has_really_ended():
    pipeline = Pipeline(name(), Bulkhead(2), Retry(backoff=QUICK), Timeout(0.1))
    with gate() as hang:
        assert pipeline.call(hangs_once(hang)) == "answer"
        assert in_flight(pipeline) == 1, "the first attempt still runs"
        assert pipeline.call(int) == 0
        assert in_flight(pipeline) == 1
    until(lambda: in_flight(pipeline) == 0)


def test_the_permit_of_an_attempt_waits_for_that_attempt_only():
    pipeline = Pipeline(name(), Retry(backoff=QUICK), Bulkhead(3), Timeout(0.1))
    with gate() as hang:
        assert pipeline.call(hangs_once(hang)) == "answer"
        assert in_flight(pipeline) == 1, "the second attempt has ended"
        with pytest.raises(CallTimeout):
            Pipeline(name(), Timeout(0.1)).call(hang.wait, 20)  # somebody else's
        assert pipeline.call(int) == 0
        assert in_flight(pipeline) == 1
    until(lambda: in_flight(pipeline) == 0)


def test_of_two_bulkheads_each_waits_for_what_ran_inside_it():
    pipeline = Pipeline(name(), Bulkhead(2), Retry(backoff=QUICK), Bulkhead(3), Timeout(0.1))

    def both():
        return [state["in_flight"] for label, state in pipeline.snapshot().items() if "bulkhead" in label]

    with gate() as hang:
        assert pipeline.call(hangs_once(hang)) == "answer"
        assert both() == [1, 1]
    until(lambda: both() == [0, 0])


def test_an_attempt_that_fails_after_an_abandoned_one_returns_its_own_permit():
    pipeline = Pipeline(name(), Retry(attempts=2, backoff=QUICK), Bulkhead(3), Timeout(0.1))
    tries = []
    with gate() as hang:

        def work():
            tries.append(1)
            if len(tries) == 1:
                hang.wait(20)
            raise Down

        with pytest.raises(Down):
            pipeline.call(work)
        assert in_flight(pipeline) == 1
    until(lambda: in_flight(pipeline) == 0)


def test_who_waits_in_line_gets_the_permit_of_an_abandoned_function_when_it_ends():
    pipeline = Pipeline(name(), Timeout(20), Bulkhead(1, queue=1), Timeout(0.1))
    endings = []
    with gate() as hang:
        with pytest.raises(CallTimeout):
            pipeline.call(hang.wait, 20)
        waiter = threading.Thread(target=lambda: endings.append(pipeline.call(int, "7")))
        waiter.start()
        until(lambda: pipeline[Bulkhead].snapshot()["queued"] == 1)
        assert endings == []
    waiter.join(10)
    assert endings == [7]
    until(lambda: in_flight(pipeline) == 0)


class Interrupted(VirtualClock):
    """A clock on which waiting for a worker ends by a signal."""

    def acquire(self, lock, seconds):
        raise KeyboardInterrupt


def test_an_interrupted_caller_leaves_its_function_and_the_permit_stays_with_it():
    pipeline = Pipeline(name(), Bulkhead(1), Timeout(20))
    with gate() as hang:
        with installed(Interrupted()), pytest.raises(KeyboardInterrupt):
            pipeline.call(hang.wait, 20)
        assert threads.abandoned() == 1
        assert in_flight(pipeline) == 1
    until(lambda: in_flight(pipeline) == 0)
    assert pipeline.call(int) == 0


class JustInTime(VirtualClock):
    """A clock on which time is up in the moment in which the function ends."""

    def acquire(self, lock, seconds):
        until(lambda: jobs and jobs[-1].ended)
        return False


jobs = []


def test_a_function_that_ends_as_its_time_is_up_has_an_answer_and_is_not_abandoned(monkeypatch):
    start = threads.start
    monkeypatch.setattr(threads, "start", lambda *args: jobs.append(start(*args)) or jobs[-1])
    pipeline = Pipeline(name(), Bulkhead(1), Timeout(5))
    with installed(JustInTime()):
        assert pipeline.call(int, "7") == 7
    jobs.clear()
    assert threads.abandoned() == 0
    assert in_flight(pipeline) == 0


def test_who_asks_to_be_told_of_an_end_that_has_come_is_told():
    told = []
    job = threads.start(threads.context(), int, (), {})
    assert job.done.acquire(timeout=10)
    job.afterwards(lambda: told.append(1))
    assert told == [1]


def test_no_more_idle_workers_are_kept_than_are_worth_it():
    pipeline = Pipeline(name(), Timeout(20))
    together = threading.Barrier(60)
    callers = [threading.Thread(target=pipeline.call, args=(together.wait, 15)) for _ in range(60)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(20)
    assert len(threads._idle) <= 32


def test_an_abandoned_functions_result_and_error_are_dropped():
    kept = []

    class Large:
        pass

    pipeline = Pipeline(name(), Timeout(0.1))
    import weakref

    with gate() as hang:

        def work():
            hang.wait(20)
            large = Large()
            kept.append(weakref.ref(large))
            return large

        with pytest.raises(CallTimeout):
            pipeline.call(work)
    until(lambda: kept and kept[0]() is None)


# -- settings ----------------------------------------------------------------------------------


def test_it_says_what_it_does():
    assert Timeout(2).describe() == "2 s"
    assert Timeout(dt.timedelta(minutes=1), cooperative=True).describe() == "60 s, cooperative in plain functions"
    assert Timeout(1) == Timeout(dt.timedelta(seconds=1))
    assert hash(Timeout(1)) == hash(Timeout(1.0))
    assert Timeout(1) != Timeout(1, cooperative=True)


@every_loop
def test_the_snapshot_tells_how_many_calls_are_timed(colour):
    pipeline = Pipeline(name(), Timeout(9))

    async def scenario(stage):
        go = stage.gate()
        inside = []

        async def work():
            inside.append(1)
            await go.wait()

        children = [stage.start(lambda: stage.call(pipeline, work)) for _ in range(3)]
        await stage.until(lambda: len(inside) == 3)
        timed = pipeline.snapshot()["timeout"]["timed"]
        go.set()
        for child in children:
            await child.join()
        return timed

    timed = colour.play(scenario)
    if colour.label == "asyncio":
        assert timed == 3
    assert pipeline.snapshot()["timeout"] == {"seconds": 9, "timed": 0, "abandoned_threads": 0}


def test_a_variant_with_another_limit_shares_the_rest():
    pipeline = Pipeline(name(), Timeout(9), Bulkhead(1))
    with gate() as hang:
        with pytest.raises(CallTimeout) as caught:
            pipeline.with_options(timeout=0.02).call(hang.wait, 20)
        assert caught.value.seconds == 0.02
        assert in_flight(pipeline) == 1
    until(lambda: in_flight(pipeline) == 0)
    assert THREADS.play(lambda stage: stage.call(pipeline, _answer)) == "answer"


async def _answer():
    return "answer"
