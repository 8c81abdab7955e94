"""The breaker's machine decides as a naive model written from the design says, in any order of events."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from resilient import ConfigError
from resilient._machines.breaker import BreakerMachine
from resilient._machines.held import HoldEnded
from resilient._machines.holds import Entry
from resilient._machines.probes import Ticket, failures_to_open
from resilient._machines.recovery import Ramp, lowered, open_time, raised
from resilient._machines.states import Refusal, Settings
from resilient._machines.tally import Count
from resilient.outcome import Outcome

PLAIN = {
    "failure_rate": 0.5,
    "window": Count(6),
    "min_calls": 4,
    "consecutive": 3,
    "slow_call": None,
    "slow_rate": 0.5,
    "open_for": 4.0,
    "max_open_for": 16.0,
    "probes": 3,
    "max_half_open": 12.0,
    "ramp": 8.0,
    "jitter": 0.0,
}
LEASE = 5.0
TICK = 0.5


def setting(**changes):
    return Settings(**{**PLAIN, **changes})


class Model:
    """The text of the design, done step by step without any thought of speed."""

    def __init__(self):
        self.now = 0.0
        self.state = "closed"
        self.era = object()
        self.outcomes = []
        self.level = 0
        self.closed_at = 0.0
        self.until = None
        self.ramp = None  # (start, operator)
        self.round = None
        self.holds = {}

    @property
    def mode(self):
        modes = [mode for mode, _ in self.holds.values()]
        return next((mode for mode in ("forced_open", "observe", "forced_closed") if mode in modes), "auto")

    @property
    def effective(self):
        return self.state if self.mode == "auto" else self.mode

    def pass_time(self, seconds):
        """Holds that ended are noticed first; the rest happens tick by tick."""
        target = self.now + seconds
        was = self.mode
        self.holds = {name: hold for name, hold in self.holds.items() if hold[1] > target}
        if self.mode != was == "forced_open" or (self.mode == "forced_closed" and was != "forced_closed"):
            self.now = target
            self.change_mode(was)
            return
        while self.now < target:
            self.now += TICK
            self.tick()

    def tick(self):
        if self.state != "half_open" or self.mode == "forced_open":
            return
        for probe in [probe for probe, end in self.round["live"].items() if end <= self.now]:
            if self.state == "half_open":
                self.probe_ends(probe, "failure")
        if self.state == "half_open" and self.now >= self.round["end"]:
            if self.round["failed"] or self.round["live"]:
                self.rise()
            self.open(rise=False)

    def change_mode(self, was):
        if self.mode == was:
            return
        if self.mode == "forced_open":
            self.era = object()
            self.ramp = self.round = None
        elif self.mode == "forced_closed":
            if was == "forced_open" or self.state != "closed":
                self.close(ramp=None)
        elif was == "forced_open":
            self.start_round(operator=True)

    def rise(self):
        if self.level == 0 or 4.0 * 2 ** (self.level - 1) < 16.0:
            self.level += 1

    def open(self, *, rise=True, hint=0.0):
        if self.state == "closed":
            self.level = max(0, self.level - int((self.now - self.closed_at) // 60))
        if rise:
            self.rise()
        wait = min(16.0, 4.0 * 2 ** (max(1, self.level) - 1))
        self.until = self.now + max(wait, min(hint, 16.0))
        self.state, self.era, self.ramp, self.round = "open", object(), None, None

    def start_round(self, *, operator=False):
        self.state, self.era, self.ramp = "half_open", object(), None
        self.round = {"passed": 0, "failed": 0, "live": {}, "end": self.now + 12.0, "operator": operator}

    def close(self, ramp):
        self.state, self.era, self.round = "closed", object(), None
        self.outcomes, self.closed_at, self.ramp = [], self.now, ramp

    def share(self):
        if self.ramp is None:
            return 1.0
        start, operator = self.ramp
        passed = self.now - start
        if operator:
            return 0.05 if passed < 20 else 0.25 if passed < 40 else 0.5 if passed < 60 else 1.0
        return 1.0 if passed >= 8.0 else 0.1 + 0.9 * passed / 8.0

    def admit(self, draw):
        """Return (kind, era, probe id) or (reason, retry_after)."""
        if self.mode == "forced_open":
            end = max(until for mode, until in self.holds.values() if mode == "forced_open")
            return "forced_open", None if end == math.inf else end - self.now
        refusal = None
        if self.state == "open":
            if self.now < self.until:
                refusal = "breaker_open", self.until - self.now
            else:
                self.start_round()
        if self.state == "half_open":
            used = self.round["passed"] + self.round["failed"] + len(self.round["live"])
            if used < 3:
                probe = object()
                self.round["live"][probe] = self.now + LEASE
                return "probe", self.era, probe
            soonest = min([self.round["end"], *self.round["live"].values()])
            refusal = "half_open_limit", soonest - self.now
        elif self.state == "closed" and self.mode != "forced_closed" and draw >= self.share():
            refusal = "ramping", 0.0
        if refusal is None:
            return "plain", self.era, None
        return ("pass", None, None) if self.mode == "observe" else refusal

    def settle(self, permit, outcome, hint):
        kind, era, probe = permit
        if era is not self.era or self.mode == "forced_open":
            return
        if kind == "probe":
            self.probe_ends(probe, outcome, hint)
        elif outcome in {"success", "failure"}:
            self.outcomes.append(outcome)
            if outcome == "failure" and self.mode != "forced_closed" and self.too_bad():
                self.open(hint=hint)

    def too_bad(self):
        last = self.outcomes[-6:]
        rate = last.count("failure") / len(last)
        return (len(last) >= 4 and rate >= 0.5) or self.outcomes[-3:] == ["failure"] * 3

    def probe_ends(self, probe, outcome, hint=0.0):
        if self.round["live"].pop(probe, None) is None:
            return
        if outcome == "failure":
            self.round["failed"] += 1
        elif outcome == "success":
            self.round["passed"] += 1
        if self.round["failed"] >= 2:
            self.open(hint=hint)
        elif self.round["passed"] > 1:
            self.close(ramp=(self.now, self.round["operator"]))


class MachineMatchesModel(RuleBasedStateMachine):
    permits = Bundle("permits")
    holds = Bundle("holds")

    def __init__(self):
        super().__init__()
        self.machine = BreakerMachine(setting(), 0.0, LEASE)
        self.model = Model()
        self.names = 0

    @property
    def now(self):
        return self.model.now

    @rule(ticks=st.one_of(st.integers(1, 30), st.sampled_from([40, 120, 280])))
    def time_passes(self, ticks):
        self.model.pass_time(ticks * TICK)

    @rule(target=permits, draw=st.sampled_from([0.0, 0.04, 0.05, 0.2, 0.5, 0.9]))
    def admit(self, draw):
        return self.admitted(draw)

    @rule(draw=st.sampled_from([0.0, 0.2]), outcome=st.sampled_from(["success", "failure", "failure"]))
    def call(self, draw, outcome):
        for permit in self.admitted(draw).values:
            self.settle(permit, outcome, 0.0)

    def admitted(self, draw):
        expected = self.model.admit(draw)
        answer = self.machine.admit(self.now, draw)
        if isinstance(answer, Refusal):
            assert (answer.reason, answer.retry_after) == expected
            return multiple()
        assert (expected[0] in {"probe", "pass"}) == isinstance(answer, Ticket)
        return multiple((answer, expected))

    @rule(
        permit=permits,
        outcome=st.sampled_from(["success", "failure", "failure", "throttled", "inconclusive"]),
        hint=st.sampled_from([0.0, 6.0, 100.0]),
    )
    def settle(self, permit, outcome, hint):
        actual, expected = permit
        if outcome == "success" and not isinstance(actual, Ticket):
            actual.succeed(None)
        else:
            self.machine.settle(actual, Outcome(outcome), self.now, 0.5, hint)
        self.model.settle(expected, outcome, hint)

    @rule(permit=permits)
    def drop(self, permit):
        actual, expected = permit
        if isinstance(actual, Ticket):
            self.machine.drop(actual)
            self.model.settle(expected, "inconclusive", 0.0)

    @rule(
        target=holds,
        mode=st.sampled_from(["forced_open", "forced_closed", "observe"]),
        ticks=st.one_of(st.none(), st.integers(1, 40)),
    )
    def hold(self, mode, ticks):
        self.names += 1
        until = math.inf if ticks is None else self.now + ticks * TICK
        was = self.model.mode
        self.machine.hold(Entry(str(self.names), mode, "why", "", until), self.now, 0.5)
        self.model.holds[str(self.names)] = mode, until
        self.model.change_mode(was)
        return str(self.names)

    @rule(name=holds)
    def release(self, name):
        was = self.model.mode
        there = self.model.holds.pop(name, None) is not None
        assert self.machine.release(name, self.now, 0.5) is there
        self.model.change_mode(was)

    @rule()
    def reset(self):
        self.machine.reset(self.now, 0.5)
        self.model.close(ramp=None)
        self.model.level = 0

    @rule()
    def survive_a_restart(self):
        """Carry the state over to a new machine; calls and holds stay behind, so only without them."""
        if self.model.holds or (self.model.round and self.model.round["live"]):
            return
        data = self.machine.snapshot(self.now, 0.5)
        self.machine = BreakerMachine(setting(), self.now + 3.0, LEASE)
        self.machine.restore(data, self.now + 3.0, 0.0)
        self.machine.move(self.now + 3.0, self.now)
        self.model.era = object()

    @invariant()
    def same_story(self):
        seen = self.machine.snapshot(self.now, 0.5)
        assert seen["state"] == self.model.effective
        if self.model.mode != "forced_open":
            assert seen["automatic"] == self.model.state
        if self.model.state == "closed" and self.model.mode != "forced_open":
            last = self.model.outcomes[-6:]
            assert (seen["calls"], seen["failures"]) == (len(last), last.count("failure"))
            assert seen["share"] == self.model.share()
        plain = self.model.effective == "closed" and self.model.share() == 1
        assert (self.machine.window is not None) == plain

    @invariant()
    def the_fast_refusal_is_never_wrong(self):
        shut = self.machine.shut > self.now
        forced = self.model.effective == "forced_open"
        assert self.machine.forced == forced
        assert shut == (forced or (self.model.effective == "open" and self.now < self.model.until))


MachineMatchesModel.TestCase.settings = settings(max_examples=120, stateful_step_count=40)
TestMachineMatchesModel = MachineMatchesModel.TestCase


# Exact boundaries ----------------------------------------------------------------------------


def machine(now=0.0, **changes):
    return BreakerMachine(setting(**changes), now, LEASE)


def play(breaker, outcomes, now=0.0, draw=0.5, hint=None):
    """Run one call after the other and return the state after each."""
    states = []
    for outcome in outcomes:
        permit = breaker.admit(now, draw)
        assert not isinstance(permit, Refusal), permit
        breaker.settle(permit, Outcome.FAILURE if outcome == "f" else Outcome.SUCCESS, now, draw, hint)
        states.append(breaker.snapshot(now, draw)["state"])
    return states


def opened(**changes):
    """Return a breaker that opened at 0 for 4 s."""
    breaker = machine(**changes)
    play(breaker, "fff")
    assert breaker.snapshot(0.0, 0.5)["state"] == "open"
    return breaker


def causes(breaker):
    return [(news.before, news.after, news.cause) for news in breaker.news]


def test_the_rate_needs_min_calls_and_reaching_it_is_enough():
    quiet = {"consecutive": None, "window": Count(100), "min_calls": 20}
    assert play(machine(**quiet), "f" * 20) == ["closed"] * 19 + ["open"]
    assert play(machine(**quiet), "s" * 10 + "f" * 10)[-2:] == ["closed", "open"]
    assert "open" not in play(machine(**quiet), "s" * 11 + "f" * 10)


def test_failures_in_a_row_open_and_a_success_between_starts_over():
    assert play(machine(min_calls=6), "ffsff" + "f") == ["closed"] * 5 + ["open"]
    assert "open" not in play(machine(min_calls=6, window=Count(6), failure_rate=1.0), "ffs" * 10)
    assert "open" not in play(machine(consecutive=None, min_calls=6), "fffff")


def test_outcomes_that_say_nothing_neither_count_nor_break_a_run():
    breaker = machine(min_calls=6)
    play(breaker, "ff")
    for outcome in (Outcome.THROTTLED, Outcome.INCONCLUSIVE) * 20:
        breaker.settle(breaker.admit(0.0, 0.5), outcome, 0.0, 0.5, 30.0)
    assert breaker.snapshot(0.0, 0.5)["calls"] == 2
    assert play(breaker, "f") == ["open"]


def test_open_until_exactly_its_time_is_over():
    breaker = opened()
    assert breaker.admit(3.999, 0.5) == Refusal(pytest.approx(0.001), "breaker_open")
    assert isinstance(breaker.admit(4.0, 0.5), Ticket)
    assert causes(breaker)[-2:] == [("closed", "open", "consecutive"), ("open", "half_open", "wait_elapsed")]


def test_no_more_probes_than_places_and_an_early_verdict():
    breaker = opened()
    probes = [breaker.admit(4.0, 0.5) for _ in range(5)]
    assert [type(probe) for probe in probes] == [Ticket] * 3 + [Refusal] * 2
    assert probes[3] == Refusal(LEASE, "half_open_limit")
    breaker.settle(probes[0], Outcome.SUCCESS, 4.0, 0.5)
    assert breaker.snapshot(4.0, 0.5)["state"] == "half_open"
    breaker.settle(probes[1], Outcome.SUCCESS, 4.0, 0.5)
    assert breaker.snapshot(4.0, 0.5)["state"] == "closed"
    breaker.settle(probes[2], Outcome.FAILURE, 4.0, 0.5)
    assert breaker.snapshot(4.0, 0.5)["failures"] == 0


@given(st.integers(1, 40), st.floats(0.01, 1.0))
def test_the_early_verdict_falls_when_it_is_certain(places, rate):
    needed = failures_to_open(rate, places)
    assert needed / places >= rate
    assert (needed - 1) / places < rate


def test_the_number_of_failed_probes_is_not_blurred_by_binary_fractions():
    assert 0.07 * 100 > 7
    assert failures_to_open(0.07, 100) == 7
    assert failures_to_open(0.7, 10) == 7


def test_a_probe_that_never_ends_loses_its_lease_exactly():
    breaker = opened(probes=1)
    lost = breaker.admit(4.0, 0.5)
    assert breaker.snapshot(8.999, 0.5)["state"] == "half_open"
    assert breaker.snapshot(9.0, 0.5)["state"] == "open"
    assert causes(breaker)[-1] == ("half_open", "open", "lease_expired")
    breaker.settle(lost, Outcome.SUCCESS, 9.0, 0.5)
    assert breaker.snapshot(9.0, 0.5)["open_remaining"] == 8.0


def test_a_hung_probe_refuses_nobody_for_ever():
    breaker = opened(probes=1)
    breaker.admit(4.0, 0.5)
    assert isinstance(breaker.admit(1e6, 0.5), Ticket)


def test_half_open_ends_at_its_longest_time_although_a_probe_hangs():
    breaker = opened(max_half_open=3.0)
    play(breaker, "s", now=4.0)
    breaker.admit(4.0, 0.5)
    assert breaker.snapshot(6.999, 0.5)["state"] == "half_open"
    assert breaker.snapshot(7.0, 0.5)["state"] == "open"
    assert causes(breaker)[-1] == ("half_open", "open", "half_open_timeout")
    assert breaker.snapshot(7.0, 0.5)["open_remaining"] == 8.0


def test_what_is_noticed_late_is_dated_when_it_was_due():
    breaker = opened(probes=1, max_half_open=3.0)
    breaker.admit(4.0, 0.5)  # its lease would end at 9, the round ends at 7
    assert breaker.snapshot(10.0, 0.5)["open_remaining"] == 5.0
    assert causes(breaker)[-1] == ("half_open", "open", "half_open_timeout")


def test_a_round_that_only_lacked_traffic_does_not_lengthen_the_open_time():
    breaker = opened()
    play(breaker, "s", now=4.0)
    assert breaker.snapshot(16.0, 0.5)["open_remaining"] == 4.0


def test_throttled_and_dropped_probes_free_their_place():
    breaker = opened(probes=1)
    for free in (
        lambda probe: breaker.settle(probe, Outcome.THROTTLED, 4.0, 0.5),
        lambda probe: breaker.settle(probe, Outcome.INCONCLUSIVE, 4.0, 0.5),
        breaker.drop,
    ):
        probe = breaker.admit(4.0, 0.5)
        assert isinstance(probe, Ticket)
        assert isinstance(breaker.admit(4.0, 0.5), Refusal)
        free(probe)
    assert isinstance(breaker.admit(4.0, 0.5), Ticket)


def test_settling_a_probe_twice_counts_once():
    breaker = opened()
    probe = breaker.admit(4.0, 0.5)
    for _ in range(3):
        breaker.settle(probe, Outcome.SUCCESS, 4.0, 0.5)
    assert breaker.snapshot(4.0, 0.5)["probes"]["passed"] == 1


def test_t03_and_t13_a_call_of_the_closed_era_changes_nothing_later():
    breaker = machine()
    straddling = breaker.admit(0.0, 0.5)
    play(breaker, "fff")
    for now in (1.0, 4.0):
        if now == 4.0:
            breaker.admit(4.0, 0.5)
        before = breaker.snapshot(now, 0.5)
        breaker.settle(straddling, Outcome.FAILURE, now, 0.5, 100.0)
        after = breaker.snapshot(now, 0.5)
        assert (after["state"], after["probes"], after["open_remaining"]) == (
            before["state"],
            before["probes"],
            before["open_remaining"],
        )


def test_t04_a_probe_of_an_older_round_is_inert_in_the_next():
    breaker = opened(probes=1, ramp=0.0)
    old = breaker.admit(4.0, 0.5)
    assert breaker.snapshot(9.0, 0.5)["state"] == "open"
    new = breaker.admit(17.0, 0.5)
    breaker.settle(old, Outcome.SUCCESS, 17.0, 0.5)
    breaker.drop(old)
    assert isinstance(breaker.admit(17.0, 0.5), Refusal)
    assert breaker.snapshot(17.0, 0.5)["state"] == "half_open"
    breaker.settle(new, Outcome.SUCCESS, 17.0, 0.5)
    assert breaker.snapshot(17.0, 0.5)["state"] == "closed"


def test_t23_many_rounds_of_failed_probes_keep_admitting_the_next():
    breaker, now = opened(probes=1), 0.0
    for _ in range(20):
        now += 16.0
        assert play(breaker, "f", now=now) == ["open"]


def test_open_times_double_to_the_longest_and_decay_by_healthy_minutes():
    breaker, now, waits = opened(probes=1, ramp=0.0), 0.0, []
    for _ in range(4):
        now += breaker.snapshot(now, 0.5)["open_remaining"]
        play(breaker, "f", now=now)
        waits.append(breaker.snapshot(now, 0.5)["open_remaining"])
    assert waits == [8.0, 16.0, 16.0, 16.0]
    now += 16.0
    play(breaker, "s", now=now)
    play(breaker, "fff", now=now + 119.5)
    assert breaker.snapshot(now + 119.5, 0.5)["open_remaining"] == pytest.approx(16.0)  # 3 - 1 + 1
    now += 119.5 + 16.0
    play(breaker, "s", now=now)
    play(breaker, "fff", now=now + 120.0)
    assert breaker.snapshot(now + 120.0, 0.5)["open_remaining"] == 8.0  # 3 - 2 + 1


@given(st.integers(1, 12), st.floats(0, 1, exclude_max=True), st.one_of(st.none(), st.floats(0, 1e6)))
def test_an_open_time_stays_within_jitter_and_the_longest(level, draw, hint):
    times = setting(jitter=0.2)
    centre = min(16.0, 4.0 * 2 ** (level - 1))
    wait = open_time(times, level, draw, hint)
    assert max(0.8 * centre, min(hint or 0.0, 16.0)) <= wait <= 16.0 + 1e-12
    if hint is None:
        assert wait <= 1.2 * centre + 1e-12


def test_jitter_spreads_to_both_sides_and_narrows_at_the_longest():
    times = setting(jitter=0.2)
    assert open_time(times, 1, 0.0, None) == pytest.approx(3.2)
    assert open_time(times, 1, 0.75, None) == pytest.approx(4.4)
    assert open_time(times, 9, 0.5, None) == pytest.approx(14.4)


def test_levels_stop_rising_where_the_longest_opening_is_reached():
    level = 0
    for _ in range(50):
        level = raised(setting(), level)
    assert level == 3
    assert [lowered(3, healthy) for healthy in (59.9, 60.0, 120.0, 1e9)] == [3, 2, 1, 0]


def test_a_hint_of_the_failure_that_opens_lengthens_within_the_bound():
    for hint, remaining in ((2.0, 4.0), (9.0, 9.0), (1000.0, 16.0)):
        breaker = machine()
        play(breaker, "fff", hint=hint)
        assert breaker.snapshot(0.0, 0.5)["open_remaining"] == remaining


def test_linkerds_penalty_doubles_from_one_second_to_a_minute():
    breaker = machine(open_for=1.0, max_open_for=60.0, consecutive=7, min_calls=100, window=Count(100), probes=1)
    assert play(breaker, "s" + "f" * 7)[-2:] == ["closed", "open"]
    now, waits = 0.0, []
    for _ in range(8):
        waits.append(breaker.snapshot(now, 0.5)["open_remaining"])
        now += waits[-1]
        play(breaker, "f", now=now)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


# The ramp ------------------------------------------------------------------------------------


def test_after_closing_the_share_grows_from_a_tenth_to_all():
    breaker = opened()
    play(breaker, "ss", now=4.0)
    seen = breaker.snapshot(4.0, 0.5)
    assert (seen["state"], seen["ramping"], seen["share"]) == ("closed", True, 0.1)
    assert breaker.window is None
    assert breaker.admit(4.0, 0.1) == Refusal(0.0, "ramping")
    assert not isinstance(breaker.admit(4.0, 0.099), Refusal)
    assert breaker.snapshot(8.0, 0.5)["share"] == 0.55
    assert breaker.snapshot(11.999, 0.5)["ramping"]
    assert not breaker.snapshot(12.0, 0.5)["ramping"]
    assert breaker.window is breaker.admit(12.0, 0.999)


def test_too_many_failures_during_the_ramp_open_again():
    breaker = opened()
    play(breaker, "ss", now=4.0)
    assert play(breaker, "fff", now=4.0, draw=0.0) == ["closed", "closed", "open"]
    assert breaker.snapshot(4.0, 0.5)["open_remaining"] == 8.0


def test_no_ramp_when_it_is_zero():
    breaker = opened(ramp=0.0)
    play(breaker, "ss", now=4.0)
    assert breaker.window is not None


@given(st.floats(0.5, 100), st.booleans(), st.lists(st.floats(0, 200), max_size=20))
def test_a_ramp_never_shrinks_and_ends_at_all(over, operator, moments):
    ramp = Ramp(0.0, operator=operator)
    shares = [ramp.share(now, over) for now in sorted(moments)]
    assert shares == sorted(shares)
    assert ramp.share(60.0 if operator else over, over) == 1.0


# Slow calls ----------------------------------------------------------------------------------

SLOW = {"slow_call": 2.0, "consecutive": None, "min_calls": 2, "slow_rate": 1.0, "failure_rate": 1.0}


def test_slow_means_longer_than_the_limit_not_as_long():
    breaker = machine(**SLOW)
    assert breaker.window is None
    calls = [breaker.admit(0.0, 0.5) for _ in range(2)]
    for call in calls:
        breaker.settle(call, Outcome.SUCCESS, 2.0, 0.5)
    assert breaker.snapshot(2.0, 0.5)["slow_calls"] == 0


def test_calls_still_running_count_as_slow_at_the_next_admission():
    breaker = machine(**SLOW)
    calls = [breaker.admit(0.0, 0.5) for _ in range(2)]
    assert not isinstance(breaker.admit(2.0, 0.5), Refusal)
    assert breaker.admit(2.001, 0.5).reason == "breaker_open"
    assert causes(breaker) == [("closed", "open", "slow_ratio")]
    breaker.settle(calls[0], Outcome.FAILURE, 2.1, 0.5)
    assert breaker.snapshot(2.1, 0.5)["calls"] == 2


def test_a_slow_call_counts_once_and_if_it_fails_in_both_rates():
    breaker = machine(**{**SLOW, "min_calls": 6})
    calls = [breaker.admit(0.0, 0.5) for _ in range(3)]
    assert breaker.snapshot(3.0, 0.5)["slow_calls"] == 3
    for call, outcome in zip(calls, (Outcome.SUCCESS, Outcome.FAILURE, Outcome.INCONCLUSIVE), strict=True):
        breaker.settle(call, outcome, 5.0, 0.5)
    seen = breaker.snapshot(5.0, 0.5)
    assert (seen["calls"], seen["slow_calls"], seen["failures"], seen["in_flight"]) == (3, 3, 1, 0)


def test_resilience4js_slow_rate_of_all_needs_every_call_slow():
    breaker = machine(**SLOW)
    for duration in (1.0, 3.0, 3.0):
        call = breaker.admit(0.0, 0.5)
        breaker.settle(call, Outcome.SUCCESS, duration, 0.5)
    assert breaker.snapshot(3.0, 0.5)["state"] == "closed"
    assert breaker.snapshot(3.0, 0.5)["slow_calls"] == 2


def test_a_slow_probe_does_not_close():
    breaker = opened(slow_call=1.0, probes=1)
    probe = breaker.admit(4.0, 0.5)
    breaker.settle(probe, Outcome.SUCCESS, 5.001, 0.5)
    assert breaker.snapshot(5.001, 0.5)["state"] == "open"


def test_a_probe_as_slow_as_the_limit_closes():
    breaker = opened(slow_call=1.0, probes=1)
    probe = breaker.admit(4.0, 0.5)
    breaker.settle(probe, Outcome.SUCCESS, 5.0, 0.5)
    assert breaker.snapshot(5.0, 0.5)["state"] == "closed"


def test_a_slow_success_ends_a_run_of_failures():
    breaker = machine(**{**SLOW, "consecutive": 3, "min_calls": 6, "window": Count(100)})
    slow = breaker.admit(0.0, 0.5)
    play(breaker, "ff", now=3.0)
    breaker.settle(slow, Outcome.SUCCESS, 3.0, 0.5)
    assert play(breaker, "f", now=3.0) == ["closed"]


def test_settling_a_timed_call_twice_counts_once():
    breaker = machine(**SLOW)
    call = breaker.admit(0.0, 0.5)
    for _ in range(3):
        breaker.settle(call, Outcome.SUCCESS, 0.0, 0.5)
    breaker.drop(dropped := breaker.admit(0.0, 0.5))
    breaker.settle(dropped, Outcome.SUCCESS, 0.0, 0.5)
    assert breaker.snapshot(0.0, 0.5)["calls"] == 1


def test_dropped_timed_calls_leave_nothing_behind():
    breaker = machine(**SLOW)
    for _ in range(100):
        breaker.drop(breaker.admit(0.0, 0.5))
    seen = breaker.snapshot(10.0, 0.5)
    assert (seen["in_flight"], seen["calls"]) == (0, 0)


# Golden traces of other systems --------------------------------------------------------------


def test_p23_hystrix_nineteen_failures_stay_closed_the_twentieth_opens_and_one_probe_follows():
    breaker = machine(
        window=10.0, min_calls=20, consecutive=None, open_for=5.0, probes=1, max_open_for=5.0, max_half_open=60.0
    )
    assert play(breaker, "f" * 20) == ["closed"] * 19 + ["open"]
    assert isinstance(breaker.admit(4.999, 0.5), Refusal)
    probes = [breaker.admit(5.001, 0.5) for _ in range(2)]
    assert [isinstance(probe, Ticket) for probe in probes] == [True, False]


def test_p23_resilience4j_half_of_a_hundred_opens_and_five_of_ten_probes_reopen():
    config = {"window": Count(100), "min_calls": 100, "consecutive": None, "probes": 10, "ramp": 0.0}
    assert play(machine(**config), "sf" * 50) == ["closed"] * 99 + ["open"]
    assert play(machine(**config), "sf" * 49 + "ss")[-1] == "closed"
    for results, state in (("fffff", "open"), ("ffffssssss", "closed"), ("ssssssffff", "closed")):
        breaker = machine(**config)
        play(breaker, "sf" * 50)
        for result in results:
            if breaker.snapshot(4.0, 0.5)["state"] != "closed" or breaker.window is None:
                play(breaker, result, now=4.0)
        assert breaker.snapshot(4.0, 0.5)["state"] == state


def test_p23_polly_ten_failures_of_a_hundred_open_but_no_number_below_does():
    config = {"window": 30.0, "failure_rate": 0.1, "min_calls": 100, "consecutive": None, "open_for": 5.0}
    assert play(machine(**config), "s" * 90 + "f" * 10) == ["closed"] * 99 + ["open"]
    assert play(machine(**config), "f" * 99)[-1] == "closed"


def test_p23_linkerd_a_fifth_of_five_failing_or_seven_in_a_row_shuts():
    config = {"window": 10.0, "failure_rate": 0.2, "min_calls": 5, "consecutive": 7}
    assert play(machine(**config), "ssssf") == ["closed"] * 4 + ["open"]
    assert play(machine(**{**config, "min_calls": 100}), "f" * 7) == ["closed"] * 6 + ["open"]


# Holds ---------------------------------------------------------------------------------------


def hold(breaker, mode, now=0.0, until=math.inf, name=None):
    breaker.hold(Entry(name or mode, mode, "why", "", until), now, 0.5)


def test_t25_a_hold_survives_time_successes_and_resets():
    breaker = machine()
    running = breaker.admit(0.0, 0.5)
    hold(breaker, "forced_open")
    running.succeed(None)
    breaker.reset(1.0, 0.5)
    assert breaker.admit(1e9, 0.0) == Refusal(None, "forced_open")
    assert breaker.window is None


def test_a_hold_tells_when_it_ends_and_ends_exactly_then_in_half_open():
    breaker = machine()
    hold(breaker, "forced_open", until=10.0)
    assert breaker.admit(4.0, 0.5) == Refusal(6.0, "forced_open")
    assert isinstance(breaker.admit(9.999, 0.5), Refusal)
    assert isinstance(breaker.admit(10.0, 0.5), Ticket)
    kinds = [type(news) is HoldEnded for news in breaker.news]
    assert kinds == [False, True, False]
    assert breaker.news[-1][:3] == ("forced_open", "half_open", "override_expired")


def test_after_a_release_probes_then_the_slow_ramp():
    breaker = machine()
    hold(breaker, "forced_open")
    assert breaker.release("forced_open", 5.0, 0.5)
    assert not breaker.release("forced_open", 5.0, 0.5)
    play(breaker, "ss", now=5.0)
    shares = [breaker.snapshot(5.0 + gap, 0.5)["share"] for gap in (0, 19.9, 20, 40, 59.9, 60)]
    assert shares == [0.05, 0.05, 0.25, 0.5, 0.5, 1.0]


def test_the_slow_ramp_after_a_release_comes_even_where_the_usual_one_is_off():
    breaker = machine(ramp=0.0)
    hold(breaker, "forced_open")
    breaker.release("forced_open", 5.0, 0.5)
    play(breaker, "ss", now=5.0)
    assert breaker.snapshot(5.0, 0.5)["share"] == 0.05


def test_a_breaker_held_open_stands_still():
    breaker = opened(probes=1)
    breaker.admit(4.0, 0.5)
    hold(breaker, "forced_open", now=4.0)
    assert breaker.snapshot(1000.0, 0.5)["level"] == 1
    calm = machine()
    running = calm.admit(0.0, 0.5)
    hold(calm, "forced_open")
    for _ in range(9):
        calm.settle(running, Outcome.FAILURE, 0.0, 0.5)
    assert calm.snapshot(0.0, 0.5)["level"] == 0


def test_a_call_from_before_a_hold_does_not_count_under_the_next():
    breaker = machine()
    running = breaker.admit(0.0, 0.5)
    hold(breaker, "forced_closed")
    hold(breaker, "forced_open")
    breaker.release("forced_open", 0.0, 0.5)
    breaker.settle(running, Outcome.FAILURE, 0.0, 0.5)
    assert breaker.snapshot(0.0, 0.5)["calls"] == 0


def test_forced_closed_admits_everything_during_a_ramp_too():
    breaker = opened()
    play(breaker, "ss", now=4.0)
    hold(breaker, "forced_closed", now=4.0)
    assert not isinstance(breaker.admit(4.0, 0.999), Refusal)


def test_the_most_restrictive_hold_wins_and_releasing_one_leaves_the_other():
    breaker = machine()
    for mode in ("forced_closed", "observe", "forced_open"):
        hold(breaker, mode)
        assert breaker.snapshot(0.0, 0.5)["state"] == mode
    for mode, then in (("forced_open", "observe"), ("observe", "forced_closed"), ("forced_closed", "closed")):
        breaker.release(mode, 0.0, 0.5)
        assert breaker.snapshot(0.0, 0.5)["state"] == then


def test_forced_closed_admits_measures_and_never_opens():
    breaker = opened()
    hold(breaker, "forced_closed")
    assert set(play(breaker, "f" * 30)) == {"forced_closed"}
    assert breaker.snapshot(0.0, 0.5)["failure_rate"] == 1.0
    breaker.release("forced_closed", 0.0, 0.5)
    assert play(breaker, "f") == ["open"]


def test_observe_lets_everything_pass_and_counts_what_it_would_refuse():
    breaker = machine()
    hold(breaker, "observe")
    play(breaker, "f" * 10)
    seen = breaker.snapshot(0.0, 0.5)
    assert (seen["state"], seen["automatic"], seen["would_reject"]) == ("observe", "open", 7)
    assert [news.shadow for news in breaker.news] == [False, True]
    breaker.release("observe", 1.0, 0.5)
    assert isinstance(breaker.admit(1.0, 0.5), Refusal)


def test_a_call_admitted_before_a_hold_changes_nothing_after_it():
    breaker = machine(slow_call=100.0)
    running = [breaker.admit(0.0, 0.5) for _ in range(9)]
    hold(breaker, "forced_open")
    breaker.release("forced_open", 0.0, 0.5)
    for call in running:
        breaker.settle(call, Outcome.FAILURE, 0.0, 0.5)
    seen = breaker.snapshot(0.0, 0.5)
    assert (seen["state"], seen["probes"]["failed"]) == ("half_open", 0)


# New settings, restarts, forks ---------------------------------------------------------------


def test_new_thresholds_judge_the_same_history():
    breaker = machine(consecutive=None, window=Count(100), min_calls=50)
    play(breaker, "ff")
    breaker.reconfigure(setting(consecutive=None, window=Count(50), min_calls=3), 0.0, 0.5)
    assert breaker.snapshot(0.0, 0.5)["failures"] == 2
    assert play(breaker, "f") == ["open"]


def test_a_window_of_another_kind_keeps_the_history_and_gives_up_the_fast_path():
    breaker = machine(min_calls=6)
    play(breaker, "ff")
    breaker.reconfigure(setting(window=10.0, min_calls=6), 0.0, 0.5)
    assert breaker.window is None
    assert breaker.snapshot(0.0, 0.5)["consecutive"] == 2
    assert play(breaker, "f") == ["open"]


def test_fewer_probes_decide_a_round_in_progress():
    breaker = opened(probes=5)
    play(breaker, "s", now=4.0)
    breaker.reconfigure(setting(probes=1), 4.0, 0.5)
    assert breaker.snapshot(4.0, 0.5)["state"] == "closed"


def test_a_shorter_longest_opening_applies_at_once():
    breaker = opened()
    breaker.reconfigure(setting(open_for=1.0, max_open_for=1.0), 0.0, 0.5)
    assert breaker.shut == 1.0


@pytest.mark.parametrize("spoil", [{"automatic": "ajar"}, {"level": -1}, {"window": [[0, 9, 1]]}, {"window": 3}])
def test_a_spoilt_snapshot_is_refused_and_changes_nothing(spoil):
    breaker = opened()
    with pytest.raises(ConfigError, match="snapshot"):
        breaker.restore({**breaker.snapshot(0.0, 0.5), **spoil}, 0.0, 0.0)
    assert breaker.snapshot(0.0, 0.5)["state"] == "open"


def test_an_open_breaker_stays_open_in_the_next_process_for_what_is_left():
    data = opened().snapshot(1.0, 0.5)
    later = machine(now=1000.0)
    later.restore(data, 1000.0, 2.0)
    assert later.shut == 1001.0


def test_a_reset_forgets_the_doublings():
    breaker = opened()
    breaker.reset(0.0, 0.5)
    play(breaker, "fff")
    assert breaker.snapshot(0.0, 0.5)["open_remaining"] == 4.0


def test_the_age_of_a_snapshot_has_passed_for_everything_in_it():
    ramping = opened(window=10.0, min_calls=100)
    play(ramping, "ss", now=4.0)
    play(ramping, "f", now=4.0, draw=0.0)
    data = ramping.snapshot(6.0, 0.5)
    for age, share, failures in ((0.0, 0.325, 1), (2.0, 0.55, 1), (8.5, 1.0, 0)):
        later = machine(now=100.0, window=10.0)
        later.restore(data, 100.0, age)
        seen = later.snapshot(100.0, 0.5)
        assert (seen["share"], seen["failures"], seen["healthy_for"]) == (pytest.approx(share), failures, 2.0 + age)
    probing = opened()
    probing.admit(4.0, 0.5)
    later = machine(now=100.0)
    later.restore(probing.snapshot(5.0, 0.5), 100.0, 2.0)
    assert later.snapshot(100.0, 0.5)["probes"]["remaining"] == 9.0


def test_a_snapshot_taken_in_a_hold_over_a_round_leads_to_a_new_round():
    breaker = opened()
    breaker.admit(4.0, 0.5)
    hold(breaker, "forced_open", now=4.0)
    later = machine(now=100.0)
    later.restore(breaker.snapshot(5.0, 0.5), 100.0, 0.0)
    assert isinstance(later.admit(100.0, 0.5), Ticket)


def test_a_restored_state_obeys_the_holds_that_are_there():
    data = opened().snapshot(0.0, 0.5)
    closed = machine()
    hold(closed, "forced_closed")
    closed.restore(data, 0.0, 0.0)
    assert closed.snapshot(0.0, 0.5)["automatic"] == "closed"
    probing = opened(probes=1)
    probing.admit(4.0, 0.5)
    held = machine(probes=1)
    hold(held, "forced_open")
    held.restore(probing.snapshot(4.0, 0.5), 4.0, 0.0)
    assert held.snapshot(1000.0, 0.5)["automatic"] == "half_open"
    assert held.admit(1000.0, 0.5).reason == "forced_open"


def test_calls_from_before_a_restore_do_not_count_after_it():
    breaker = machine(slow_call=9.0)
    call = breaker.admit(0.0, 0.5)
    breaker.restore(breaker.snapshot(0.0, 0.5), 0.0, 0.0)
    breaker.settle(call, Outcome.FAILURE, 0.0, 0.5)
    assert breaker.snapshot(0.0, 0.5)["calls"] == 0


def test_a_hold_moves_to_another_clock_with_the_rest():
    breaker = machine(now=1e6)
    hold(breaker, "forced_open", now=1e6, until=1e6 + 30)
    breaker.move(1e6 + 10, 5.0)
    assert breaker.admit(24.0, 0.5) == Refusal(1.0, "forced_open")
    assert isinstance(breaker.admit(25.0, 0.5), Ticket)


def test_a_restored_breaker_forgets_the_probes_in_flight_but_not_the_results():
    breaker = opened()
    play(breaker, "s", now=4.0)
    breaker.admit(4.0, 0.5)
    later = machine(now=50.0)
    later.restore(breaker.snapshot(5.0, 0.5), 50.0, 0.0)
    assert later.snapshot(50.0, 0.5)["probes"] == {
        "passed": 1,
        "failed": 0,
        "in_flight": 0,
        "remaining": 11.0,
        "operator": False,
    }


def test_a_forked_child_forgets_the_probes_of_its_parent():
    breaker = opened(probes=1)
    probe = breaker.admit(4.0, 0.5)
    with breaker._lock:  # held by a thread that does not exist in the child
        breaker.renew()
        assert isinstance(breaker.admit(4.0, 0.5), Ticket)
    timing = machine(**SLOW)
    timing.admit(0.0, 0.5)
    timing.renew()
    assert timing.snapshot(100.0, 0.5)["slow_calls"] == 0
    breaker.settle(probe, Outcome.SUCCESS, 4.0, 0.5)
    assert breaker.snapshot(4.0, 0.5)["state"] == "half_open"
