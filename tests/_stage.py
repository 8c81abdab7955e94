"""A stage for one scenario in every colour: plain threads, asyncio and trio, in virtual time.

A scenario is an async function of a `Stage`. Plain code plays it too: its awaits never suspend.
"""

from __future__ import annotations

import asyncio
import itertools
import selectors
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
import trio
import trio.testing

from resilient import Bulkhead, CircuitBreaker, Pipeline, Timeout
from resilient import clock as clocks
from resilient._runtime import awaiting
from resilient.clock import Clock

Body = Callable[..., Coroutine[Any, Any, Any]]

CANCELLED = "cancelled"
"""What joining a child says that ended by its cancellation."""

PATIENCE = 10.0
"""Real seconds after which a scenario that stands still has failed."""

_numbers = itertools.count(1)


def name(prefix: str = "stage") -> str:
    """Return a name that no other pipeline of this process has."""
    return f"{prefix}-{next(_numbers)}"


class VirtualClock:
    """Time that passes only when everybody waits."""

    def __init__(self, seed: int = 1) -> None:
        self.time = 1000.0
        self.source: Callable[[], float] | None = None
        self.random: Callable[[], float] = Random(seed).random
        self.sleeps: list[float] = []
        self.threads = 1

    def now(self) -> float:
        return self.time if self.source is None else self.source()

    def wall(self) -> float:
        return 1.7e9 + self.now()

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.time += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        await awaiting.sleep(seconds)

    def acquire(self, lock: Any, seconds: float) -> bool:
        if self.threads > 1:  # other threads decide, not time
            return bool(lock.acquire(timeout=min(seconds, PATIENCE)))
        if lock.acquire(timeout=min(seconds, 0.2)):  # a worker thread may need a moment
            return True
        self.time += seconds
        return False

    def call_later(self, loop: Any, seconds: float, callback: Callable[[], None]) -> Any:
        return loop.call_later(seconds, callback)

    def scope(self, seconds: float) -> Any:
        return trio.move_on_after(max(0.0, seconds))


class _Skipping(selectors.SelectSelector):
    """Waits for nothing: time jumps to the next timer."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        if events or timeout == 0:
            return events
        if timeout is None:  # only another thread can help
            events = super().select(PATIENCE)
            if not events:
                raise RuntimeError("everybody waits, and nothing is left that could end it")
            return events
        self._clock.time += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in virtual time."""

    def __init__(self, clock: VirtualClock) -> None:
        self._virtual = clock
        super().__init__(_Skipping(clock))

    def time(self) -> float:
        return self._virtual.time


@contextmanager
def installed(clock: Clock) -> Iterator[None]:
    """Put a clock in force for a block."""
    before = clocks.install(clock)
    try:
        yield
    finally:
        clocks.install(before)


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never really suspends."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError("plain code cannot wait here")


class Child:
    """Something that runs beside the scenario."""

    def __init__(self) -> None:
        self.outcome: Any = None
        self.cancel: Callable[[], object] = lambda: None
        self.join: Callable[[], Awaitable[Any]]

    async def run(self, thunk: Callable[[], Awaitable[Any]]) -> None:
        try:
            self.outcome = await thunk()
        except (asyncio.CancelledError, trio.Cancelled):
            self.outcome = CANCELLED
            raise
        except BaseException as error:
            self.outcome = error


