"""What `StaleCache` must hold where things are odd: keys that change, stores that lag behind, loops that refuse."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import weakref
from dataclasses import dataclass

import pytest
import trio

from resilient import Classifier, Outcome, Pipeline, StaleCache, faults, provenance, subscribe
from resilient._runtime.background import Background
from resilient.stores import MemoryStore
from resilient.testing import FakeClock, use
from tests._stage import VirtualClock, every_colour, every_loop, installed, name


class Down(Exception):
    """What the downstream raises when it fails."""


class Changing:
    """Something whose hash goes along with its state."""

    def __init__(self, state):
        self.state = state

    def __hash__(self):
        return hash(self.state)

    def __eq__(self, other):
        return isinstance(other, Changing) and other.state == self.state


def cached(fresh=10, **options):
    return Pipeline(name(), StaleCache(fresh, **{"stale": 50, "while_revalidating": False, "jitter": 0, **options}))


# -- keys that change while they are in use ---------------------------------------------------------------


@pytest.mark.parametrize("options", [{"max_entries": 8}, {"max_entries": 1024, "max_bytes": 80, "size": lambda _: 10}])
def test_answers_whose_keys_have_changed_are_bounded_too(options):
    pipeline = cached(**options)
    values = []

    class Answer:
        pass

    @pipeline
    def fetch(order):
        values.append(weakref.ref(answer := Answer()))
        return answer

    for number in range(500):
        order = Changing(number)
        fetch(order)
        order.state = -1 - number
    gc.collect()
    assert sum(value() is not None for value in values) <= 32
    assert len(pipeline[StaleCache].shelf.entries) <= 32


def test_other_answers_outlive_those_whose_keys_have_changed():
    pipeline, asked = cached(max_entries=64), []

    @pipeline
    def fetch(key):
        asked.append(key)
        return key

    for number in range(500):
        fetch("in use")
        order = Changing(number)
        fetch(order)
        order.state = -1 - number
    assert asked.count("in use") == 1


def test_a_call_that_changes_its_own_argument_leaves_nothing_in_the_air():
    pipeline, asked = cached(0, stale=0), []

    @pipeline
    def advance(order):
        asked.append(order.state)
        order.state = -1 - order.state
        return len(asked)

    for number in range(500):
        advance(Changing(number))
    assert len(pipeline[StaleCache].flights) <= 32
    order = Changing(1000)
    assert advance(order) == 501
    order.state = 1000
    assert advance(order) == 502, "it was answered with what was asked for long ago"


@pytest.mark.parametrize("wrap", [lambda zero: zero, lambda zero: (1, zero), lambda zero: frozenset({zero})])
def test_zero_and_minus_zero_are_two_answers(wrap):
    pipeline, asked = cached(), []

    @pipeline
    def fetch(value):
        asked.append(value)
        return str(value)

    for _ in range(2):
        assert fetch(wrap(0.0)) == str(wrap(0.0))
        assert fetch(wrap(-0.0)) == str(wrap(-0.0))
    assert len(asked) == 2
    assert pipeline[StaleCache].forget(fetch, wrap(-0.0))
    assert fetch(wrap(0.0)) == str(wrap(0.0))
    assert len(asked) == 2


# -- stores that lag behind -------------------------------------------------------------------------------


def plain(key):
    """Ask."""
    return Answers.next(key)


async def fetch(key):
    """Ask."""
    return Answers.next(key)


class Answers:
    """What the downstream answers next: raises it, if it is an error."""

    now: object = None

    @classmethod
    def next(cls, _key):
        if isinstance(cls.now, Exception):
            raise cls.now
        return cls.now


async def call(stage, pipeline):
    if type(stage).__name__ == "Stage":
        return pipeline.call(plain, "key")
    return await pipeline.acall(fetch, "key")


@every_colour
def test_a_newer_answer_in_memory_is_not_replaced_by_an_older_one_in_the_store(colour):
    async def scenario(stage):
        pipeline = cached(key=str, store=MemoryStore())
        Answers.now = "old"
        assert await call(stage, pipeline) == "old"
        await stage.sleep(5)
        function = plain if type(stage).__name__ == "Stage" else fetch
        pipeline[StaleCache].prime("new", function, "key")
        await stage.sleep(20)
        Answers.now = Down()
        with provenance() as answer:
            assert await call(stage, pipeline) == "new"
        assert answer.age == pytest.approx(20)

    colour.play(scenario)


# -- refreshes that nobody sees ---------------------------------------------------------------------------


@every_loop
def test_a_bad_result_of_a_refresh_is_told_as_such_and_not_as_served(colour):
    async def scenario(stage):
        told = []
        classifier = Classifier(result=lambda result: Outcome.FAILURE if result == "bad" else None)
        pipeline = Pipeline(name(), StaleCache(10, stale=50, while_revalidating=True, jitter=0), classifier=classifier)
        Answers.now = "good"
        assert await call(stage, pipeline) == "good"
        await stage.sleep(15)
        Answers.now = "bad"
        stop = subscribe(told.append)
        assert await call(stage, pipeline) == "good"
        await stage.until(lambda: not pipeline[StaleCache].background.running)
        stop()
        assert [event.name for event in told] == ["resilient.cache.refresh_failed"]
        counts = pipeline[StaleCache].snapshot()
        assert (counts["stale_served"], counts["refresh_failed"]) == (1, 1)

    colour.play(scenario)


def test_a_loop_whose_task_factory_knows_no_context_refreshes_too():
    clock = FakeClock()
    pipeline, seen = cached(while_revalidating=True), []

    @pipeline
    async def ask():
        from resilient import remaining

        seen.append(remaining())
        return len(seen)

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda loop, coroutine: asyncio.Task(coroutine, loop=loop))
        assert await ask() == 1
        clock.advance(15)
        assert await ask() == 1
        while pipeline[StaleCache].background.running:
            await asyncio.sleep(0)
        assert await ask() == 2

    with use(clock):
        asyncio.run(main())


def test_a_refresh_that_cannot_be_started_costs_nobody_an_answer_and_no_room():
    clock = FakeClock()
    pipeline = cached(while_revalidating=True, refreshes=2)

    @pipeline
    async def ask():
        return "answer"

    async def stubborn():
        loop = asyncio.get_running_loop()

        def refuse(*_args, **_named):
            raise RuntimeError("no tasks here")

        loop.set_task_factory(refuse)
        try:
            for _ in range(5):
                assert await ask() == "answer"
        finally:
            loop.set_task_factory(None)

    def by_hand():
        coroutine = ask()
        with pytest.raises(StopIteration, match="answer"):
            coroutine.send(None)

    with use(clock):
        asyncio.run(ask())
        clock.advance(15)
        asyncio.run(stubborn())
        for _ in range(5):
            by_hand()
    guard = pipeline[StaleCache]
    assert (guard.background.running, len(guard.flights)) == (0, 0)


def test_without_trio_a_coroutine_that_is_driven_by_hand_is_answered(monkeypatch):
    monkeypatch.setitem(sys.modules, "trio", None)
    background = Background(1)

    async def work():
        raise AssertionError

    assert not background.astart(work)
    assert background.running == 0


@pytest.mark.parametrize("runs", ["thread", "trio"])
def test_work_that_would_end_the_program_is_reported(runs, caplog):
    faults.reset()
    background = Background(1)

    def leave():
        raise SystemExit(3)

    async def aleave():
        raise SystemExit(3)

    async def main():
        assert background.astart(aleave)
        while background.running:
            await trio.lowlevel.checkpoint()

    if runs == "trio":
        trio.run(main)
    else:
        assert background.start(leave)
        while background.running:
            time.sleep(0.001)
    assert "SystemExit" in caplog.text


def test_tasks_of_closed_loops_leave_their_room_to_plain_refreshes():
    background, ended = Background(1), threading.Event()

    async def forever():
        await asyncio.get_running_loop().create_future()

    loop = asyncio.new_event_loop()

    async def start():
        assert background.astart(forever)

    loop.run_until_complete(start())
    loop.run_until_complete(asyncio.sleep(0))
    for task in background._tasks:
        task._log_destroy_pending = False  # what asyncio has to say about it is not our matter
    loop.close()
    assert background.running == 0
    assert background.start(ended.set)
    assert ended.wait(10)


# -- what is kept alive -----------------------------------------------------------------------------------


def test_the_object_of_a_called_method_is_kept_no_longer_than_its_answer():
    pipeline = cached()

    class Client:
        def fetch(self, key):
            return key

    client = Client()
    assert pipeline.call(client.fetch, 1) == 1
    gone = weakref.ref(client)
    pipeline[StaleCache].clear()
    del client
    gc.collect()
    assert gone() is None


def test_a_key_whose_comparison_has_begun_to_fail_is_no_error_of_those_whose_answers_take_its_place():
    pipeline = cached(max_entries=2)

    class Breaking:
        broken = False

        def __hash__(self):
            if self.broken:
                raise ValueError
            return 1

        def __eq__(self, other):
            if self.broken:
                raise ValueError
            return self is other

    @pipeline
    def fetch(key):
        return key

    fetch(broken := Breaking())
    broken.broken = True
    assert [fetch(number) for number in range(2, 6)] == [2, 3, 4, 5]
    assert len(pipeline[StaleCache].shelf.entries) == 2


# -- errors that several get ------------------------------------------------------------------------------


@every_colour
def test_a_stored_error_may_be_a_frozen_dataclass(colour):
    @dataclass(frozen=True)
    class Frozen(Exception):
        code: int

    async def scenario(stage):
        pipeline = cached(negative=5, negative_on=Frozen)
        Answers.now = Frozen(404)
        for _ in range(2):
            with pytest.raises(Frozen):
                await call(stage, pipeline)
        assert pipeline[StaleCache].snapshot()["negative_served"] == 1

    colour.play(scenario)


def test_what_one_who_waited_was_handling_is_no_context_of_the_error_that_others_get():
    clock = VirtualClock()
    clock.threads = 9
    with installed(clock):
        pipeline, go, got = cached(), threading.Event(), []

        @pipeline
        def ask():
            assert go.wait(10)
            raise Down

        def lead():
            try:
                ask()
            except Down as error:
                got.append((error, error.__context__))

        def follow():
            try:
                raise KeyError("of somebody else's request")
            except KeyError:
                try:
                    ask()
                except Down as error:
                    got.append((error, error.__context__))

        threads = [threading.Thread(target=lead)]
        threads[0].start()
        while not len(pipeline[StaleCache].flights):
            pass
        threads.append(threading.Thread(target=follow))
        threads[1].start()
        flight = next(iter(pipeline[StaleCache].flights._air.values()))
        while not flight.waiting:
            pass
        go.set()
        for thread in threads:
            thread.join(10)
    assert [type(error) for error, _ in got] == [Down, Down]
    assert [context for _, context in got] == [None, None]
