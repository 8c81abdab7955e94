"""The two-step form: settled once, from anywhere, and given back by the collector."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest
import trio

from resilient import BreakerOpen, Bulkhead, BulkheadFull, CircuitBreaker, Pipeline, RateLimit, Retry, Timeout, Verdict
from resilient.outcome import FAILURE, Outcome


def pipeline(name: str, limit: int = 1, **bulkhead: object) -> Pipeline:
    return Pipeline(
        name, Timeout(5), Retry(), CircuitBreaker(consecutive=2), RateLimit(1000), Bulkhead(limit, **bulkhead)
    )


def state(p: Pipeline) -> object:
    return p[CircuitBreaker].snapshot()["state"]


def in_flight(p: Pipeline) -> object:
    return p[Bulkhead].snapshot()["in_flight"]


def test_a_clean_exit_is_a_success_and_gives_everything_back() -> None:
    p = pipeline("permit-clean")
    with p.permit():
        assert in_flight(p) == 1
        with pytest.raises(BulkheadFull), p.permit():
            pass
    assert in_flight(p) == 0
    assert p[CircuitBreaker].snapshot()["calls"] == 1


def test_an_exception_is_judged_and_passes() -> None:
    p = pipeline("permit-error")
    for _ in range(2):
        with pytest.raises(OSError), p.permit():
            raise OSError
    assert state(p) == "open"
    with pytest.raises(BreakerOpen), p.permit():
        pass
    assert in_flight(p) == 0


def test_a_refusal_further_inside_gives_back_what_was_admitted_outside() -> None:
    p = Pipeline("permit-refused", Bulkhead(1), CircuitBreaker(consecutive=1))
    p.hold("forced_open", reason="maintenance", expires=None)
    with pytest.raises(BreakerOpen), p.permit():
        pass
    assert in_flight(p) == 0


def test_the_first_settlement_counts() -> None:
    p = pipeline("permit-once")
    with p.permit() as permit:
        permit.failed(OSError())
        permit.failed(OSError())
        permit.succeeded()
        permit.dropped()
    assert p[CircuitBreaker].snapshot()["failures"] == 1
    assert in_flight(p) == 0


def test_settled_from_another_thread() -> None:
    p = pipeline("permit-thread")
    request = p.permit()
    permit = request.__enter__()
    thread = threading.Thread(target=lambda: permit.settle(FAILURE))
    thread.start()
    thread.join()
    assert in_flight(p) == 0
    assert p[CircuitBreaker].snapshot()["failures"] == 1


def test_a_dropped_permit_tells_nothing() -> None:
    p = pipeline("permit-dropped")
    with p.permit() as permit:
        permit.dropped()
    snapshot = p[CircuitBreaker].snapshot()
    assert (snapshot["calls"], snapshot["failures"]) == (0, 0)


def test_an_unsettled_permit_is_given_back_by_the_collector_with_a_warning() -> None:
    p = pipeline("permit-lost")
    request = p.permit()
    request.__enter__()
    held = [request]
    del request
    with pytest.warns(ResourceWarning, match="permit-lost"):
        held.clear()
    gc.collect()
    assert in_flight(p) == 0


async def queued(p: Pipeline, sleep: object) -> list[str]:
    story = []

    async def one(name: str) -> None:
        async with p.permit():
            story.append(f"{name} in")
            await sleep(0.01)  # type: ignore[operator]
            story.append(f"{name} out")

    async with asyncio.TaskGroup() if sleep is asyncio.sleep else trio.open_nursery() as group:
        for name in "abc":
            if sleep is asyncio.sleep:
                group.create_task(one(name))
            else:
                group.start_soon(one, name)
    return story


def test_async_permits_wait_in_line() -> None:
    expected = ["a in", "a out", "b in", "b out", "c in", "c out"]
    assert asyncio.run(queued(pipeline("permit-asyncio", queue=5), asyncio.sleep)) == expected
    story = trio.run(queued, pipeline("permit-trio", queue=5), trio.sleep)
    assert sorted(story) == sorted(expected)
    assert all(story[i][0] == story[i + 1][0] for i in range(0, 6, 2)), "two were in at once"


def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    p = pipeline("permit-cancelled", queue=5)

    async def scenario() -> None:
        async with p.permit():
            waiting = asyncio.create_task(queued(p, asyncio.sleep))
            await asyncio.sleep(0.01)
            assert p[Bulkhead].snapshot()["queued"] == 3
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert p[Bulkhead].snapshot()["queued"] == 0

    asyncio.run(scenario())
    assert in_flight(p) == 0
    assert p[CircuitBreaker].snapshot()["calls"] == 1


def test_verdicts_of_a_transport_are_taken_as_they_are() -> None:
    p = pipeline("permit-verdict")
    with p.permit() as permit:
        permit.settle(Verdict(Outcome.THROTTLED, retry_after=1.0))
    assert p[CircuitBreaker].snapshot()["failures"] == 0
