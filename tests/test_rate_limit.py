"""What `RateLimit` promises: its rate, its waits, and how it gives way to the server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import warnings

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient import Bulkhead, Classifier, Outcome, Pipeline, RateLimit, RateLimited, Timeout, deadline, faults
from resilient import clock as clocks
from resilient._policy import NEVER
from resilient._runtime import blocking
from resilient.errors import DeadlineExceeded
from resilient.events import subscribe
from resilient.outcome import Verdict


class Throttled(Exception):
    """What the server answers when it has had enough."""

    def __init__(self, retry_after: float | None = None) -> None:
        super().__init__()
        self.retry_after = retry_after


CLASSIFIER = Classifier(error=lambda error: Outcome.THROTTLED if isinstance(error, Throttled) else None)


class Hours:
    """A clock that stands still until somebody sleeps."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def random(self) -> float:
        return 0.5

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)
        await anyio.lowlevel.checkpoint()


@pytest.fixture
def hours():
    clock = Hours()
    before = clocks.install(clock)
    yield clock
    clocks.install(before)


@pytest.fixture
def heard():
    seen = []
    stop = subscribe(lambda event: seen.append((event.name.removeprefix("resilient."), dict(event.fields))))
    yield seen
    stop()


def pipeline(*policies, name: str = "limited", classifier: Classifier = CLASSIFIER) -> Pipeline:
    return Pipeline(name, *policies, classifier=classifier, replace=True)


def passed(guarded: Pipeline, times: int) -> int:
    count = 0
    for _ in range(times):
        with contextlib.suppress(RateLimited):
            count += guarded.call(lambda: 1)
    return count


def throttle(guarded: Pipeline, hint: float | None = None) -> None:
    def refuse():
        raise Throttled(hint)

    with pytest.raises(Throttled):
        guarded.call(refuse)


# -- the rate ----------------------------------------------------------------------------------


def test_it_admits_the_burst_and_then_the_rate(hours):
    guarded = pipeline(RateLimit(10, burst=3))
    assert passed(guarded, 5) == 3
    hours.time += 0.25
    assert passed(guarded, 5) == 2
    hours.time += 3600
    assert passed(guarded, 5) == 3


def test_the_default_burst_is_one_seconds_worth(hours):
    assert passed(pipeline(RateLimit(7)), 20) == 7
    assert passed(pipeline(RateLimit(7, per=60)), 20) == 1
    assert passed(pipeline(RateLimit(0.5, cost=3)), 20) == 1


def test_a_refusal_names_the_limit_and_when_to_come_back(hours, heard):
    guarded = pipeline(RateLimit(4, burst=1))
    guarded.call(int)
    with pytest.raises(RateLimited) as caught:
        guarded.call(int)
    error = caught.value
    assert (error.downstream, error.policy, error.retry_after, error.reason) == (
        "limited",
        "rate_limit",
        0.25,
        "rate_limited",
    )
    assert heard == [("call.rejected", {"policy": "rate_limit", "reason": "rate_limited", "retry_after": 0.25})]


def test_the_function_does_not_run_when_refused(hours):
    guarded = pipeline(RateLimit(1))
    ran = []
    for _ in range(3):
        with contextlib.suppress(RateLimited):
            guarded.call(ran.append, 1)
    assert ran == [1]


def test_each_attempt_pays_its_cost(hours):
    guarded = pipeline(RateLimit(10, cost=4))
    assert passed(guarded, 5) == 2
    assert guarded[RateLimit].peek().remaining == 2


def test_a_cost_may_depend_on_the_calls_arguments(hours):
    guarded = pipeline(RateLimit(10, cost=lambda items, **options: len(items)))
    assert guarded.call(lambda items, **_: len(items), "abcdefg", fast=True) == 7
    assert guarded[RateLimit].peek().remaining == 3
    with pytest.raises(RateLimited) as caught:
        guarded.call(len, "abcd")
    assert caught.value.retry_after == pytest.approx(0.1)
    with pytest.raises(RateLimited) as never:
        guarded.call(len, "abcdefghijk")
    assert never.value.retry_after is None


