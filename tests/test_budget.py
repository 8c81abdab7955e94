"""What `RetryBudget` promises: who shares its tokens, and what it refuses."""

from __future__ import annotations

import gc

import pytest

from resilient import BreakerOpen, CircuitBreaker, Classifier, Pipeline, Retry, RetryBudget
from resilient._policy import Env


def env(name: str = "budgeted") -> Env:
    return Env(name, Classifier())


def test_the_default_starts_with_the_retries_of_one_call():
    assert RetryBudget().bind(env(), 3).tokens() == 2
    assert RetryBudget().bind(env(), 50).tokens() == 10, "capped"
    assert RetryBudget(start=0).bind(env(), 3).tokens() == 0, "zero is honoured"
    assert RetryBudget.grpc(max_tokens=6).bind(env(), 3).tokens() == 6
    assert RetryBudget.aws().bind(env(), 3).tokens() == 500


def test_policies_of_one_pipeline_share_and_pipelines_do_not():
    one, other = env(), env()
    assert RetryBudget().bind(one) is RetryBudget().bind(one)
    assert RetryBudget().bind(one) is not RetryBudget(cap=5).bind(one)
    assert RetryBudget().bind(one) is not RetryBudget().bind(other)


def test_a_name_shares_between_pipelines_for_as_long_as_it_is_used():
    fleet = RetryBudget(name="fleet")
    budget = fleet.bind(env("a"))
    assert RetryBudget(name="fleet").bind(env("b")) is budget
    budget.withdraw()
    assert budget.tokens() == 1
    del budget
    gc.collect()
    assert fleet.bind(env("c")).tokens() == 2


def test_a_name_with_other_settings_is_refused():
    budget = RetryBudget(name="disputed").bind(env())
    with pytest.raises(ValueError, match="a retry budget named 'disputed' exists with other settings"):
        RetryBudget(name="disputed", ratio=0.2).bind(env())
    assert budget.tokens() == 2


def test_state_of_a_pipeline_goes_with_it():
    from resilient import budget

    owner = env()
    RetryBudget().bind(owner)
    before = len(budget._by_env)
    del owner
    gc.collect()
    assert len(budget._by_env) < before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ratio": 0}, "ratio must be a share in (0, 1], got 0"),
        ({"ratio": 1.5}, "ratio must be a share in (0, 1], got 1.5"),
        ({"ratio": float("nan")}, "ratio must be a finite number, got nan"),
        ({"cost": 0}, "cost must be a number above 0, got 0"),
        ({"cost": 11}, "cost must be at most cap, which is 10, got 11"),
        ({"cap": -1}, "cap must be a number above 0, got -1"),
        ({"start": 11}, "start must be from 0 to cap, which is 10, or None, got 11"),
        ({"start": -1}, "start must be from 0 to cap, which is 10, or None, got -1"),
        ({"name": ""}, "name must be a printable name of 1 to 200 characters, got ''"),
        ({"rule": "free"}, "rule must be 'share', 'grpc' or 'aws', got 'free'"),
    ],
)
def test_bad_settings_are_named_with_what_is_allowed(settings, words):
    with pytest.raises(ValueError, match="must be") as caught:
        RetryBudget(**settings)
    assert str(caught.value).startswith(words)


def test_bad_settings_of_the_known_rules():
    with pytest.raises(ValueError, match=r"max_tokens must be a number of 1 or more, got 0\.5"):
        RetryBudget.grpc(max_tokens=0.5)
    with pytest.raises(ValueError, match="quota must be a number above 0, got 0"):
        RetryBudget.aws(quota=0)
    with pytest.raises(ValueError, match="throttle_cost must be a number above 0, got -5"):
        RetryBudget.aws(throttle_cost=-5)
    with pytest.raises(TypeError, match="cap must be a number, got None"):
        RetryBudget(cap=None)


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (RetryBudget(), "retries up to 10 % of calls, bursts of 10"),
        (RetryBudget(cost=2, name="x"), "retries up to 5 % of calls, bursts of 5, shared as 'x'"),
        (RetryBudget.grpc(), "gRPC throttle: 10 tokens, a success brings 0.1"),
        (RetryBudget.aws(), "AWS quota of 500, a retry costs 14"),
    ],
)
def test_it_says_what_it_allows(budget, words):
    assert budget.describe() == words


def test_refused_calls_fill_no_budget() -> None:
    pipeline = Pipeline("budget-refused", Retry(budget=RetryBudget(start=0)), CircuitBreaker())
    hold = pipeline.hold("forced_open", reason="maintenance", expires=None)
    for _ in range(1_000):
        with pytest.raises(BreakerOpen):
            pipeline.call(int)
    assert pipeline.snapshot()["retry"] == {"budget": 0.0, "budget_ratio": 0.0}
    hold.release()
    pipeline[CircuitBreaker].reset()
    for _ in range(3):
        pipeline.call(int)
    assert pipeline.snapshot()["retry"]["budget"] == pytest.approx(0.3)
