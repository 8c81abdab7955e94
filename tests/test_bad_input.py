"""Settings that cannot work are refused where they are written, by name, with the value and what is allowed."""

from __future__ import annotations

import re
from datetime import timedelta
from math import inf, nan

import pytest

from resilient import (
    Backoff,
    Bulkhead,
    CircuitBreaker,
    Classifier,
    ConfigError,
    Count,
    Fallback,
    Keyed,
    Pipeline,
    RateLimit,
    ResilienceError,
    Retry,
    RetryBudget,
    Timeout,
    deadline,
    registry,
    standard,
)
from tests._stage import name

# Bad for a kind of parameter: values that are out of range, values of another type; and what is allowed.
ENDLESS = [nan, inf, -inf, 10**400]
NUMBERS = ([-1, -0.001, *ENDLESS], ["1", "", True, False, [1], {}, 1j, b"1", ...])
NO_FUNCTION = [3, "text", [len], 0.5]
NO_SPAN = [timedelta(0), timedelta(seconds=-1), timedelta.min]
KINDS = {
    "duration": ([0, 0.0, *NO_SPAN, *NUMBERS[0]], [None, *NUMBERS[1]], "a duration above 0 s|a finite number|a number"),
    "duration or None": ([0, *NO_SPAN, *NUMBERS[0]], NUMBERS[1], "a duration above 0 s|a finite number|a number"),
    "duration from 0": (
        [timedelta(seconds=-1), *NUMBERS[0]],
        [None, *NUMBERS[1]],
        "a duration of 0 s or more|a finite number|a number",
    ),
    "duration from 0 or None": (NUMBERS[0], NUMBERS[1], "a duration of 0 s or more|a finite number|a number"),
    "count": ([0, -1, -(10**400)], [None, 1.0, 1.5, nan, inf, *NUMBERS[1]], "a whole number"),
    "count or None": ([0, -1], [1.0, 1.5, nan, inf, *NUMBERS[1]], "a whole number"),
    "count from 0": ([-1], [None, 0.0, 1.5, nan, *NUMBERS[1]], "a whole number"),
    "share": ([0, 1.001, 2, *NUMBERS[0]], [None, *NUMBERS[1]], r"a share in \(0, 1\]|a finite number|a number"),
    "share from 0": ([1, 1.5, *NUMBERS[0]], [None, *NUMBERS[1]], r"a share in \[0, 1\)|a finite number|a number"),
    "above 0": ([0, *NUMBERS[0]], [None, *NUMBERS[1]], "a number above 0|a finite number|a number"),
    "above 0 or None": ([0, *NUMBERS[0]], NUMBERS[1], "a number above 0|a finite number|a number"),
    "from 1": (
        [0, 0.999, *NUMBERS[0]],
        [None, *NUMBERS[1]],
        "a number of 1 or more|a number above 0|a finite number|a number",
    ),
    "flag": ([], [0, 1, "no", None, []], "True or False"),
    "name": (["", "x" * 201, "two\nlines", "\x00"], [3, None, b"bytes", ["x"]], "a printable name|a string"),
    "name or None": (["", "x" * 201, "two\nlines"], [3, b"bytes", ["x"]], "a printable name|a string"),
    "function or None": ([], NO_FUNCTION, "a function or None|a predicate or None"),
    "function": ([], [None, *NO_FUNCTION], "a function"),
    "errors": (
        [],
        [3, "OSError", (), (OSError, 3), (OSError, "KeyError"), BaseException, (KeyboardInterrupt,), int, [OSError]],
        "exception types|a subclass of Exception",
    ),
}


def breaker(parameter):
    return lambda value: CircuitBreaker(**{parameter: value})


def limit(parameter):
    return lambda value: RateLimit(5, **{parameter: value})


def budget(parameter):
    return lambda value: RetryBudget(**{parameter: value})


def aws(parameter):
    return lambda value: RetryBudget.aws(**{parameter: value})


def hold(parameter):
    given = {"mode": "observe", "reason": "trial", "expires": 60}
    return lambda value: Pipeline(name(), CircuitBreaker()).hold(**{**given, parameter: value})