@pytest.mark.parametrize("cost", [lambda _: 1 / 0, lambda _: -1, lambda _: 1.5, lambda: 1])
def test_a_cost_function_that_fails_is_reported_and_counts_one(hours, cost):
    guarded = pipeline(RateLimit(10, cost=cost))
    assert guarded.call(len, "abc") == 3
    assert guarded[RateLimit].peek().remaining == 9
    assert faults.total() == 1


def test_peek_takes_nothing(hours):
    guarded = pipeline(RateLimit(2))
    for _ in range(5):
        assert guarded[RateLimit].peek() == (False, 2, 0.0, 0.0)
    passed(guarded, 2)
    assert guarded[RateLimit].peek() == (True, 0, 1.0, 0.5)
    assert guarded.snapshot()["rate_limit"] == {
        "rate": 2.0,
        "configured_rate": 2.0,
        "adapting": False,
        "burst": 2,
        "remaining": 0,
        "retry_after": 0.5,
    }
    assert not guarded.resting()
    hours.time += 1
    assert guarded.resting()


@given(st.integers(1, 50), st.integers(1, 20), st.lists(st.floats(0, 0.5), max_size=60))
def test_no_more_than_burst_and_rate_ever_pass(rate, burst, waits):
    clock = Hours()
    before = clocks.install(clock)
    try:
        guarded = pipeline(RateLimit(rate, burst=burst))
        start, count = clock.time, 0
        for wait in waits:
            clock.time += wait
            count += passed(guarded, 3)
            assert count <= burst + (clock.time - start) * rate + 1e-6
    finally:
        clocks.install(before)


def test_threads_share_one_limit():
    guarded = pipeline(RateLimit(100, per=3600, burst=100))
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(passed(guarded, 100))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 100


# -- waiting -----------------------------------------------------------------------------------


def test_a_bounded_wait_takes_the_next_slot(hours):
    guarded = pipeline(RateLimit(2, burst=1, max_wait=1))
    assert [guarded.call(hours.now) for _ in range(4)] == [1000.0, 1000.5, 1001.0, 1001.5]
    assert hours.slept == [0.5, 0.5, 0.5]


def test_a_wait_longer_than_allowed_is_refused_at_once(hours):
    guarded = pipeline(RateLimit(1, burst=1, max_wait=0.5))
    guarded.call(int)
    with pytest.raises(RateLimited) as caught:
        guarded.call(int)
    assert caught.value.retry_after == 1.0
    assert hours.slept == []


def test_a_wait_that_cannot_fit_the_deadline_is_refused_at_once(hours):
    guarded = pipeline(RateLimit(1, burst=1, max_wait=None))
    with deadline(1.5):
        guarded.call(int)
        guarded.call(int)
        with pytest.raises(RateLimited):
            guarded.call(int)
    assert hours.slept == [1.0]
    guarded = pipeline(Timeout(0.9, cooperative=True), RateLimit(1, burst=1, max_wait=30))
    guarded.call(int)
    with pytest.raises(RateLimited):
        guarded.call(int)
    assert hours.slept == [1.0]


def test_waiting_up_to_a_deadline_that_does_not_exist_is_an_error(hours):
    guarded = pipeline(RateLimit(1, burst=1, max_wait=None))
    guarded.call(int)
    with pytest.raises(ValueError, match="max_wait must be a number of seconds where no Timeout or deadline"):
        guarded.call(int)


def test_a_deadline_that_has_passed_is_said_so(hours):
    guard = pipeline(RateLimit(1, max_wait=5))[RateLimit]
    with pytest.raises(DeadlineExceeded):
        guard.acquire(hours.now() - 1, 1)


def test_an_interrupted_wait_gives_its_turn_back(hours):
    guarded = pipeline(RateLimit(1, burst=1, max_wait=5))
    guarded.call(int)
    sleep, hours.sleep = hours.sleep, lambda seconds: 1 / 0
    with pytest.raises(ZeroDivisionError):
        guarded.call(int)
    hours.sleep = sleep
    assert guarded[RateLimit].peek().retry_after == 1.0


def test_rule_14_a_plain_call_never_waits_on_an_event_loops_thread(hours):
    blocking._warned.clear()
    guarded = pipeline(RateLimit(1, burst=1, max_wait=5), name="on-loop")

    async def main() -> None:
        guarded.call(int)
        warned = pytest.warns(RuntimeWarning, match="on-loop: a sync call on the thread of a running event loop")
        with warned, pytest.raises(RateLimited) as caught:
            guarded.call(int)
        assert caught.value.reason == "event_loop"
        with warnings.catch_warnings(), pytest.raises(RateLimited):
            guarded.call(int)

    asyncio.run(main())
    assert hours.slept == []
    guarded.call(int)
    assert hours.slept == [1.0], "refused calls have reserved nothing"


