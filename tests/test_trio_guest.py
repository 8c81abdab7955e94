"""Trio as the guest of an asyncio loop: both run on one thread, and each call knows whose it is."""

from __future__ import annotations

import asyncio
import math

import pytest
import trio

from resilient import Backoff, Bulkhead, BulkheadFull, CallTimeout, Pipeline, RateLimit, Retry, Timeout
from tests._stage import name, nothing_left


class Down(Exception):
    """What the downstream raises when it fails."""


def host(guest, *, beside=None):
    """Run a trio function as the guest of an asyncio loop, perhaps beside an asyncio function."""

    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=done.set_result,
            host_uses_signal_set_wakeup_fd=True,
        )
        other = None if beside is None else await beside()
        return (await done).unwrap(), other

    return asyncio.run(asyncio.wait_for(main(), 20))


def test_a_guest_is_timed_out_by_trio_and_its_host_by_asyncio():
    pipeline = Pipeline(name("guest"), Timeout(0.02))
    seen = []

    async def hang_on_trio():
        try:
            await trio.sleep(math.inf)
        except trio.Cancelled:
            seen.append("trio")
            raise

    async def hang_on_asyncio():
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            seen.append("asyncio")
            raise

    async def guest():
        for _ in range(3):
            with pytest.raises(CallTimeout):
                await pipeline.acall(hang_on_trio)
        return "guest"

    async def beside():
        for _ in range(3):
            with pytest.raises(CallTimeout):
                await pipeline.acall(hang_on_asyncio)
        assert asyncio.current_task().cancelling() == 0
        return "host"

    assert host(guest, beside=beside) == ("guest", "host")
    assert sorted(seen) == ["asyncio"] * 3 + ["trio"] * 3
    nothing_left(pipeline)


def test_a_guest_pauses_between_attempts_and_waits_for_its_turn():
    pipeline = Pipeline(
        name("guest"),
        Retry(3, backoff=Backoff(base=0.005, jitter="fixed"), budget=None),
        RateLimit(100, burst=1, max_wait=5),
    )
    attempts = []

    async def flaky():
        attempts.append(1)
        await trio.sleep(0)
        if len(attempts) < 3:
            raise Down
        return "done"

    async def guest():
        began = trio.current_time()
        assert await pipeline.acall(flaky) == "done"
        return trio.current_time() - began

    assert host(guest)[0] >= 0.02, "three turns are two hundredths of a second apart"
    assert len(attempts) == 3


def test_guest_and_host_stand_in_one_line():
    pipeline = Pipeline(name("guest"), Bulkhead(1, queue=10, max_wait=10))
    inside, most, served = [0], [0], []

    async def work(sleep, who):
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        await sleep(0.001)
        inside[0] -= 1
        served.append(who)

    async def guest():
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(pipeline.acall, work, trio.sleep, "guest")

    async def beside():
        await asyncio.gather(*(pipeline.acall(work, asyncio.sleep, "host") for _ in range(5)))

    host(guest, beside=beside)
    assert most == [1]
    assert sorted(served) == ["guest"] * 5 + ["host"] * 5
    nothing_left(pipeline)


def test_a_guest_that_is_cancelled_returns_its_permit_and_its_place():
    pipeline = Pipeline(name("guest"), Timeout(60), Bulkhead(1, queue=5), Timeout(30))

    async def guest():
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(pipeline.acall, trio.sleep, math.inf)
            await trio.sleep(0.01)
            assert pipeline[Bulkhead].snapshot() == {"limit": 1, "in_flight": 1, "queued": 2}
            nursery.cancel_scope.cancel()
        nothing_left(pipeline)
        return "fine"

    assert host(guest)[0] == "fine"


def test_a_plain_call_that_would_wait_is_refused_in_a_guest_and_in_its_host():
    pipeline = Pipeline(name("guest"), Bulkhead(1, queue=5, max_wait=10))

    async def guest():
        warning = pytest.warns(RuntimeWarning, match="running event loop")
        with warning, pipeline.permit(), pytest.raises(BulkheadFull) as caught:
            pipeline.call(int)
        return caught.value.reason

    assert host(guest)[0] == "event_loop"
    nothing_left(pipeline)
