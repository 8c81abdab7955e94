"""Fallback: what it answers for, with what, within what time, and what happens when it fails, too."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest
import trio

from resilient import (
    Bulkhead,
    BulkheadFull,
    CallTimeout,
    Classifier,
    ConfigError,
    Fallback,
    Outcome,
    Pipeline,
    Timeout,
    Unguardable,
    faults,
    from_status,
)


def fail() -> str:
    raise OSError


async def afail() -> str:
    raise OSError


def test_a_value_answers_for_a_failure_in_every_colour() -> None:
    p = Pipeline("fallback-value", Fallback("cached"))
    assert p.call(fail) == "cached"
    assert asyncio.run(p.acall(afail)) == "cached"
    assert trio.run(p.acall, afail) == "cached"


def test_none_and_zero_are_answers() -> None:
    assert Pipeline("fallback-none", Fallback(None)).call(fail) is None
    assert Pipeline("fallback-zero", Fallback(0)).call(fail) == 0


def test_a_function_receives_the_cause() -> None:
    p = Pipeline("fallback-cause", Fallback(lambda cause: type(cause).__name__), Bulkhead(1))
    assert p.call(fail) == "OSError"
    with p.permit():
        assert p.call(fail) == "BulkheadFull"


def test_an_async_function_is_awaited() -> None:
    async def answer(cause: Exception) -> str:
        await asyncio.sleep(0)
        return f"async {type(cause).__name__}"

    p = Pipeline("fallback-async", Fallback(answer))
    assert asyncio.run(p.acall(afail)) == "async OSError"
    with pytest.raises(Unguardable, match="async fallback"):
        p(fail)


def test_only_what_it_is_for() -> None:
    p = Pipeline("fallback-on", Fallback("x", on=KeyError))
    with pytest.raises(OSError):
        p.call(fail)
    callers = Classifier(error=lambda _: Outcome.SUCCESS)
    with pytest.raises(OSError):
        Pipeline("fallback-callers", Fallback("x"), classifier=callers).call(fail)
    refused = Pipeline("fallback-refused", Fallback("x", on=BulkheadFull), Bulkhead(1))
    with refused.permit():
        assert refused.call(fail) == "x"
    with pytest.raises(OSError):
        refused.call(fail)


def test_a_bad_result_is_replaced_where_the_classifier_judges_results() -> None:
    statuses = Classifier(result=from_status)  # type: ignore[arg-type]
    p = Pipeline("fallback-result", Fallback(lambda cause: -cause), classifier=statuses)
    assert p.call(lambda: 200) == 200
    assert p.call(lambda: 503) == -503

    async def bad() -> int:
        return 500

    assert asyncio.run(p.acall(bad)) == -500


def test_a_fallback_that_raises_is_reported_once_and_the_caller_gets_the_original(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: object) -> str:
        raise ZeroDivisionError

    p = Pipeline("fallback-broken", Fallback(broken))
    with caplog.at_level(logging.ERROR, "resilient"):
        for _ in range(3):
            with pytest.raises(OSError) as caught:
                p.call(fail)
    assert "ZeroDivisionError" in caught.value.__notes__[0]
    assert len(caplog.records) == 1
    assert faults.total() == 3


def test_a_function_declines_by_raising_the_cause_itself() -> None:
    def answer(cause: Exception) -> str:
        raise cause

    with pytest.raises(OSError) as caught:
        Pipeline("fallback-declines", Fallback(answer)).call(fail)
    assert not hasattr(caught.value, "__notes__")
    assert faults.total() == 0


def test_a_slow_fallback_is_bounded_by_its_own_time_and_by_the_deadline() -> None:
    release = threading.Event()
    slow = Fallback(lambda _: release.wait(5), timeout=0.02)
    begun = time.monotonic()
    with pytest.raises(OSError):
        Pipeline("fallback-slow", slow).call(fail)
    inside = Pipeline("fallback-deadline", Timeout(0.05), Fallback(lambda _: release.wait(5)))
    with pytest.raises((OSError, CallTimeout)):
        inside.call(fail)
    assert time.monotonic() - begun < 2
    release.set()

    async def never(_: object) -> str:
        await asyncio.Event().wait()
        return ""

    bounded = Pipeline("fallback-aslow", Fallback(never, timeout=0.02))
    with pytest.raises(OSError):
        asyncio.run(bounded.acall(afail))


def test_cancellation_is_not_answered_for() -> None:
    p = Pipeline("fallback-cancel", Fallback("x"))

    async def scenario() -> None:
        task = asyncio.create_task(p.acall(asyncio.sleep, 10))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("settings", "error", "named"),
    [
        ({"on": 3}, TypeError, "on"),
        ({"on": ()}, TypeError, "on"),
        ({"on": (KeyboardInterrupt,)}, TypeError, "on"),
        ({"on": BaseException}, TypeError, "on"),
        ({"timeout": 1}, ConfigError, "timeout"),
        ({"timeout": -1}, ConfigError, "timeout"),
    ],
)
def test_bad_settings(settings: dict[str, object], error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        Fallback("value", **settings)  # type: ignore[arg-type]
