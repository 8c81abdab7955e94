"""The gate against a naive model: which holds there are, how many calls they let pass, and the way back."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from resilient._machines.gate import OPEN_GATE, Gate
from resilient._machines.holds import ALL_MODES, FORCED_CLOSED, FORCED_OPEN, NO_RETRIES, OBSERVE, Entry

RAMP = ((20, 0.05), (40, 0.25), (60, 0.5))
TIMES = st.sampled_from([0, 1, 19, 20, 21, 40, 60, 90])
NAMES = st.sampled_from("abcd")


SHARES = [(mode, 100) for mode in ALL_MODES] + [(FORCED_OPEN, percent) for percent in (1, 25, 50, 99)]
ENTRIES = st.builds(
    lambda name, what, left, disposition: (name, what[0], "why", "who", left, what[1], disposition),
    NAMES,
    st.sampled_from(SHARES),
    st.sampled_from([math.inf, 1, 20, 45, 90]),
    st.sampled_from(["fallback", "reject"]),
)


def made(given: tuple, now: float) -> Entry:
    name, mode, reason, actor, left, *rest = given
    return Entry(name, mode, reason, actor, now + left, *rest)


class GateModel(RuleBasedStateMachine):
    """A dict of holds and the time of the last release; everything else is worked out from the words of the design."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.gate = OPEN_GATE
        self.holds: dict[str, Entry] = {}
        self.released: float | None = None
        self.ramped = True

    @initialize(ramped=st.booleans())
    def begin(self, ramped: bool) -> None:
        self.ramped = ramped

    def ends(self) -> list[float]:
        return [each.until for each in self.holds.values() if each.mode == FORCED_OPEN and each.percent == 100]

    def change(self, new: list[Entry], gone: set[str]) -> None:
        was = self.ends()
        self.holds |= {each.id: each for each in new}
        for each in gone:
            self.holds.pop(each, None)
        modes = {each.mode for each in self.holds.values()}
        closed_by_hand = FORCED_CLOSED in modes and not modes & {FORCED_OPEN, OBSERVE}
        if self.ramped and was and not self.ends() and not closed_by_hand:
            self.released = min(self.now, max(was))
        self.gate = self.gate.changed(new, gone, self.now, ramped=self.ramped)

    @rule(new=st.lists(ENTRIES, min_size=1, max_size=2), gone=st.sets(NAMES, max_size=1))
    def place(self, new: list[tuple], gone: set[str]) -> None:
        self.change([made(each, self.now) for each in new], gone)

    @rule(gone=st.sets(NAMES, min_size=1))
    def release(self, gone: set[str]) -> None:
        self.change([], gone)

    @rule(seconds=TIMES)
    def wait(self, seconds: int) -> None:
        self.now += seconds
        over = {each.id for each in self.holds.values() if each.until <= self.now}
        assert {each.id for each in self.gate.over(self.now)} == over
        if over:
            self.change([], over)
        self.gate = self.gate.settled(self.now)

    @rule()
    def reset(self) -> None:
        self.released = None
        self.gate = self.gate.unramped()

    @rule(by=st.integers(-500, 500))
    def move(self, by: int) -> None:
        """Another clock: all that is relative stays."""
        self.gate = self.gate.moved(self.now, self.now + by)
        self.now += by
        self.holds = {name: replace(each, until=each.until + by) for name, each in self.holds.items()}
        if self.released is not None:
            self.released += by

    def share(self) -> float:
        modes = {each.mode for each in self.holds.values()}
        refused = max((each.percent for each in self.holds.values() if each.mode == FORCED_OPEN), default=0) / 100
        share = 1 - refused
        if self.released is not None and (FORCED_OPEN in modes or not modes & {OBSERVE, FORCED_CLOSED}):
            ramp = next((part for end, part in RAMP if self.now - self.released < end), 1.0)
            share = min(share, ramp)
        return share

    @invariant()
    def it_is_what_the_model_says(self) -> None:
        gate, holds = self.gate, self.holds.values()
        assert {each.id: each for each in gate.holds} == self.holds
        assert gate.share(self.now) == pytest.approx(self.share())
        assert gate.retries == all(each.mode != NO_RETRIES for each in holds)
        assert gate.rejects == any(each.mode == FORCED_OPEN and each.disposition == "reject" for each in holds)
        assert gate.next_end == min((each.until for each in holds), default=math.inf)
        modes = {each.mode for each in holds}
        assert gate.mode == next((each for each in (FORCED_OPEN, OBSERVE, FORCED_CLOSED) if each in modes), "auto")
        over = self.released is None or self.now - self.released >= 60
        assert gate.plain == (not holds and (over or self.gate.ramp is None))

    @invariant()
    def nobody_is_kept_out_for_nothing(self) -> None:
        """A gate that lets everybody pass and remembers nothing is the one that costs nothing."""
        if not self.holds and self.gate.settled(self.now).ramp is None:
            assert self.gate.settled(self.now) is OPEN_GATE

    @rule(draw=st.floats(0, 1, exclude_max=True))
    def ask(self, draw: float) -> None:
        drawn = []

        def chance() -> float:
            drawn.append(draw)
            return draw

        share, refusal = self.share(), self.gate.ask(self.now, chance)
        if share in (0, 1):
            assert not drawn, "chance is asked only where it decides"
        forced = [each for each in self.holds.values() if each.mode == FORCED_OPEN]
        if abs(draw - share) < 1e-9:
            return
        if share == 0:
            end = max(each.until for each in forced if each.percent == 100)
            wanted = None if end == math.inf else end - self.now
            assert (refusal.retry_after, refusal.reason) == (wanted, "forced_open")
        elif draw < share:
            assert refusal is None
        else:
            assert (refusal.retry_after, refusal.reason) == (0, "forced_open" if forced else "ramping")


