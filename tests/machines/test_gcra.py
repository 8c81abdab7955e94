"""GCRA: the published table exactly, never above the rate, first come first served."""

from __future__ import annotations

import threading
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from resilient._machines.gcra import Gcra

SECOND = 10**9

P3 = [
    # now in ms, cost -> limited, remaining, reset after ms, retry after ms (None: never)
    (0, 6, True, 5, 0, None),
    (0, 1, False, 4, 1000, 0),
    (0, 1, False, 3, 2000, 0),
    (0, 1, False, 2, 3000, 0),
    (0, 1, False, 1, 4000, 0),
    (0, 1, False, 0, 5000, 0),
    (0, 1, True, 0, 5000, 1000),
    (3000, 1, False, 2, 3000, 0),
    (3100, 1, False, 1, 3900, 0),
    (4000, 1, False, 1, 4000, 0),
    (8000, 1, False, 4, 1000, 0),
    (9500, 1, False, 4, 1000, 0),
    (9500, 0, False, 4, 1000, 0),
    (9500, 2, False, 2, 3000, 0),
    (9500, 5, True, 2, 3000, 3000),
]


def every(seconds: float, burst: int) -> Gcra:
    return Gcra(Fraction(str(seconds)) * SECOND, burst)


@pytest.mark.parametrize("offset", [0, 7, 12_345])
def test_P3_table(offset):
    gcra = every(1, 5)
    for row, (ms, cost, limited, remaining, reset, retry) in enumerate(P3):
        now = ms / 1000 + offset
        told = gcra.peek(now, cost)
        assert (told.limited, told.retry_after) == (limited, None if retry is None else retry / 1000), row
        assert gcra.admit(now, cost) == (not limited), row
        after = gcra.peek(now)
        assert (after.remaining, after.reset_after) == (remaining, reset / 1000), row


def test_thirds_of_a_nanosecond_do_not_drift():
    gcra = Gcra(Fraction(SECOND, 3), 3)
    for second in range(1000):
        assert [gcra.admit(float(second)) for _ in range(4)] == [True, True, True, False], second


@given(
    st.integers(1, 5),
    st.integers(1, 6),
    st.lists(st.tuples(st.integers(0, 3 * SECOND), st.integers(0, 7)), max_size=60),
)
def test_equals_a_token_bucket(interval, burst, steps):
    gcra = Gcra(Fraction(interval * SECOND), burst)
    now, tokens = 0, Fraction(burst)
    for wait, cost in steps:
        now += wait
        tokens = min(Fraction(burst), tokens + Fraction(wait, interval * SECOND))
        assert gcra.peek(now / SECOND).remaining == int(tokens)
        admitted = gcra.admit(now / SECOND, cost)
        assert admitted == (cost <= tokens)
        if admitted:
            tokens -= cost


@given(
    st.fractions(Fraction(1, 1000), Fraction(5)),
    st.integers(1, 10),
    st.lists(st.integers(0, SECOND), min_size=1, max_size=120),
)
def test_no_window_admits_more_than_the_burst_and_its_share(interval, burst, waits):
    gcra = Gcra(interval * SECOND, burst)
    now, admitted = 0, []
    for wait in waits:
        now += wait
        admitted.extend(now for _ in range(3) if gcra.admit(now / SECOND))
    for first, start in enumerate(admitted):
        for last in range(first, len(admitted)):
            span = Fraction(admitted[last] - start, SECOND)
            assert last - first + 1 <= burst + span / interval


