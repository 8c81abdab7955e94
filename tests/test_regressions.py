"""Bugs found by trying to break the library, each as the test that showed it."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import sys
import time
import warnings
from collections import deque
from dataclasses import dataclass

import pytest

from resilient import (
    Backoff,
    Bulkhead,
    CallTimeout,
    CircuitBreaker,
    ConfigError,
    Fallback,
    Pipeline,
    RateLimit,
    Retry,
    RetryBudget,
    Timeout,
    remaining,
    subscribe,
)
from resilient._machines.permits import Line
from resilient._runtime.ledger import repeating


@pytest.mark.parametrize("function", [time.strptime, dt.datetime.strptime])
@pytest.mark.parametrize("decorated", [False, True])
def test_c_functions_that_import_can_be_guarded(function, decorated):
    pipeline = Pipeline("c-imports", Retry(1))
    guarded = pipeline(function) if decorated else lambda *args: pipeline.call(function, *args)
    assert guarded("2020", "%Y") == function("2020", "%Y")


def test_a_proxy_that_makes_up_its_attributes_can_be_guarded():
    class Proxy:
        def __getattr__(self, name):
            return Proxy()

        def __call__(self, number):
            return number + 1

    guarded = Pipeline("proxy", Retry(1))(Proxy())
    assert guarded(1) == 2
    assert isinstance(guarded.__wrapped__, Proxy)


@dataclass(frozen=True)
class Frozen(Exception):
    code: int


class Touchy(Exception):
    def add_note(self, note: str) -> None:
        raise RuntimeError(note)

    def __setattr__(self, name: str, value: object) -> None:
        raise RuntimeError(name)


@pytest.mark.parametrize("kind", [Frozen, Touchy])
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("policies", "word"),
    [
        ((Retry(3, backoff=Backoff(base=1e-6)), CircuitBreaker(consecutive=1)), "refused"),
        ((Fallback(lambda cause: cause.there_is_no_such_thing),), "fallback failed"),
    ],
)
def test_an_error_that_takes_no_attributes_is_raised_itself_with_its_note(kind, asynchronous, policies, word):
    pipeline = Pipeline(f"unchangeable-{kind.__name__}-{word}-{asynchronous}", *policies)
    error = kind(7)

    def fail():
        raise error

    async def afail():
        raise error

    with pytest.raises(kind) as caught:
        asyncio.run(pipeline.acall(afail)) if asynchronous else pipeline.call(fail)
    assert caught.value is error
    assert word in " ".join(error.__dict__["__notes__"])


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_call_interrupted_while_it_decides_leaves_nobody_repeating(asynchronous):
    pipeline = Pipeline(f"interrupted-{asynchronous}", Retry(3, backoff=Backoff(base=1e-6)))
    numbers = iter(range(9))

    def interrupt(event):
        if event.fields.get("attempt") == 3:  # decided in the second attempt
            raise KeyboardInterrupt

    def fail():
        next(numbers)
        raise OSError

    async def afail():
        fail()

    async def script():
        try:  # not `pytest.raises`, which keeps the frames of the call
            await pipeline.acall(afail)
        except KeyboardInterrupt:
            return repeating()

    def plain():
        try:
            pipeline.call(fail)
        except KeyboardInterrupt:
            return repeating()

    unsubscribe = subscribe(interrupt)
    try:
        left = asyncio.run(script()) if asynchronous else plain()
    finally:
        unsubscribe()
    assert next(numbers) == 2
    assert left is False


class Interrupt(BaseException):
    """What a signal handler raises."""


class At:
    """Raise once, when a C function called by the n-th line of a woven function has returned.

    That is where the interpreter runs signal handlers.
    """

    def __init__(self, place: int) -> None:
        self.place = place
        self.raised = False

    def __call__(self, frame, event, argument):
        if event == "c_return" and frame.f_code.co_filename.startswith("<resilient shape") and not self.raised:
            self.place -= 1
            if self.place < 0:
                self.raised = True
                raise Interrupt


POLICIES = {
    "cooperative": [Timeout(10, cooperative=True), Retry(3, backoff=Backoff(base=1e-9)), Timeout(5, cooperative=True)],
    "one": [Timeout(5, cooperative=True)],
}


@pytest.mark.parametrize("fails", [0, 1])
@pytest.mark.parametrize("kind", POLICIES)
def test_wherever_a_signal_handler_raises_no_deadline_and_no_retry_is_left_in_force(kind, fails):
    pipeline = Pipeline(f"signalled-{kind}-{fails}", *POLICIES[kind])

    def work():
        if fails and len(seen) % 2:
            seen.append(1)
            raise OSError
        seen.append(0)

    for place in range(60):
        seen = [0] * fails
        hook = At(place)
        try:
            sys.setprofile(hook)
            pipeline.call(work)
        except (Interrupt, OSError):
            pass
        finally:
            sys.setprofile(None)
        assert remaining() is None, place
        assert not repeating(), place
        if not hook.raised:
            break
    assert place > 3
    assert not hook.raised


def test_wherever_a_signal_handler_raises_no_timer_is_left_that_would_cancel_the_task_later():
    pipeline = Pipeline("signalled-async", Timeout(10), Retry(1), Timeout(5))

    async def work(fails):
        if fails:
            raise OSError

    async def script(fails):
        await pipeline.acall(work, fails=False)
        for place in range(60):
            hook = At(place)
            try:
                sys.setprofile(hook)
                await pipeline.acall(work, fails)
            except (Interrupt, OSError):
                pass
            finally:
                sys.setprofile(None)
            assert not any(timer.pending for timer in pipeline[2].timers.values()), place
            assert remaining() is None, place
            if not hook.raised:
                return place
        return 0

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a coroutine that the interrupt kept from being awaited
        assert asyncio.run(script(fails=False)) > 5
        assert asyncio.run(script(fails=True)) > 5
        gc.collect()


def test_loops_that_stand_still_are_not_kept():
    pipeline = Pipeline("loose-loops", Timeout(5))

    async def work():
        return 1

    loops = [asyncio.new_event_loop() for _ in range(4)]
    try:
        for loop in [*loops, *loops]:
            assert loop.run_until_complete(pipeline.acall(work)) == 1
            assert list(pipeline[Timeout].timers) == [loop]
    finally:
        for loop in loops:
            loop.close()


@pytest.mark.parametrize(
    "settings",
    [
        lambda: RateLimit(1e300, per=1e-300),
        lambda: RateLimit(1, per=1e300),
        lambda: RateLimit(1e300),
        lambda: RateLimit(1e-300, max_wait=1e300),
        lambda: RateLimit(1, burst=10**400),
        lambda: RateLimit(1, cost=10**400),
        lambda: Bulkhead(10**9),
        lambda: Pipeline("resized", Bulkhead(1))[Bulkhead].resize(10**9),
        lambda: RetryBudget(cap=1e308, cost=1e308, start=1e308),
    ],
)
def test_numbers_that_no_arithmetic_bears_are_refused_at_once(settings):
    with pytest.raises(ConfigError):
        settings()


@pytest.mark.parametrize("rate", [1e-12, 1e12])
def test_the_widest_rates_work(rate):
    pipeline = Pipeline(f"widest-{rate:g}", RateLimit(rate, burst=1, max_wait=0))
    assert pipeline.call(int) == 0
    pipeline.snapshot()
    pipeline[RateLimit].machine.throttled(time.monotonic(), "throttled", 60.0)
    assert pipeline.snapshot()["rate_limit"]["retry_after"] > 59


async def hang():
    await asyncio.sleep(30)


def test_a_timer_that_could_not_be_made_is_made_for_the_next_call(monkeypatch):
    pipeline = Pipeline("no-timer", Timeout(0.02))

    async def script():
        loop = asyncio.get_running_loop()
        with monkeypatch.context() as patch:

            def refuse(*_):
                raise RecursionError

            patch.setattr(loop, "call_later", refuse)
            with pytest.raises(RecursionError):
                await pipeline.acall(hang)
        with pytest.raises(CallTimeout):
            await asyncio.wait_for(pipeline.acall(hang), 5)

    asyncio.run(script())


def test_a_task_that_fails_to_be_cancelled_keeps_no_other_from_its_timeout():
    pipeline = Pipeline("stubborn", Timeout(0.02))

    class Stubborn(asyncio.Task):
        refusals = 1

        def cancel(self, msg=None):
            if self.refusals:
                self.refusals -= 1
                raise RuntimeError
            return super().cancel(msg)

    async def script():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)
        stubborn = Stubborn(pipeline.acall(hang), loop=loop)
        await asyncio.sleep(0)
        others = [asyncio.ensure_future(pipeline.acall(hang)) for _ in range(3)]
        done, _ = await asyncio.wait(others, timeout=5)
        assert [type(task.exception()) for task in done] == [CallTimeout] * 3
        stubborn.cancel()
        await asyncio.wait([stubborn])

    asyncio.run(script())


def test_a_line_that_empties_while_its_limit_grows_grows_all_the_same():
    class Emptied(deque):
        def __getitem__(self, index):
            self.clear()
            return super().__getitem__(index)

    line = Line(2)
    taken = [line.take(), line.take()]
    line.resize(1)
    line.waiting = Emptied(line.waiting)
    line.resize(3)
    assert len(line.free) == 2
    assert len(taken) == 2


def test_a_price_may_be_asked_of_a_call_with_an_argument_named_self():
    pipeline = Pipeline("priced-self", RateLimit(1000, cost=lambda **arguments: arguments["self"]))
    assert pipeline.call(lambda **arguments: arguments, self=2) == {"self": 2}
