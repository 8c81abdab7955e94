"""Some of the cases as rules that any library can be held to, told in nothing but calls.

A rule gets a `Subject`, the smallest face that a library can be given, and raises
`AssertionError` where the library breaks it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

THRESHOLD = 5
OPENING = 30.0
MANY = 1_100
"""Attempts, more than the exponent of a float can double."""


class Down(Exception):
    """The downstream's failure."""


class Mine(Exception):
    """An error of one caller, ignored by that caller's breaker."""


def nothing(*_: Any) -> None:
    """Do what a part does that a subject does not need."""


@dataclass
class Subject:
    """A guard that opens after `THRESHOLD` failures, for `OPENING` seconds.

    Attributes:
        guard: Decorates a function.
        advance: Lets seconds pass, for this library.
        probes: Calls that may be inside a recovering downstream.
        block: Returns the `with` form.
        break_callback: Lets the user's callback raise, or not any more.
        hold: Opens it by hand, for maintenance.
        step_wall_clock: Moves the time of day, and no other time.
        others: Declares a guard of the same downstream for somebody who ignores nothing.
        listen: Subscribes a listener that takes a moment; returns how to stop it.
        slept: What was slept so far.
        most: Calls that may be in flight, for a bulkhead.

    """

    guard: Callable[[Any], Any]
    advance: Callable[[float], None] = nothing
    probes: int = 1
    block: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext
    break_callback: Callable[[bool], None] = nothing
    hold: Callable[[], Any] = nothing
    step_wall_clock: Callable[[float], None] = nothing
    others: Callable[[], Any] = nothing
    listen: Callable[[], Callable[[], None]] = lambda: nothing
    slept: list[float] = field(default_factory=list)
    most: int = 2


class Unfit(Exception):
    """The subject did not come so far that the rule could be held against it."""


def given(met: object, what: str) -> None:
    """Demand what a rule starts from; that it is not there must not look like a broken rule."""
    if not met:
        raise Unfit(what)


# -- the vocabulary ------------------------------------------------------------------------------


def outcome(call: Callable[[], Any]) -> Any:
    """Return what a plain call returned or raised."""
    try:
        return call()
    except BaseException as error:
        return error


async def aoutcome(call: Callable[[], Awaitable[Any]]) -> Any:
    """Return what an async call returned or raised."""
    try:
        return await call()
    except Exception as error:
        return error


def failing() -> None:
    raise Down


async def afailing() -> None:
    raise Down


def passes(subject: Subject) -> bool:
    """Tell whether a plain call reaches the downstream."""
    reached: list[int] = []
    outcome(subject.guard(lambda: reached.append(1)))
    return bool(reached)


async def apasses(subject: Subject) -> bool:
    """Tell whether an async call reaches the downstream."""
    reached: list[int] = []

    async def call() -> None:
        reached.append(1)

    await aoutcome(subject.guard(call))
    return bool(reached)


async def afail(subject: Subject, times: int) -> None:
    for _ in range(times):
        await aoutcome(subject.guard(afailing))


async def recovering(subject: Subject) -> None:
    """Open it, and let the opening pass."""
    await afail(subject, THRESHOLD)
    given(not await apasses(subject), "it opens")
    subject.advance(OPENING + 1)


async def settled() -> None:
    """Let every task go as far as it can."""
    for _ in range(200):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def inside(subject: Subject, callers: int) -> Any:
    """Start calls that stay inside the downstream, and yield the tasks and those that are there."""
    leave, there = asyncio.Event(), []

    async def call() -> None:
        there.append(asyncio.current_task())
        await leave.wait()

    tasks = [asyncio.ensure_future(aoutcome(subject.guard(call))) for _ in range(callers)]
    await settled()
    try:
        yield tasks, there
    finally:
        leave.set()
        await asyncio.gather(*tasks, return_exceptions=True)


def played(rule: Callable[[Subject], Awaitable[None]]) -> Callable[[Subject], None]:
    """Make a plain rule of one that is told in tasks."""

    def plain(subject: Subject) -> None:
        asyncio.run(rule(subject))  # type: ignore[arg-type]

    plain.__name__ = rule.__name__
    return plain


# -- the rules -----------------------------------------------------------------------------------


@played
async def t01_a_recovering_downstream_meets_only_the_probes(subject: Subject) -> None:
    await recovering(subject)
    async with inside(subject, 20) as (_, there):
        given(there, "it recovers")
        assert len(there) <= subject.probes


@played
async def t02_a_listener_opens_no_gap_for_more_probes(subject: Subject) -> None:
    stop = subject.listen()
    try:
        await recovering(subject)
        async with inside(subject, 20) as (_, there):
            given(there, "it recovers")
            assert len(there) <= subject.probes
    finally:
        stop()


@played
async def t04_an_outcome_of_an_older_round_frees_no_place(subject: Subject) -> None:
    given(subject.probes == 2, "two places")
    await recovering(subject)
    async with inside(subject, 1) as (_, old):
        given(old, "it recovers")
        end_old = asyncio.Event()

        async def slow() -> None:
            await end_old.wait()

        second = asyncio.ensure_future(aoutcome(subject.guard(slow)))
        await settled()
        old[0].cancel()
        await settled()
        await afail(subject, 1)
        given(not await apasses(subject), "one of two failed: it opens again")
        subject.advance(2 * OPENING + 1)
        async with inside(subject, 1) as (_, current):
            given(current, "it recovers again")
            end_old.set()
            await second
            async with inside(subject, 5) as (_, more):
                assert len(current) + len(more) <= subject.probes