def test_on_an_event_loop_only_a_call_that_would_have_waited_is_warned_of(hours):
    blocking._warned.clear()
    guarded = pipeline(RateLimit(1, burst=1, max_wait=0.5), name="would-not-wait")

    async def main() -> None:
        guarded.call(int)
        with pytest.raises(RateLimited) as caught:
            guarded.call(int)
        assert caught.value.reason == "rate_limited"

    asyncio.run(main())


@pytest.mark.anyio
async def test_tasks_wait_in_order_of_arrival(anyio_backend):
    guarded = pipeline(RateLimit(100, burst=1, max_wait=5))
    order = []

    async def call(number: int) -> None:
        async def body() -> None:
            order.append(number)

        await guarded.acall(body)

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(call, number)
            await anyio.lowlevel.checkpoint()
    assert sorted(order) == list(range(8))
    if anyio_backend == "asyncio":  # trio starts tasks in random order
        assert order == list(range(8))


@pytest.mark.anyio
async def test_cancelled_waits_give_their_turns_back():
    guarded = pipeline(RateLimit(1, per=60, burst=1, max_wait=600))

    async def nothing() -> None:
        pass

    await guarded.acall(nothing)
    before = guarded[RateLimit].peek().retry_after
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(guarded.acall, nothing)
        await anyio.wait_all_tasks_blocked()
        assert guarded[RateLimit].peek().retry_after > 300
        group.cancel_scope.cancel()
    assert guarded[RateLimit].peek().retry_after <= before


@pytest.mark.anyio
async def test_a_pause_makes_waiting_tasks_wait_longer(hours):
    guarded = pipeline(RateLimit(1, burst=2, max_wait=30))
    guarded.call(int)

    async def sleep_and_be_paused(seconds: float) -> None:
        hours.sleep(seconds)
        if len(hours.slept) == 1:
            hours.time -= 0.5
            guarded[RateLimit].settle(Verdict(Outcome.THROTTLED, retry_after=10))
            hours.time += 0.5

    async def now() -> float:
        return hours.now()

    guarded.call(int)
    hours.asleep = sleep_and_be_paused
    assert await guarded.acall(now) == 1011.0
    assert hours.slept == [1.0, 10.0]


@pytest.mark.anyio
async def test_a_pause_beyond_the_allowed_wait_refuses_who_waits(hours):
    guarded = pipeline(RateLimit(1, burst=1, max_wait=5))
    guarded.call(int)

    async def sleep_and_be_paused(seconds: float) -> None:
        guarded[RateLimit].settle(Verdict(Outcome.THROTTLED, retry_after=10))
        hours.sleep(seconds)

    async def nothing() -> None:
        pass

    hours.asleep = sleep_and_be_paused
    with pytest.raises(RateLimited) as caught:
        await guarded.acall(nothing)
    assert caught.value.retry_after == 10.0


# -- backpressure ------------------------------------------------------------------------------


def test_a_throttle_cuts_the_rate_and_successes_bring_it_back(hours, heard):
    guarded = pipeline(RateLimit(10))
    guard = guarded[RateLimit]
    throttle(guarded)
    assert guard.rate == pytest.approx(7.0, rel=1e-12)
    hours.time += 1
    guarded.call(int)
    assert guard.rate == pytest.approx(9.64893600966, rel=1e-12)
    hours.time += 1
    guarded.call(int)
    assert guard.rate == 10.0
    assert not guard.snapshot()["adapting"]
    assert heard == [
        ("rate_limit.changed", {"policy": "rate_limit", "rate": pytest.approx(7.0), "cause": "throttled"}),
        ("rate_limit.changed", {"policy": "rate_limit", "rate": 10.0, "cause": "recovered"}),
    ]


def test_the_reduced_rate_is_the_one_that_is_kept(hours):
    guarded = pipeline(RateLimit(10, burst=1))
    throttle(guarded)
    assert passed(guarded, 1) == 0
    hours.time += 0.11
    assert passed(guarded, 1) == 1, "this turn was promised at the old rate"
    hours.time += 0.1
    assert passed(guarded, 1) == 0


