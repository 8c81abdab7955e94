"""Where the answers of a stale cache come from: told to who watches, and never stored where it was no answer."""

from __future__ import annotations

import asyncio
import threading

import pytest

from resilient import (
    BreakerOpen,
    CircuitBreaker,
    Fallback,
    Pipeline,
    Retry,
    StaleCache,
    Timeout,
    provenance,
)
from resilient.provenance import Provenance, note, watching
from tests._stage import CANCELLED, every_colour, every_loop, name

CACHE = StaleCache(10, stale=50, while_revalidating=False, jitter=0)


class Down(Exception):
    """What the downstream raises when it fails."""


def cached(*policies):
    return Pipeline(name(), *(policies or (CACHE,)))


def notes(answer):
    return [(each.source, each.reason) for each in answer.all]


@every_colour
def test_who_watches_learns_what_it_got_how_old_it_is_why_and_from_whom(colour):
    async def scenario(stage):
        pipeline, error = cached(CACHE, CircuitBreaker(consecutive=1)), []

        async def fetch(key):
            if error:
                raise error[0]
            return key

        fetch = stage.guarded(pipeline, fetch)
        with provenance() as answer:
            await fetch("a")
        assert answer.all == []
        assert answer.source == "downstream"
        await stage.sleep(3)
        with provenance() as answer:
            await fetch("a")
        assert answer.all == [Provenance("fresh", pytest.approx(3), None, "stale_cache", pipeline.name)]
        assert not answer.stale
        await stage.sleep(9)
        error.append(Down())
        with provenance() as answer:
            await fetch("a")
        assert answer.all == [Provenance("stale", pytest.approx(12), "Down", "stale_cache", pipeline.name)]
        assert answer.stale
        with provenance() as outer, provenance() as answer:
            await fetch("a")
        assert answer.all == outer.all
        assert (answer.source, answer.reason, answer.served_by) == ("stale", "BreakerOpen", "stale_cache")
        assert watching() is None

    colour.play(scenario)


@every_colour
def test_who_is_served_while_it_is_refreshed_learns_that(colour):
    async def scenario(stage):
        pipeline = cached(StaleCache(10, stale=50))
        fetch = stage.guarded(pipeline, answering)
        await fetch(1)
        await stage.sleep(10)
        with provenance() as answer:
            await fetch(1)
            await stage.until(lambda: not pipeline[StaleCache].background.running)
        assert notes(answer) == [("stale", "revalidating")]

    colour.play(scenario)


async def answering(key):
    return key


@every_colour
def test_who_waited_learns_that_the_answer_is_shared(colour):
    async def scenario(stage):
        pipeline, gate = cached(), stage.gate()

        async def fetch(key):
            await gate.wait()
            return key

        fetch = stage.guarded(pipeline, fetch)

        async def watched():
            with provenance() as answer:
                await fetch("a")
            return notes(answer)

        children = [stage.start(watched) for _ in range(3)]
        await stage.until(lambda: sum(len(each.waiting) for each in pipeline[StaleCache].flights._air.values()) == 2)
        gate.set()
        got = [await child.join() for child in children]
        assert sorted(got) == [[], [("shared", None)], [("shared", None)]]

    colour.play(scenario)


@every_colour
def test_who_waited_for_a_stand_in_learns_that_too(colour):
    async def scenario(stage):
        outer, inner, gate = cached(), cached(Fallback("instead")), stage.gate()

        async def failing(key):
            await gate.wait()
            raise Down

        nested = stage.guarded(inner, failing)

        async def fetch(key):
            return await nested(key)

        fetch = stage.guarded(outer, fetch)

        async def watched():
            with provenance() as answer:
                assert await fetch("a") == "instead"
            return notes(answer)

        children = [stage.start(watched) for _ in range(2)]
        await stage.until(lambda: sum(len(each.waiting) for each in outer[StaleCache].flights._air.values()) == 1)
        gate.set()
        got = sorted([await child.join() for child in children], key=len)
        assert got == [[("fallback", "Down")], [("fallback", "Down"), ("shared", None)]]
        assert len(outer[StaleCache].shelf) == 0

    colour.play(scenario)


