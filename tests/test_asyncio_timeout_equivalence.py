"""Our `Timeout` behaves like `asyncio.timeout`: the same scenario is played with both and compared.

What is compared: what the caller gets, when, how often the task's cancellation is still asked
for afterwards, and what the function saw.
"""

from __future__ import annotations

import asyncio
import sys

import pytest

from resilient import CallTimeout, Pipeline, Timeout
from tests._stage import VirtualClock, VirtualLoop, installed, name


def ours(clock):
    """Return a function that awaits a body under our timeout; each limit is one pipeline."""
    pipelines = {}

    async def limited(seconds, body):
        pipeline = pipelines.get(seconds)
        if pipeline is None:
            pipeline = pipelines[seconds] = Pipeline(name("equal"), Timeout(seconds))
        return await pipeline.acall(body)

    return limited


def theirs(clock):
    """Return a function that awaits a body under asyncio's timeout."""

    async def limited(seconds, body):
        async with asyncio.timeout(seconds):
            return await body()

    return limited


class Play:
    """One run of a scenario: what it may use, and the story that it tells."""

    def __init__(self, clock, limited):
        self.clock, self.limited = clock, limited
        self.story = []

    def note(self, *what):
        self.story.append((round(self.clock.now() - 1000, 6), *what))

    async def watch(self, label, awaitable):
        """Await something and note how it ended and what is left of the task's cancellation."""
        task = asyncio.current_task()
        try:
            ending = "returned", await awaitable
        except BaseException as error:
            kind = TimeoutError if type(error) is CallTimeout else type(error)
            ending = "raised", kind.__name__
            cause = error.__cause__
            if cause is not None:
                ending += (type(cause).__name__,)
        self.note(label, *ending, task.cancelling())
        return ending

    async def run(self, scenario):
        """Run a scenario in a task of its own and note how the task ended."""

        async def main():
            self.task = asyncio.current_task()  # an eager task runs before its creator has it
            await scenario(self)

        task = asyncio.get_running_loop().create_task(main())
        await asyncio.wait([task])
        self.note("task", "cancelled" if task.cancelled() else type(task.exception()).__name__, task.cancelling())


def play(scenario, library, factory=None):
    clock = VirtualClock()
    with installed(clock), asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        if factory is not None:
            runner.get_loop().set_task_factory(factory)
        play = Play(clock, library(clock))
        runner.run(play.run(scenario))
    return play.story


FACTORIES = {"tasks": None}
if sys.version_info >= (3, 12):
    FACTORIES["eager tasks"] = asyncio.eager_task_factory

SCENARIOS = []


def scenario(function):
    SCENARIOS.append(function)
    return function


def after(seconds, callback):
    asyncio.get_running_loop().call_later(seconds, callback)


async def hang():
    await asyncio.sleep(1e6)


@scenario
async def returns_in_time(play):
    await play.watch("inner", play.limited(1, lambda: asyncio.sleep(0.5, "result")))


@scenario
async def returns_without_suspending(play):
    async def body():
        return "result"

    await play.watch("inner", play.limited(1, body))


@scenario
async def raises_in_time(play):
    async def body():
        await asyncio.sleep(0.5)
        raise KeyError

    await play.watch("inner", play.limited(1, body))


@scenario
async def raises_its_own_timeout_error(play):
    async def body():
        await asyncio.sleep(0.5)
        raise TimeoutError

    await play.watch("inner", play.limited(1, body))


@scenario
async def raises_its_own_cancellation(play):
    async def body():
        await asyncio.sleep(0.5)
        raise asyncio.CancelledError

    await play.watch("inner", play.limited(1, body))


@scenario
async def expires(play):
    async def body():
        await play.watch("body", hang())
        raise asyncio.CancelledError

    await play.watch("inner", play.limited(1, body))


@scenario
async def expires_plainly(play):
    await play.watch("inner", play.limited(1, hang))
    await play.watch("the task goes on", asyncio.sleep(1, "fine"))


@scenario
async def expires_many_times(play):
    for _ in range(3):
        await play.watch("inner", play.limited(1, hang))


@scenario
async def nested_the_outer_is_shorter(play):
    async def body():
        await play.watch("inner", play.limited(2, hang))
        await asyncio.sleep(5)

    await play.watch("outer", play.limited(1, body))


@scenario
async def nested_the_inner_is_shorter(play):
    async def body():
        await play.watch("inner", play.limited(1, hang))
        await asyncio.sleep(0.5)
        return "went on"

    await play.watch("outer", play.limited(2, body))


