"""The testing kit: time moves only when everybody waits, and every switch goes back afterwards."""

from __future__ import annotations

import asyncio
import importlib.metadata
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

import resilient
from resilient import (
    Backoff,
    BreakerOpen,
    Bulkhead,
    BulkheadFull,
    CallTimeout,
    CircuitBreaker,
    ConfigError,
    Keyed,
    Pipeline,
    RateLimit,
    RateLimited,
    Retry,
    Timeout,
    deadline,
    events,
    registry,
    remaining,
)
from resilient import clock as clocks
from resilient.clock import SYSTEM
from resilient.testing import (
    FakeClock,
    InstantClock,
    capture_events,
    force_open,
    isolated,
    no_policies,
    no_waits,
    use,
)

pytest_plugins = ["pytester"]

PATIENCE = 30.0
"""Real seconds: so long that a test which needs them fails."""

AT_ONCE = 10.0
"""Real seconds within which fake minutes must pass, also on a busy machine: less than the patience."""

_numbers = itertools.count(1)

both_loops = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def name() -> str:
    return f"kit-{next(_numbers)}"


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with use(FakeClock(patience=PATIENCE)) as clock:
        yield clock


@pytest.fixture
def by_hand() -> Iterator[FakeClock]:
    with use(FakeClock(auto=False)) as clock:
        yield clock