def test_threads_never_exceed_the_burst():
    gcra = every(1000, 50)
    admitted = []

    def work() -> None:
        admitted.append(sum(gcra.admit(1.0) for _ in range(500)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(admitted) == 50


def test_reservations_are_first_come_first_served_and_no_newcomer_passes():
    gcra = every(1, 1)
    assert gcra.admit(0.0)
    big = every(1, 5)
    assert [big.admit(0.0) for _ in range(5)] == [True] * 5
    waits = [big.reserve(0.0, cost, 60.0).wait for cost in (5, 1, 2)]
    assert waits == [5.0, 6.0, 8.0]
    assert not big.admit(5.5)
    turns = [gcra.reserve(0.25, 1, 60.0) for _ in range(3)]
    assert [turn.wait for turn in turns] == [0.75, 1.75, 2.75]
    assert not gcra.admit(2.9)
    assert gcra.admit(4.0)


def test_a_reservation_beyond_patience_changes_nothing():
    gcra = every(1, 1)
    assert gcra.admit(0.0)
    assert gcra.reserve(0.0, 1, 0.999999) is None
    assert gcra.reserve(0.0, 2, 60.0) is None, "above the burst it never fits"
    assert gcra.reserve(0.0, 1, 1.0).wait == 1.0


def test_only_the_newest_reservations_are_given_back():
    gcra = every(1, 1)
    gcra.admit(0.0)
    first, second, third = (gcra.reserve(0.0, 1, 60.0) for _ in range(3))
    gcra.give_back(second)
    assert gcra.reserve(0.0, 1, 60.0).wait == 4.0, "somebody waits behind it"
    assert first.wait == 1.0
    assert third.wait == 3.0


def test_a_whole_line_that_leaves_in_any_order_frees_all_its_slots():
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        gcra = every(1, 1)
        gcra.admit(0.0)
        turns = [gcra.reserve(0.0, 1, 60.0) for _ in range(3)]
        for each in order:
            gcra.give_back(turns[each])
            gcra.peek(0.0)
        assert gcra.reserve(0.0, 1, 60.0).wait == 1.0


def test_giving_back_takes_no_lock():
    gcra = every(1, 1)
    gcra.admit(0.0)
    turn = gcra.reserve(0.0, 1, 60.0)
    with gcra._lock:
        gcra.give_back(turn)
    assert gcra.peek(0.0).retry_after == 1.0


def test_a_slot_given_back_is_there_for_the_next_to_come():
    gcra = every(1, 1)
    gcra.admit(0.0)
    gcra.give_back(gcra.reserve(0.0, 1, 60.0))
    assert gcra.admit(1.0)


def test_a_slot_given_back_after_a_pause_is_free_again():
    gcra = every(1, 1)
    gcra.admit(0.0)
    turn = gcra.reserve(0.0, 1, 60.0)
    gcra.pause(0.5, 10.0)
    gcra.give_back(turn)
    assert gcra.reserve(0.5, 1, 60.0).wait == 10.5


def test_given_back_turns_of_the_past_are_forgotten():
    gcra = every(1, 1)
    gcra.admit(0.0)
    for second in range(200):
        kept, dropped, last = (gcra.reserve(float(second * 3), 1, 60.0) for _ in range(3))
        gcra.give_back(dropped)
        assert kept
        assert last
    assert len(gcra._gone) < 5


def test_a_slower_pace_shrinks_the_burst_but_lets_one_call_through():
    gcra = every(0.1, 10)
    gcra.pace(2.0)
    assert [gcra.admit(0.0) for _ in range(4)] == [True, True, False, False]
    gcra.pace(0.5)
    assert not gcra.admit(0.999)
    assert gcra.admit(1.0)
    assert not gcra.admit(2.999)
    assert gcra.admit(3.0)
    gcra.pace(None)
    assert gcra.peek(100.0).remaining == 10


def test_a_cost_above_the_shrunken_burst_still_gets_its_turn():
    gcra = every(0.1, 10)
    gcra.pace(1.0)
    assert gcra.admit(0.0, 5), "the bucket was full"
    assert gcra.peek(0.0, 5).retry_after == 5.0
    assert not gcra.admit(4.9, 5)
    assert gcra.admit(5.0, 5)
    assert not gcra.admit(1000.0, 11)


def test_the_pace_never_exceeds_the_configured_rate():
    gcra = every(1, 1)
    gcra.pace(1000.0)
    assert [gcra.admit(t) for t in (0.0, 0.5, 1.0)] == [True, False, True]


def test_after_a_pause_calls_pass_one_by_one():
    gcra = every(1, 5)
    assert gcra.pause(0.0, 10.0)
    assert gcra.peek(4.0) == (True, 0, pytest.approx(10.0), 6.0)
    assert [gcra.admit(t) for t in (5.0, 9.999, 10.0, 10.0, 10.5, 11.0)] == [False, False, True, False, False, True]


def test_a_pause_moves_the_whole_line_and_keeps_its_order():
    gcra = every(1, 1)
    gcra.admit(0.0)
    turns = [gcra.reserve(0.0, 1, 60.0) for _ in range(3)]
    assert gcra.pause(0.5, 10.0)
    assert not gcra.pause(1.0, 9.0), "shorter than the one in force"
    newcomer = gcra.reserve(1.0, 1, 60.0)
    slots = [turn.wait + gcra.lag(turn) for turn in turns]
    assert slots == [11.0, 12.0, 13.0]
    assert newcomer.wait + 1.0 == 14.0
    assert gcra.pause(2.0, 20.0)
    assert gcra.lag(turns[0]) == pytest.approx(11.5)
    assert gcra.lag(turns[0]) == 0


def test_a_pause_beyond_patience_ends_the_wait():
    gcra = every(1, 1)
    gcra.admit(0.0)
    turn = gcra.reserve(0.0, 1, 5.0)
    gcra.pause(0.5, 4.0)
    assert gcra.lag(turn) == 4.0, "just within patience"
    gcra.pause(0.5, 4.001)
    assert gcra.lag(turn) is None


class Line(RuleBasedStateMachine):
    """Reservations against a list of slots: cost 1 each, at most three at once, one per second."""

    BURST = 3

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.gcra = every(1, self.BURST)
        self.line: list[list] = []  # [TAT before, TAT after, slot, turn or None, left the line]

    def tat(self) -> int:
        """Where the last in line who stays will have brought it; who left before counts as well."""
        while self.line and self.line[-1][4]:
            self.line.pop()
        return max(self.now, self.line[-1][1] if self.line else 0)

    @rule(ms=st.integers(0, 2500))
    def wait(self, ms: int) -> None:
        self.now += ms

    @rule()
    def arrive(self) -> None:
        before = self.tat()
        passes = before + 1000 - self.BURST * 1000 <= self.now
        assert self.gcra.admit(self.now / 1000) == passes
        if passes:
            self.line.append([before, before + 1000, self.now, None, False])

    @rule(patience=st.integers(0, 6000))
    def queue(self, patience: int) -> None:
        before = self.tat()
        slot = max(self.now, before + 1000 - self.BURST * 1000)
        turn = self.gcra.reserve(self.now / 1000, 1, patience / 1000)
        assert (turn is not None) == (slot <= self.now + patience)
        if turn is not None:
            assert turn.wait == pytest.approx((slot - self.now) / 1000)
            self.line.append([before, before + 1000, slot, turn, False])

    @precondition(lambda self: any(self.waiting()))
    @rule(data=st.data())
    def leave(self, data) -> None:
        entry = data.draw(st.sampled_from(self.waiting()))
        entry[4] = True
        self.gcra.give_back(entry[3])
        self.tat()

    def waiting(self) -> list[list]:
        return [each for each in self.line if each[3] and not each[4] and each[2] > self.now]

    @invariant()
    def what_passed_never_exceeds_the_rate(self) -> None:
        passed = sorted(each[2] for each in self.line if not each[4])
        for first, slot in enumerate(passed):
            for last in range(first, len(passed)):
                assert last - first + 1 <= self.BURST + (passed[last] - slot) / 1000

    @invariant()
    def slots_are_in_order_of_arrival(self) -> None:
        assert all(one[2] <= other[2] for one, other in pairwise(self.line))

    @invariant()
    def the_books_agree(self) -> None:
        assert self.gcra.peek(self.now / 1000).reset_after == pytest.approx((self.tat() - self.now) / 1000)


TestLine = Line.TestCase
