"""What `explain()` and `lint()` promise: each finding where it is due, and none where it is not."""

from __future__ import annotations

import pytest

from resilient import (
    Bulkhead,
    CircuitBreaker,
    ConfigError,
    Count,
    Fallback,
    Pipeline,
    RateLimit,
    Retry,
    StaleCache,
    Timeout,
    standard,
)
from resilient.explain import Finding, lint
from tests._stage import name

CACHE = StaleCache(60, stale=600)
SLOW = CircuitBreaker(slow_call=2)

# rule: pipelines for which it is due, and their nearest neighbours for which it is not
RULES = {
    "breaker-outside-retry": (
        [(CircuitBreaker(), Retry()), (Timeout(9), CircuitBreaker(), Timeout(3), Retry())],
        [(Retry(), CircuitBreaker()), (CircuitBreaker(),), (Retry(),)],
    ),
    "missing-budget": (
        [(Retry(budget=None),), (Retry(2, budget=None), CircuitBreaker())],
        [(Retry(),), (Retry(1, budget=None),)],
    ),
    "timeout-outside-breaker": (
        [(Timeout(9), CircuitBreaker()), (Timeout(9), Timeout(3), Retry(), CircuitBreaker())],
        [
            (Timeout(9), CircuitBreaker(), Timeout(3)),
            (CircuitBreaker(), Timeout(3)),
            (CircuitBreaker(),),
            (Timeout(9),),
        ],
    ),
    "no-timeout": (
        [(Bulkhead(5),), (Retry(), Bulkhead(5))],
        [(Bulkhead(5), Timeout(3)), (Timeout(3), Bulkhead(5)), (Retry(),), ()],
    ),
    "attempts-exceed-total": (
        [(Timeout(5), Retry(3), Timeout(2)), (Timeout(9), Timeout(5), Retry(2), Timeout(4), Timeout(3))],
        [(Timeout(6), Retry(3), Timeout(2)), (Timeout(5), Retry(3)), (Retry(3), Timeout(2)), (Timeout(5), Timeout(2))],
    ),
    "window-below-slow-call": (
        [(CircuitBreaker(window=1, slow_call=2),)],
        [
            (CircuitBreaker(window=2, slow_call=2),),
            (CircuitBreaker(window=1),),
            (CircuitBreaker(window=Count(50), slow_call=2),),
        ],
    ),
    "slow-call-above-timeout": (
        [(SLOW, Timeout(2)), (SLOW, Timeout(9), Timeout(1))],
        [(SLOW, Timeout(2.1)), (Timeout(1), SLOW), (CircuitBreaker(), Timeout(1))],
    ),
    "retry-inside-bulkhead": (
        [(Bulkhead(5), Retry()), (Bulkhead(5), Timeout(9), Retry())],
        [(Retry(), Bulkhead(5)), (Bulkhead(5), Timeout(9))],
    ),
    "rate-limit-outside-retry": (
        [(RateLimit(5), Retry())],
        [(Retry(), RateLimit(5)), (RateLimit(5),)],
    ),
    "fallback-inside": (
        [(Retry(), Fallback(0)), (CircuitBreaker(), Fallback(0)), (Fallback(0), Retry(), Fallback(0))],
        [(Fallback(0), Retry()), (Timeout(3), Fallback(0)), (Bulkhead(5), Fallback(0)), (Fallback(0),)],
    ),
    "cache-inside": (
        [(Retry(), CACHE), (CircuitBreaker(), CACHE), (Bulkhead(5), CACHE), (RateLimit(5), Timeout(9), CACHE)],
        [(CACHE, Retry(), CircuitBreaker(), Bulkhead(5), RateLimit(5)), (Fallback(0), CACHE), (Timeout(3), CACHE)],
    ),
    "refresh-without-end": (
        [(CACHE,), (Timeout(3), CACHE, Retry()), (StaleCache(60, stale=0, early=1.0),)],
        [
            (CACHE, Timeout(3)),
            (Timeout(9), CACHE, Retry(), Timeout(3)),
            (StaleCache(60, stale=9, while_revalidating=0),),
        ],
    ),
    "fallback-before-stale": (
        [(CACHE, Fallback(0)), (CACHE, Retry(), Fallback(0))],
        [(Fallback(0), CACHE), (CACHE,)],
    ),
    "queue-without-end": (
        [(Bulkhead(5, queue=1),), (Bulkhead(5, queue=1), Timeout(3))],
        [(Timeout(3), Bulkhead(5, queue=1)), (Bulkhead(5, queue=1, max_wait=1),), (Bulkhead(5),)],
    ),
    "cooperative-in-part": (
        [(Timeout(3, cooperative=True), Timeout(1)), (Timeout(3), Timeout(1, cooperative=True))],
        [(Timeout(3), Timeout(1)), (Timeout(3, cooperative=True), Timeout(1, cooperative=True)), (Timeout(3),)],
    ),
}


