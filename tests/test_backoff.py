"""What `Backoff` promises, and how tenacity's objects take its place."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from datetime import timedelta

import pytest
import tenacity

from resilient import Backoff, faults
from resilient._machines.backoff import Tried
from resilient._tenacity import LONGEST, StopRule, is_stop, is_wait
from resilient.backoff import pacing


def tried(attempt: int, **details) -> Tried:
    return Tried(attempt, details.pop("elapsed", 0.0), details.pop("slept", 0.0), **details)


def delays(wait, count: int = 5) -> list[float]:
    each = pacing(wait).delays()
    return [each.next(tried(attempt), 0.5, throttled=False) for attempt in range(1, count + 1)]


def test_T36_the_default_is_bounded_and_jittered():
    high, low = Backoff().delays(), Backoff().delays()
    ceilings = [high.next(tried(1), 1.0, throttled=False) for _ in range(12)]
    assert ceilings[0] == 0.05
    assert ceilings[-1] == 20.0
    assert low.next(tried(1), 0.0, throttled=False) == 0.0
    assert Backoff().delays().next(tried(1), 1.0, throttled=True) == 1.0


def test_each_call_has_delays_of_its_own():
    backoff = Backoff(jitter="none")
    one, other = backoff.delays(), backoff.delays()
    one.next(tried(1), 0.5, throttled=False)
    assert one.next(tried(2), 0.5, throttled=False) == 0.1
    assert other.next(tried(1), 0.5, throttled=False) == 0.05


def test_it_is_frozen_comparable_and_takes_timedeltas():
    backoff = Backoff(base=timedelta(milliseconds=50), cap=timedelta(seconds=20))
    assert backoff == Backoff()
    assert hash(backoff) == hash(Backoff())
    with pytest.raises(dataclasses.FrozenInstanceError):
        backoff.base = 1.0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"base": -1}, "base must be a duration of 0 s or more, got -1"),
        ({"base": float("nan")}, "base must be a finite number, got nan"),
        ({"cap": float("inf")}, "cap must be a finite number, got inf"),
        ({"base": 3, "cap": 2}, "base must be at most cap, which is 2 s, got 3.0"),
        ({"multiplier": 0.5}, "multiplier must be a number of 1 or more, got 0.5"),
        ({"jitter": "lots"}, "jitter must be one of 'full', 'equal'"),
        ({"throttled_base": -2}, "throttled_base must be a duration of 0 s or more, got -2"),
    ],
)
def test_bad_settings_are_named_with_what_is_allowed(settings, words):
    with pytest.raises(ValueError, match="must be") as caught:
        Backoff(**settings)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize("value", ["1", True, None, [1]])
def test_a_base_of_another_type_is_a_type_error(value):
    with pytest.raises(TypeError, match="base must be a number, got"):
        Backoff(base=value)


def test_zero_is_honoured():
    assert delays(Backoff(base=0, cap=0)) == [0] * 5


@pytest.mark.parametrize(
    ("backoff", "words"),
    [
        (Backoff(), "full jitter, 0.05 s times 2 up to 20 s, 1 s after a throttle"),
        (Backoff(jitter="fixed", base=2), "fixed 2 s"),
        (Backoff(jitter="none", throttled_base=0), "no jitter, 0.05 s times 2 up to 20 s"),
        (Backoff(jitter="polly"), "polly jitter, 0.05 s up to 20 s, 1 s after a throttle"),
    ],
)
def test_it_says_what_it_does(backoff, words):
    assert backoff.describe() == words


# -- tenacity ----------------------------------------------------------------------------------


def test_tenacity_waits_give_the_delays_they_would_give_to_tenacity():
    assert delays(tenacity.wait_exponential(multiplier=1, max=10)) == [1, 2, 4, 8, 10]
    assert delays(tenacity.wait_fixed(3), 2) == [3, 3]
    chained = tenacity.wait_chain(tenacity.wait_fixed(1), tenacity.wait_fixed(2) + tenacity.wait_fixed(5))
    assert delays(chained, 3) == [1, 7, 7]
    assert delays(tenacity.wait_incrementing(start=1, increment=2), 3) == [1, 3, 5]
    assert all(0 <= each <= 8 for each in delays(tenacity.wait_random_exponential(multiplier=1, max=8)))


def test_tenacity_waits_may_look_at_the_error():
    wait = tenacity.wait_exception(lambda error: float(str(error)))
    assert pacing(wait).delays().next(tried(1, error=OSError("1.5")), 0.5, throttled=False) == 1.5


def test_tenacity_stops_decide_as_they_would_in_tenacity():
    three = StopRule(tenacity.stop_after_attempt(3))
    assert [three.stops(tried(each), 0.0) for each in (1, 2, 3)] == [False, False, True]
    late = StopRule(tenacity.stop_after_delay(10) | tenacity.stop_after_attempt(100))
    assert [late.stops(tried(1, elapsed=each), 0.0) for each in (9.9, 10.0)] == [False, True]
    before = StopRule(tenacity.stop_before_delay(10))
    assert [before.stops(tried(1, elapsed=8.0), each) for each in (1.9, 2.0)] == [False, True]
    assert not StopRule(tenacity.stop_never).stops(tried(10**6), 0.0)


def test_a_custom_wait_sees_all_that_tenacity_shows():
    seen = []

    class Own(tenacity.wait.wait_base):
        def __call__(self, retry_state):
            seen.append(
                (
                    retry_state.attempt_number,
                    retry_state.outcome.failed,
                    retry_state.outcome.result(),
                    retry_state.seconds_since_start,
                    retry_state.idle_for,
                )
            )
            return 1

    pacing(Own()).delays().next(tried(2, elapsed=4.0, slept=1.0, result="bad"), 0.5, throttled=False)
    assert seen == [(2, False, "bad", 4.0, 1.0)]


@pytest.mark.parametrize("answer", [float("nan"), float("inf"), -1, "soon", None])
def test_a_wait_that_makes_no_sense_is_reported_and_waits_a_second(answer):
    class Odd(tenacity.wait.wait_base):
        def __call__(self, retry_state):
            return answer

    assert delays(Odd(), 2) == [1.0, 1.0]
    assert faults.total() == 2


def test_wait_and_stop_that_raise_are_reported_and_bounded():
    def broken(*_):
        raise RuntimeError("broken")

    class Wait(tenacity.wait.wait_base):
        __call__ = broken

    class Stop(tenacity.stop.stop_base):
        __call__ = broken

    assert delays(Wait(), 1) == [1.0]
    assert StopRule(Stop()).stops(tried(1), 0.0)
    assert faults.total() == 2


def test_a_wait_without_a_maximum_is_cut_to_a_day():
    assert pacing(tenacity.wait_exponential()).delays().next(tried(200), 0.5, throttled=False) == LONGEST


def test_only_tenacitys_objects_are_taken_for_such():
    assert is_wait(tenacity.wait_none())
    assert is_stop(tenacity.stop_never)
    assert not is_wait(tenacity.stop_never)
    assert not is_wait(lambda state: 1.0)
    assert not is_stop(3)
    with pytest.raises(TypeError, match="backoff must be a Backoff or one of tenacity's wait_"):
        pacing(5)


def test_tenacity_is_never_imported_by_us():
    code = "import sys, resilient; from resilient import Backoff, Retry, _tenacity; Retry(backoff=Backoff()); "
    code += "print('tenacity' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
