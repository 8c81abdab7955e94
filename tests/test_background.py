"""Background work: bounded, outside of its caller's deadline, on threads, asyncio and trio; nothing escapes it."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from contextvars import ContextVar

import pytest
import trio

from resilient import deadline, provenance, remaining
from resilient._machines.retry import Turn
from resilient._runtime import ledger, threads
from resilient._runtime.background import Background, detached
from resilient.provenance import Provenance, note

OWN = ContextVar("own", default="unset")


class Down(Exception):
    """What work raises when it fails."""


def until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


async def auntil(condition, sleep):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        await sleep(0.001)


LOOPS = {"asyncio": (lambda main: asyncio.run(main()), asyncio.sleep), "trio": (trio.run, trio.sleep)}
on_loops = pytest.mark.parametrize("loop", LOOPS)


# -- threads ---------------------------------------------------------------------------------------


def test_a_function_runs_in_a_worker_thread_with_its_arguments():
    background = Background(2)
    ran = []
    assert background.start(lambda *args: ran.append((threading.current_thread(), args)), 1, 2)
    until(lambda: ran)
    assert ran[0][0] is not threading.current_thread()
    assert ran[0][1] == (1, 2)
    until(lambda: background.running == 0)


def test_no_more_threads_than_allowed_run_at_once():
    background, go = Background(2), threading.Event()
    assert [background.start(go.wait, 10) for _ in range(3)] == [True, True, False]
    assert background.running == 2
    go.set()
    until(lambda: background.running == 0)
    assert background.start(go.wait)
    until(lambda: background.running == 0)


def test_a_crowd_does_not_start_more_than_allowed():
    background, go, started = Background(5), threading.Event(), []
    together = threading.Barrier(20)

    def press():
        together.wait(10)
        started.append(background.start(go.wait, 10))

    crowd = [threading.Thread(target=press) for _ in range(20)]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join(10)
    assert sum(started) == 5
    go.set()
    until(lambda: background.running == 0)


def fail():
    raise Down


def leave():
    raise SystemExit(3)


def test_an_error_is_handed_over_and_gives_the_room_back():
    told = []
    background = Background(1, told.append)
    assert background.start(fail)
    until(lambda: background.running == 0)
    assert [type(each) for each in told] == [Down]
    assert background.start(leave)
    until(lambda: background.running == 0)
    assert len(told) == 1


def test_by_default_an_error_is_reported_once(caplog):
    background = Background(1)
    with caplog.at_level(logging.ERROR, "resilient"):
        for _ in range(3):
            assert background.start(fail)
            until(lambda: background.running == 0)
    assert len(caplog.records) == 1
    assert "Down" in caplog.text


def test_where_there_are_no_more_threads_nothing_starts(monkeypatch):
    def none_left(*args):
        raise RuntimeError("can't start new thread")

    background = Background(1)
    monkeypatch.setattr(threads, "start", none_left)
    assert not background.start(fail)
    assert background.running == 0


# -- loops -----------------------------------------------------------------------------------------


@on_loops
def test_an_async_function_runs_beside_its_caller(loop):
    run, sleep = LOOPS[loop]
    background, ran = Background(2), []

    async def work(*args):
        await sleep(0)
        ran.append(args)

    async def main():
        assert background.astart(work, 1, 2)
        assert (ran, background.running) == ([], 1)
        await auntil(lambda: ran, sleep)
        await auntil(lambda: background.running == 0, sleep)

    run(main)
    assert ran == [(1, 2)]


@on_loops
def test_no_more_tasks_than_allowed_run_at_once(loop):
    run, sleep = LOOPS[loop]
    background = Background(2)

    async def main():
        go = asyncio.Event() if loop == "asyncio" else trio.Event()
        assert [background.astart(go.wait) for _ in range(3)] == [True, True, False]
        go.set()
        await auntil(lambda: background.running == 0, sleep)
        assert background.astart(go.wait)
        await auntil(lambda: background.running == 0, sleep)

    run(main)


@on_loops
def test_an_error_of_a_task_is_handed_over_and_ends_nothing_else(loop):
    run, sleep = LOOPS[loop]
    told = []
    background = Background(3, told.append)

    async def afail():
        await sleep(0)
        raise Down

    async def at_once():
        raise ExceptionGroup("several", [Down(), Down()])

    async def main():
        background.astart(afail)
        background.astart(at_once)
        await auntil(lambda: background.running == 0, sleep)

    run(main)
    assert {type(each) for each in told} == {Down, ExceptionGroup}


def test_nothing_but_a_cancellation_leaves_a_system_task():
    background = Background(3)

    async def quits():
        raise SystemExit(3)

    async def several():
        raise BaseExceptionGroup("several", [SystemExit(3), Down()])

    async def main():
        assert background.astart(quits)
        assert background.astart(several)
        await auntil(lambda: background.running == 0, trio.sleep)
        return "went on"

    assert trio.run(main) == "went on"


@on_loops
def test_what_still_runs_when_the_program_ends_is_cancelled_and_gives_its_room_back(loop):
    run, sleep = LOOPS[loop]
    background, ends = Background(2), []

    async def hang():
        try:
            await sleep(1000)
        except BaseException as error:
            ends.append(type(error).__name__)
            raise

    async def hang_in_nursery():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hang)
            nursery.start_soon(hang)

    async def main():
        background.astart(hang if loop == "asyncio" else hang_in_nursery)
        await sleep(0.01)
        background.astart(hang)  # it may not even begin

    run(main)
    assert set(ends) <= {"CancelledError", "Cancelled"}
    assert ends
    assert background.running == 0


def test_a_task_nobody_else_refers_to_is_not_collected():
    background, ended = Background(1), []

    async def work():
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.02, gc.collect)
        waits = asyncio.ensure_future(asyncio.wait([future], timeout=0.05))
        del future
        await waits
        ended.append(True)

    async def main():
        background.astart(work)
        await asyncio.sleep(0.01)
        gc.collect()
        await auntil(lambda: background.running == 0, asyncio.sleep)

    asyncio.run(main())
    assert ended


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="tasks begin at once since 3.12")
def test_a_task_that_begins_at_once_gives_its_room_back():
    background, ran = Background(1), []

    async def work():
        ran.append(remaining())

    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        with deadline(5):
            assert background.astart(work)
        await auntil(lambda: background.running == 0, asyncio.sleep)

    asyncio.run(main())
    assert ran == [None]


def test_the_room_of_a_loop_that_was_closed_over_its_tasks_is_given_back():
    background, ends = Background(2), []

    async def hang():
        try:
            await asyncio.sleep(1000)
        finally:
            ends.append(True)

    async def begin():
        assert background.astart(hang)
        await asyncio.sleep(0)
        asyncio.get_running_loop().stop()
        assert background.astart(hang)  # does not even begin

    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    for task in background._tasks:
        task._log_destroy_pending = False  # what asyncio has to say about it is not our matter
    loop.close()
    assert background.running == 0

    async def again():
        assert background.astart(asyncio.sleep, 0)
        await auntil(lambda: background.running == 0, asyncio.sleep)

    asyncio.run(again())
    assert ends == [True]


def test_a_refused_task_gives_its_room_back():
    background = Background(1)

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda *args, **kwargs: fail())
        assert not background.astart(asyncio.sleep, 0)
        loop.set_task_factory(None)

    asyncio.run(main())
    assert background.running == 0


# -- context ---------------------------------------------------------------------------------------


def look(seen):
    note(Provenance("fresh"))
    seen.append((OWN.get(), remaining(), ledger.repeating()))


async def alook(seen):
    look(seen)


def in_a_call(start):
    """Start it from inside a call: a deadline, somebody who watches, an outer retry in its second attempt."""
    OWN.set("mine")
    ledger.set_repeating(Turn(0.0))
    with deadline(5), provenance() as watched:
        start()
    assert ledger.repeating()
    return watched


def test_work_sees_the_callers_variables_but_not_what_ends_with_its_call():
    seen = []
    background = Background(1)
    watched = detached().run(in_a_call, lambda: background.start(look, seen))
    until(lambda: background.running == 0)
    assert seen == [("mine", None, False)]
    assert watched.all == []


@on_loops
def test_a_task_sees_the_callers_variables_but_not_what_ends_with_its_call(loop):
    run, sleep = LOOPS[loop]
    seen = []
    background = Background(1)

    async def main():
        watched = detached().run(in_a_call, lambda: background.astart(alook, seen))
        await auntil(lambda: background.running == 0, sleep)
        assert watched.all == []

    run(main)
    assert seen == [("mine", None, False)]


# -- forks -----------------------------------------------------------------------------------------


def test_a_forked_child_has_all_its_room_and_the_parent_keeps_its_count():
    background, go = Background(2), threading.Event()
    assert background.start(go.wait, 10)
    assert background.start(go.wait, 10)
    background.renew()
    assert background.running == 0
    assert background.start(go.wait, 10)
    assert background.running == 1
    go.set()
    until(lambda: background.running == 0)
    time.sleep(0.01)
    assert background.start(go.wait)
    assert background.start(go.wait)
    until(lambda: background.running == 0)
    assert len(background._room) == 2, "what the parent started gives nothing back here"