PARAMETERS = [
    ("Timeout.seconds", "duration", Timeout),
    ("Timeout.cooperative", "flag", lambda value: Timeout(1, cooperative=value)),
    ("Retry.attempts", "count", Retry),
    ("Retry.on", "errors", lambda value: Retry(on=value)),
    ("Retry.on_result", "function or None", lambda value: Retry(on_result=value)),
    ("Retry.retry_given_up", "flag", lambda value: Retry(retry_given_up=value)),
    ("Backoff.base", "duration from 0", lambda value: Backoff(base=value)),
    ("Backoff.cap", "duration from 0", lambda value: Backoff(base=0, cap=value)),
    ("Backoff.throttled_base", "duration from 0", lambda value: Backoff(throttled_base=value)),
    ("Backoff.multiplier", "from 1", lambda value: Backoff(multiplier=value)),
    ("RetryBudget.ratio", "share", budget("ratio")),
    ("RetryBudget.cost", "above 0", budget("cost")),
    ("RetryBudget.cap", "above 0", budget("cap")),
    ("RetryBudget.timeout_cost", "above 0 or None", budget("timeout_cost")),
    ("RetryBudget.throttle_cost", "above 0 or None", budget("throttle_cost")),
    ("RetryBudget.name", "name or None", budget("name")),
    ("RetryBudget.grpc.max_tokens", "from 1", RetryBudget.grpc),
    ("RetryBudget.grpc.ratio", "share", lambda value: RetryBudget.grpc(10, value)),
    ("RetryBudget.aws.quota", "above 0", aws("quota")),
    ("RetryBudget.aws.timeout_cost", "above 0 or None", aws("timeout_cost")),
    ("RetryBudget.aws.throttle_cost", "above 0 or None", aws("throttle_cost")),
    ("CircuitBreaker.failure_rate", "share", breaker("failure_rate")),
    ("CircuitBreaker.window", "duration", breaker("window")),
    ("CircuitBreaker.min_calls", "count", breaker("min_calls")),
    ("CircuitBreaker.consecutive", "count or None", breaker("consecutive")),
    ("CircuitBreaker.slow_call", "duration or None", breaker("slow_call")),
    ("CircuitBreaker.slow_rate", "share", breaker("slow_rate")),
    ("CircuitBreaker.open_for", "duration", breaker("open_for")),
    ("CircuitBreaker.max_open_for", "duration", breaker("max_open_for")),
    ("CircuitBreaker.probes", "count", breaker("probes")),
    ("CircuitBreaker.max_half_open", "duration", breaker("max_half_open")),
    ("CircuitBreaker.ramp", "duration from 0", breaker("ramp")),
    ("CircuitBreaker.jitter", "share from 0", breaker("jitter")),
    ("Count.calls", "count", Count),
    ("Bulkhead.limit", "count", Bulkhead),
    ("Bulkhead.queue", "count from 0", lambda value: Bulkhead(1, queue=value)),
    ("Bulkhead.max_wait", "duration from 0 or None", lambda value: Bulkhead(1, queue=1, max_wait=value)),
    ("RateLimit.rate", "above 0", RateLimit),
    ("RateLimit.per", "duration", limit("per")),
    ("RateLimit.burst", "count or None", limit("burst")),
    ("RateLimit.max_wait", "duration from 0 or None", limit("max_wait")),
    ("RateLimit.floor", "above 0 or None", limit("floor")),
    ("RateLimit.adaptive", "flag", limit("adaptive")),
    ("RateLimit.on_failure", "flag", limit("on_failure")),
    ("Fallback.on", "errors", lambda value: Fallback(0, on=value)),
    ("Fallback.timeout", "duration or None", lambda value: Fallback(len, timeout=value)),
    ("Classifier.error", "function or None", lambda value: Classifier(error=value)),
    ("Classifier.result", "function or None", lambda value: Classifier(result=value)),
    ("Pipeline.name", "name", Pipeline),
    ("Pipeline.replace", "flag", lambda value: Pipeline(name(), replace=value)),
    (
        "Pipeline.with_options.timeout",
        "duration or None",
        lambda value: Pipeline(name(), Timeout(1)).with_options(timeout=value),
    ),
    (
        "Pipeline.with_options.attempts",
        "count or None",
        lambda value: Pipeline(name(), Retry()).with_options(attempts=value),
    ),
    ("Pipeline.hold.expires", "duration or None", hold("expires")),
    ("Pipeline.hold.reason", "name", hold("reason")),
    ("Keyed.name", "name", Keyed),
    ("Keyed.most", "count", lambda value: Keyed(name(), most=value)),
    ("Keyed.idle", "duration", lambda value: Keyed(name(), idle=value)),
    ("Keyed.replace", "flag", lambda value: Keyed(name(), replace=value)),
    ("Keyed.by.key", "function", lambda value: Keyed(name()).by(value)),
    ("standard.name", "name", standard),
    ("standard.replace", "flag", lambda value: standard(name(), replace=value)),
    ("deadline.seconds", "duration from 0", deadline),
]


