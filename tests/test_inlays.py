"""Inlays: in every pipeline from the moment they are added, around calls or attempts, and gone without a trace."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest

from resilient import Backoff, BreakerOpen, Fallback, Keyed, Pipeline, Retry, StaleCache, Timeout
from resilient._policy import Guard
from resilient._weave import inlays, weaver
from tests._stage import PATIENCE, VirtualClock, every_colour, installed, name

QUICK = Backoff(base=0)

TEMPLATE = """
mark_ = note_("in")
try:
    <inner>
except BaseException as error:
    note_("raised", mark_, error)
    raise
note_("out", mark_)
"""


class Down(Exception):
    pass


def down():
    raise Down


class Noting:
    kind = "noting"
    template = TEMPLATE

    def bind(self, env, label):
        raise NotImplementedError

    def describe(self):
        return "notes"


POLICY = Noting()


class NotingGuard(Guard):
    __slots__ = ("_inlay",)

    def __init__(self, env, inlay):
        super().__init__(env, "noting")
        self._inlay = inlay

    @property
    def policy(self):
        return POLICY

    def names(self, colour):
        return {"note": self.note}

    def note(self, what, mark=None, error=None):
        inlay = self._inlay
        inlay.story.append(f"{inlay.label} {what}")
        if mark is not None:
            inlay.pairs.append((mark, inlay.label))
        return inlay.label


@dataclass(eq=False)
class Inlay:
    """Writes down when calls or attempts go in and out."""

    label: str
    place: str = "call"
    story: list = field(default_factory=list)
    pairs: list = field(default_factory=list)
    bound: int = 0

    def bind(self, env):
        self.bound += 1
        return NotingGuard(env, self)


@contextmanager
def laid(*laid_in):
    for inlay in laid_in:
        inlays.add(inlay)
    try:
        yield
    finally:
        for inlay in laid_in:
            inlays.remove(inlay)


def test_calls_stand_outside_all_policies_and_attempts_inside():
    story = []
    first, second = Inlay("first", story=story), Inlay("second", story=story)
    attempt = Inlay("attempt", "attempt", story)
    fails = [1]
    pipeline = Pipeline(name(), Fallback(0), Retry(3, backoff=QUICK), Timeout(5))
    with laid(first, attempt, second):
        assert pipeline.call(lambda: fails.pop() and down() if fails else 7) == 7
    assert story == [
        *("first in", "second in"),
        *("attempt in", "attempt raised", "attempt in", "attempt out"),
        *("second out", "first out"),
    ]


@every_colour
def test_functions_already_handed_out_have_it_and_lose_it(colour):
    pipeline = Pipeline(name(), Retry(), Timeout(5))
    inlay = Inlay("it")

    async def body():
        return 1

    async def scenario(stage):
        guarded = stage.guarded(pipeline, body)
        await guarded()
        with laid(inlay):
            await guarded()
            await stage.call(pipeline, body)
        await guarded()
        await stage.call(pipeline, body)

    colour.play(scenario)
    assert inlay.story == ["it in", "it out"] * 2
    assert "note_2" not in pipeline.source()


def test_it_is_bound_once_for_each_pipeline_and_forgotten_with_the_next():
    pipeline, inlay = Pipeline(name()), Inlay("it")
    for _ in range(3):
        with laid(inlay):
            pipeline.call(int)
            assert pipeline.with_options().call(int) == 0
            assert inlay in pipeline._assembly.env.inlaid
    with laid(Inlay("other")):
        pipeline.call(int)
    assert inlay not in pipeline._assembly.env.inlaid


def test_adding_it_twice_lays_it_in_once():
    inlay = Inlay("it")
    with laid(inlay, inlay):
        Pipeline(name()).call(int)
    assert inlay.story == ["it in", "it out"]
    inlays.remove(inlay)


@every_colour
@pytest.mark.parametrize("then", ["nothing", "another", "the same"])
def test_a_call_in_flight_ends_with_the_inlays_it_began_with(colour, then):
    first, second, third = Inlay("first"), Inlay("second"), Inlay("third")
    pipeline = Pipeline(name(), Retry(2, backoff=QUICK))

    async def scenario(stage):
        go, inside = stage.gate(), stage.gate()

        async def body():
            inside.set()
            await go.wait()

        inlays.add(first)
        inlays.add(second)
        child = stage.start(lambda: stage.call(pipeline, body))
        await inside.wait()
        inlays.remove(first)
        if then == "another":
            inlays.add(third)
        elif then == "the same":
            inlays.add(first)
        go.set()
        await child.join()

    try:
        colour.play(scenario)
    finally:
        for inlay in (first, second, third):
            inlays.remove(inlay)
    assert first.pairs == [("first", "first")]
    assert second.pairs == [("second", "second")]
    assert third.story == []


def test_a_call_in_flight_without_any_gets_none():
    pipeline, inlay = Pipeline(name()), Inlay("it")
    pipeline.call(lambda: inlays.add(inlay))
    inlays.remove(inlay)
    assert inlay.story == []


def test_what_refreshes_a_stored_answer_is_an_attempt_but_no_call():
    call, attempt = Inlay("call"), Inlay("attempt", "attempt")
    clock = VirtualClock()
    with installed(clock), laid(call, attempt):
        pipeline = Pipeline(name(), StaleCache(10, stale=600), Retry())
        fetch = pipeline(lambda: 1)
        fetch()
        clock.time += 20
        fetch()
        for _ in range(1000):
            if not pipeline[StaleCache].background.running:
                break
            threading.Event().wait(0.01)
    assert call.story == ["call in", "call out"] * 2
    assert attempt.story == ["attempt in", "attempt out"] * 2


@every_colour
def test_an_error_passes_it_as_it_is(colour):
    call, attempt = Inlay("call"), Inlay("attempt", "attempt")
    pipeline = Pipeline(name())

    async def body():
        raise Down

    async def scenario(stage):
        with laid(call, attempt):
            with pytest.raises(Down):
                await stage.call(pipeline, body)
            hold = pipeline.hold("forced_open", reason="x", expires=5)
            with pytest.raises(BreakerOpen):
                await stage.call(pipeline, body)
            hold.release()

    colour.play(scenario)
    assert call.story == ["call in", "call raised"] * 2
    assert attempt.story == ["attempt in", "attempt raised"], "what a hold refuses is no attempt"


def test_members_of_a_family_have_it_from_their_first_call():
    inlay = Inlay("it")
    with laid(inlay):
        family = Keyed(name())
        family["a"].call(int)
        family.call("b", int)
    assert inlay.story == ["it in", "it out"] * 2


@pytest.mark.parametrize("form", ["decorated", "called"])
def test_a_function_woven_while_one_is_added_has_it(form):
    inlay, made, threads = Inlay("it"), weaver.make, []

    def late(*args):
        woven = made(*args)
        threads.append(threading.Thread(target=inlays.add, args=(inlay,)))
        threads[0].start()
        threads[0].join(0.1)
        return woven

    pipeline = Pipeline(name())
    weaver.make = late
    try:
        guarded = pipeline(lambda: 1) if form == "decorated" else partial(pipeline.call, lambda: 1)
    finally:
        weaver.make = made
    threads[0].join(PATIENCE)
    assert guarded() == 1
    inlays.remove(inlay)
    assert inlay.story == ["it in", "it out"]
    guarded()
    assert len(inlay.story) == 2


def test_none_of_many_added_at_once_is_lost():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    several = [Inlay(str(number)) for number in range(8)]
    pipelines = [Pipeline(name()) for _ in range(3)]
    functions = [pipeline(lambda: 1) for pipeline in pipelines]
    stop = threading.Event()
    faults = []

    def call():
        while not stop.is_set():
            try:
                for function in functions:
                    function()
                Pipeline(name()).call(int)
            except BaseException as error:
                faults.append(error)
                raise

    def add(inlay):
        inlays.add(inlay)
        inlays.remove(inlay)
        inlays.add(inlay)

    try:
        callers = [threading.Thread(target=call) for _ in range(2)]
        adders = [threading.Thread(target=add, args=(inlay,)) for inlay in several]
        for thread in callers + adders:
            thread.start()
        for thread in adders:
            thread.join(PATIENCE)
        stop.set()
        for thread in callers:
            thread.join(PATIENCE)
        for inlay in several:
            inlay.story.clear()
        for function in functions:
            function()
        assert [inlay.story for inlay in several] == [[f"{each} in", f"{each} out"] * 3 for each in range(8)]
        assert not faults
        for inlay in several:
            assert {mark for mark, _ in inlay.pairs} <= {inlay.label}
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        for inlay in several:
            inlays.remove(inlay)
