"""Budgets: the published traces exactly, and never more retries than the share allows."""

from __future__ import annotations

import gc
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient import RetryBudget
from resilient._machines.budget import Budget


def made(config: RetryBudget, attempts: int = 3) -> Budget:
    return Budget(config.rules(attempts))


def test_P16_grpc_throttle():
    budget = made(RetryBudget.grpc(max_tokens=10, ratio=0.1))
    seen = [budget.tokens()]
    allowed = []
    for _ in range(5):
        budget.failed()
        seen.append(budget.tokens())
        allowed.append(budget.withdraw() is not None)
    assert seen == [10, 9, 8, 7, 6, 5]
    assert allowed == [True, True, True, True, False]
    budget.step()
    assert budget.tokens() == 5.1
    assert budget.withdraw() is not None
    assert budget.tokens() == 5.1, "gRPC's retries cost nothing, its failures do"


@pytest.mark.parametrize(("share", "stops"), [(0.080, False), (0.105, True)])
def test_P16_grpc_equilibrium_is_one_failure_in_eleven(share, stops):
    budget = made(RetryBudget.grpc(max_tokens=10, ratio=0.1))
    refused = owed = 0
    for number in range(1, 20_001):
        if number * share >= owed + 1:
            owed += 1
            budget.failed()
            refused += budget.withdraw() is None
        else:
            budget.step()
    assert (refused > 100) == stops
    assert stops or refused == 0


def test_grpc_counts_success_after_a_retry_like_any_other():
    budget = made(RetryBudget.grpc())
    budget.failed()
    paid = budget.withdraw()
    budget.returned(paid)
    assert budget.tokens() == 9.1


def test_grpc_never_falls_below_zero():
    budget = made(RetryBudget.grpc(max_tokens=2))
    for _ in range(5):
        budget.failed()
    assert budget.tokens() == 0
    for _ in range(11):
        budget.step()
    assert budget.withdraw() is not None


def test_aws_of_2026_allows_35_failing_retries_in_a_row():
    budget = made(RetryBudget.aws())
    assert [budget.withdraw() for _ in range(36)].count(None) == 1
    assert budget.tokens() == 10
    assert budget.withdraw(throttled=True) is not None
    assert budget.tokens() == 5


def test_aws_classic_charges_timeouts_double_and_gives_back_the_last_price():
    budget = made(RetryBudget.aws(retry_cost=5, timeout_cost=10))
    first, second = budget.withdraw(), budget.withdraw(timeout=True)
    assert budget.tokens() == 485
    budget.returned(second)
    assert budget.tokens() == 495
    budget.step()
    assert budget.tokens() == 496
    budget.refund(first)
    assert budget.tokens() == 500
    budget.step()
    assert budget.tokens() == 500, "capped"


def test_default_starts_with_one_calls_retries_and_earns_a_tenth_per_call():
    budget = made(RetryBudget(), attempts=3)
    assert [budget.withdraw() is None for _ in range(3)] == [False, False, True]
    for _ in range(9):
        budget.step()
    assert budget.withdraw() is None
    budget.step()
    assert budget.withdraw() is not None
    budget.returned(10**9)
    assert budget.tokens() == 0, "a retry that succeeds gives nothing back"


def test_default_keeps_at_most_its_cap():
    budget = made(RetryBudget(cap=4))
    for _ in range(1000):
        budget.step()
    assert [budget.withdraw() is None for _ in range(5)] == [False] * 4 + [True]
    assert budget.ratio() == 0


def test_a_refund_is_whole_and_takes_no_lock():
    budget = made(RetryBudget())
    paid = budget.withdraw()
    with budget._lock:
        budget.refund(paid)
        budget.step()
        budget.returned(paid)
    assert budget.tokens() == 2.1


def test_renewed_it_starts_anew_but_keeps_its_step():
    budget = made(RetryBudget())
    step = budget.step
    budget.withdraw()
    for _ in range(50):
        step()
    budget.renew()
    assert budget.tokens() == 2
    assert budget.step is step
    step()
    assert budget.tokens() == 2.1


class Naive:
    """The default rule, eagerly, in whole thousandths."""

    def __init__(self, ratio: int, cap: int, start: int) -> None:
        self.ratio, self.cap, self.tokens = ratio, cap, start

    def step(self) -> None:
        self.tokens = min(self.cap, self.tokens + self.ratio)

    def withdraw(self) -> bool:
        if self.tokens < 1000:
            return False
        self.tokens -= 1000
        return True

    def refund(self) -> None:
        self.tokens = min(self.cap, self.tokens + 1000)


@given(
    st.integers(1, 1000),
    st.integers(1, 20),
    st.lists(st.sampled_from(["call", "call", "call", "retry", "refund", "look"]), max_size=200),
)
def test_counting_lazily_gives_the_balance_of_counting_eagerly(ratio, cap, steps):
    budget = made(RetryBudget(ratio=ratio / 1000, cap=cap, start=min(2, cap)))
    naive = Naive(ratio, cap * 1000, min(2, cap) * 1000)
    out = []
    for each in steps:
        if each == "call":
            budget.step()
            naive.step()
        elif each == "retry":
            paid = budget.withdraw()
            assert (paid is not None) == naive.withdraw()
            if paid is not None:
                out.append(paid)
        elif each == "refund" and out:
            budget.refund(out.pop())
            naive.refund()
        elif each == "look":
            assert budget.tokens() == naive.tokens / 1000


@given(st.floats(0.001, 1), st.floats(0.5, 3), st.integers(1, 6), st.randoms(use_true_random=False))
def test_retries_never_exceed_start_plus_their_share_of_calls(ratio, cost, attempts, draw):
    budget = made(RetryBudget(ratio=ratio, cost=cost), attempts)
    retries = 0
    for calls in range(1, 301):
        budget.step()
        while draw.random() < 0.8 and budget.withdraw() is not None:
            retries += 1
        assert retries * cost <= min(10, attempts - 1) + calls * ratio + 1e-6


def test_threads_never_overdraw():
    budget = made(RetryBudget(ratio=0.1, start=0))
    retries = []

    def work() -> None:
        mine = 0
        for _ in range(2000):
            budget.step()
            mine += budget.withdraw() is not None
        retries.append(mine)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 790 <= sum(retries) <= 800


def test_a_collector_that_refunds_while_the_lock_is_held_does_not_deadlock():
    budget = made(RetryBudget())
    paid = budget.withdraw()

    class Abandoned:
        def __del__(self) -> None:
            budget.refund(paid)

    loop = Abandoned()
    loop.itself = loop
    with budget._lock:
        del loop
        gc.collect()
    assert budget.tokens() == 2