def cases(which):
    """Return every bad value of one sort for every parameter."""
    return [
        pytest.param(label, kind, make, value, id=f"{label}={repr(value)[:30]}")
        for label, kind, make in PARAMETERS
        for value in KINDS[kind][which]
    ]


def refused(error, label, kind, value):
    """Demand that a message names the parameter, what is allowed and the value."""
    parameter = label.rpartition(".")[2]
    shown = value.total_seconds() if isinstance(value, timedelta) else value
    found = re.match(rf"{parameter} must be (.*), got (.*)", str(error), re.DOTALL)
    assert found, error
    assert re.search(KINDS[kind][2], found[1]), error
    assert repr(shown) in found[2] or repr(value) in found[2], error


@pytest.mark.parametrize(("label", "kind", "make", "value"), cases(0))
def test_a_value_out_of_range_is_a_value_error(label, kind, make, value):
    with pytest.raises(ConfigError) as caught:
        make(value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, ResilienceError)
    refused(caught.value, label, kind, value)


@pytest.mark.parametrize(("label", "kind", "make", "value"), cases(1))
def test_a_value_of_another_type_is_a_type_error(label, kind, make, value):
    with pytest.raises(TypeError) as caught:
        make(value)
    refused(caught.value, label, kind, value)


CONTRADICTIONS = {
    "a delay longer than the longest": (
        lambda: Backoff(base=5, cap=1),
        "base must be at most cap, which is 1 s, got 5",
    ),
    "an unknown jitter": (lambda: Backoff(jitter="fool"), "jitter must be one of 'full', 'equal', .* got 'fool'"),
    "a retry dearer than all there is": (
        lambda: RetryBudget(cost=11),
        "cost must be at most cap, which is 10, got 11",
    ),
    "a start above the cap": (
        lambda: RetryBudget(start=11),
        "start must be from 0 to cap, which is 10, or None, got 11",
    ),
    "a negative start": (lambda: RetryBudget(start=-1), "start must be from 0 to cap"),
    "an unknown rule": (lambda: RetryBudget(rule="own"), "rule must be 'share', 'grpc' or 'aws', got 'own'"),
    "an AWS retry dearer than the quota": (
        lambda: RetryBudget.aws(quota=10),
        "cost must be at most cap, which is 10, got 14",
    ),
    "a wait where nobody may wait": (
        lambda: Bulkhead(1, max_wait=1),
        "max_wait must be None while queue is 0, .* got 1",
    ),
    "an opening longer than the longest": (
        lambda: CircuitBreaker(open_for=61),
        r"open_for must be at most max_open_for \(60(.0)? s\), got 61",
    ),
    "more calls than the window holds": (
        lambda: CircuitBreaker(window=Count(10)),
        "min_calls must be at most the 10 calls of the window, got 20",
    ),
    "a call that never fits the burst": (
        lambda: RateLimit(5, burst=2, cost=3),
        "cost must be at most burst, which is 2.* got 3",
    ),
    "a floor above the rate": (lambda: RateLimit(5, floor=6), "floor must be at most rate, which is 5, got 6"),
    "a floor of what never sinks": (
        lambda: RateLimit(5, adaptive=False, floor=1),
        "floor must be None where adaptive is False, got 1",
    ),
    "failures that change nothing": (
        lambda: RateLimit(5, adaptive=False, on_failure=True),
        "on_failure must be False where adaptive is False, got True",
    ),
    "a cost of nothing": (lambda: RateLimit(5, cost=0), "cost must be a whole number of 1 or more, got 0"),
    "a time limit on a constant": (
        lambda: Fallback("instead", timeout=1),
        "timeout must be None where value is no function, got 1",
    ),
    "a timeout that never runs out": (
        lambda: Pipeline(name(), Timeout(1), Retry(), Timeout(1)),
        "a Timeout inside another must be shorter than it, got 1 s inside 1 s",
    ),
    "the same in a family": (lambda: Keyed(name(), Timeout(1), Timeout(2)), "got 2 s inside 1 s"),
    "an unknown hold": (
        lambda: Pipeline(name(), CircuitBreaker()).hold("closed", reason="trial", expires=None),
        "mode must be one of .*forced_open.* got 'closed'",
    ),
}


