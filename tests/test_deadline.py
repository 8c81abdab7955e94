"""The ambient deadline: moves only earlier, reaches threads, tasks and nested pipelines, cuts waits."""

from __future__ import annotations

import asyncio
import math
import time

import pytest
import trio

from resilient import (
    Backoff,
    Bulkhead,
    CallTimeout,
    ConfigError,
    DeadlineExceeded,
    Pipeline,
    RateLimit,
    RateLimited,
    Retry,
    Timeout,
    deadline,
    remaining,
)


def test_without_a_deadline_nothing_remains_to_tell() -> None:
    assert remaining() is None


def test_it_only_moves_earlier_and_is_restored() -> None:
    with deadline(10):
        assert 9 < remaining() <= 10  # type: ignore[operator]
        with deadline(60):
            assert remaining() <= 10  # type: ignore[operator]
        with deadline(1):
            assert remaining() <= 1  # type: ignore[operator]
        assert remaining() > 9  # type: ignore[operator]
    assert remaining() is None


def test_a_passed_deadline_remains_at_zero() -> None:
    with deadline(0):
        assert remaining() == 0.0


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "2", None, True])
def test_bad_durations(value: object) -> None:
    with pytest.raises((ConfigError, TypeError), match="seconds"):
        deadline(value)  # type: ignore[arg-type]


def test_the_guarded_function_sees_the_nearest_end_in_every_colour() -> None:
    p = Pipeline("deadline-inside", Timeout(10), Timeout(3))
    relaxed = Pipeline("deadline-cooperative", Timeout(10), Timeout(3, cooperative=True))

    async def left() -> float | None:
        return remaining()

    for value in (
        p.call(remaining),
        relaxed.call(remaining),
        asyncio.run(p.acall(left)),
        trio.run(p.acall, left),
    ):
        assert value is not None
        assert 2.5 < value <= 3
    assert remaining() is None


def test_a_child_task_inherits_it() -> None:
    p = Pipeline("deadline-child", Timeout(3))

    async def parent() -> float | None:
        async def child() -> float | None:
            return remaining()

        return await asyncio.create_task(child())

    value = asyncio.run(p.acall(parent))
    assert value is not None
    assert value <= 3


def test_nested_pipelines_are_cut_to_it() -> None:
    inner = Pipeline("deadline-nested-inner", Timeout(10))
    outer = Pipeline("deadline-nested-outer", Timeout(0.05))

    async def nested() -> None:
        await inner.acall(asyncio.sleep, 10)

    async def tnested() -> None:
        await inner.acall(trio.sleep, 10)

    begun = time.monotonic()
    with pytest.raises(CallTimeout):
        asyncio.run(outer.acall(nested))
    with pytest.raises(CallTimeout):
        trio.run(outer.acall, tnested)
    with pytest.raises(CallTimeout):
        outer.call(lambda: inner.call(time.sleep, 0.3))
    assert time.monotonic() - begun < 2


def test_a_passed_deadline_refuses_before_anything_runs() -> None:
    p = Pipeline("deadline-passed", Timeout(3))
    ran: list[int] = []
    with deadline(0):
        with pytest.raises(DeadlineExceeded) as refused:
            p.call(ran.append, 1)
        assert refused.value.downstream == "deadline-passed"
    assert ran == []


def test_nothing_sleeps_or_waits_that_cannot_fit() -> None:
    begun = time.monotonic()
    retrying = Pipeline("deadline-retry", Retry(on=OSError, backoff=Backoff(base=10, jitter="fixed")))
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise OSError

    with deadline(1), pytest.raises(OSError):
        retrying.call(fail)
    assert calls == [1]
    limited = Pipeline("deadline-limit", RateLimit(1, per=30, burst=1, max_wait=None))
    limited.call(int)
    with deadline(1), pytest.raises(RateLimited):
        limited.call(int)
    assert time.monotonic() - begun < 0.9


def test_a_line_is_left_at_the_deadline() -> None:
    p = Pipeline("deadline-line", Bulkhead(1, queue=1))
    begun = time.monotonic()
    with p.permit(), deadline(0.03), pytest.raises(Exception, match="bulkhead is full"):
        p.call(int)
    assert 0.02 < time.monotonic() - begun < 1


def test_a_line_without_any_end_is_a_value_error() -> None:
    p = Pipeline("deadline-endless", Bulkhead(1, queue=1))
    with p.permit(), pytest.raises(ValueError, match="max_wait"):
        p.call(int)