def test_a_burst_of_throttles_leaves_a_trickle_to_learn_from(hours, heard):
    guarded = pipeline(RateLimit(100))
    guard = guarded[RateLimit]
    permits = [guarded.permit().__enter__() for _ in range(30)]
    for permit in permits:
        permit.failed(Throttled())
    assert guard.rate == 1.0
    assert [fields["cause"] for _, fields in heard] == ["throttled", "floor"]
    sent = 0
    for _ in range(100):
        hours.time += 0.1
        with contextlib.suppress(RateLimited):
            throttle(guarded)
            sent += 1
    assert 10 <= sent <= 11, "one per second, and what was left of the burst"
    hours.time += 10
    guarded.call(int)
    assert guard.rate == 100.0


@pytest.mark.parametrize(
    ("settings", "floor"),
    [
        ({"rate": 1000}, 10),
        ({"rate": 10}, 0.5),
        ({"rate": 0.2}, 0.2),
        ({"rate": 600, "per": 60}, 30),
        ({"rate": 100, "floor": 40}, 40),
    ],
)
def test_the_floor(hours, settings, floor):
    guard = pipeline(RateLimit(settings.pop("rate"), **settings))[RateLimit]
    for _ in range(60):
        guard.settle(Verdict(Outcome.THROTTLED))
    assert guard.rate == pytest.approx(floor)


def test_failures_count_only_if_asked(hours):
    def fail():
        raise OSError("reset")

    for on_failure, rate in ((False, 10.0), (True, 7.0)):
        guarded = pipeline(RateLimit(10, on_failure=on_failure))
        with pytest.raises(OSError, match="reset"):
            guarded.call(fail)
        assert guarded[RateLimit].rate == pytest.approx(rate)


def test_failures_do_not_let_a_reduced_rate_grow(hours):
    guarded = pipeline(RateLimit(10))
    throttle(guarded)
    hours.time += 5
    with pytest.raises(OSError, match="reset"):
        guarded.call(lambda: (_ for _ in ()).throw(OSError("reset")))
    assert guarded[RateLimit].rate == pytest.approx(7.0)


@pytest.mark.parametrize(("hint", "pause"), [(5.0, 5.0), (3600.0, 60.0), (0.0, 0.0), (-5.0, 0.0), (float("nan"), 0.0)])
def test_a_hint_pauses_for_a_minute_at_most(hours, heard, hint, pause):
    guarded = pipeline(RateLimit(10))
    throttle(guarded, hint)
    if not pause:
        guarded.call(int)
        return
    assert [fields["cause"] for _, fields in heard] == ["throttled", "hint"]
    hours.time += pause - 0.01
    with pytest.raises(RateLimited) as caught:
        guarded.call(int)
    assert caught.value.retry_after == pytest.approx(0.01)
    hours.time += 0.02
    assert passed(guarded, 5) == 1, "one by one after a pause, not in a burst"


def test_results_are_judged_where_the_classifier_looks_at_them(hours):
    classifier = Classifier(result=lambda answer: Outcome.THROTTLED if answer == 429 else None)
    guarded = pipeline(RateLimit(10), classifier=classifier)
    assert guarded.call(lambda: 429) == 429
    assert guarded[RateLimit].rate == pytest.approx(7.0)
    hours.time += 2
    assert guarded.call(lambda: 200) == 200
    assert guarded[RateLimit].rate == 10.0


def test_without_adaptive_nothing_changes_the_rate(hours):
    guarded = pipeline(RateLimit(10, adaptive=False))
    throttle(guarded, 30)
    with guarded.permit() as permit:
        permit.failed(Throttled())
    assert guarded[RateLimit].rate == 10.0
    assert passed(guarded, 20) == 8
    assert "adapting" not in guarded.source()


def test_refusals_and_cancellations_say_nothing_about_the_rate(hours):
    guarded = pipeline(RateLimit(10, on_failure=True), Bulkhead(1))

    def nested():
        return guarded.call(int)

    with pytest.raises(Exception, match="bulkhead"):
        guarded.call(nested)
    for cancelled in (KeyboardInterrupt, GeneratorExit, asyncio.CancelledError):

        def leave(kind=cancelled):
            raise kind

        with pytest.raises(cancelled):
            guarded.call(leave)
    assert guarded[RateLimit].rate == 10.0