@scenario
async def nested_the_inner_expires_then_the_outer(play):
    async def body():
        await play.watch("inner", play.limited(1, hang))
        await hang()

    await play.watch("outer", play.limited(2, body))


@scenario
async def nested_three_deep(play):
    async def innermost():
        await play.watch("innermost", play.limited(3, hang))
        await hang()

    async def body():
        await play.watch("inner", play.limited(1, innermost))
        await hang()

    await play.watch("outer", play.limited(2, body))


@scenario
async def the_body_raises_another_error_when_cut(play):
    async def body():
        try:
            await hang()
        finally:
            raise KeyError

    await play.watch("inner", play.limited(1, body))


@scenario
async def the_body_swallows_the_cancellation_and_returns(play):
    async def body():
        await play.watch("body", hang())
        return "late"

    await play.watch("inner", play.limited(1, body))
    await play.watch("the task goes on", asyncio.sleep(1, "fine"))


@scenario
async def the_body_swallows_the_cancellation_and_waits_on(play):
    async def body():
        await play.watch("body", hang())
        await asyncio.sleep(3)
        return "late"

    await play.watch("inner", play.limited(1, body))
    await play.watch("again", play.limited(1, hang))


@scenario
async def the_body_swallows_and_uncancels(play):
    async def body():
        await play.watch("body", hang())
        asyncio.current_task().uncancel()
        return "late"

    await play.watch("inner", play.limited(1, body))


@scenario
async def the_body_uncancels_and_raises_on(play):
    async def body():
        try:
            await hang()
        except asyncio.CancelledError:
            asyncio.current_task().uncancel()
            raise

    await play.watch("inner", play.limited(1, body))


@scenario
async def the_result_is_ready_when_it_expires(play):
    future = asyncio.get_running_loop().create_future()
    after(1, lambda: future.done() or future.set_result("just in time"))

    async def body():
        return await future

    await play.watch("inner", play.limited(1, body))
    await play.watch("the task goes on", asyncio.sleep(1, "fine"))


@scenario
async def the_result_is_ready_just_after_it_expired(play):
    future = asyncio.get_running_loop().create_future()

    async def body():
        after(1, lambda: future.done() or future.set_result("just too late"))
        return await future

    await play.watch("inner", play.limited(1, body))
    await play.watch("the task goes on", asyncio.sleep(1, "fine"))


@scenario
async def the_sleep_ends_when_it_expires(play):
    await play.watch("inner", play.limited(1, lambda: asyncio.sleep(1, "same time")))
    await play.watch("the task goes on", asyncio.sleep(1, "fine"))


@scenario
async def cancelled_from_outside_before_it_expires(play):
    after(0.5, play.task.cancel)
    await play.watch("inner", play.limited(1, hang))
    await play.watch("the task goes on", asyncio.sleep(1, "fine"))


@scenario
async def cancelled_from_outside_at_the_same_time_but_first(play):
    after(1, play.task.cancel)
    await play.watch("inner", play.limited(1, hang))


@scenario
async def cancelled_from_outside_at_the_same_time_but_second(play):
    async def body():
        after(1, play.task.cancel)
        await hang()

    await play.watch("inner", play.limited(1, body))


@scenario
async def cancelled_from_outside_after_it_expired(play):
    async def body():
        try:
            await hang()
        finally:
            await play.watch("cleaning up", asyncio.sleep(3))

    after(2, play.task.cancel)
    await play.watch("inner", play.limited(1, body))


@scenario
async def cancelled_from_outside_while_it_cleans_up_and_raises_the_new_one(play):
    async def body():
        try:
            await hang()
        except asyncio.CancelledError:
            await asyncio.sleep(3)

    after(2, play.task.cancel)
    await play.watch("inner", play.limited(1, body))


@scenario
async def cancelled_from_outside_twice(play):
    after(0.5, play.task.cancel)
    after(0.5, play.task.cancel)
    await play.watch("inner", play.limited(1, hang))


@scenario
async def already_cancelled_when_it_begins(play):
    play.task.cancel()
    await play.watch("inner", play.limited(1, hang))
    await play.watch("again", play.limited(1, hang))


@scenario
async def already_cancelled_and_expires_in_the_cleanup(play):
    try:
        play.task.cancel()
        await hang()
    except asyncio.CancelledError:
        await play.watch("cleaning up", play.limited(1, hang))
        raise


@scenario
async def nested_and_cancelled_from_outside(play):
    async def body():
        await play.watch("inner", play.limited(2, hang))
        raise asyncio.CancelledError

    after(0.5, play.task.cancel)
    await play.watch("outer", play.limited(1, body))