TestGate = GateModel.TestCase


def shut(**more) -> Gate:
    return OPEN_GATE.changed([Entry("a", FORCED_OPEN, "why", "who", **more)], (), 0, ramped=True)


@pytest.mark.parametrize(
    ("seconds", "share"), [(0, 0.05), (19.9, 0.05), (20, 0.25), (39.9, 0.25), (40, 0.5), (59.9, 0.5), (60, 1)]
)
def test_calls_return_in_steps_over_a_minute(seconds, share):
    gate = shut().changed([], "a", 100, ramped=True)
    assert gate.share(100 + seconds) == share
    assert (gate.settled(100 + seconds) is OPEN_GATE) == (share == 1)


def test_a_hold_that_is_made_weaker_is_a_release_of_what_it_refused():
    half = [Entry("a", FORCED_OPEN, "why", "who", percent=50)]
    gate = shut().changed(half, (), 100, ramped=True)
    assert [gate.share(100 + seconds) for seconds in (0, 30, 50, 70)] == [0.05, 0.25, 0.5, 0.5]


@pytest.mark.parametrize("mode", [OBSERVE, FORCED_CLOSED])
def test_who_holds_the_gate_open_gets_all_calls_through_though_others_return_slowly(mode):
    gate = shut().changed([], "a", 100, ramped=True).changed([Entry("b", mode, "why", "who")], (), 101, ramped=True)
    assert gate.ask(102, lambda: 0.999) is None


def test_the_way_back_begins_when_the_hold_ends_not_when_somebody_notices():
    gate = shut(until=50)
    assert gate.changed([], "a", 75, ramped=True).share(75) == 0.25
    assert gate.changed([], "a", 110, ramped=True) is OPEN_GATE


def test_who_had_the_gate_forced_closed_needs_no_slow_return():
    closed = Entry("b", FORCED_CLOSED, "why", "who")
    gate = shut().changed([closed], (), 100, ramped=True).changed([], "a", 101, ramped=True)
    assert gate.changed([], "b", 102, ramped=True) is OPEN_GATE


def test_a_part_that_was_refused_returns_at_once():
    gate = shut(percent=99).changed([], "a", 100, ramped=True)
    assert gate is OPEN_GATE