def rules(policies):
    return [finding.rule for finding in Pipeline(name(), *policies).lint()]


@pytest.mark.parametrize(("rule", "policies"), [(rule, case) for rule, (due, _) in RULES.items() for case in due])
def test_a_rule_is_told_where_it_is_due(rule, policies):
    assert rules(policies).count(rule) == 1


@pytest.mark.parametrize(("rule", "policies"), [(rule, case) for rule, (_, fine) in RULES.items() for case in fine])
def test_a_rule_is_not_told_where_it_is_not(rule, policies):
    assert rule not in rules(policies)


def test_every_rule_has_its_cases():
    from resilient.explain import _RULES

    told = {finding.rule for due, _ in RULES.values() for case in due for finding in lint(case)}
    assert told == set(RULES)
    assert len(_RULES) <= len(RULES)


CLEAN = {
    "the standard": standard(name()).policies,
    "the order of the documentation": (
        *(Timeout(2), Retry(3), CircuitBreaker(), RateLimit(100), Bulkhead(20), Timeout(0.5)),
    ),
    "everything": (
        *(
            Fallback(0),
            CACHE,
            Timeout(10),
            Retry(),
            CircuitBreaker(slow_call=2),
            RateLimit(5),
            Bulkhead(5, queue=5),
            Timeout(3),
        ),
    ),
    "nothing": (),
}


@pytest.mark.parametrize("policies", CLEAN.values(), ids=CLEAN)
def test_a_sound_pipeline_surprises_nobody(policies):
    assert rules(policies) == []


def test_a_finding_says_what_happens_with_the_numbers_at_hand():
    (finding,) = Pipeline(name(), Timeout(5), Retry(3), Timeout(2)).lint()
    assert finding == Finding(
        "attempts-exceed-total", "3 attempts of 2 s do not fit the whole call's 5 s; later attempts are cut short"
    )


def test_variants_are_looked_at_as_they_are():
    own = Pipeline(name(), Timeout(6), Retry(3), Timeout(2))
    assert own.lint() == []
    assert [finding.rule for finding in own.with_options(attempts=4).lint()] == ["attempts-exceed-total"]


# -- explain -----------------------------------------------------------------------------------

HOP = "A plain function runs in another (daemon) thread, because of the timeout;"


def test_it_shows_the_order_the_settings_and_the_thread_hop():
    own = Pipeline(
        "explained", Timeout(10), Retry(3), CircuitBreaker(), RateLimit(100), Bulkhead(20), Timeout(0.5), Fallback(0)
    )
    lines = own.explain().splitlines()
    assert lines[0] == "explained: 7 policies, outermost first"
    assert lines[1:8] == [
        "  1. timeout_0        10 s",
        (
            "  2. retry            3 attempts, full jitter, 0.05 s times 2 up to 20 s, 1 s after a throttle, "
            "retries up to 10 % of calls, bursts of 10"
        ),
        (
            "  3. circuit_breaker  opens when 50% of >= 20 calls in 10 s fail, or 5 fail in a row; "
            "open 5 s to 60 s, 3 probes, ramp 10 s"
        ),
        "  4. rate_limit       100 per 1 s, bursts of 100, no wait, backs off when throttled",
        "  5. bulkhead         at most 20 in flight, no queue",
        "  6. timeout_5        0.5 s",
        "  7. fallback         a fixed value",
    ]
    assert lines[8].strip() == HOP
    assert lines[10].startswith("  ! fallback-inside: ")
    assert len(lines) == 12, "two policies see the fallback's answer as a success"


@pytest.mark.parametrize(
    ("policies", "hops"),
    [
        ((Timeout(3),), True),
        ((Timeout(3, cooperative=True), Timeout(2)), True),
        ((Timeout(3, cooperative=True),), False),
        ((Retry(), Bulkhead(5)), False),
        ((), False),
    ],
)
def test_the_thread_hop_is_told_where_there_is_one(policies, hops):
    assert (HOP in Pipeline(name(), *policies).explain()) is hops


def test_an_empty_pipeline_is_explained_too():
    assert Pipeline("empty").explain() == "empty: 0 policies, outermost first"


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("inner", [5, 6, 5.0])
@pytest.mark.parametrize("between", [(), (Retry(), Bulkhead(5))], ids=["adjacent", "apart"])
def test_a_timeout_that_could_never_run_out_is_refused(inner, between):
    with pytest.raises(ConfigError, match=rf"must be shorter than it, got {inner:g} s inside 5 s"):
        Pipeline(name(), Timeout(5), *between, Timeout(inner))


@pytest.mark.parametrize("thing", [Retry, 3, None, "retry", lambda: None, Retry().bind])
def test_what_is_no_policy_is_refused_with_its_place(thing):
    with pytest.raises(TypeError, match=r"policies\[1\] must be a policy such as Retry\(\), got"):
        Pipeline(name(), Timeout(3), thing)
