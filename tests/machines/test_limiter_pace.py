"""A server's advice: never faster than it while it holds, as if it never was afterwards."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient._machines.cubic import Backpressure
from resilient._machines.limiter import CALM, LONGEST_PAUSE, Limiter, Settings

TICK = Fraction(1, 8)

ADVICE = st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 1e9]), st.sampled_from([1, 2, 4, 60, 600]))
TICKS = st.integers(0, 40)


def limiter(rate: float = 10.0, burst: int = 1, floor: float = 0.5, per: float = 1.0) -> Limiter:
    return Limiter(Settings(rate, per, burst, floor))


def passes(machine: Limiter, start: float, end: float, step: float = 1 / 64) -> list[float]:
    """The times at which a caller who tries all the time gets through."""
    return [now for tick in range(round((end - start) / step)) if machine.gcra.admit(now := start + tick * step)]


class Naive:
    """The rules in words: one TAT, and the longest of the intervals that are in force."""

    def __init__(self, rate: float, burst: int, floor: float) -> None:
        self.rate, self.floor = Fraction(rate), Fraction(floor)
        self.room = burst / self.rate
        self.tat = self.until = Fraction(0)
        self.advice = self.rate

    def pace(self, now: Fraction) -> Fraction:
        return min(self.rate, self.advice) if now < self.until else self.rate

    def admit(self, now: Fraction) -> bool:
        interval = 1 / self.pace(now)
        after = max(self.tat, now) + interval
        if after - now > max(self.room, interval):
            return False
        self.tat = after
        return True

    def advised(self, now: Fraction, pace: float, seconds: int) -> None:
        seconds = min(seconds, 60)
        self.advice = max(Fraction(pace), self.floor, Fraction(1, seconds))
        self.until = now + seconds


@given(
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 6),
    st.sampled_from([0.0078125, 0.5, 1.0]),
    st.lists(st.tuples(TICKS, st.none() | ADVICE), max_size=60),
)
def test_equals_the_naive_model(rate, burst, floor, steps):
    machine, naive = limiter(rate, burst, floor), Naive(rate, burst, floor)
    now = Fraction(0)
    for ticks, advice in steps:
        now += ticks * TICK
        if advice is None:
            wait = machine.gcra.wait(float(now), 1)
            allowance = machine.gcra.peek(float(now))
            assert wait == allowance.retry_after
            admitted = machine.gcra.admit(float(now))
            assert admitted == naive.admit(now)
            assert admitted != allowance.limited
        else:
            machine.advised(float(now), *advice, None)
            naive.advised(now, *advice)
        assert machine.rate(float(now)) == float(naive.pace(now))
        assert machine.adapting or machine.rate(float(now)) == rate


@given(st.sampled_from([0.5, 1.0, 2.0, 4.0]), st.integers(1, 20), st.integers(0, 50))
def test_no_faster_than_advised_while_it_holds(pace, burst, sent):
    machine = limiter(rate=16, burst=burst)
    for _ in range(sent):
        machine.gcra.admit(0.0)
    machine.advised(0.0, pace, 20.0, None)
    most = max(1.0, burst / 16 * pace)
    times = passes(machine, 0.0, 20.0)
    assert len(times) <= most + 20 * pace
    for first in range(len(times)):
        assert len(times[first:]) <= most + (20 - times[first]) * pace
    assert len(times) >= math.floor(20 * pace) - sent / 16 * pace - 1, "and not much slower either"


STEPS = st.lists(
    st.tuples(
        st.floats(0, 3).map(lambda each: round(each, 3)), st.one_of(st.sampled_from(["throttled", "ok", ""]), ADVICE)
    ),
    max_size=80,
)


@given(STEPS)
def test_the_slowest_of_the_configured_rate_the_pressure_and_the_advice_counts(steps):
    machine, alone = limiter(), Backpressure(10.0, 0.5)
    now, advice, until = 100.0, math.inf, 0.0
    for wait, what in steps:
        now += wait
        if what == "throttled":
            machine.throttled(now, "throttled", None)
            alone.throttled(now)
        elif what == "ok" and machine.adapting:
            machine.succeeded(now)
            if alone.active:
                alone.succeeded(now)
        elif isinstance(what, tuple):
            machine.advised(now, *what, None)
            advice, until = max(what[0], 0.5, 1 / what[1]), now + min(what[1], 60)
        expected = min(alone.rate, advice if now < until else math.inf)
        assert machine.rate(now) == pytest.approx(min(10.0, expected))
        assert machine.adapting or machine.rate(now) == 10.0
        assert machine.reduced(now) >= (machine.rate(now) < 10.0)
        interval = machine.gcra.peek(now) and machine.gcra._interval
        assert interval == pytest.approx(machine.gcra._scale * 1e9 / machine.rate(now), rel=1e-8)


@given(st.lists(st.tuples(st.floats(0, 0.3), st.none() | ADVICE), max_size=100))
def test_news_come_in_turn_and_not_with_each_response(steps):
    machine, now, told = limiter(), 0.0, []
    for wait, advice in steps:
        now += wait
        news = machine.advised(now, *advice, None) if advice else machine.succeeded(now)
        told += [(cause, now) for cause in news]
    causes = [cause for cause, _ in told]
    assert causes == ["quota", "recovered"] * (len(told) // 2) + ["quota"] * (len(told) % 2)
    for (began, start), (_, end) in pairwise(told):
        assert began == "recovered" or end - start >= CALM


def test_an_advice_above_the_configured_rate_costs_nothing():
    machine = limiter()
    before = len(machine.gcra._returned)
    assert machine.advised(0.0, 10.0, 60.0, 5) == []
    assert machine.advised(0.0, math.inf, 60.0, None) == []
    assert not machine.adapting
    assert len(machine.gcra._returned) == before == 0


def test_it_ends_by_itself_without_any_outcome():
    machine = limiter(burst=10)
    assert machine.advised(0.0, 1.0, 5.0, 50) == ["quota"]
    assert machine.rate(4.999) == 1.0
    assert machine.rate(5.0) == 10.0
    assert machine.gcra.peek(4.0).remaining == 1
    assert machine.gcra.peek(5.0).remaining == 10
    assert len(passes(machine, 5.0, 5.01)) == 1
    assert [machine.gcra.admit(5.02) for _ in range(10)] == [True] * 9 + [False]
    assert not machine.reduced(6.0)
    assert machine.succeeded(6.0) == ["recovered"]
    assert not machine.adapting
    assert len(machine.gcra._returned) == 0, "the fast path is what it was"


def test_whoever_asks_first_learns_that_it_is_over():
    for ask in (
        lambda gcra: gcra.wait(5.0, 1),
        lambda gcra: gcra.peek(5.0).retry_after,
        lambda gcra: not gcra.admit(5.0),
    ):
        machine = limiter(burst=10)
        machine.advised(0.0, 1.0, 5.0, 50)
        assert machine.gcra.admit(4.9)
        assert machine.gcra.wait(4.9, 1) == pytest.approx(1.0)
        assert ask(machine.gcra) == 0


def test_a_newer_one_replaces_it():
    machine = limiter()
    assert machine.advised(0.0, 1.0, 60.0, None) == ["quota"]
    assert machine.advised(0.5, 5.0, 60.0, None) == []
    assert machine.rate(0.5) == 5.0
    assert machine.advised(0.6, 2.0, 1.0, None) == []
    assert (machine.rate(1.5), machine.rate(1.6)) == (2.0, 10.0)


def test_a_generous_one_takes_it_back_at_once_and_says_so_once_it_is_calm():
    machine = limiter()
    machine.advised(0.0, 1.0, 5.0, None)
    assert machine.advised(1.0, 100.0, 5.0, None) == []
    assert machine.rate(1.0) == 10.0
    assert machine.advised(4.9, 1.0, 5.0, None) == [], "swinging around the rate is no news"
    assert machine.advised(9.9, 100.0, 5.0, None) == ["recovered"]


def test_a_short_one_is_not_over_for_who_listens_before_it_is_calm():
    machine = limiter()
    assert machine.advised(0.0, 1.0, 0.5, None) == ["quota"]
    assert machine.rate(0.5) == 10.0
    assert machine.succeeded(0.6) == []
    assert machine.succeeded(CALM) == ["recovered"]


def test_the_floor_holds():
    machine = limiter(floor=4.0)
    machine.advised(0.0, 0.0, 60.0, 3)
    assert machine.rate(0.0) == 4.0
    assert len(passes(machine, 0.0, 10.0)) == pytest.approx(40, abs=1)


def test_a_floor_at_the_rate_leaves_only_the_pause():
    machine = limiter(floor=10.0)
    assert machine.advised(0.0, 0.1, 60.0, 3) == []
    assert not machine.adapting
    assert machine.advised(0.0, 0.1, 3.0, 0) == ["quota"]
    assert passes(machine, 0.0, 3.5)[0] == 3.0
    assert machine.throttled(1.0, "throttled", None) == []
    assert machine.adapting, "somebody has to say that it is over"
    assert machine.succeeded(3.5) == ["recovered"]


def test_one_call_is_worth_no_more_than_the_time_that_the_advice_is_good_for():
    machine = limiter(floor=0.0001)
    machine.advised(0.0, 0.0, 5.0, 2)
    assert passes(machine, 0.0, 8.0)[:3] == [0.0, 5.0, pytest.approx(5.1, abs=0.02)]


def test_nothing_remaining_pauses_and_then_calls_pass_one_by_one():
    machine = limiter(burst=10)
    assert machine.advised(0.0, 0.0, 4.0, 0) == ["quota"]
    assert machine.advised(0.1, 0.0, 3.9, 0) == []
    assert machine.gcra.peek(1.0).retry_after == pytest.approx(3.0)
    times = passes(machine, 0.0, 4.5)
    assert times[0] == pytest.approx(4.0, abs=0.02)
    assert len(times) == 5
    assert machine.succeeded(5.0) == ["recovered"]


@pytest.mark.parametrize("seconds", [60.0, 3600.0, 1e300, math.inf])
def test_a_minute_at_most_is_believed(seconds):
    machine = limiter()
    machine.advised(0.0, 0.0, seconds, 0)
    assert machine.gcra.peek(0.0).retry_after == LONGEST_PAUSE
    assert machine.rate(LONGEST_PAUSE) == 10.0


@pytest.mark.parametrize(
    ("pace", "seconds"), [(math.nan, 5.0), (-1.0, 5.0), (1.0, 0.0), (1.0, -5.0), (1.0, math.nan), (1.0, 5e-324)]
)
def test_nonsense_changes_nothing(pace, seconds):
    machine = limiter()
    assert machine.advised(0.0, pace, seconds, None) == []
    assert not machine.adapting
    assert machine.gcra.admit(0.0)


def test_pressure_that_ends_first_does_not_end_the_advice():
    machine = limiter()
    assert machine.throttled(0.0, "throttled", None) == ["throttled"]
    assert machine.advised(0.0, 2.0, 10.0, None) == ["quota"]
    assert machine.succeeded(5.0) == [], "pressure is gone, the advice is not"
    assert machine.rate(5.0) == 2.0
    assert len(passes(machine, 5.0, 8.0)) == pytest.approx(6, abs=1)
    assert machine.succeeded(10.0) == ["recovered"]


def test_advice_that_ends_first_does_not_end_the_pressure():
    machine = limiter()
    machine.advised(0.0, 1.0, 2.0, None)
    machine.throttled(1.9, "throttled", None)
    assert machine.succeeded(2.0) == []
    assert machine.rate(2.0) == pytest.approx(7.0, abs=0.5)
    assert machine.adapting
    assert machine.advised(2.1, 1.0, 2.0, None) == ["quota"]
    assert machine.succeeded(9.0) == ["recovered"]


def test_a_rate_per_minute_is_advised_in_seconds():
    machine = limiter(rate=600.0, per=60.0, floor=30.0)
    machine.advised(0.0, 2.0, 10.0, None)
    assert machine.rate(0.0) == 120.0
    machine = limiter(rate=600.0, per=60.0, floor=30.0)
    assert machine.advised(0.0, 10.0, 10.0, None) == []
    assert not machine.adapting


def test_renewed_it_has_forgotten():
    machine = limiter()
    machine.advised(0.0, 1.0, 60.0, 0)
    machine.renew()
    assert machine.rate(0.0) == 10.0
    assert not machine.adapting
    assert machine.gcra.admit(0.0)
    assert machine.advised(0.0, 1.0, 60.0, None) == ["quota"]
