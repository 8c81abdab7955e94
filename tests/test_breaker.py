"""What the documentation of the circuit breaker promises, from the settings to the fast path."""

from __future__ import annotations

import contextlib
import gc
import json
import math
import pickle
import sys
import threading
from datetime import timedelta

import pytest

from resilient import (
    BreakerOpen,
    CircuitBreaker,
    Classifier,
    ConfigError,
    Count,
    Outcome,
    RateLimited,
    Verdict,
    events,
)
from resilient._policy import NEVER, Env
from resilient.clock import SystemClock


class FakeClock(SystemClock):
    def __init__(self, now=0.0, draw=0.5):
        super().__init__()
        self.time = now
        self.now = lambda: self.time
        self.random = lambda: draw


def bind(policy=None, *, classifier=None, clock=None):
    env = Env("downstream", classifier or Classifier())
    env.clock = clock or FakeClock()
    return (policy or CircuitBreaker(ramp=0)).bind(env, "circuit_breaker")


def woven(guard, function):
    """Weave the template around one function, by hand."""
    flags, lines = guard.flags("sync"), []
    for line in guard.policy.template.splitlines():
        text, _, condition = line.partition("#: ")
        kept = (flag.lstrip("!") in flags) != flag.startswith("!") if (flag := condition) else True
        if "&" in condition:
            kept = all((flag.lstrip("!") in flags) != flag.startswith("!") for flag in condition.split("&"))
        if kept:
            lines.append(text.rstrip().replace("<inner>", "result = function(*args)"))
    body = "\n".join(f"    {line}" for line in lines)
    names = {**guard.names("sync"), "function": function, "now": guard.env.now}
    exec(f"def call(*args):\n{body}\n    return result", names)
    return names["call"]


def fail(error=None):
    raise error or OSError("down")


def attempt(call, *args):
    try:
        call(*args)
    except Exception as error:
        return error
    return None


def trip(guard):
    call = woven(guard, fail)
    for _ in range(5):
        attempt(call)
    assert guard.snapshot()["state"] == "open"


@pytest.fixture
def heard():
    seen = []
    stop = events.subscribe(seen.append)
    yield seen
    stop()


WINDOWS = [10.0, Count(100)]


# Settings ------------------------------------------------------------------------------------

DURATIONS = ["window", "slow_call", "open_for", "max_open_for", "max_half_open", "ramp"]


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, timedelta(seconds=-1)])
def test_an_impossible_duration_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=rf"^{name} must be .*, got "):
        CircuitBreaker(**{name: value})


@pytest.mark.parametrize("name", [*DURATIONS, "failure_rate", "slow_rate", "min_calls", "probes", "jitter"])
@pytest.mark.parametrize("value", ["1", True, [1]])
def test_a_value_of_a_wrong_type_is_refused_by_name(name, value):
    with pytest.raises(TypeError, match=rf"^{name} must be .*, got "):
        CircuitBreaker(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("failure_rate", 0),
        ("failure_rate", 1.01),
        ("slow_rate", 0),
        ("min_calls", 0),
        ("probes", 0),
        ("consecutive", 0),
        ("window", 0),
        ("slow_call", 0),
        ("open_for", 0),
        ("max_half_open", 0),
        ("jitter", 1.0),
        ("jitter", -0.1),
    ],
)
def test_t18_zero_is_refused_where_it_makes_no_sense(name, value):
    with pytest.raises(ConfigError, match=rf"^{name} must be "):
        CircuitBreaker(**{name: value})


def test_t18_zero_and_none_are_honoured_where_they_make_sense():
    policy = CircuitBreaker(ramp=0, jitter=0, consecutive=None)
    assert (policy.ramp, policy.jitter, policy.consecutive) == (0.0, 0.0, None)


def test_contradictions_are_refused():
    with pytest.raises(ConfigError, match=r"open_for must be at most max_open_for \(60.0 s\), got 61"):
        CircuitBreaker(open_for=61)
    with pytest.raises(ConfigError, match="min_calls must be at most the 10 calls of the window, got 20"):
        CircuitBreaker(window=Count(10))
    with pytest.raises(ConfigError, match="calls must be"):
        Count(0)