# -- what is no answer is not stored ------------------------------------------------------------------


@every_colour
@pytest.mark.parametrize("hop", [False, True])
def test_the_fallback_of_a_nested_pipeline_is_not_stored(colour, hop):
    async def scenario(stage):
        outer = cached(CACHE, *([Timeout(30)] if hop else []))
        inner, error = cached(Fallback("instead"), *([Timeout(20)] if hop else [])), [Down()]

        async def source(key):
            if error:
                raise error[0]
            return key

        nested = stage.guarded(inner, source)

        async def fetch(key):
            return [await nested(key), "more"]

        fetch = stage.guarded(outer, fetch)
        with provenance() as answer:
            assert await fetch("a") == ["instead", "more"]
        assert notes(answer) == [("fallback", "Down")]
        error.clear()
        assert await fetch("a") == ["a", "more"]
        with provenance() as answer:
            assert await fetch("a") == ["a", "more"]
        assert notes(answer) == [("fresh", None)]
        assert outer[StaleCache].snapshot()["not_kept"] == 1

    colour.play(scenario)


@every_loop
def test_a_fallback_in_a_child_task_is_not_stored_either(colour):
    async def scenario(stage):
        outer, inner = cached(), cached(Fallback("instead"))
        nested = stage.guarded(inner, failing)

        async def fetch(key):
            return await stage.start(lambda: nested(key)).join()

        fetch = stage.guarded(outer, fetch)
        assert await fetch("a") == "instead"
        if colour.label == "asyncio":  # trio's children here belong to the scenario's nursery and its context
            assert len(outer[StaleCache].shelf) == 0

    colour.play(scenario)


async def failing(key):
    raise Down


def test_a_fallback_in_another_thread_that_took_the_context_along_is_not_stored():
    outer, inner = cached(), cached(Fallback("instead"))

    @inner
    def nested():
        raise Down

    @outer
    async def fetch():
        return await asyncio.to_thread(nested)

    assert asyncio.run(fetch()) == "instead"
    assert len(outer[StaleCache].shelf) == 0


@every_colour
def test_what_an_inner_cache_served_stale_is_not_stored(colour):
    async def scenario(stage):
        outer, inner, error = cached(StaleCache(1, stale=50, while_revalidating=0, jitter=0)), cached(), []

        async def source(key):
            if error:
                raise error[0]
            return key

        nested = stage.guarded(inner, source)

        async def fetch(key):
            return await nested(key)

        fetch = stage.guarded(outer, fetch)
        await fetch("a")
        stored = next(iter(outer[StaleCache].shelf.entries.values()))
        await stage.sleep(12)
        error.append(Down())
        with provenance() as answer:
            assert await fetch("a") == "a"
        assert notes(answer) == [("stale", "Down")]
        assert next(iter(outer[StaleCache].shelf.entries.values())) is stored

    colour.play(scenario)


@every_colour
def test_ages_of_caches_in_each_other_do_not_add_up(colour):
    async def scenario(stage):
        inner = cached(StaleCache(40, stale=0, jitter=0))
        outer = cached(StaleCache(10, stale=50, while_revalidating=0, jitter=0))
        error, asked = [], []

        async def source(key):
            asked.append(key)
            return key

        nested = stage.guarded(inner, source)

        async def fetch(key):
            if error:
                raise error[0]
            return await nested(key)

        fetch = stage.guarded(outer, fetch)
        await nested("a")
        await stage.sleep(35)
        await fetch("a")
        with provenance() as answer:
            await fetch("a")
        assert (answer.source, answer.age) == ("fresh", pytest.approx(35)), "as old as its source says"
        error.append(Down())
        await stage.sleep(24)
        assert await fetch("a") == "a"
        await stage.sleep(1)
        with pytest.raises(Down):  # sixty seconds old by now, though only 25 in here
            await fetch("a")
        assert asked == ["a"]

    colour.play(scenario)