def test_a_floor_at_the_rate_itself_means_pauses_only(hours, heard):
    guarded = pipeline(RateLimit(10, floor=10))
    throttle(guarded)
    assert guarded[RateLimit].rate == 10.0
    assert heard == []
    throttle(guarded, 1)
    assert [fields["cause"] for _, fields in heard] == ["hint"]


def test_the_servers_allowance_sets_the_pace_and_is_told_once(hours, heard):
    guarded = pipeline(RateLimit(10))
    guard = guarded[RateLimit]
    for left in range(20, 10, -1):
        guard.paced(2.0, 10.0, left)
        guarded_sent = passed(guarded, 1)
        hours.time += 0.5
    assert guarded_sent == 1
    assert (guard.rate, guard.snapshot()["adapting"]) == (2.0, True)
    assert not guarded.resting()
    hours.time += 10
    assert (guard.rate, guard.snapshot()["adapting"]) == (10.0, False)
    assert guarded.resting(), "an advice that is over keeps nobody"
    guarded.call(int)
    assert [(name, fields["cause"], fields["rate"]) for name, fields in heard] == [
        ("rate_limit.changed", "quota", 2.0),
        ("rate_limit.changed", "recovered", 10.0),
    ]
    assert heard[0][1] == {"policy": "rate_limit", "rate": 2.0, "cause": "quota"}


def test_an_allowance_that_is_used_up_pauses_for_a_minute_at_most(hours):
    for seconds, pause in ((5.0, 5.0), (3600.0, 60.0)):
        guarded = pipeline(RateLimit(10))
        guarded[RateLimit].paced(0.0, seconds, 0)
        with pytest.raises(RateLimited) as caught:
            guarded.call(int)
        assert caught.value.retry_after == pytest.approx(pause)
        hours.time += pause
        assert passed(guarded, 5) == 1


def test_who_waits_is_slowed_by_the_servers_allowance(hours):
    guarded = pipeline(RateLimit(10, burst=1, max_wait=5))
    guarded[RateLimit].paced(1.0, 3.0, 3)
    assert [guarded.call(hours.now) for _ in range(6)] == pytest.approx([1000, 1001, 1002, 1003, 1004, 1004.1])


def test_an_allowance_above_the_rate_or_without_adaptive_changes_nothing(hours, heard):
    for policy, pace, remaining in ((RateLimit(10), 10.0, 5), (RateLimit(10, adaptive=False), 1.0, 0)):
        guarded = pipeline(policy)
        guarded[RateLimit].paced(pace, 60.0, remaining)
        assert not guarded[RateLimit].machine.adapting
        assert passed(guarded, 20) == 10
    assert {name for name, _ in heard} == {"call.rejected"}


# -- permits, forks, clocks --------------------------------------------------------------------


def test_the_two_step_form_pays_and_tells(hours):
    guarded = pipeline(RateLimit(10, burst=2))
    with pytest.raises(Throttled), guarded.permit():
        raise Throttled
    assert guarded[RateLimit].rate == pytest.approx(7.0)
    hours.time += 2
    with guarded.permit():
        pass
    assert guarded[RateLimit].rate == 10.0
    hours.time += 2
    for _ in range(2):
        guarded.permit().__enter__().dropped()
    with pytest.raises(RateLimited):
        guarded.permit().__enter__()


@pytest.mark.anyio
async def test_the_two_step_form_waits_as_a_task(hours):
    guarded = pipeline(RateLimit(1, burst=1, max_wait=5))
    for _ in range(3):
        async with guarded.permit():
            pass
    assert hours.slept == [1.0, 1.0]


def test_the_two_step_form_cannot_price_a_call(hours):
    guarded = pipeline(RateLimit(10, cost=len))
    with pytest.raises(TypeError, match="cost is a function of the call's arguments, which permit"):
        guarded.permit().__enter__()