def test_durations_may_be_timedeltas_and_equal_settings_are_interchangeable():
    policy = CircuitBreaker(window=timedelta(seconds=30), open_for=timedelta(milliseconds=500))
    assert (policy.window, policy.open_for) == (30.0, 0.5)
    assert policy == CircuitBreaker(window=30, open_for=0.5)
    assert hash(policy) == hash(CircuitBreaker(window=30, open_for=0.5))
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert pickle.loads(pickle.dumps(policy)).settings == policy.settings


def test_settings_cannot_be_changed():
    with pytest.raises(AttributeError):
        CircuitBreaker().probes = 5


def test_the_description_names_every_threshold():
    text = CircuitBreaker(slow_call=2).describe()
    assert text == (
        "opens when 50% of >= 20 calls in 10 s fail, or 50% take over 2 s, or 5 fail in a row; "
        "open 5 s to 60 s, 3 probes, ramp 10 s"
    )


# The call ------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", WINDOWS)
def test_t21_the_caller_sees_the_real_error_and_then_refusals(window):
    guard = bind(CircuitBreaker(window=window, min_calls=20, jitter=0))
    error = OSError("down")
    call = woven(guard, fail)
    assert [attempt(call, error) for _ in range(5)] == [error] * 5
    refusal = attempt(call, error)
    assert type(refusal) is BreakerOpen
    assert (refusal.downstream, refusal.policy) == ("downstream", "circuit_breaker")
    assert (refusal.retry_after, refusal.reason) == (5.0, "breaker_open")


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("judged", [False, True])
def test_successes_are_counted_on_the_fast_path_and_when_results_are_judged(window, judged):
    classifier = Classifier(result=(lambda result: Outcome.FAILURE if result == "bad" else None) if judged else None)
    guard = bind(CircuitBreaker(window=window), classifier=classifier)
    expected = {"clocked": window == 10.0, "judged": judged}
    assert guard.flags("sync") == {flag for flag, there in expected.items() if there}
    call = woven(guard, lambda result: result)
    for _ in range(30):
        assert call("good") == "good"
    call("bad")
    seen = guard.snapshot()
    assert (seen["calls"], seen["failures"]) == (31, int(judged))


def test_t17_every_refusal_is_a_fresh_exception():
    guard = bind()
    trip(guard)
    call = woven(guard, fail)
    refusals = [attempt(call) for _ in range(20)]
    assert len({id(refusal) for refusal in refusals}) == 20
    depths = []
    for refusal in refusals:
        frame, depth = refusal.__traceback__, 0
        while frame:
            frame, depth = frame.tb_next, depth + 1
        depths.append(depth)
    assert len(set(depths)) == 1


def test_t07_local_refusals_inside_count_in_no_rate_and_free_a_probe():
    guard = bind(CircuitBreaker(probes=1, ramp=0, jitter=0))
    call = woven(guard, fail)
    for _ in range(50):
        attempt(call, RateLimited("downstream", "rate_limit"))
    assert guard.snapshot()["calls"] == 0
    trip(guard)
    guard.env.clock.time = 5.0
    assert type(attempt(call, RateLimited("downstream", "rate_limit"))) is RateLimited
    assert guard.snapshot()["state"] == "half_open"
    woven(guard, int)()
    assert guard.snapshot()["state"] == "closed"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_t08_t09_what_is_no_exception_is_neither_success_nor_failure(kind):
    guard = bind(CircuitBreaker(probes=1, ramp=0, jitter=0))
    trip(guard)
    guard.env.clock.time = 5.0
    call = woven(guard, fail)
    for _ in range(3):
        with pytest.raises(kind):
            call(kind())
        seen = guard.snapshot()
        assert (seen["state"], seen["probes"]["in_flight"]) == ("half_open", 0)


def test_an_error_that_is_the_callers_own_counts_as_a_success():
    guard = bind(classifier=Classifier(error=lambda error: Outcome.SUCCESS if isinstance(error, KeyError) else None))
    call = woven(guard, fail)
    for _ in range(9):
        attempt(call)
        attempt(call, KeyError())
    seen = guard.snapshot()
    assert (seen["state"], seen["calls"], seen["failures"], seen["consecutive"]) == ("closed", 18, 9, 0)


