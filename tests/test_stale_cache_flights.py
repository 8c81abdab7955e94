"""Equal calls at the same time are one call: for threads and tasks together, whatever becomes of who asks."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path
from random import Random

import pytest
import trio

from resilient import (
    BulkheadFull,
    CallTimeout,
    DeadlineExceeded,
    Pipeline,
    StaleCache,
    Timeout,
    Unguardable,
    deadline,
    provenance,
    remaining,
)
from tests._stage import CANCELLED, VirtualClock, every_colour, every_loop, installed, name

CACHE = StaleCache(10, stale=50, while_revalidating=False, jitter=0)
MANY = 1000
INF = float("inf")


class Down(Exception):
    """What the downstream raises when it fails."""


class Slow:
    """A downstream that answers when it is let go."""

    def __init__(self, stage):
        self.asked = 0
        self.error = None
        self.gate = stage.gate()

    async def fetch(self, key="key"):
        self.asked += 1
        number = self.asked
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return f"{key} {number}"


def cached(*policies):
    return Pipeline(name(), *(policies or (CACHE,)))


def waiting(pipeline):
    return sum(len(flight.waiting) for flight in list(pipeline[StaleCache].flights._air.values()))


def quiet(pipeline):
    guard = pipeline[StaleCache]
    return not len(guard.flights) and not guard.background.running


# -- a thousand at once ----------------------------------------------------------------------------


def crowd_of_threads(fetch, many, got):
    together = threading.Barrier(many)

    def work():
        together.wait(60)
        got.append(fetch("key"))

    return [threading.Thread(target=work) for _ in range(many)]


def finish(crowd):
    for each in crowd:
        each.start()
    for each in crowd:
        each.join(60)
        assert not each.is_alive()


def test_a_thousand_threads_that_miss_one_key_make_one_call():
    pipeline, got, asked = cached(), [], []

    @pipeline
    def fetch(key):
        asked.append(key)
        time.sleep(0.02)
        return object()

    before = threading.stack_size(256 * 1024)
    try:
        finish(crowd_of_threads(fetch, MANY, got))
    finally:
        threading.stack_size(before)
    assert asked == ["key"]
    assert len(got) == MANY
    assert len(set(map(id, got))) == 1
    assert quiet(pipeline)


def test_threads_that_miss_one_key_whose_error_is_kept_make_one_call():
    pipeline, asked, got = cached(StaleCache(0, stale=0, negative=30, negative_on=Down)), [], []

    @pipeline
    def fetch(key):
        asked.append(key)
        raise Down

    def caught(key):
        try:
            fetch(key)
        except Down:
            return key

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for number in range(20):
            finish(crowd_of_threads(lambda _, number=number: caught(number), 20, got))
    finally:
        sys.setswitchinterval(interval)
    assert asked == list(range(20))
    assert len(got) == 400
    assert quiet(pipeline)


@every_loop
def test_a_thousand_tasks_that_miss_one_key_make_one_call(colour):
    async def scenario(stage):
        pipeline, slow = cached(), Slow(stage)
        fetch = stage.guarded(pipeline, slow.fetch)
        children = [stage.start(fetch) for _ in range(MANY)]
        await stage.until(lambda: waiting(pipeline) == MANY - 1)
        slow.gate.set()
        assert [await child.join() for child in children] == ["key 1"] * MANY
        assert slow.asked == 1
        assert quiet(pipeline)
        counts = pipeline[StaleCache].snapshot()
        assert (counts["misses"], counts["shared"]) == (MANY, MANY - 1)

    colour.play(scenario)


def test_tasks_of_several_loops_that_miss_one_key_make_one_call():
    pipeline, got, asked = cached(), [], []
    inside, go = threading.Event(), threading.Event()

    @pipeline
    async def fetch(key):
        asked.append(key)
        inside.set()
        assert go.wait(30)  # blocks its loop, not the others
        return object()

    async def one():
        got.append(await fetch("key"))

    async def on_asyncio():
        await asyncio.gather(*(one() for _ in range(200)))

    async def on_trio():
        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(one)

    crowd = [threading.Thread(target=lambda: asyncio.run(one()))]
    crowd[0].start()
    assert inside.wait(10)
    crowd += [threading.Thread(target=lambda: asyncio.run(on_asyncio())) for _ in range(2)]
    crowd += [threading.Thread(target=trio.run, args=(on_trio,)) for _ in range(2)]
    for each in crowd[1:]:
        each.start()
    end = time.monotonic() + 30
    while waiting(pipeline) < 800:
        assert time.monotonic() < end
        time.sleep(0.005)
    go.set()
    for each in crowd:
        each.join(60)
    assert (len(asked), len(got), len(set(map(id, got)))) == (1, 801, 1)
    assert quiet(pipeline)


def test_threads_and_tasks_that_miss_one_key_make_one_call():
    """A plain and an async function have keys of their own; below them, threads and tasks share a flight."""
    pipeline, got, asked = cached(), [], []
    guard, key, go = pipeline[StaleCache], ("function", "key", str), threading.Event()

    def plain():
        turn = guard.ask(key, INF, None)
        if not turn.answered:
            asked.append(1)
            assert go.wait(30)
            turn.result = guard.returned(turn, object())
        got.append(turn.result)

    async def one():
        turn = await guard.aask(key, INF, None)
        assert turn.answered
        got.append(turn.result)

    async def on_asyncio():
        await asyncio.gather(*(one() for _ in range(300)))

    async def on_trio():
        async with trio.open_nursery() as nursery:
            for _ in range(300):
                nursery.start_soon(one)

    crowd = [threading.Thread(target=plain) for _ in range(400)]
    crowd[0].start()
    while not asked:
        time.sleep(0.001)
    crowd += [
        threading.Thread(target=lambda: asyncio.run(on_asyncio())),
        threading.Thread(target=trio.run, args=(on_trio,)),
    ]
    for each in crowd[1:]:
        each.start()
    end = time.monotonic() + 30
    while waiting(pipeline) < MANY - 1:
        assert time.monotonic() < end
        time.sleep(0.005)
    go.set()
    for each in crowd:
        each.join(60)
    assert (len(asked), len(got), len(set(map(id, got)))) == (1, MANY, 1)
    assert quiet(pipeline)


@every_colour
def test_different_keys_do_not_wait_for_each_other(colour):
    async def scenario(stage):
        pipeline, slow = cached(), Slow(stage)
        fetch = stage.guarded(pipeline, slow.fetch)
        children = [stage.start(lambda key=key: fetch(key)) for key in "abc"]
        await stage.until(lambda: slow.asked == 3)
        slow.gate.set()
        assert sorted([(await child.join())[0] for child in children]) == ["a", "b", "c"]

    colour.play(scenario)


# -- errors ----------------------------------------------------------------------------------------


@every_colour
def test_an_error_is_everybodys_and_its_traceback_does_not_grow(colour):
    async def scenario(stage):
        pipeline, slow = cached(), Slow(stage)
        fetch = stage.guarded(pipeline, slow.fetch)
        children = [stage.start(fetch) for _ in range(20)]
        await stage.until(lambda: waiting(pipeline) == 19)
        slow.error = Down()
        slow.gate.set()
        got = [await child.join() for child in children]
        assert all(each is slow.error for each in got)
        assert slow.asked == 1
        assert len(traceback.extract_tb(slow.error.__traceback__)) < 25
        assert quiet(pipeline)

    colour.play(scenario)


@every_colour
def test_a_stale_answer_stands_in_for_those_who_waited_too(colour):
    async def scenario(stage):
        pipeline, slow = cached(), Slow(stage)
        fetch = stage.guarded(pipeline, slow.fetch)
        slow.gate.set()
        await fetch()
        await stage.sleep(10)
        slow.gate = stage.gate()
        slow.error = Down()

        async def watched():
            with provenance() as answer:
                got = await fetch()
            return got, answer.source, answer.reason

        children = [stage.start(watched) for _ in range(5)]
        await stage.until(lambda: waiting(pipeline) == 4)
        slow.gate.set()
        assert [await child.join() for child in children] == [("key 1", "stale", "Down")] * 5
        assert slow.asked == 2

    colour.play(scenario)


@every_colour
def test_a_bad_result_is_handed_to_those_who_waited_or_a_stale_answer_in_its_place(colour):
    from resilient import Classifier, Outcome

    async def scenario(stage):
        pipeline = Pipeline(name(), CACHE, classifier=Classifier(result={"bad": Outcome.FAILURE}.get))
        says, gates, asked = ["bad"], [stage.gate()], []

        async def fetch():
            asked.append(1)
            await gates[0].wait()
            return says[0]

        fetch = stage.guarded(pipeline, fetch)
        for expected in ("bad", "good", "good"):
            says[0] = "bad" if len(asked) != 1 else "good"
            children = [stage.start(fetch) for _ in range(4)]
            await stage.until(lambda: waiting(pipeline) == 3)
            gates[0].set()
            assert [await child.join() for child in children] == [expected] * 4
            gates[0] = stage.gate()
            await stage.sleep(10)
        assert len(asked) == 3

    colour.play(scenario)


# -- who asks goes away ------------------------------------------------------------------------------


@every_loop
def test_who_asks_is_cancelled_and_one_of_those_who_wait_asks(colour):
    async def scenario(stage):
        pipeline, slow = cached(), Slow(stage)
        fetch = stage.guarded(pipeline, slow.fetch)
        first = stage.start(fetch)
        await stage.until(lambda: slow.asked == 1)
        others = [stage.start(fetch) for _ in range(5)]
        await stage.until(lambda: waiting(pipeline) == 5)
        first.cancel()
        assert await first.join() == CANCELLED
        await stage.until(lambda: slow.asked == 2)
        assert waiting(pipeline) == 4
        slow.gate.set()
        assert [await child.join() for child in others] == ["key 2"] * 5
        assert slow.asked == 2
        assert quiet(pipeline)

    colour.play(scenario)


def test_a_thread_that_asks_is_interrupted_and_one_of_those_who_wait_asks():
    pipeline, asked, got = cached(), [], []
    interrupt = threading.Event()

    @pipeline
    def fetch():
        asked.append(1)
        if len(asked) == 1:
            assert interrupt.wait(10)
            raise KeyboardInterrupt
        return len(asked)

    def first():
        with pytest.raises(KeyboardInterrupt):
            fetch()

    crowd = [threading.Thread(target=first)]
    crowd[0].start()
    while not asked:
        time.sleep(0.001)
    crowd += [threading.Thread(target=lambda: got.append(fetch())) for _ in range(5)]
    for each in crowd[1:]:
        each.start()
    while waiting(pipeline) < 5:
        time.sleep(0.001)
    interrupt.set()
    for each in crowd:
        each.join(10)
    assert got == [2] * 5
    assert quiet(pipeline)


def test_a_coroutine_that_asks_is_thrown_away_and_one_of_those_who_wait_asks():
    pipeline, asked, notes = cached(), [], []

    @pipeline
    async def fetch():
        asked.append(1)
        await asyncio.sleep(0 if len(asked) > 1 else 1000)
        return len(asked)

    async def main():
        thrown = fetch()
        with provenance() as answer:
            thrown.send(None)
            waits = asyncio.ensure_future(fetch())
            await asyncio.sleep(0)
            thrown.close()
            got = await waits
            notes.extend(answer.all)
        return got

    assert asyncio.run(main()) == 2
    assert quiet(pipeline)


def test_the_collector_takes_who_asks_and_nothing_stays_behind():
    pipeline, asked = cached(), []

    @pipeline
    async def fetch():
        asked.append(1)
        await asyncio.get_running_loop().create_future()

    async def main():
        coroutine = fetch()
        coroutine.send(None)
        cycle = [coroutine]
        cycle.append(cycle)
        assert len(pipeline[StaleCache].flights) == 1
        del coroutine, cycle
        gc.collect()
        assert len(pipeline[StaleCache].flights) == 0

    asyncio.run(main())
    assert asked == [1]


@every_loop
def test_who_asks_runs_out_of_its_own_time_and_who_has_more_asks_again(colour):
    async def scenario(stage):
        pipeline, slow = cached(CACHE, Timeout(100)), Slow(stage)
        fetch = stage.guarded(pipeline, slow.fetch)

        async def within(seconds):
            with deadline(seconds):
                return await fetch()

        first = stage.start(lambda: within(2))
        await stage.until(lambda: slow.asked == 1)
        short = stage.start(lambda: within(2.5))
        await stage.until(lambda: waiting(pipeline) == 1)
        patient = stage.start(lambda: within(60))
        await stage.until(lambda: waiting(pipeline) == 2)
        last = stage.start(lambda: within(2.9))
        await stage.until(lambda: waiting(pipeline) == 3)
        await stage.sleep(2.1)
        assert slow.asked == 2
        slow.gate.set()
        assert isinstance(await first.join(), CallTimeout)
        assert isinstance(await short.join(), CallTimeout), "half a second is not worth another call of two"
        assert [await patient.join(), await last.join()] == ["key 2", "key 2"]
        assert slow.asked == 2
        assert quiet(pipeline)

    colour.play(scenario)


@every_colour
def test_a_deadline_that_was_too_short_from_the_start_is_not_everybodys(colour):
    async def scenario(stage):
        pipeline, gates, asked = cached(), [stage.gate(), stage.gate()], []

        async def fetch():
            asked.append(1)
            await gates[len(asked) - 1].wait()
            if len(asked) == 1:
                raise DeadlineExceeded("inner", "rate_limit", None)  # no turn within the time that is left
            return len(asked)

        fetch = stage.guarded(pipeline, fetch)

        async def within(seconds):
            with deadline(seconds):
                return await fetch()

        first = stage.start(lambda: within(5))
        await stage.until(lambda: asked)
        hurried = stage.start(lambda: within(4))
        await stage.until(lambda: waiting(pipeline) == 1)
        patient = stage.start(lambda: within(60))
        await stage.until(lambda: waiting(pipeline) == 2)
        gates[0].set()
        assert isinstance(await first.join(), DeadlineExceeded)
        assert isinstance(await hurried.join(), DeadlineExceeded)
        gates[1].set()
        assert await patient.join() == 2
        assert len(asked) == 2

    colour.play(scenario)


def test_a_thread_that_asks_runs_out_of_its_own_time_and_who_has_more_asks_again():
    clock = VirtualClock()
    clock.threads = 99
    with installed(clock):
        pipeline, asked, got = cached(), [], {}
        late = threading.Event()

        @pipeline
        def fetch():
            asked.append(1)
            if len(asked) == 1:
                assert late.wait(10)
                clock.time += 2
                raise TimeoutError(remaining())
            while 2.5 not in got:  # it has got the error before there is an answer
                time.sleep(0.001)
            return len(asked)

        def within(seconds):
            with deadline(seconds):
                try:
                    got[seconds] = fetch()
                except Exception as error:
                    got[seconds] = error

        crowd = []
        for number, seconds in enumerate((2, 2.5, 60, 2.9)):
            crowd.append(threading.Thread(target=within, args=(seconds,)))
            crowd[-1].start()
            while len(asked) + waiting(pipeline) <= number:
                time.sleep(0.001)
        late.set()
        for each in crowd:
            each.join(10)
        assert isinstance(got[2], TimeoutError)
        assert got[2].args == (0.0,)
        assert got[2.5] is got[2]
        assert (got[60], got[2.9]) == (2, 2)
        assert quiet(pipeline)


@every_loop
@pytest.mark.parametrize("seed", range(25))
def test_whoever_is_cancelled_whenever_the_others_are_answered(colour, seed):
    """A crowd comes and goes in random order; who was not cancelled gets an answer."""

    async def scenario(stage):
        order = Random(seed)
        pipeline = cached(StaleCache(0, stale=0))
        asked = []

        async def fetch(key):
            asked.append(key)
            for _ in range(order.randrange(4)):
                await stage.tick()
            if order.random() < 0.2:
                raise Down
            return key

        fetch = stage.guarded(pipeline, fetch)
        children, doomed = [], set()
        for _ in range(40):
            children.append(stage.start(lambda: fetch(order.randrange(2))))
            if order.random() < 0.3:
                await stage.tick()
            if order.random() < 0.4:
                victim = order.randrange(len(children))
                doomed.add(victim)
                children[victim].cancel()
        for number, child in enumerate(children):
            got = await child.join()
            assert got in {0, 1} or isinstance(got, Down) or number in doomed, got
        assert quiet(pipeline)

    colour.play(scenario)


# -- those who wait ------------------------------------------------------------------------------------


@every_colour
@pytest.mark.parametrize("stored", [True, False])
def test_who_waits_leaves_at_its_own_deadline(colour, stored):
    async def scenario(stage):
        pipeline, slow = cached(), Slow(stage)
        fetch = stage.guarded(pipeline, slow.fetch)
        if stored:
            slow.gate.set()
            await fetch()
            await stage.sleep(10)
            slow.gate = stage.gate()
        asked = slow.asked
        first = stage.start(fetch)
        await stage.until(lambda: slow.asked == asked + 1)
        if colour.label == "threads":
            stage.clock.threads = 1  # time passes for us alone
        began = stage.clock.now()
        with deadline(2):
            if stored:
                assert await fetch() == "key 1"
            else:
                with pytest.raises(DeadlineExceeded) as caught:
                    await fetch()
                assert caught.value.policy == "stale_cache"
        assert stage.clock.now() - began == pytest.approx(2)
        if colour.label == "threads":
            stage.clock.threads = 2
        assert waiting(pipeline) == 0
        slow.gate.set()
        assert await first.join() == f"key {asked + 1}"

    colour.play(scenario)


@pytest.mark.parametrize("run", [asyncio.run, trio.run])
def test_a_plain_caller_on_the_thread_of_a_loop_asks_alone_and_without_a_warning(run):
    pipeline, asked = cached(), []
    inside, go = threading.Event(), threading.Event()

    @pipeline
    def fetch():
        asked.append(1)
        if len(asked) == 1:
            inside.set()
            assert go.wait(10)
        return len(asked)

    got = []
    leader = threading.Thread(target=lambda: got.append(fetch()))
    leader.start()
    assert inside.wait(10)

    async def main():
        return fetch()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (run(main) if run is trio.run else run(main())) == 2
    go.set()
    leader.join(10)
    assert got == [2]
    assert quiet(pipeline)


@every_colour
def test_a_function_that_asks_for_its_own_answer_does_not_wait_for_itself(colour):
    async def scenario(stage):
        pipeline, depth = cached(CACHE, Timeout(20)), []

        async def fetch(key):
            depth.append(key)
            if len(depth) < 3:
                return await guarded(key)
            return len(depth)

        guarded = stage.guarded(pipeline, fetch)
        assert await guarded("a") == 3
        assert await guarded("a") == 3
        assert quiet(pipeline)

    colour.play(scenario)


@every_colour
def test_a_function_may_ask_for_other_answers_of_its_kind(colour):
    async def scenario(stage):
        pipeline, asked = cached(), []

        async def fib(n):
            asked.append(n)
            return n if n < 2 else await guarded(n - 1) + await guarded(n - 2)

        guarded = stage.guarded(pipeline, fib)
        assert await guarded(20) == 6765
        assert len(asked) == 21

    colour.play(scenario)


def test_a_leader_that_never_goes_on_holds_up_nobody_for_longer_than_its_lease():
    from resilient.testing import FakeClock, use

    with use(FakeClock(patience=0)) as clock:
        pipeline, asked = cached(), []

        @pipeline
        async def fetch():
            asked.append(1)
            if len(asked) == 1:
                await asyncio.get_running_loop().create_future()
            return len(asked)

        loop = asyncio.new_event_loop()
        task = loop.create_task(fetch())
        loop.run_until_complete(asyncio.sleep(0))  # and then nobody runs this loop any more
        assert asked == [1]

        async def later():
            return await fetch()

        assert asyncio.run(later()) == 2
        assert clock.elapsed == 30
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()
        assert quiet(pipeline)


# -- what cannot be shared -----------------------------------------------------------------------------


def generator():
    yield 1


SPENT = {
    "iterator": lambda: iter([1]),
    "map": lambda: map(str, [1]),
    "generator": lambda: (number for number in [1]),
    "file": lambda: Path(__file__).open("rb"),  # noqa: SIM115 -- closed by the test
}


@pytest.mark.parametrize("kind", SPENT)
def test_what_is_spent_after_one_reading_is_refused(kind):
    pipeline = cached()
    kept = []

    @pipeline
    def fetch():
        kept.append(SPENT[kind]())
        return kept[-1]

    with pytest.raises(Unguardable, match="only the first of its readers"):
        fetch()
    assert quiet(pipeline)
    assert len(pipeline[StaleCache].shelf) == 0
    if kind == "file":
        kept[0].close()


def test_an_awaitable_as_an_answer_is_refused():
    pipeline = cached()

    async def fetch():
        return asyncio.get_running_loop().create_future()

    async def main():
        with pytest.raises(Unguardable, match="Future"):
            await pipeline.acall(fetch)

    asyncio.run(main())


def test_a_refusal_inside_reaches_everybody_and_is_no_answer():
    from resilient import Bulkhead

    pipeline = cached(CACHE, Bulkhead(1))
    with pipeline.permit(), pytest.raises(BulkheadFull):
        pipeline.call(int)
    assert pipeline.call(int) == 0
    assert quiet(pipeline)