@pytest.fixture
def at_once() -> Iterator[None]:
    """Hold a test to waiting for nothing real."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < AT_ONCE


# -- time ----------------------------------------------------------------------------------


def test_a_clock_starts_at_real_time_so_that_existing_state_stays_sane() -> None:
    before = time.monotonic()
    clock = FakeClock()
    assert before <= clock.now() <= time.monotonic() + 1
    assert clock.elapsed == 0


def test_time_stands_still_while_nobody_waits(clock: FakeClock) -> None:
    before = clock.now()
    time.sleep(0.01)
    assert clock.now() == before


def test_advance_moves_time_by_exactly_so_much(clock: FakeClock) -> None:
    clock.advance(0.1)
    clock.advance(0.2)
    assert clock.elapsed == 0.3


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_advance_refuses_what_is_no_duration(clock: FakeClock, seconds: float) -> None:
    with pytest.raises(ConfigError, match="seconds"):
        clock.advance(seconds)
    assert clock.elapsed == 0


def test_a_negative_patience_is_refused() -> None:
    with pytest.raises(ConfigError, match="patience"):
        FakeClock(patience=-1)


@pytest.mark.parametrize("kind", [FakeClock, InstantClock])
def test_the_same_seed_draws_the_same_numbers(kind: type[FakeClock | InstantClock]) -> None:
    one, same, other = kind(seed=3), kind(seed=3), kind(seed=4)
    drawn = [one.random() for _ in range(5)]
    assert drawn == [same.random() for _ in range(5)]
    assert drawn != [other.random() for _ in range(5)]


@pytest.mark.usefixtures("at_once")
def test_a_plain_sleep_ends_at_once_and_is_recorded(clock: FakeClock) -> None:
    clock.sleep(3600)
    clock.sleep(0)
    clock.sleep(0.5)
    assert clock.elapsed == 3600.5
    assert clock.slept == [3600, 0, 0.5]


@both_loops
@pytest.mark.usefixtures("at_once")
def test_concurrent_sleeps_end_in_order_each_at_its_time(clock: FakeClock, backend: str) -> None:
    ended: list[tuple[float, float]] = []

    async def one(seconds: float) -> None:
        await clock.asleep(seconds)
        ended.append((seconds, clock.elapsed))

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for seconds in (5, 1, 0.25, 3, 0):
                tasks.start_soon(one, seconds)

    anyio.run(main, backend=backend)
    assert ended == [(0, 0), (0.25, 0.25), (1, 1), (3, 3), (5, 5)]


@both_loops
def test_many_tasks_with_many_sleeps_keep_the_order_of_time(clock: FakeClock, backend: str) -> None:
    seen: list[float] = []

    async def one(number: int) -> None:
        at = 0.0
        for step in range(4):
            seconds = (number * 7 + step * 3) % 11 + 1.0
            for _ in range(number % 20):  # other work, which takes turns and no time
                await anyio.lowlevel.checkpoint()
            await clock.asleep(seconds)
            at += seconds
            assert clock.elapsed == at
            seen.append(at)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(60):
                tasks.start_soon(one, number)

    anyio.run(main, backend=backend)
    assert len(seen) == 240
    assert seen == sorted(seen)


def test_tasks_that_hand_work_to_each_other_are_not_taken_for_idle(clock: FakeClock) -> None:
    handed = 0

    async def pass_on(inbox: asyncio.Queue[int], outbox: asyncio.Queue[int]) -> None:
        nonlocal handed
        while (left := await inbox.get()) > 0:
            handed += 1
            assert clock.elapsed == 0
            outbox.put_nowait(left - 1)
        outbox.put_nowait(0)

    async def main() -> None:
        one: asyncio.Queue[int] = asyncio.Queue()
        other: asyncio.Queue[int] = asyncio.Queue()
        one.put_nowait(500)
        await asyncio.gather(pass_on(one, other), pass_on(other, one), clock.asleep(9))

    asyncio.run(main())
    assert handed == 500
    assert clock.elapsed == 9


def test_a_result_on_its_way_through_callbacks_arrives_before_time_moves(clock: FakeClock) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        result: asyncio.Future[float] = loop.create_future()

        def later(turns: int) -> None:
            if turns:
                loop.call_soon(later, turns - 1)
            else:
                result.set_result(clock.elapsed)

        sleeping = asyncio.create_task(clock.asleep(9))
        await clock.asleep(1)
        later(4)
        assert await result == 1
        await sleeping

    asyncio.run(main())
    assert clock.elapsed == 9


@both_loops
def test_a_cancelled_sleep_moves_no_time(clock: FakeClock, backend: str) -> None:
    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(clock.asleep, 100)
                await anyio.lowlevel.checkpoint()
                scope.cancel()
        assert clock.waiting == 0
        await clock.asleep(1)

    anyio.run(main, backend=backend)
    assert clock.elapsed == 1


@both_loops
def test_by_hand_only_advance_moves_time(by_hand: FakeClock, backend: str) -> None:
    ended: list[float] = []

    async def one(seconds: float) -> None:
        await by_hand.asleep(seconds)
        ended.append(seconds)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for seconds in (2, 1, 9):
                tasks.start_soon(one, seconds)
            await anyio.wait_all_tasks_blocked()
            assert by_hand.elapsed == 0
            by_hand.advance(1.5)
            await anyio.wait_all_tasks_blocked()
            assert ended == [1]
            by_hand.advance(1)
            await anyio.wait_all_tasks_blocked()
            by_hand.advance(100)
            assert by_hand.waiting == 0

    anyio.run(main, backend=backend)
    assert ended == [1, 2, 9]


def test_one_advance_wakes_in_the_order_of_time(by_hand: FakeClock) -> None:
    ended: list[float] = []

    async def one(seconds: float) -> None:
        await by_hand.asleep(seconds)
        ended.append(seconds)

    async def main() -> None:
        tasks = [asyncio.create_task(one(seconds)) for seconds in (2, 1, 4, 3, 9)]
        await asyncio.sleep(0)
        by_hand.advance(5)
        await asyncio.sleep(0.01)
        assert ended == [1, 2, 3, 4]
        tasks[-1].cancel()

    asyncio.run(main())


def test_a_timer_can_be_cancelled_before_its_loop_gets_to_it(by_hand: FakeClock) -> None:
    called: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        by_hand.call_later(loop, 1, lambda: called.append("kept"))
        handle = by_hand.call_later(loop, 1, lambda: called.append("cancelled"))
        by_hand.advance(1)
        handle.cancel()
        await asyncio.sleep(0)

    asyncio.run(main())
    assert called == ["kept"]


@both_loops
def test_another_thread_may_advance(by_hand: FakeClock, backend: str) -> None:
    def advance() -> None:
        by_hand.until_waiting(1)
        by_hand.advance(7)

    async def main() -> None:
        await by_hand.asleep(7)

    thread = threading.Thread(target=advance)
    thread.start()
    anyio.run(main, backend=backend)
    thread.join()
    assert by_hand.elapsed == 7


def test_threads_that_sleep_are_woken_in_order(by_hand: FakeClock) -> None:
    ended: list[float] = []

    def one(seconds: float) -> None:
        by_hand.sleep(seconds)
        ended.append(seconds)

    threads = [threading.Thread(target=one, args=(seconds,)) for seconds in (3, 1, 2)]
    for thread in threads:
        thread.start()
    by_hand.until_waiting(3)
    for thread in (threads[1], threads[2], threads[0]):
        by_hand.advance(1)
        thread.join(5)
    assert ended == [1, 2, 3]
    assert by_hand.elapsed == 3


@pytest.mark.usefixtures("at_once")
def test_time_stands_still_while_a_thread_that_it_woke_is_at_work(clock: FakeClock) -> None:
    pipeline = Pipeline(name(), Bulkhead(1, queue=1, max_wait=2))
    told: list[float] = []

    def line() -> None:
        with pytest.raises(BulkheadFull):
            pipeline.call(len, "")
        told.append(clock.elapsed)
        time.sleep(0.05)
        told.append(clock.elapsed)

    with pipeline.permit():
        thread = threading.Thread(target=line)
        thread.start()
        clock.until_waiting(1)
        clock.sleep(5)  # wakes the other thread on the way, and goes on once that has ended
        assert told == [2, 2]
    assert clock.elapsed == 5
    thread.join()


def test_waiting_for_waiters_that_never_come_gives_up(by_hand: FakeClock) -> None:
    with pytest.raises(TimeoutError, match="0 of 2 waits"):
        by_hand.until_waiting(2, within=0.01)


# -- timeouts ------------------------------------------------------------------------------


@both_loops
@pytest.mark.usefixtures("at_once")
def test_an_async_timeout_expires_exactly_at_its_time(clock: FakeClock, backend: str) -> None:
    pipeline = Pipeline(name(), Timeout(2.5))

    async def main() -> None:
        with pytest.raises(CallTimeout) as caught:
            await pipeline.acall(clock.asleep, 60)
        assert caught.value.ran == 2.5
        assert clock.elapsed == 2.5
        await pipeline.acall(clock.asleep, 2)
        assert clock.elapsed == 4.5

    anyio.run(main, backend=backend)


@pytest.mark.usefixtures("at_once")
def test_a_sync_timeout_expires_exactly_at_its_time(clock: FakeClock) -> None:
    pipeline = Pipeline(name(), Timeout(2.5))
    for turn in range(1, 20):
        with pytest.raises(CallTimeout) as caught:
            pipeline.call(clock.sleep, 60)
        assert caught.value.ran == 2.5
        assert clock.elapsed == 2.5 * turn
    pipeline.call(clock.sleep, 2)
    assert clock.elapsed == 49.5


@both_loops
@pytest.mark.parametrize("patience", [0.0, 0.05])
def test_a_call_that_hangs_times_out_once_patience_is_over(backend: str, patience: float) -> None:
    pipeline = Pipeline(name(), Timeout(30))
    with use(FakeClock(patience=patience)) as clock, pytest.raises(CallTimeout):
        anyio.run(lambda: pipeline.acall(anyio.sleep, 1000), backend=backend)
    assert clock.elapsed == pytest.approx(30)


@both_loops
def test_a_call_in_which_things_happen_is_not_cut(backend: str) -> None:
    async def busy() -> str:
        for _ in range(40):
            await anyio.sleep(0.01)
        return "done"

    pipeline = Pipeline(name(), Timeout(30))
    with use(FakeClock(patience=0.3)) as clock:
        assert anyio.run(lambda: pipeline.acall(busy), backend=backend) == "done"
    assert clock.elapsed == 0


def test_a_plain_function_that_hangs_times_out_once_patience_is_over() -> None:
    pipeline = Pipeline(name(), Timeout(30))
    end = threading.Event()
    with use(FakeClock(patience=0.05)) as clock, pytest.raises(CallTimeout):
        pipeline.call(end.wait, 10)
    end.set()
    assert clock.elapsed == 30


def test_a_plain_function_that_works_in_real_time_is_not_cut(clock: FakeClock) -> None:
    pipeline = Pipeline(name(), Timeout(0.01))
    assert pipeline.call(lambda: time.sleep(0.05) or "done") == "done"
    assert clock.elapsed == 0


@both_loops
def test_work_in_a_thread_that_a_task_awaits_is_not_cut(clock: FakeClock, backend: str) -> None:
    pipeline = Pipeline(name(), Timeout(0.01))

    async def main() -> str:
        return await pipeline.acall(anyio.to_thread.run_sync, lambda: time.sleep(0.05) or "done")

    assert anyio.run(main, backend=backend) == "done"
    assert clock.elapsed == 0


@both_loops
def test_a_timer_left_over_from_a_quick_call_moves_no_time(backend: str) -> None:
    pipeline = Pipeline(name(), Timeout(10))

    async def quick() -> None:
        pass

    async def main() -> None:
        await pipeline.acall(quick)
        await anyio.sleep(0.02)

    with use(FakeClock(patience=0)) as clock:
        anyio.run(main, backend=backend)
        assert clock.elapsed == 0


@both_loops
def test_nested_timeouts_expire_innermost_first(clock: FakeClock, backend: str) -> None:
    pipeline = Pipeline(name(), Timeout(5), Retry(3, backoff=Backoff(base=0.5, jitter="none")), Timeout(2))

    async def main() -> None:
        with pytest.raises(CallTimeout) as caught:
            await pipeline.acall(clock.asleep, 60)
        # Attempts end at 2 and 4.5; the next pause of 1 s does not fit into the 5 s.
        assert caught.value.seconds == 2
        assert clock.elapsed == 4.5
        assert clock.slept == [60, 0.5, 60]

    anyio.run(main, backend=backend)


@pytest.mark.usefixtures("at_once")
def test_deadlines_follow_the_clock(clock: FakeClock) -> None:
    with deadline(10):
        clock.advance(4)
        assert remaining() == 6


# -- retries, breakers, lines and rates ----------------------------------------------------


@both_loops
@pytest.mark.usefixtures("at_once")
def test_backoffs_are_recorded(clock: FakeClock, backend: str) -> None:
    pipeline = Pipeline(name(), Retry(4, backoff=Backoff(base=1, jitter="none"), budget=None))

    async def afailing() -> None:
        raise OSError

    def failing() -> None:
        raise OSError

    with pytest.raises(OSError):
        anyio.run(lambda: pipeline.acall(afailing), backend=backend)
    with pytest.raises(OSError):
        pipeline.call(failing)
    assert clock.slept == [1, 2, 4, 1, 2, 4]
    assert clock.elapsed == 14


def test_jitter_repeats_itself_with_the_seed() -> None:
    def story(seed: int) -> list[float]:
        pipeline = Pipeline(name(), Retry(4, backoff=Backoff(base=1), budget=None))

        def failing() -> None:
            raise OSError

        with use(FakeClock(seed=seed)) as clock, pytest.raises(OSError):
            pipeline.call(failing)
        return clock.slept

    assert story(1) == story(1) != story(2)


@pytest.mark.usefixtures("at_once")
def test_a_breaker_opens_and_recovers_over_fake_minutes(clock: FakeClock) -> None:
    pipeline = Pipeline(name(), CircuitBreaker(consecutive=3, open_for=60, probes=1, ramp=0))

    def failing() -> None:
        raise OSError

    for _ in range(3):
        with pytest.raises(OSError):
            pipeline.call(failing)
    for _ in range(4):
        with pytest.raises(BreakerOpen):
            pipeline.call(failing)
        clock.advance(10)
    clock.advance(60)
    with capture_events() as seen:
        assert pipeline.call(lambda: "ok") == "ok"
    assert [event.fields["to"] for event in seen.of("resilient.breaker.transition")] == ["half_open", "closed"]


@both_loops
@pytest.mark.usefixtures("at_once")
def test_a_wait_in_line_ends_at_its_time(clock: FakeClock, backend: str) -> None:
    pipeline = Pipeline(name(), Bulkhead(1, queue=2, max_wait=3))
    told: list[tuple[str, float]] = []

    async def hold(seconds: float) -> None:
        try:
            await pipeline.acall(clock.asleep, seconds)
        except BulkheadFull as refusal:
            told.append((refusal.reason, clock.elapsed))
        else:
            told.append(("done", clock.elapsed))

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hold, 2)
            await anyio.lowlevel.checkpoint()
            tasks.start_soon(hold, 50)
            await anyio.lowlevel.checkpoint()
            tasks.start_soon(hold, 1)

    anyio.run(main, backend=backend)
    assert told == [("done", 2), ("queue_timeout", 3), ("done", 52)]


def test_a_thread_in_line_is_woken_by_its_alarm_or_by_a_permit(by_hand: FakeClock) -> None:
    pipeline = Pipeline(name(), Bulkhead(1, queue=2, max_wait=3))
    told: list[object] = []

    def one() -> None:
        try:
            told.append(pipeline.call(lambda: by_hand.elapsed))
        except BulkheadFull:
            told.append(("refused", by_hand.elapsed))

    waiting = threading.Thread(target=one)
    with pipeline.permit():
        waiting.start()
        by_hand.until_waiting(1)
        by_hand.advance(3)
        waiting.join(5)
        assert told == [("refused", 3)]
        waiting = threading.Thread(target=one)
        waiting.start()
        by_hand.until_waiting(1)
        by_hand.advance(1)
    waiting.join(5)
    assert told[1:] == [4]


@both_loops
@pytest.mark.usefixtures("at_once")
def test_a_rate_limit_lets_waiting_calls_pass_at_their_turns(clock: FakeClock, backend: str) -> None:
    pipeline = Pipeline(name(), RateLimit(2, burst=1, max_wait=10))
    passed: list[float] = []

    async def note() -> None:
        passed.append(clock.elapsed)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(pipeline.acall, note)

    anyio.run(main, backend=backend)
    assert passed == pytest.approx([0, 0.5, 1, 1.5, 2])


# -- putting a clock in force --------------------------------------------------------------


def test_functions_decorated_before_follow_the_clock_and_go_back() -> None:
    pipeline = Pipeline(name(), Retry(2, backoff=Backoff(base=0.001, jitter="none"), budget=None))

    @pipeline
    def failing() -> None:
        raise OSError

    with use(FakeClock()) as clock, pytest.raises(OSError):
        failing()
    assert clock.slept == [0.001]
    before = time.monotonic()
    with pytest.raises(OSError):
        failing()
    assert clock.slept == [0.001]
    assert time.monotonic() - before >= 0.001
    assert clocks.current() is SYSTEM


def test_a_function_outlives_its_pipeline_and_still_follows() -> None:
    with isolated():

        @Pipeline(name(), Retry(2, backoff=Backoff(base=1, jitter="none"), budget=None))
        def failing() -> None:
            raise OSError

    with use(FakeClock()) as clock, pytest.raises(OSError):
        failing()
    assert clock.slept == [1]


def test_clocks_nest_and_time_never_goes_back_inside() -> None:
    with use(FakeClock()) as outer:
        outer.advance(1000)
        with use(FakeClock()) as inner:
            assert inner.now() >= outer.now()
            assert clocks.current() is inner
            inner.advance(5)
        assert clocks.current() is outer
        assert outer.elapsed == 1000
    assert clocks.current() is SYSTEM


def test_a_clock_is_taken_away_also_after_an_error() -> None:
    with pytest.raises(KeyError), use(FakeClock()):
        raise KeyError
    assert clocks.current() is SYSTEM


def test_a_clock_can_be_used_again() -> None:
    clock = FakeClock()
    with use(clock):
        clock.advance(5)
    with use(clock):
        before = clock.now()
        assert clock.elapsed >= 5
        clock.sleep(100)
        assert clock.now() == before + 100


@pytest.mark.parametrize("form", ["woven", "permit"])
def test_an_open_breaker_keeps_its_remaining_time_across_clocks(form: str) -> None:
    pipeline = Pipeline(name(), CircuitBreaker(consecutive=1, open_for=30, probes=1, ramp=0))

    def call(error: Exception | None = None) -> None:
        with pipeline.permit():
            if error is not None:
                raise error

    def fail() -> None:
        raise OSError

    if form == "woven":
        call = pipeline(lambda error=None: fail() if error else None)
    with pytest.raises(OSError):
        call(OSError())
    with use(FakeClock()) as clock:
        clock.advance(20)
        with pytest.raises(BreakerOpen):
            call()
        clock.advance(40)
        call()
        with pytest.raises(OSError):
            call(OSError())
        clock.advance(10_000)
        call()
        with pytest.raises(OSError):
            call(OSError())
    with pytest.raises(BreakerOpen) as caught:
        call()
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after < 200


def test_families_keep_their_members_across_clocks() -> None:
    family = Keyed(name(), CircuitBreaker(), idle=60)
    family.call("a", len, "")
    with use(FakeClock()) as clock:
        clock.advance(59)
        assert family.evict_idle() == 0
        clock.advance(2)
        assert family.evict_idle() == 1
        clock.advance(1000)
        family.call("b", len, "")
    assert family.evict_idle() == 0


@both_loops
def test_a_sleeper_goes_on_and_a_limit_keeps_its_rest_when_the_clock_leaves(backend: str) -> None:
    clock = FakeClock(auto=False)
    pipeline = Pipeline(name(), Timeout(0.05))
    told: list[str] = []

    async def limited() -> None:
        with pytest.raises(CallTimeout):
            await pipeline.acall(anyio.sleep, 20)
        told.append("cut")

    async def asleep() -> None:
        await clock.asleep(3600)
        told.append("awake")

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            with use(clock):
                tasks.start_soon(limited)
                tasks.start_soon(asleep)
                await anyio.sleep(0.1)
                assert told == []

    anyio.run(main, backend=backend)
    assert told == ["awake", "cut"]


def test_threads_go_on_when_the_clock_leaves() -> None:
    told: list[object] = []
    clock = FakeClock(auto=False)
    pipeline = Pipeline(name(), Bulkhead(1, queue=2, max_wait=0.05))

    def line() -> None:
        with pytest.raises(BulkheadFull):
            pipeline.call(len, "")
        told.append("refused")

    def sleep() -> None:
        clock.sleep(3600)
        told.append("awake")

    threads = [threading.Thread(target=line), threading.Thread(target=sleep)]
    with pipeline.permit():
        with use(clock):
            for thread in threads:
                thread.start()
            clock.until_waiting(2)
        for thread in threads:
            thread.join(5)
    assert sorted(told) == ["awake", "refused"]


def test_any_clock_can_be_put_in_force() -> None:
    class Later(InstantClock):
        def now(self) -> float:
            return super().now() + 100

    with use(Later()):
        assert clocks.current().now() > time.monotonic() + 50


# -- no waits ------------------------------------------------------------------------------


@both_loops
@pytest.mark.usefixtures("at_once")
def test_without_waits_every_pause_ends_at_once(backend: str) -> None:
    pipeline = Pipeline(name(), Retry(3, backoff=Backoff(base=10, jitter="none"), budget=None))

    async def afailing() -> None:
        raise OSError

    def failing() -> None:
        raise OSError

    with no_waits() as clock:
        with pytest.raises(OSError):
            pipeline.call(failing)
        with pytest.raises(OSError):
            anyio.run(lambda: pipeline.acall(afailing), backend=backend)
    assert clock.slept == [10, 20, 10, 20]
    assert clocks.current() is SYSTEM


def test_without_waits_a_retry_that_would_miss_the_deadline_is_still_not_made() -> None:
    pipeline = Pipeline(
        name(), Timeout(25, cooperative=True), Retry(5, backoff=Backoff(base=10, jitter="none"), budget=None)
    )

    def failing() -> None:
        raise OSError

    with no_waits() as clock, pytest.raises(OSError):
        pipeline.call(failing)
    assert clock.slept == [10]


def test_without_waits_tasks_that_sleep_together_share_the_time() -> None:
    async def main() -> float:
        before = clock.now()
        await asyncio.gather(*(clock.asleep(10) for _ in range(50)))
        return clock.now() - before

    with no_waits() as clock:
        assert 10 <= asyncio.run(main()) < 11


def test_without_waits_timeouts_are_real() -> None:
    pipeline = Pipeline(name(), Timeout(0.02))
    end = threading.Event()
    with no_waits(), pytest.raises(CallTimeout) as caught:
        pipeline.call(end.wait, 10)
    end.set()
    assert caught.value.ran >= 0.02


# -- no policies ---------------------------------------------------------------------------


def test_without_policies_a_function_handed_out_before_calls_straight_through() -> None:
    pipeline = Pipeline(name(), Timeout(1), Retry(3, budget=None), CircuitBreaker(), Bulkhead(1), RateLimit(1))
    calls: list[threading.Thread] = []

    @pipeline
    def guarded(number: int) -> int:
        calls.append(threading.current_thread())
        if number < 0:
            raise OSError
        return number

    through = pipeline.call
    with force_open(pipeline), no_policies():
        assert [guarded(number) for number in range(5)] == list(range(5))
        assert through(len, "abc") == 3
        assert set(calls) == {threading.current_thread()}
        with pytest.raises(OSError):
            guarded(-1)
        assert len(calls) == 6
        with pipeline.permit(), pipeline.permit():
            pass
        fresh = pipeline(len)
        assert fresh("ab") == 2
    with force_open(pipeline):
        for call in (lambda: guarded(1), lambda: fresh("ab"), lambda: through(len, "")):
            with pytest.raises(BreakerOpen):
                call()


@both_loops
def test_without_policies_async_functions_call_straight_through(backend: str) -> None:
    pipeline = Pipeline(name(), Timeout(1), CircuitBreaker())

    @pipeline
    async def guarded() -> str:
        return "ok"

    with force_open(pipeline):
        with no_policies():
            assert anyio.run(guarded, backend=backend) == "ok"
        with pytest.raises(BreakerOpen):
            anyio.run(guarded, backend=backend)


@both_loops
def test_a_call_in_flight_finishes_as_it_began(backend: str) -> None:
    pipeline = Pipeline(name(), Timeout(60), Bulkhead(1))

    async def main() -> None:
        entered, leave = anyio.Event(), anyio.Event()

        @pipeline
        async def guarded() -> str:
            entered.set()
            await leave.wait()
            return "ok"

        async def first() -> None:
            assert await guarded() == "ok"

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            await entered.wait()
            with no_policies():
                assert pipeline[Bulkhead].line.in_flight == 1
                leave.set()
                assert await guarded() == "ok"
        assert pipeline[Bulkhead].line.in_flight == 0
        assert await guarded() == "ok"

    anyio.run(main, backend=backend)


def test_leaving_policies_out_nests() -> None:
    pipeline = Pipeline(name(), CircuitBreaker())
    with force_open(pipeline):
        with no_policies():
            with no_policies():
                assert pipeline.call(len, "") == 0
            assert pipeline.call(len, "") == 0
        with pytest.raises(BreakerOpen):
            pipeline.call(len, "")


# -- events, holds, names ------------------------------------------------------------------


def test_events_come_in_order_and_can_be_picked() -> None:
    pipeline = Pipeline(name(), Retry(3, backoff=Backoff(base=1, jitter="none")), CircuitBreaker(consecutive=3))

    def failing() -> None:
        raise OSError

    with use(FakeClock()), capture_events() as seen, pytest.raises(OSError):
        pipeline.call(failing)
    assert seen.names() == [
        "resilient.retry.scheduled",
        "resilient.retry.scheduled",
        "resilient.breaker.transition",
        "resilient.retry.exhausted",
    ]
    assert [event.fields["delay"] for event in seen.of("resilient.retry.scheduled")] == [1, 2]
    assert seen.of("resilient.fallback.used") == []
    assert {event.downstream for event in seen} == {pipeline.name}


def test_events_are_collected_inside_the_block_only() -> None:
    pipeline = Pipeline(name(), CircuitBreaker())
    with capture_events() as outer:
        with capture_events() as inner, force_open(pipeline):
            pass
        assert inner
        assert list(outer) == list(inner)
        with force_open(pipeline):
            pass
        assert len(outer) == 2 * len(inner)
    before = len(outer)
    with force_open(pipeline):
        pass
    assert len(outer) == before
    assert not events.wanted()


def test_a_breaker_is_forced_open_with_its_reason_and_released() -> None:
    pipeline = Pipeline(name(), CircuitBreaker())
    with pytest.raises(KeyError), force_open(pipeline, reason="drill") as hold:
        assert hold.active
        assert hold.reason == "drill"
        with pytest.raises(BreakerOpen):
            pipeline.call(len, "")
        raise KeyError
    assert not hold.active
    assert pipeline.call(len, "") == 0


def test_a_pipeline_without_a_breaker_can_be_forced_open() -> None:
    own = Pipeline(name(), Retry())
    with force_open(own), pytest.raises(BreakerOpen):
        own.call(len, "")


def test_isolated_names_are_free_and_state_is_not_shared() -> None:
    taken = name()
    outside = Pipeline(taken, RateLimit(1))
    outside.call(len, "")
    names = registry.names()
    with isolated():
        assert registry.names() == []
        inside = Pipeline(taken, RateLimit(1))
        inside.call(len, "")
        with pytest.raises(RateLimited):
            inside.call(len, "")
        Pipeline(name(), Retry())
    assert registry.names() == names
    assert registry.find(taken) is outside


# -- the pytest plugin ---------------------------------------------------------------------

ROOT = Path(resilient.__path__[0]).parent
INSTALLED = any(each.value == "_resilient_pytest" for each in importlib.metadata.entry_points(group="pytest11"))
PLUGIN = () if INSTALLED else ("-p", "_resilient_pytest")


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeini("[pytest]\naddopts = --strict-markers -p no:cacheprovider\nfilterwarnings = error")
    return pytester


def test_the_fixtures_work_in_a_project_of_its_own(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest
        from resilient import Backoff, BreakerOpen, CircuitBreaker, Pipeline, Retry, clock, registry
        from resilient.testing import force_open

        orders = Pipeline("orders", Retry(2, backoff=Backoff(base=15, jitter="none"), budget=None), CircuitBreaker())

        @orders
        def find(fail=True):
            if fail:
                raise OSError

        def test_time(resilient_clock, resilient_events):
            with pytest.raises(OSError):
                find()
            assert resilient_clock.slept == [15]
            assert resilient_events.names()[0] == "resilient.retry.scheduled"

        @pytest.mark.resilient_clock(auto=False, seed=7)
        def test_marker(resilient_clock):
            import random
            assert resilient_clock.random() == random.Random(7).random()
            resilient_clock.advance(5)
            assert resilient_clock.elapsed == 5

        def test_no_waits(resilient_no_waits):
            with pytest.raises(OSError):
                find()
            assert resilient_no_waits.slept == [15]

        def test_no_policies(resilient_no_policies):
            with force_open(orders):
                find(fail=False)

        def test_isolated(resilient_isolated):
            assert registry.names() == []

        def test_all_is_back():
            assert registry.names() == ["orders"]
            assert clock.current() is clock.SYSTEM
            with force_open(orders), pytest.raises(BreakerOpen):
                find(fail=False)
        """
    )
    project.runpytest_subprocess(*PLUGIN).assert_outcomes(passed=6)


def test_a_run_that_asks_for_no_fixture_does_not_import_resilient(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import sys

        def test_nothing_is_loaded():
            assert "_resilient_pytest" in sys.modules
            assert "resilient" not in sys.modules
        """
    )
    project.runpytest_subprocess(*PLUGIN).assert_outcomes(passed=1)


def test_the_kit_loads_neither_event_loop_before_a_test_needs_it() -> None:
    code = (
        "import json, sys, resilient.testing; print(json.dumps([each in sys.modules for each in ('trio', 'pytest')]))"
    )
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert json.loads(done.stdout) == [False, False]