def test_t05_a_raising_classifier_never_keeps_a_probe():
    def broken(_):
        raise ZeroDivisionError

    guard = bind(CircuitBreaker(probes=1, ramp=0, jitter=0), classifier=Classifier(error=broken, result=broken))
    trip(guard)
    guard.env.clock.time = 5.0
    assert woven(guard, lambda: "value")() == "value"
    assert guard.snapshot()["state"] == "closed"


def test_the_servers_hint_on_the_failure_that_opens_lengthens_the_opening():
    guard = bind(classifier=Classifier(error=lambda _: Verdict(Outcome.FAILURE, retry_after=20.0)))
    trip(guard)
    assert guard.snapshot()["open_remaining"] == 20.0


def test_throttling_does_not_open():
    guard = bind(classifier=Classifier(error=lambda _: Outcome.THROTTLED))
    call = woven(guard, fail)
    for _ in range(50):
        attempt(call)
    assert guard.snapshot()["state"] == "closed"


def test_functions_already_handed_out_obey_a_hold_and_its_end():
    guard = bind()
    call = woven(guard, int)
    call()
    hold = guard.hold("forced_open", reason="maintenance")
    assert attempt(call).reason == "forced_open"
    assert attempt(call).retry_after is None
    assert hold.active
    assert hold.release()
    assert not hold.release()
    assert not hold.active
    assert call() == 0


def test_a_success_that_comes_after_the_breaker_moved_on_is_forgotten():
    guard = bind(CircuitBreaker(probes=1, ramp=0, jitter=0))
    straddling = woven(guard, lambda: trip(guard))
    straddling()
    assert guard.snapshot()["state"] == "open"
    guard.env.clock.time = 5.0
    woven(guard, int)()
    assert guard.snapshot()["calls"] == 0


def test_the_two_step_form_settles_like_a_call():
    guard = bind(CircuitBreaker(ramp=0, jitter=0))
    guard.leave(guard.enter(NEVER), Verdict(Outcome.SUCCESS))
    guard.drop(guard.enter(NEVER))
    for _ in range(5):
        guard.leave(guard.enter(NEVER), Verdict(Outcome.FAILURE))
    with pytest.raises(BreakerOpen):
        guard.enter(NEVER)
    guard.env.clock.time = 5.0
    with pytest.raises(StopIteration) as step:
        guard.aenter(NEVER).send(None)
    guard.leave(step.value.value, Verdict(Outcome.SUCCESS))
    assert guard.snapshot()["probes"]["passed"] == 1


def test_a_two_step_entry_turns_the_time_window():
    guard = bind()
    guard.leave(guard.enter(NEVER), Verdict(Outcome.SUCCESS))
    guard.env.clock.time = 11.0
    guard.leave(guard.enter(NEVER), Verdict(Outcome.SUCCESS))
    assert guard.snapshot()["calls"] == 1


@pytest.mark.parametrize(
    ("outside", "inside", "lease"),
    [
        ((), (), 10.0),
        (("timeout", 9.0), (), 10.0),
        ((), (("timeout", 3.0), ("timeout", 0.5)), 0.5),
        ((("timeout", 9.0), ("retry", None), ("timeout", 2.0)), (), 2.0),
    ],
)
def test_probes_are_leased_for_the_time_of_an_attempt(outside, inside, lease):
    class Around:
        def __init__(self, kind, seconds):
            self.policy = self
            self.kind, self.seconds = kind, seconds

    guard = bind()
    guard.placed([Around(*each) for each in outside if isinstance(each, tuple)], [Around(*each) for each in inside])
    assert guard.lease == lease
    assert guard.machine.lease == lease


def test_another_clock_in_force_carries_the_state_over():
    guard = bind(CircuitBreaker(ramp=0, jitter=0), clock=FakeClock(now=1e6))
    trip(guard)
    guard.hold("forced_closed", reason="rehearsal", expires=30).release()
    trip(guard)
    guard.env.clock = FakeClock(now=7.0)
    guard.follow_clock()  # as the pipeline does for each of its guards
    assert guard.machine.shut == pytest.approx(17.0)
    assert guard.snapshot()["open_remaining"] == pytest.approx(10.0)
    guard.env.clock.time = 17.5
    assert woven(guard, int)() == 0


# Events --------------------------------------------------------------------------------------


def story(heard):
    return [(event.fields.get("from"), event.fields.get("to"), event.fields.get("cause")) for event in heard]


