"""The ages of a stored answer: what may be done with it, and when it is refreshed."""

from __future__ import annotations

from math import exp
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient._machines.staleness import Ages, State

AGES = Ages(fresh=10.0, stale=50.0, grace=20.0, jitter=0.0, early=None)


def stored(ages=AGES, *, now=100.0, age=0.0, took=0.5, draw=0.0, since=0.0):
    return ages.stored("key", "value", now, age=age, took=took, draw=draw, since=since)


@pytest.mark.parametrize(
    ("after", "state"),
    [
        (0.0, State.FRESH),
        (9.999, State.FRESH),
        (10.0, State.REVALIDATE),
        (29.999, State.REVALIDATE),
        (30.0, State.STALE),
        (59.999, State.STALE),
        (60.0, State.GONE),
    ],
)
def test_an_answer_is_fresh_then_refreshed_then_only_a_stand_in_then_gone(after, state):
    answer = stored()
    assert answer.state(100.0 + after) is state
    assert (100.0 + after < answer.until) == (state is State.FRESH)


def test_a_new_answer_has_never_failed_and_is_what_was_answered():
    answer = stored(took=0.25)
    assert (answer.key, answer.value, answer.took) == ("key", "value", 0.25)
    assert (answer.rest, answer.failures, answer.cause) == (0.0, 0, None)


def test_without_grace_it_is_only_a_stand_in_once_its_fresh_time_is_over():
    answer = stored(Ages(10.0, 50.0, 0.0, 0.0, None))
    assert answer.state(110.0) is State.STALE


def test_with_no_fresh_time_it_is_never_served_without_asking():
    answer = stored(Ages(0.0, 50.0, 0.0, 0.0, None))
    assert not answer.until > 100.0
    assert answer.state(100.0) is State.STALE
    assert answer.state(150.0) is State.GONE


def test_with_no_stale_time_it_is_gone_when_its_fresh_time_is_over():
    answer = stored(Ages(10.0, 0.0, 0.0, 0.0, None))
    assert [answer.state(now) for now in (109.0, 110.0)] == [State.FRESH, State.GONE]


def test_with_neither_it_is_not_kept():
    assert stored(Ages(0.0, 0.0, 0.0, 0.0, None)) is None


def test_ages_of_caches_behind_each_other_do_not_add_up():
    answer = stored(age=55.0)
    assert answer.born == 45.0
    assert answer.end == 105.0
    assert answer.state(104.9) is State.FRESH
    assert answer.state(105.0) is State.GONE
    assert stored(age=60.0) is None
    assert stored(age=59.9) is not None


def test_an_answer_out_of_a_store_goes_on_where_it_was():
    first = stored(age=5.0)
    later = stored(now=100.0 + 4.0, age=9.0, since=4.0)
    for name in ("born", "fresh", "until", "grace", "end"):
        assert getattr(later, name) == getattr(first, name), name


@given(
    fresh=st.floats(0, 100),
    stale=st.floats(0, 100),
    grace=st.floats(0, 100),
    jitter=st.floats(0, 1, exclude_max=True),
    age=st.floats(0, 300),
    draw=st.floats(0, 1, exclude_max=True),
    later=st.floats(0, 300),
    early=st.none() | st.floats(0.1, 5),
)
def test_nothing_is_ever_used_longer_than_all_its_time(fresh, stale, grace, jitter, age, draw, later, early):
    ages = Ages(fresh, stale, min(grace, stale), jitter, early)
    answer = stored(ages, age=age, draw=draw)
    if answer is None:
        assert age >= fresh + stale - 1e-9
        return
    now = 100.0 + later
    assert answer.until <= answer.fresh <= answer.grace <= answer.end or answer.state(now) is State.GONE
    if answer.state(now) is not State.GONE:
        assert now - answer.born < fresh + stale + 1e-9
    if now < answer.until:
        assert later < fresh + 1e-9


@pytest.mark.parametrize(("draw", "fresh"), [(0.0, 10.0), (0.5, 9.5), (0.999999, 9.0)])
def test_jitter_only_shortens_the_fresh_time(draw, fresh):
    answer = stored(Ages(10.0, 50.0, 20.0, 0.1, None), draw=draw)
    assert answer.fresh - 100.0 == pytest.approx(fresh, abs=1e-4)
    assert (answer.grace, answer.end) == (130.0, 160.0)
    without = stored(Ages(10.0, 50.0, 0.0, 0.1, None), draw=draw)
    assert without.grace == without.fresh


def test_early_refreshes_come_at_the_rate_of_the_paper():
    """One reader a second: that nobody triggers it before it ends has the probability of the closed form."""
    ages = Ages(fresh=60.0, stale=0.0, grace=0.0, jitter=0.0, early=1.0)
    random, missed, rounds, rate = Random(7), 0, 4000, 10.0
    for _ in range(rounds):
        answer = stored(ages, now=0.0, took=0.2)
        now = answer.until
        while now < 60.0:
            if ages.due(answer, now, random.random()):
                break
            now += random.expovariate(rate)
        else:
            missed += 1
    assert missed / rounds == pytest.approx(exp(-rate * 1.0 * 0.2), abs=0.02)


def test_the_draw_begins_where_it_could_not_matter():
    ages = Ages(fresh=60.0, stale=0.0, grace=0.0, jitter=0.0, early=1.0)
    answer = stored(ages, now=0.0, took=0.5)
    assert answer.until == 50.0
    assert not ages.due(answer, 50.0, 1.0 - 3e-9)
    assert ages.due(answer, 59.9, 0.99)
    assert not ages.due(answer, 59.0, 0.0)
    assert ages.due(answer, 60.0, 0.0)
    assert not AGES.due(stored(), 1e9, 0.5), "it is off"


def test_a_refresh_that_failed_rests_longer_with_each_one_and_as_the_server_asked():
    answer = stored()
    rests = []
    for hint in (None, None, None, 30.0, None, None, None, None, 1e9):
        answer.failed(200.0, "Down", hint)
        rests.append(answer.rest - 200.0)
    assert rests == [1.0, 2.0, 4.0, 30.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert (answer.cause, answer.failures) == ("Down", 9)


def test_all_times_move_to_another_clock():
    answer = stored()
    answer.failed(105.0, "Down", None)
    before = [answer.born, answer.end, answer.fresh, answer.grace, answer.rest, answer.until]
    answer.move(1000.0)
    after = [answer.born, answer.end, answer.fresh, answer.grace, answer.rest, answer.until]
    assert after == [each + 1000.0 for each in before]