@scenario
async def around_a_task_group(play):
    async def body():
        async with asyncio.TaskGroup() as group:
            group.create_task(play.watch("child 1", hang()))
            group.create_task(play.watch("child 2", asyncio.sleep(0.5, "done")))

    await play.watch("inner", play.limited(1, body))
    await play.watch("the task goes on", asyncio.sleep(1, "fine"))


@scenario
async def around_a_task_group_that_fails_at_the_same_time(play):
    async def fail():
        await asyncio.sleep(1)
        raise KeyError

    async def body():
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            group.create_task(hang())

    await play.watch("inner", play.limited(1, body))
    await play.watch("the task goes on", asyncio.sleep(1, "fine"))


@scenario
async def inside_a_task_group(play):
    async def fail():
        await asyncio.sleep(0.5)
        raise KeyError

    async def body():
        async with asyncio.TaskGroup() as group:
            group.create_task(play.watch("child", play.limited(1, hang)))
            group.create_task(fail())

    await play.watch("group", body())


@scenario
async def children_of_a_task_group_expire(play):
    async def body():
        async with asyncio.TaskGroup() as group:
            for seconds in (1, 2, 1, 3):
                group.create_task(play.watch(f"child {seconds}", play.limited(seconds, hang)))

    await play.watch("group", body())


@scenario
async def a_child_of_a_task_group_expires_unhandled(play):
    async def body():
        async with asyncio.TaskGroup() as group:
            group.create_task(play.limited(1, hang))
            group.create_task(play.watch("sibling", play.limited(5, hang)))

    await play.watch("group", body())


@scenario
async def inside_wait_for(play):
    await play.watch("wait_for", asyncio.wait_for(play.limited(2, hang), 1))
    await play.watch("wait_for", asyncio.wait_for(play.limited(1, hang), 2))


@scenario
async def in_a_shielded_task(play):
    inner = asyncio.ensure_future(play.watch("inner", play.limited(1, hang)))
    after(0.5, play.task.cancel)
    await play.watch("shield", asyncio.shield(inner))
    await inner


@scenario
async def the_body_awaits_a_task_that_is_cancelled(play):
    async def body():
        other = asyncio.ensure_future(hang())
        after(0.5, other.cancel)
        await other

    await play.watch("inner", play.limited(1, body))


@scenario
async def many_calls_expire_in_one_tick(play):
    tasks = [asyncio.ensure_future(play.watch(f"call {n}", play.limited(1, hang))) for n in range(5)]
    await asyncio.wait(tasks)
    play.story.sort()  # asyncio's timers of one moment are in no order


@scenario
async def calls_begin_one_after_another(play):
    tasks = []
    for number in range(5):
        tasks.append(asyncio.ensure_future(play.watch(f"call {number}", play.limited(1, hang))))
        await asyncio.sleep(0.3)
    await asyncio.wait(tasks)


@scenario
async def a_call_expires_while_another_is_cancelled(play):
    first = asyncio.ensure_future(play.watch("first", play.limited(1, hang)))
    second = asyncio.ensure_future(play.watch("second", play.limited(1, hang)))
    after(1, second.cancel)
    await asyncio.wait([first, second])


@pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_our_timeout_tells_the_story_of_asyncios(scenario, factory):
    expected = play(scenario, theirs, factory)
    assert len(expected) > 1
    assert play(scenario, ours, factory) == expected


def test_the_stories_differ_from_each_other():
    """A comparison of empty or equal stories would prove nothing."""
    stories = [tuple(play(scenario, theirs)) for scenario in SCENARIOS]
    assert len(set(stories)) > len(stories) * 0.8
    assert sum("TimeoutError" in str(story) for story in stories) > 20
    assert sum("'CancelledError'" in str(story) for story in stories) > 10


def test_the_timeout_names_itself_and_keeps_the_cancellation_as_its_cause():
    async def scenario(play):
        with pytest.raises(CallTimeout) as caught:
            await play.limited(1, hang)
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        assert caught.value.ran == pytest.approx(1)

    play(scenario, ours)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
@pytest.mark.parametrize("library", [theirs, ours])
def test_an_eager_task_that_never_suspends_leaves_no_timer_behind(library):
    async def scenario(play):
        async def body():
            return "at once"

        for _ in range(3):
            task = asyncio.get_running_loop().create_task(play.limited(1, body))
            assert task.done()
            assert task.result() == "at once"
        await asyncio.sleep(3)

    assert play(scenario, library, asyncio.eager_task_factory)[-1][1:] == ("task", "NoneType", 0)