def test_transitions_are_told_with_their_cause_and_figures(heard):
    guard = bind(CircuitBreaker(ramp=0, jitter=0, probes=1))
    trip(guard)
    guard.env.clock.time = 5.0
    woven(guard, int)()
    assert story(heard) == [
        ("closed", "open", "consecutive"),
        ("open", "half_open", "wait_elapsed"),
        ("half_open", "closed", "probe_ok"),
    ]
    assert {event.name for event in heard} == {"resilient.breaker.transition"}
    assert {event.downstream for event in heard} == {"downstream"}
    expected = {"breaker": "circuit_breaker", "failure_rate": 1.0, "calls": 5, "failures": 5, "open_for": 5.0, "era": 1}
    assert expected.items() <= heard[0].fields.items()


def test_refusals_are_told_with_their_reason(heard):
    guard = bind(CircuitBreaker(probes=1, jitter=0))
    trip(guard)
    call = woven(guard, int)
    attempt(call)
    guard.env.clock.time = 5.0
    guard.enter(NEVER)
    attempt(call)
    guard.hold("forced_open", reason="drill")
    attempt(call)
    told = [event.fields["reason"] for event in heard if event.name == "resilient.call.rejected"]
    assert told == ["breaker_open", "half_open_limit", "forced_open"]


def test_observing_tells_what_would_have_happened_and_nothing_else(heard):
    guard = bind(CircuitBreaker(jitter=0))
    hold = guard.hold("observe", reason="trial")
    call = woven(guard, fail)
    for _ in range(8):
        attempt(call)
    assert guard.snapshot()["would_reject"] == 3
    hold.release()
    assert [event.name.removeprefix("resilient.") for event in heard] == [
        "override.applied",
        "breaker.transition",
        "breaker.would_open",
        "override.released",
        "breaker.transition",
    ]
    assert story(heard)[-1] == ("observe", "open", "release")


def test_a_hold_that_expires_is_told_when_it_is_noticed(heard):
    guard = bind()
    guard.hold("forced_open", reason="deploy", actor="ann", expires=timedelta(seconds=30))
    guard.env.clock.time = 30.0
    guard.snapshot()
    names = [event.name for event in heard]
    assert names[0] == "resilient.override.applied"
    assert heard[0].fields["expires"] == 30.0
    assert (heard[0].fields["actor"], heard[0].fields["reason"]) == ("ann", "deploy")
    assert names[-2:] == ["resilient.override.expired", "resilient.breaker.transition"]
    assert story(heard)[-1] == ("forced_open", "half_open", "override_expired")


def test_a_listener_may_use_the_breaker_and_may_raise():
    guard = bind()
    seen = []

    def listener(event):
        seen.append(guard.snapshot()["state"])
        raise ZeroDivisionError

    stop = events.subscribe(listener)
    trip(guard)
    stop()
    assert seen == ["open"]


# Holds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", [{"mode": "shut"}, {"mode": None}, {"reason": ""}, {"expires": 0}, {"expires": math.nan}, {"actor": "\n"}]
)
def test_a_bad_hold_is_refused_and_not_put_on(wrong):
    guard = bind()
    with pytest.raises(ConfigError, match=rf"^{next(iter(wrong))} must be "):
        guard.hold(**{"mode": "forced_open", "reason": "why", **wrong})
    assert guard.holds() == ()


def test_holds_of_two_people_coexist():
    guard = bind()
    anns = guard.hold("forced_open", reason="deploy", actor="ann")
    bobs = guard.hold("forced_open", reason="audit", actor="bob", expires=60)
    assert {hold.id for hold in guard.holds()} == {anns.id, bobs.id}
    anns.release()
    assert [hold.actor for hold in guard.holds()] == ["bob"]
    assert guard.snapshot()["state"] == "forced_open"
    with pytest.raises(BreakerOpen) as refusal:
        guard.enter(NEVER)
    assert refusal.value.retry_after == 60.0
    guard.env.clock.time = 60.0
    assert not bobs.active
    assert guard.snapshot()["state"] == "half_open"


# State ---------------------------------------------------------------------------------------