def test_renewed_it_is_as_new(hours):
    guarded = pipeline(RateLimit(10, burst=2))
    throttle(guarded, 30)
    guard = guarded[RateLimit]
    with guard.machine._lock, guard.machine.gcra._lock:  # held by a thread that a child does not have
        guard.renew()
        assert guard.peek() == (False, 2, 0.0, 0.0)
        assert guard.rate == 10.0
        assert passed(guarded, 3) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_its_own_full_burst():
    guarded = pipeline(RateLimit(2, per=3600, burst=2))
    passed(guarded, 2)
    with guarded[RateLimit].machine.gcra._lock:
        child = os.fork()
        if child == 0:
            os._exit(passed(guarded, 5))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert passed(guarded, 1) == 0


def test_another_clock_does_not_leave_the_limit_stuck():
    guarded = pipeline(RateLimit(1, per=3600, burst=1))
    assert passed(guarded, 2) == 1
    clock = Hours()
    clock.time = 5.0
    before = clocks.install(clock)
    try:
        assert passed(guarded, 2) == 1
        assert guarded[RateLimit].peek().retry_after == 3600
    finally:
        clocks.install(before)


# -- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "settings", "words"),
    [
        (0, {}, "rate must be a number above 0, got 0"),
        (-1, {}, "rate must be a number above 0, got -1"),
        (float("nan"), {}, "rate must be a finite number, got nan"),
        (float("inf"), {}, "rate must be a finite number, got inf"),
        (1, {"per": 0}, "per must be a duration above 0 s, got 0"),
        (1, {"burst": 0}, "burst must be a whole number of 1 or more, got 0"),
        (1, {"cost": 0}, "cost must be a whole number of 1 or more, got 0"),
        (1, {"burst": 2, "cost": 3}, "cost must be at most burst, which is 2: no call would ever pass, got 3"),
        (1, {"max_wait": -1}, "max_wait must be a duration of 0 s or more, got -1"),
        (1, {"max_wait": float("inf")}, "max_wait must be a finite number, got inf"),
        (1, {"adaptive": False, "on_failure": True}, "on_failure must be False where adaptive is False, got True"),
        (1, {"adaptive": False, "floor": 1}, "floor must be None where adaptive is False, got 1"),
        (1, {"floor": 2}, "floor must be at most rate, which is 1, got 2"),
        (1, {"floor": 0}, "floor must be a number above 0, got 0"),
    ],
)
def test_bad_settings_are_named_with_what_is_allowed(rate, settings, words):
    with pytest.raises(ValueError, match="must be") as caught:
        RateLimit(rate, **settings)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rate": "1"}, "rate must be a number, got '1'"),
        ({"rate": True}, "rate must be a number, got True"),
        ({"rate": 1, "burst": 1.5}, "burst must be a whole number, got 1.5"),
        ({"rate": 1, "cost": 1.5}, "cost must be a whole number or a function of the call's arguments, got 1.5"),
        ({"rate": 1, "adaptive": 1}, "adaptive must be True or False, got 1"),
    ],
)
def test_settings_of_another_type_are_type_errors(settings, words):
    with pytest.raises(TypeError, match="must be") as caught:
        RateLimit(**settings)
    assert str(caught.value).startswith(words)


def test_it_is_comparable_and_says_what_it_does():
    assert RateLimit(5, per=1) == RateLimit(5.0)
    assert hash(RateLimit(5)) == hash(RateLimit(5.0))
    assert RateLimit(100).describe() == "100 per 1 s, bursts of 100, no wait, backs off when throttled"
    assert RateLimit(1, max_wait=None, on_failure=True).describe() == (
        "1 per 1 s, bursts of 1, waits up to the deadline, backs off when throttled or failing"
    )
    assert RateLimit(1, adaptive=False).describe() == "1 per 1 s, bursts of 1, no wait"


def test_very_small_and_very_large_rates_are_exact(hours):
    rare = pipeline(RateLimit(1e-6, burst=1))
    assert passed(rare, 2) == 1
    assert rare[RateLimit].peek().retry_after == 1e6
    often = pipeline(RateLimit(1e12))
    assert passed(often, 1000) == 1000
    assert pipeline(RateLimit(0.1))[RateLimit].machine.gcra.peek(0.0).limited is False


def test_the_slow_path_hears_of_no_end_at_all(hours):
    guard = pipeline(RateLimit(1, burst=1, max_wait=3))[RateLimit]
    guard.acquire(NEVER, 1)
    guard.acquire(NEVER, 1)
    assert hours.slept == [1.0]
