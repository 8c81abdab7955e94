"""What `standard()` promises: safe defaults in a fixed order, each of which can be replaced or left out."""

from __future__ import annotations

import datetime as dt

import pytest

from resilient import (
    Bulkhead,
    CallTimeout,
    CircuitBreaker,
    Classifier,
    ConfigError,
    Fallback,
    Outcome,
    Pipeline,
    RateLimit,
    Retry,
    Timeout,
    registry,
    standard,
)
from tests._stage import every_colour, every_loop, name


def test_the_defaults_are_those_of_the_documentation():
    pipeline = standard(name())
    assert pipeline.policies == (Timeout(10.0), Retry(3), CircuitBreaker(), Bulkhead(100), Timeout(3.0))
    assert pipeline.classifier == Classifier()


REPLACED = {
    "timeout": ({"timeout": 5}, (Timeout(5), Retry(), CircuitBreaker(), Bulkhead(100), Timeout(1.5))),
    "timeout as a span": (
        {"timeout": dt.timedelta(seconds=5)},
        (Timeout(5), Retry(), CircuitBreaker(), Bulkhead(100), Timeout(1.5)),
    ),
    "attempts": ({"retry": 2}, (Timeout(10), Retry(2), CircuitBreaker(), Bulkhead(100), Timeout(3))),
    "limit": ({"bulkhead": 5}, (Timeout(10), Retry(), CircuitBreaker(), Bulkhead(5), Timeout(3))),
    "policies": (
        {
            "timeout": Timeout(6, cooperative=True),
            "retry": Retry(5),
            "breaker": CircuitBreaker(probes=1),
            "bulkhead": Bulkhead(7, queue=3),
            "attempt_timeout": Timeout(1, cooperative=True),
        },
        (
            *(Timeout(6, cooperative=True), Retry(5), CircuitBreaker(probes=1)),
            *(Bulkhead(7, queue=3), Timeout(1, cooperative=True)),
        ),
    ),
    "left out": ({"retry": None, "bulkhead": None, "timeout": None}, (CircuitBreaker(), Timeout(3))),
    "all left out": (dict.fromkeys(["timeout", "retry", "breaker", "bulkhead", "attempt_timeout"]), ()),
    "added": (
        {"fallback": Fallback(0), "rate_limit": RateLimit(5)},
        (
            *(Fallback(0), Timeout(10), Retry(), CircuitBreaker(), RateLimit(5)),
            *(Bulkhead(100), Timeout(3)),
        ),
    ),
}


@pytest.mark.parametrize(("overrides", "policies"), REPLACED.values(), ids=REPLACED)
def test_every_part_can_be_replaced(overrides, policies):
    assert standard(name(), **overrides).policies == policies


@pytest.mark.parametrize(
    ("overrides", "kind", "words"),
    [
        ({"timeouts": 5}, TypeError, "override must be one of fallback, timeout, retry, .* got 'timeouts'"),
        ({"timeout": "5"}, TypeError, "timeout must be None or Timeout or int or float.* got '5'"),
        ({"timeout": True}, TypeError, "timeout must be None or Timeout.* got True"),
        ({"timeout": -1}, ConfigError, "seconds must be a duration above 0 s, got -1"),
        ({"timeout": Retry()}, TypeError, "timeout must be None or Timeout"),
        ({"retry": 2.5}, TypeError, "retry must be None or Retry.* got 2.5"),
        ({"breaker": 5}, TypeError, "breaker must be None or CircuitBreaker, got 5"),
        ({"breaker": CircuitBreaker}, TypeError, "breaker must be None or CircuitBreaker, got <class"),
        ({"rate_limit": 5}, TypeError, "rate_limit must be None or RateLimit, got 5"),
        ({"bulkhead": 0}, ConfigError, "limit must be a whole number of 1 or more, got 0"),
        ({"fallback": "instead"}, TypeError, "fallback must be None or Fallback, got 'instead'"),
        ({"timeout": 2, "attempt_timeout": 3}, ConfigError, "must be shorter than it, got 3 s inside 2 s"),
        ({"classifier": 3}, TypeError, "classifier must be a Classifier or None, got 3"),
    ],
)
def test_what_cannot_be_is_refused_by_name(overrides, kind, words):
    unused = name()
    with pytest.raises(kind, match=words):
        standard(unused, **overrides)
    assert unused not in registry.names()


def test_it_is_a_pipeline_like_any_other():
    pipeline = standard(name(), retry=2)
    twin = Pipeline(pipeline.name, *pipeline.policies)
    assert twin[CircuitBreaker] is pipeline[CircuitBreaker]
    with pytest.raises(ConfigError, match=pipeline.name):
        standard(pipeline.name)
    assert standard(pipeline.name, replace=True)[CircuitBreaker] is not pipeline[CircuitBreaker]


def nothing_counts(error):
    return Outcome.SUCCESS


@every_colour
def test_its_classifier_is_handed_on(colour):
    pipeline = standard(name(), classifier=Classifier(error=nothing_counts))
    tries = []

    async def fail():
        tries.append(1)
        raise OSError

    async def scenario(stage):
        for _ in range(10):
            with pytest.raises(OSError):
                await stage.call(pipeline, fail)

    colour.play(scenario)
    assert len(tries) == 10
    assert pipeline[CircuitBreaker].snapshot()["state"] == "closed"


@every_loop
def test_by_default_a_hanging_call_ends_within_ten_seconds_and_counts(colour):
    pipeline = standard(name())

    async def scenario(stage):
        began = stage.clock.now()
        with pytest.raises(CallTimeout):
            await stage.call(pipeline, stage.sleep, 1e6)
        return stage.clock.now() - began

    assert 9 <= colour.play(scenario) <= 10
    assert pipeline[CircuitBreaker].snapshot()["failures"] == 3
    assert pipeline[Bulkhead].snapshot()["in_flight"] == 0


def test_the_function_behind_its_documentation():
    assert "timeout 10 s, 3 attempts, breaker, bulkhead 100, attempt timeout 3 s" in standard.__doc__