def test_a_snapshot_is_plain_data_that_another_process_goes_on_from():
    guard = bind(CircuitBreaker(jitter=0))
    woven(guard, int)()
    trip(guard)
    guard.env.clock.time = 1.0
    data = json.loads(json.dumps(guard.snapshot()))
    other = bind(CircuitBreaker(jitter=0), clock=FakeClock(now=5000.0))
    other.restore(data, age=timedelta(seconds=1))
    assert other.snapshot()["open_remaining"] == 3.0
    assert other.snapshot()["calls"] == 6


def test_restoring_tells_the_change(heard):
    guard, other = bind(), bind()
    trip(guard)
    heard.clear()
    other.restore(guard.snapshot())
    assert story(heard) == [("closed", "open", "restore")]


@pytest.mark.parametrize("data", [{}, {"automatic": "open"}, {"level": None}])
def test_a_foreign_snapshot_is_refused(data):
    with pytest.raises(ConfigError, match="snapshot must be"):
        bind().restore(data)


def test_new_settings_show_in_the_policy_and_a_reset_closes():
    guard = bind()
    trip(guard)
    tuned = CircuitBreaker(failure_rate=0.9)
    guard.reconfigure(tuned)
    assert guard.policy is tuned
    assert guard.snapshot()["state"] == "open"
    guard.reset()
    assert guard.snapshot()["state"] == "closed"
    assert guard.snapshot()["calls"] == 0


def test_only_a_breaker_with_nothing_to_remember_rests():
    guard = bind(CircuitBreaker(ramp=0, jitter=0, probes=1))
    assert guard.resting()
    hold = guard.hold("observe", reason="trial")
    assert not guard.resting()
    hold.release()
    trip(guard)
    assert not guard.resting()
    guard.env.clock.time = 5.0
    woven(guard, int)()
    assert not guard.resting()  # it would open for twice as long
    guard.env.clock.time = 65.0
    assert guard.resting()


# Threads, collector, memory ------------------------------------------------------------------


def test_t01_threads_at_the_end_of_an_opening_get_no_more_probes_than_there_are():
    for _ in range(20):
        guard = bind(CircuitBreaker(jitter=0))
        trip(guard)
        guard.env.clock.time = 5.0
        admitted, start = [], threading.Barrier(8)

        def call(guard=guard, admitted=admitted, start=start):
            start.wait()
            for _ in range(5):
                with contextlib.suppress(BreakerOpen):
                    admitted.append(guard.enter(NEVER))

        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(admitted) == 3


@pytest.mark.parametrize("window", [1000.0, Count(100_000)])
def test_t12_no_outcome_is_lost_between_threads(window):
    guard = bind(CircuitBreaker(window=window, min_calls=100_000, consecutive=None))
    call = woven(guard, lambda bad: fail() if bad else None)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def work():
        for number in range(2000):
            attempt(call, number % 4 == 0)

    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    seen = guard.snapshot()
    assert (seen["calls"], seen["failures"]) == (8000, 2000)


def test_the_collector_may_drop_a_call_while_this_thread_holds_the_lock():
    guard = bind(CircuitBreaker(probes=1, jitter=0))
    trip(guard)
    guard.env.clock.time = 5.0

    def stream():
        permit = guard.enter(NEVER)
        try:
            yield
        except BaseException as error:
            guard.failed(permit, error)
            raise

    unfinished = stream()
    next(unfinished)
    with guard.machine._lock:
        unfinished.close()
        del unfinished
    assert guard.snapshot()["probes"]["in_flight"] == 0


def size(roots, shared):
    """Bytes of everything that belongs to the roots alone."""
    total, seen, queue = 0, set(shared), list(roots)
    while queue:
        thing = queue.pop()
        if id(thing) in seen or isinstance(thing, (type, type(gc), type(size))):
            continue
        seen.add(id(thing))
        total += sys.getsizeof(thing)
        queue.extend(gc.get_referents(thing))
    return total


@pytest.mark.parametrize("window", WINDOWS)
def test_a_busy_breaker_weighs_at_most_four_kilobytes(window):
    policy = CircuitBreaker(window=window, jitter=0)
    guard = bind(policy)
    call = woven(guard, lambda bad: fail() if bad else None)
    for number in range(300):
        guard.env.clock.time += 0.1
        attempt(call, number % 3 == 0)
    trip(guard)
    shared = {id(guard.env), id(guard.env.clock), id(policy), id(policy.settings)}
    assert size([guard], shared) <= 4096