@played
async def t05_a_callback_that_raises_keeps_no_place(subject: Subject) -> None:
    await recovering(subject)
    subject.break_callback(True)
    await afail(subject, 1)
    subject.break_callback(False)
    subject.advance(10 * OPENING)
    assert await apasses(subject), "the next probe is admitted"


@played
async def t06_a_hung_probe_shuts_nobody_out_for_ever(subject: Subject) -> None:
    await recovering(subject)
    async with inside(subject, 1) as (_, there):
        given(there, "it recovers")
        subject.advance(1e6)
        assert await apasses(subject)


@played
async def t08_a_cancelled_call_is_no_success(subject: Subject) -> None:
    await afail(subject, THRESHOLD - 1)
    async with inside(subject, 1) as (tasks, _):
        tasks[0].cancel()
        await settled()
    await afail(subject, 1)
    assert not await apasses(subject), "failures in a row, with nothing but a cancelled call between"


@played
async def t09_cancelled_calls_are_no_failures(subject: Subject) -> None:
    for _ in range(THRESHOLD):
        async with inside(subject, 1) as (tasks, _):
            tasks[0].cancel()
            await settled()
    assert await apasses(subject)


def t09_an_interrupt_is_no_failure(subject: Subject) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    for _ in range(THRESHOLD):
        outcome(subject.guard(interrupted))
    assert passes(subject)


@played
async def t10_an_async_function_is_guarded_or_refused(subject: Subject) -> None:
    try:
        guarded = subject.guard(afailing)
    except TypeError:
        return
    for _ in range(THRESHOLD):
        await aoutcome(guarded)
    assert not isinstance(await aoutcome(guarded), Down), "it is open by now"


def t11_calls_overlap(subject: Subject) -> None:
    together = threading.Barrier(2)
    met: list[bool] = []

    def call() -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(0.3)
            met.append(True)

    threads = [threading.Thread(target=outcome, args=(subject.guard(call),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert met == [True, True]


@played
async def t13_a_late_success_does_not_close(subject: Subject) -> None:
    async with inside(subject, 1) as (_, there):
        given(there, "it is closed")
        await afail(subject, THRESHOLD)
    assert not await apasses(subject)


def t14_the_block_form_refuses(subject: Subject) -> None:
    for _ in range(THRESHOLD):
        outcome(subject.guard(failing))
    ran = []
    with contextlib.suppress(Exception), subject.block():
        ran.append(True)
    assert not ran


def t15_the_wall_clock_opens_no_door(subject: Subject) -> None:
    for _ in range(THRESHOLD):
        outcome(subject.guard(failing))
    given(not passes(subject), "it opens")
    subject.step_wall_clock(86_400.0)
    assert not passes(subject)


def t17_every_refusal_is_its_own_exception(subject: Subject) -> None:
    for _ in range(THRESHOLD):
        outcome(subject.guard(failing))
    refusals = [outcome(subject.guard(failing)) for _ in range(50)]
    assert len({id(refusal) for refusal in refusals}) == 50


def t19_nobody_else_changes_what_i_ignore(subject: Subject) -> None:
    def mine() -> None:
        raise Mine

    outcome(subject.others)
    errors = [outcome(subject.guard(mine)) for _ in range(THRESHOLD + 1)]
    assert [type(error) for error in errors] == [Mine] * (THRESHOLD + 1)


def t21_the_caller_sees_the_real_error(subject: Subject) -> None:
    errors = [outcome(subject.guard(failing)) for _ in range(THRESHOLD)]
    assert [type(error) for error in errors] == [Down] * THRESHOLD


def t25_a_hold_outlasts_any_opening(subject: Subject) -> None:
    subject.hold()
    given(not passes(subject), "the hold holds")
    subject.advance(1e6)
    assert not passes(subject)


def t26_a_hold_is_not_waited_for(subject: Subject) -> None:
    subject.hold()
    given(not passes(subject), "the hold holds")
    assert sum(subject.slept) == 0


@played
async def t30_a_cancelled_call_is_not_tried_again(subject: Subject) -> None:
    tries = []

    async def call() -> None:
        tries.append(1)
        if len(tries) == 1:
            await asyncio.Event().wait()

    task = asyncio.ensure_future(subject.guard(call)())
    await settled()
    task.cancel()
    await asyncio.wait([task])
    assert len(tries) == 1
    assert task.cancelled()


def t37_the_thousandth_wait_does_not_overflow(subject: Subject) -> None:
    tries: list[int] = []

    def call() -> None:
        tries.append(1)
        raise Down

    assert isinstance(outcome(subject.guard(call)), Down)
    given(len(tries) == MANY, "it went on")


@played
async def t51_cancelled_calls_give_their_places_back(subject: Subject) -> None:
    for _ in range(subject.most):
        async with inside(subject, 1) as (tasks, there):
            given(there, "a place is free")
            tasks[0].cancel()
            await settled()
    assert await apasses(subject)