class Stage:
    """What a scenario may do in every colour; this one is for plain threads."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock

    async def call(self, pipeline: Pipeline, body: Body, *args: Any) -> Any:
        return pipeline.call(lambda *given: drive(body(*given)), *args)

    def guarded(self, pipeline: Pipeline, body: Body) -> Body:
        guarded = pipeline(lambda *given: drive(body(*given)))

        async def call(*args: Any) -> Any:
            return guarded(*args)

        return call

    async def sleep(self, seconds: float) -> None:
        self.clock.time += seconds

    def gate(self) -> Any:
        return _ThreadGate()

    def start(self, thunk: Callable[[], Coroutine[Any, Any, Any]]) -> Child:
        child = Child()
        thread = threading.Thread(target=lambda: drive(child.run(thunk)), daemon=True)
        self.clock.threads += 1

        async def join() -> Any:
            await anything(lambda: thread.join(PATIENCE))
            assert not thread.is_alive(), "a thread stands still"
            self.clock.threads -= 1
            return child.outcome

        child.join = join
        thread.start()
        return child

    async def together(self, *thunks: Callable[[], Coroutine[Any, Any, Any]]) -> list[Any]:
        children = [self.start(thunk) for thunk in thunks]
        return [await child.join() for child in children]

    async def until(self, condition: Callable[[], object]) -> None:
        latest = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < latest, "it never came true"
            await self.tick()

    async def tick(self) -> None:
        time.sleep(0.0005)


async def anything(function: Callable[[], object]) -> object:
    """Call a function where only an await is allowed."""
    return function()


class _ThreadGate:
    def __init__(self) -> None:
        self._event = threading.Event()
        self.set = self._event.set

    async def wait(self) -> None:
        assert self._event.wait(PATIENCE), "nobody opened the gate"


class _AsyncStage(Stage):
    async def call(self, pipeline: Pipeline, body: Body, *args: Any) -> Any:
        return await pipeline.acall(body, *args)

    def guarded(self, pipeline: Pipeline, body: Body) -> Body:
        async def plain(*args: Any) -> Any:
            return await body(*args)

        return pipeline(plain)

    async def sleep(self, seconds: float) -> None:
        await awaiting.sleep(seconds)

    async def tick(self) -> None:
        await awaiting.sleep(0)


class AsyncioStage(_AsyncStage):
    def gate(self) -> Any:
        return asyncio.Event()

    def start(self, thunk: Callable[[], Coroutine[Any, Any, Any]]) -> Child:
        child = Child()
        task = asyncio.get_running_loop().create_task(child.run(thunk))

        async def join() -> Any:
            await asyncio.wait([task])
            if task.cancelled():
                return CANCELLED  # perhaps before its first step
            return child.outcome

        child.cancel, child.join = task.cancel, join
        return child


class TrioStage(_AsyncStage):
    nursery: trio.Nursery

    def gate(self) -> Any:
        return trio.Event()

    def start(self, thunk: Callable[[], Coroutine[Any, Any, Any]]) -> Child:
        child, scope, done = Child(), trio.CancelScope(), trio.Event()

        async def run() -> None:
            try:
                with scope:
                    await child.run(thunk)
            finally:
                done.set()

        async def join() -> Any:
            await done.wait()
            return child.outcome

        child.cancel, child.join = scope.cancel, join
        self.nursery.start_soon(run)
        return child


Scenario = Callable[[Any], Coroutine[Any, Any, Any]]


class Colour:
    """A way to play scenarios."""

    def __init__(self, label: str) -> None:
        self.label = label

    def __repr__(self) -> str:
        return self.label

    def play(self, scenario: Scenario, clock: VirtualClock | None = None) -> Any:
        clock = VirtualClock() if clock is None else clock
        with installed(clock):
            return getattr(self, "_" + self.label)(scenario, clock)

    def _threads(self, scenario: Scenario, clock: VirtualClock) -> Any:
        return drive(scenario(Stage(clock)))

    def _asyncio(self, scenario: Scenario, clock: VirtualClock) -> Any:
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
            return runner.run(scenario(AsyncioStage(clock)))

    def _trio(self, scenario: Scenario, clock: VirtualClock) -> Any:
        mock = trio.testing.MockClock(autojump_threshold=0)
        start = clock.time
        clock.source = lambda: start + mock.current_time()
        stage = TrioStage(clock)

        async def main() -> Any:
            failure = None
            async with trio.open_nursery() as stage.nursery:
                try:
                    return await scenario(stage)
                except Exception as error:  # not in a group, so that both loops raise the same
                    failure = error
                    stage.nursery.cancel_scope.cancel()
            raise failure

        try:
            return trio.run(main, clock=mock)
        finally:
            clock.time, clock.source = clock.now(), None


THREADS, ASYNCIO, TRIO = Colour("threads"), Colour("asyncio"), Colour("trio")
every_colour = pytest.mark.parametrize("colour", [THREADS, ASYNCIO, TRIO], ids=repr)
every_loop = pytest.mark.parametrize("colour", [ASYNCIO, TRIO], ids=repr)


def nothing_left(pipeline: Pipeline) -> None:
    """Demand that every permit, place in line, probe and timer of a pipeline is back."""
    for guard in pipeline._assembly.guards:
        if isinstance(guard.policy, Bulkhead):
            line = guard.line
            assert (line.in_flight, line.queued, len(line.waiting)) == (0, 0, 0)
            assert len(line.free) == line.limit
            assert len(set(map(id, line.free))) == line.limit, "one permit is there twice"
            assert not any(waiter.value for waiter in line.handed), "a permit lies where nobody fetches it"
        elif isinstance(guard.policy, Timeout):
            assert [timer.pending for timer in guard.timers.values() if timer.pending] == []
        elif isinstance(guard.policy, CircuitBreaker):
            assert guard.snapshot()["in_flight"] == 0, "a probe is in flight"


def judged(pipeline: Pipeline) -> tuple[int, int]:
    """Return how many calls the breaker's window holds, and how many of them failed."""
    state = pipeline[CircuitBreaker].snapshot()
    return state["calls"], state["failures"]