@every_colour
def test_notes_of_an_attempt_that_failed_keep_the_answer_off_the_shelf(colour):
    async def scenario(stage):
        pipeline, tries = cached(CACHE, Retry(2)), []

        async def fetch(key):
            tries.append(key)
            if len(tries) == 1:
                note(Provenance("fallback"))
                raise Down
            return key

        fetch = stage.guarded(pipeline, fetch)
        assert await fetch("a") == "a"
        assert len(pipeline[StaleCache].shelf) == 0

    colour.play(scenario)


# -- the watch itself -----------------------------------------------------------------------------------


@every_colour
@pytest.mark.parametrize("ends", ["answer", "error", "stale"])
def test_nobody_watches_on_after_the_call(colour, ends):
    async def scenario(stage):
        pipeline, seen = cached(), []

        async def fetch(key):
            seen.append(watching())
            if ends != "answer" and len(seen) > (ends == "stale"):
                raise Down
            return key

        fetch = stage.guarded(pipeline, fetch)
        if ends == "error":
            with pytest.raises(Down):
                await fetch("a")
        else:
            await fetch("a")
        await stage.sleep(10)
        if ends == "stale":
            await fetch("a")
        assert watching() is None
        assert all(each is not None for each in seen)

    colour.play(scenario)


@every_loop
def test_nobody_watches_on_after_a_cancelled_call(colour):
    async def scenario(stage):
        pipeline, gate, seen = cached(), stage.gate(), []

        async def fetch(key):
            seen.append(key)
            await gate.wait()

        fetch = stage.guarded(pipeline, fetch)

        async def caller():
            try:
                await fetch("a")
            finally:
                seen.append(watching())

        child = stage.start(caller)
        await stage.until(lambda: seen)
        child.cancel()
        assert await child.join() == CANCELLED
        assert seen == ["a", None]

    colour.play(scenario)


def test_a_call_that_is_thrown_away_elsewhere_leaves_the_other_context_alone():
    pipeline = cached()

    @pipeline
    async def fetch():
        await asyncio.sleep(1000)

    async def main():
        coroutine = fetch()
        started = asyncio.Event()

        async def begin():
            coroutine.send(None)
            started.set()

        await asyncio.ensure_future(begin())
        with provenance() as answer:
            coroutine.close()
            assert watching() is answer
        assert watching() is None

    asyncio.run(main())
    assert len(pipeline[StaleCache].flights) == 0


def test_what_a_call_has_left_running_piles_up_no_notes():
    pipeline, left = cached(), []

    @pipeline
    async def fetch():
        left.append(watching())

        async def goes_on():
            for _ in range(100):
                note(Provenance("fallback"))

        left.append(asyncio.ensure_future(goes_on()))
        return 1

    async def main():
        with provenance() as answer:
            await fetch()
            await left[1]
        return answer

    answer = asyncio.run(main())
    assert left[0].all == []
    assert len(answer.all) == 100
    assert len(pipeline[StaleCache].shelf) == 1


def test_threads_that_do_not_watch_pay_nothing_to_who_does():
    pipeline = cached()

    @pipeline
    def fetch(key):
        return key

    fetch(1)
    heard = []

    def elsewhere():
        fetch(1)
        heard.append(watching())

    with provenance() as answer:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join(10)
    assert answer.all == []
    assert heard == [None]


def test_the_reason_of_a_refusal_is_its_name():
    from tests._stage import VirtualClock, installed

    clock = VirtualClock()
    with installed(clock):
        pipeline = cached(CACHE, CircuitBreaker())
        fetch = pipeline(lambda: 1)
        fetch()
        clock.time += 10
        hold = pipeline.hold("forced_open", reason="maintenance", expires=None)
        with provenance() as answer:
            assert fetch() == 1
        assert answer.reason == BreakerOpen.__name__
        hold.release()
