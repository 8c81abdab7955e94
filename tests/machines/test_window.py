"""A window's totals equal a recount of everything that was recorded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient._machines.tally import BUCKETS, FAILED, PASSED, SLOW, SLOW_FAILED, Count, Totals
from resilient._machines.window import CountWindow, TimeWindow, new_window

KINDS = st.sampled_from([PASSED, FAILED, SLOW, SLOW_FAILED])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pause"), st.integers(0, 60).map(lambda quarters: quarters / 4)),
        st.tuples(st.just("step"), st.just(0)),
        st.tuples(st.just("admit"), st.just(0)),
        st.tuples(st.just("record"), KINDS),
    ),
    max_size=60,
)


def recount(kinds):
    kinds = list(kinds)
    return Totals(len(kinds), sum(kind & FAILED for kind in kinds), sum(kind >= SLOW for kind in kinds))


def trailing_failures(kinds):
    """Failures since the last success; a call that is merely slow so far says nothing yet."""
    run = 0
    for kind in reversed(list(kinds)):
        if kind == PASSED:
            break
        run += kind & FAILED
    return run


@given(STEPS)
def test_a_time_window_holds_exactly_the_last_ten_buckets(script):
    now, bucket = 100.0, 0
    window = TimeWindow(10.0, now)
    recorded = []  # (bucket, kind)
    for what, value in script:
        if what == "pause":
            now += value
        elif what == "step":
            window.step()
            recorded.append((bucket, PASSED))
        else:
            bucket = int(now - 100.0)
            if what == "admit":
                window.advance(now)
            else:
                window.record(value, now)
                recorded.append((bucket, value))
        assert (now >= window.end) == (int(now - 100.0) > bucket)
    bucket = int(now - 100.0)
    assert window.totals(now) == recount(kind for born, kind in recorded if bucket - born < BUCKETS)
    assert window.run == trailing_failures(kind for _, kind in recorded)
    assert sum(number for _, _, number in window.rows(now)) == window.totals(now).calls


@given(STEPS, st.integers(1, 12))
def test_a_count_window_holds_exactly_the_last_calls(script, size):
    window, recorded = CountWindow(size), []
    for what, value in script:
        if what == "step":
            window.succeed(None)
            recorded.append(PASSED)
        elif what == "record":
            window.record(value, 0.0)
            recorded.append(value)
        assert window.totals(0.0) == recount(recorded[-size:])
        assert window.run == trailing_failures(recorded)


@pytest.mark.parametrize("size", [10.0, Count(50)])
@given(st.lists(st.tuples(st.integers(0, 12), KINDS), max_size=40))
def test_rows_loaded_into_a_like_window_give_the_same_totals_later_too(size, script):
    window, now = new_window(size, 0.0), 0.0
    for pause, kind in script:
        now += pause
        window.record(kind, now)
    window.advance(now)
    copy = new_window(size, 50.0)
    copy.load(window.rows(now))
    assert copy.totals(50.0) == window.totals(now)
    start = int(now)
    assert [copy.totals(50.0 + gap) for gap in range(12)] == [window.totals(start + gap) for gap in range(12)]


def test_a_bucket_is_over_at_its_end_and_not_before():
    window = TimeWindow(10.0, 0.0)
    window.record(FAILED, 0.0)
    assert window.end == 1.0
    window.advance(0.999)
    assert window.end == 1.0
    window.advance(1.0)
    assert window.end == 2.0
    assert window.totals(9.999).failures == 1
    assert window.totals(10.0).failures == 0


def test_a_long_idle_gap_clears_every_bucket():
    window = TimeWindow(10.0, 0.0)
    for second in range(10):
        window.record(FAILED, float(second))
    assert window.totals(9.5) == (10, 10, 0)
    assert window.totals(1e9) == (0, 0, 0)


def test_looking_does_not_count():
    window = TimeWindow(10.0, 0.0)
    window.step()
    for _ in range(5):
        assert window.totals(0.0) == (1, 0, 0)


def test_a_success_between_failures_starts_a_new_run_even_without_a_look_between():
    for window in (TimeWindow(10.0, 0.0), CountWindow(5)):
        window.record(FAILED, 0.0)
        window.record(FAILED, 0.0)
        window.step()
        window.record(FAILED, 0.0)
        assert window.run == 1


@pytest.mark.parametrize("window", [TimeWindow(10.0, 0.0), CountWindow(5)])
def test_a_slow_call_that_fails_later_is_one_call_slow_and_failed(window):
    mark = window.record(SLOW, 0.0)
    assert window.totals(0.0) == (1, 0, 1)
    window.amend(mark, 5.0)
    assert window.totals(5.0) == (1, 1, 1)
    assert window.run == 1


def test_a_slow_call_that_fails_after_its_mark_is_forgotten_still_failed():
    window = TimeWindow(10.0, 0.0)
    mark = window.record(SLOW, 0.0)
    window.amend(mark, 10.0)
    assert window.totals(10.0) == (1, 1, 0)
    other = TimeWindow(10.0, 0.0)
    mark = other.record(SLOW, 0.0)
    other.record(SLOW, 10.0)
    other.amend(mark, 10.0)
    assert other.totals(10.0) == (2, 1, 1)
    short = CountWindow(1)
    mark = short.record(SLOW, 0.0)
    short.succeed(None)
    short.amend(mark, 0.0)
    assert short.totals(0.0) == (1, 1, 0)


def test_history_moves_between_windows_of_different_kind():
    timed = TimeWindow(10.0, 0.0)
    for second, kind in enumerate([FAILED, FAILED, SLOW, PASSED]):
        timed.record(kind, float(second))
    counted = CountWindow(3)
    counted.load(timed.rows(3.0))
    assert counted.totals(3.0) == (3, 1, 1)
    again = TimeWindow(5.0, 3.0)
    again.load(counted.rows(3.0))
    assert again.totals(3.0) == (3, 1, 1)


def test_a_shorter_window_keeps_what_is_young_enough():
    window = TimeWindow(10.0, 0.0)
    window.record(FAILED, 0.0)
    window.record(FAILED, 8.0)
    shorter = TimeWindow(5.0, 8.0)
    shorter.load(window.rows(8.0))
    assert shorter.totals(8.0) == (1, 1, 0)
    shorter.load([(5.0, FAILED, 1)])
    assert shorter.totals(8.0) == (1, 1, 0)


def test_an_age_of_whole_buckets_is_not_blurred_by_binary_fractions():
    width = 0.35
    assert 3 * width / width < 3
    window = TimeWindow(10 * width, 0.0)
    window.load([(3 * width, FAILED, 1)])
    window.advance(6.5 * width)
    assert window.totals(6.5 * width).failures == 1
    assert window.totals(7.5 * width).failures == 0