@pytest.mark.parametrize(("make", "words"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_settings_that_contradict_each_other_are_refused(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


WRONG_TYPES = {
    "attempts": (lambda: Retry("3"), "attempts must be a whole number, got '3'"),
    "backoff": (lambda: Retry(backoff=3), "backoff must be a Backoff or one of tenacity's .* got 3"),
    "budget": (lambda: Retry(budget=3), "budget must be a RetryBudget or None, got 3"),
    "cost": (lambda: RateLimit(5, cost="2"), "cost must be a whole number or a function .* got '2'"),
    "classifier": (lambda: Pipeline(name(), classifier=len), "classifier must be a Classifier or None, got <built-in"),
    "classifier of a family": (lambda: Keyed(name(), classifier=3), "classifier must be a Classifier or None, got 3"),
    "policy": (lambda: Pipeline(name(), Retry), r"policies\[0\] must be a policy such as Retry\(\), got <class"),
    "policy of a family": (lambda: Keyed(name(), 3), r"policies\[0\] must be a policy such as Retry\(\), got 3"),
    "resize": (lambda: Pipeline(name(), Bulkhead(1))[Bulkhead].resize("2"), "limit must be a whole number, got '2'"),
    "actor": (
        lambda: Pipeline(name(), CircuitBreaker()).hold("observe", reason="trial", actor=3, expires=None),
        "actor must be a string, got 3",
    ),
    "function": (lambda: Pipeline(name())(3), "function must be callable, got 3"),
}


@pytest.mark.parametrize(("make", "words"), WRONG_TYPES.values(), ids=WRONG_TYPES)
def test_things_of_another_kind_are_refused(make, words):
    with pytest.raises(TypeError, match=words):
        make()


GOOD = [
    Timeout(timedelta(seconds=1)),
    Timeout(1e-9, cooperative=True),
    Retry(1),
    Retry(on=(OSError, KeyError), budget=None),
    Backoff(base=0, cap=0, throttled_base=0),
    RetryBudget(start=0),
    RetryBudget(ratio=1, cost=10),
    CircuitBreaker(failure_rate=1, consecutive=None, ramp=0, jitter=0, min_calls=1),
    CircuitBreaker(open_for=60, max_open_for=60),
    CircuitBreaker(window=Count(20)),
    Bulkhead(1, queue=0, max_wait=None),
    Bulkhead(1, queue=1, max_wait=0),
    RateLimit(0.001, burst=1, max_wait=None),
    RateLimit(5, floor=5),
    RateLimit(5, burst=3, cost=3),
    Fallback(None),
    Fallback(0),
]


@pytest.mark.parametrize("policy", GOOD, ids=repr)
def test_the_least_and_the_most_that_can_work_are_honoured(policy):
    if isinstance(policy, (Backoff, RetryBudget)):
        policy = Retry(**{"budget" if isinstance(policy, RetryBudget) else "backoff": policy})
    assert Pipeline(name(), policy).call(int, "7") == 7


def test_what_was_refused_left_no_name_behind():
    before = registry.names()
    for make in (
        lambda: Pipeline("refused", Timeout(1), Timeout(1)),
        lambda: Pipeline("refused", 3),
        lambda: Pipeline("refused", classifier=3),
        lambda: Pipeline("refused", replace="yes"),
        lambda: Keyed("refused", 3),
        lambda: Keyed("refused", most=0),
        lambda: Keyed("refused", classifier=3),
        lambda: standard("refused", timeout=-1),
    ):
        with pytest.raises((ConfigError, TypeError)):
            make()
    assert registry.names() == before


def test_every_parameter_of_every_policy_is_in_a_table():
    import dataclasses

    listed = {label.rpartition(".")[0] + "." + label.rpartition(".")[2] for label, *_ in PARAMETERS}
    elsewhere = {
        *("Retry.backoff", "Retry.budget", "Backoff.jitter", "RetryBudget.start", "RetryBudget.rule"),
        *("RateLimit.cost", "Fallback.value"),
    }
    for policy in (
        Timeout,
        Retry,
        Backoff,
        RetryBudget,
        CircuitBreaker,
        Count,
        Bulkhead,
        RateLimit,
        Fallback,
        Classifier,
    ):
        fields = {f"{policy.__name__}.{field.name}" for field in dataclasses.fields(policy) if field.init}
        assert fields <= listed | elsewhere, fields - listed - elsewhere
