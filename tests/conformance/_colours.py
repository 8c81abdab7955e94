"""One story, three colours: a scenario is told once and played on threads, on asyncio and on trio.

A story is an async function whose first argument is a `Play`. On threads nothing in it ever
suspends: its calls run on real threads, and the story steps straight through. On asyncio and
trio its calls are tasks. Cancelling means what it means there: a cancelled task, a cancelled
scope, or, on a thread, `KeyboardInterrupt` out of the function, as a signal handler raises it.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from resilient import CircuitBreaker, Pipeline, registry
from resilient.clock import install
from resilient.errors import Rejected

COLOURS = ("threads", "asyncio", "trio")
PATIENCE = 10.0


class Down(Exception):
    """What the downstream raises when it fails."""


class FakeClock:
    """A clock that moves when it is told to, or when somebody sleeps on it."""

    def __init__(self, at: float = 1_000.0) -> None:
        self.time = at
        self.draw = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def random(self) -> float:
        return self.draw

    def advance(self, seconds: float) -> None:
        self.time += seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)

    def acquire(self, lock: Any, seconds: float) -> bool:
        return lock.acquire(timeout=0)

    def call_later(self, loop: Any, seconds: float, callback: Callable[[], None]) -> Any:
        raise AssertionError("no story here waits for a timer")

    def scope(self, seconds: float) -> Any:
        raise AssertionError("no story here waits for a timer")


@contextmanager
def fake_time(at: float = 1_000.0) -> Iterator[FakeClock]:
    """Run every pipeline on a fake clock, and no pipeline of an earlier test."""
    registry.clear()
    clock = FakeClock(at)
    before = install(clock)
    try:
        yield clock
    finally:
        install(before)
        registry.clear()


@dataclass
class Ending:
    """How a call ended for its caller."""

    ran: bool = False
    value: object = None
    error: BaseException | None = None

    @property
    def refused(self) -> bool:
        return isinstance(self.error, Rejected) and not self.ran


class Flight:
    """A call that stays inside the downstream until the story ends it."""

    def __init__(self, new_event: Callable[[], Any]) -> None:
        self.ending = Ending()
        self.moved = new_event()  # it is inside, or it is over
        self.over = new_event()
        self.go = new_event()
        self.returns: object = None
        self.raises: BaseException | None = None
        self.stop: Callable[[], None] = lambda: None

    @property
    def admitted(self) -> bool:
        return self.ending.ran

    def waits(self) -> bool:
        """Tell, as an attempt begins, whether it stays inside until the story goes on with it."""
        return True

    def end(self) -> object:
        if self.raises is not None:
            raise self.raises
        return self.returns


def call_through(pipeline: Pipeline, body: Callable[[], Any]) -> Any:
    return pipeline.call(body)


def call_decorated(pipeline: Pipeline, body: Callable[[], Any]) -> Any:
    return pipeline(body)()


def call_permit(pipeline: Pipeline, body: Callable[[], Any]) -> Any:
    with pipeline.permit():
        return body()


async def acall_through(pipeline: Pipeline, body: Callable[[], Awaitable[Any]]) -> Any:
    return await pipeline.acall(body)


async def acall_decorated(pipeline: Pipeline, body: Callable[[], Awaitable[Any]]) -> Any:
    return await pipeline(body)()


async def acall_permit(pipeline: Pipeline, body: Callable[[], Awaitable[Any]]) -> Any:
    async with pipeline.permit():
        return await body()


FORMS = {
    "through": (call_through, acall_through),
    "decorated": (call_decorated, acall_decorated),
    "permit": (call_permit, acall_permit),
}
each_form = pytest.mark.parametrize("form", list(FORMS))


class Play:
    """The stage of one story: its clock, its pipelines, its calls.

    Attributes:
        clock: Every pipeline runs on it.
        colour: One of `COLOURS`.
        new_event: Makes the colour's kind of event.

    """

    colour = ""
    new_event: Callable[[], Any]

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.flights: list[Flight] = []

    # -- the scene ---------------------------------------------------------------------------

    def breaker(self, **changes: Any) -> CircuitBreaker:
        """Return a breaker without jitter and ramp, so that stories can name exact times."""
        return CircuitBreaker(**{"jitter": 0.0, "ramp": 0.0, **changes})

    def pipeline(self, *policies: Any, name: str = "downstream", **options: Any) -> Pipeline:
        return Pipeline(name, *(policies or (self.breaker(),)), **options)

    async def tripped(self, pipeline: Pipeline) -> Pipeline:
        """Fail until the breaker is open."""
        for _ in range(pipeline[CircuitBreaker].policy.consecutive or 0):
            await self.call(pipeline, raises=Down())
        assert state(pipeline) == "open"
        return pipeline

    async def due(self, pipeline: Pipeline) -> Pipeline:
        """Open the breaker, then let its time pass: the next call is a probe."""
        await self.tripped(pipeline)
        self.clock.advance(facts(pipeline)["open_remaining"])
        return pipeline

    # -- calls -------------------------------------------------------------------------------

    async def call(
        self, pipeline: Pipeline, returns: object = None, *, raises: BaseException | None = None, form: str = "through"
    ) -> Ending:
        """Make one call that ends at once."""
        flight = Flight(threading.Event)
        flight.returns, flight.raises = returns, raises
        await self._call(pipeline, flight, form)
        return flight.ending

    async def start(self, pipeline: Pipeline, *, form: str = "through") -> Flight:
        """Start one call and return when it is inside the downstream, or refused."""
        return (await self.start_many(1, pipeline, form=form))[0]

    async def start_many(self, number: int, pipeline: Pipeline, *, form: str = "through") -> list[Flight]:
        """Start calls as simultaneously as the colour can."""
        flights = [Flight(self.new_event) for _ in range(number)]
        await self.launch(flights, pipeline, form)
        return flights

    async def launch(self, flights: Sequence[Flight], pipeline: Pipeline, form: str = "through") -> None:
        """Start these calls; return when each is waiting inside the downstream, or is over."""
        raise NotImplementedError

    async def end(self, flight: Flight, returns: object = None, *, raises: BaseException | None = None) -> Ending:
        """Let a call in flight return or raise."""
        assert flight.admitted, "a refused call cannot be ended"
        flight.returns, flight.raises = returns, raises
        flight.go.set()
        await self._wait(flight.over)
        return flight.ending

    async def cancel(self, flight: Flight) -> Ending:
        """Cancel a call in flight."""
        assert flight.admitted, "a refused call cannot be cancelled"
        flight.stop()
        await self._wait(flight.over)
        return flight.ending

    async def _call(self, pipeline: Pipeline, flight: Flight, form: str) -> None:
        raise NotImplementedError

    async def _wait(self, event: Any) -> None:
        raise NotImplementedError


class ThreadPlay(Play):
    """Calls on threads."""

    colour = "threads"

    new_event = staticmethod(threading.Event)

    async def launch(self, flights: Sequence[Flight], pipeline: Pipeline, form: str = "through") -> None:
        together = threading.Barrier(len(flights))
        for flight in flights:
            flight.stop = lambda flight=flight: self._interrupt(flight)
            self.flights.append(flight)
            threading.Thread(target=self._fly, args=(pipeline, flight, form, together), daemon=True).start()
        for flight in flights:
            assert flight.moved.wait(PATIENCE), "a call neither began nor was refused"

    def _fly(self, pipeline: Pipeline, flight: Flight, form: str, together: threading.Barrier) -> None:
        def body() -> object:
            flight.ending.ran = True
            if flight.waits():
                flight.moved.set()
                assert flight.go.wait(PATIENCE)
            return flight.end()

        try:
            together.wait(PATIENCE)
            flight.ending.value = FORMS[form][0](pipeline, body)
        except BaseException as error:
            flight.ending.error = error
        flight.moved.set()
        flight.over.set()

    async def _call(self, pipeline: Pipeline, flight: Flight, form: str) -> None:
        def body() -> object:
            flight.ending.ran = True
            return flight.end()

        try:
            flight.ending.value = FORMS[form][0](pipeline, body)
        except BaseException as error:
            flight.ending.error = error

    async def _wait(self, event: Any) -> None:
        assert event.wait(PATIENCE), "a call did not end"

    @staticmethod
    def _interrupt(flight: Flight) -> None:
        flight.raises = KeyboardInterrupt()
        flight.go.set()


class TaskPlay(Play):
    """Calls as tasks, whichever the loop."""

    def __init__(self, clock: FakeClock, spawn: Callable[[Any, Flight], None], new_event: Callable[[], Any]) -> None:
        super().__init__(clock)
        self._spawn = spawn
        self.new_event = new_event

    async def launch(self, flights: Sequence[Flight], pipeline: Pipeline, form: str = "through") -> None:
        for flight in flights:
            self.flights.append(flight)
            self._spawn(lambda flight=flight: self._fly(pipeline, flight, form), flight)
        for flight in flights:
            await flight.moved.wait()

    async def _fly(self, pipeline: Pipeline, flight: Flight, form: str) -> None:
        async def body() -> object:
            flight.ending.ran = True
            if flight.waits():
                flight.moved.set()
                await flight.go.wait()
            return flight.end()

        try:
            flight.ending.value = await FORMS[form][1](pipeline, body)
        except BaseException as error:
            flight.ending.error = error
            if isinstance(error, (asyncio.CancelledError, trio.Cancelled)):
                raise
        finally:
            flight.moved.set()
            flight.over.set()

    async def _call(self, pipeline: Pipeline, flight: Flight, form: str) -> None:
        async def body() -> object:
            flight.ending.ran = True
            return flight.end()

        try:
            flight.ending.value = await FORMS[form][1](pipeline, body)
        except BaseException as error:
            flight.ending.error = error

    async def _wait(self, event: Any) -> None:
        await event.wait()


Story = Callable[..., Awaitable[None]]


def _on_threads(told: Story, clock: FakeClock, arguments: dict[str, Any]) -> None:
    play = ThreadPlay(clock)
    try:
        step = told(play, **arguments)
        with pytest.raises(StopIteration):
            step.send(None)  # type: ignore[attr-defined]  # a coroutine, and it never suspends
    finally:
        for flight in play.flights:
            flight.go.set()
        for flight in play.flights:
            flight.over.wait(PATIENCE)


def _on_asyncio(told: Story, clock: FakeClock, arguments: dict[str, Any]) -> None:
    async def main() -> None:
        tasks: list[asyncio.Task[None]] = []

        def spawn(body: Any, flight: Flight) -> None:
            task = asyncio.ensure_future(body())
            flight.stop = task.cancel  # type: ignore[assignment]
            tasks.append(task)

        play = TaskPlay(clock, spawn, asyncio.Event)
        play.colour = "asyncio"
        try:
            await told(play, **arguments)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())


def _on_trio(told: Story, clock: FakeClock, arguments: dict[str, Any]) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:

            def spawn(body: Any, flight: Flight) -> None:
                scope = trio.CancelScope()
                flight.stop = scope.cancel

                async def scoped() -> None:
                    with scope:
                        await body()

                nursery.start_soon(scoped)

            play = TaskPlay(clock, spawn, trio.Event)
            play.colour = "trio"
            failure = None
            try:
                await told(play, **arguments)
            except BaseException as error:  # out of the nursery, so that it is raised as it is
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    trio.run(main)


_STAGES = {"threads": _on_threads, "asyncio": _on_asyncio, "trio": _on_trio}


def perform(colour: str, told: Story, **arguments: Any) -> None:
    """Play a story in one colour, on a fresh fake clock."""
    with fake_time() as clock:
        _STAGES[colour](told, clock, arguments)


def in_each_colour(told: Story) -> Callable[..., None]:
    """Make a test of a story: one run for each colour."""

    def test(colour: str, **arguments: Any) -> None:
        perform(colour, told, **arguments)

    first, *rest = inspect.signature(told).parameters.values()
    assert first.name == "play"
    own = inspect.Parameter("colour", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    test.__signature__ = inspect.Signature([own, *rest])  # type: ignore[attr-defined]
    test.__name__, test.__qualname__, test.__module__ = told.__name__, told.__qualname__, told.__module__
    test.pytestmark = [*getattr(told, "pytestmark", ()), pytest.mark.parametrize("colour", COLOURS).mark]  # type: ignore[attr-defined]
    return test


def facts(pipeline: Pipeline) -> dict[str, Any]:
    """Return the breaker's snapshot."""
    return pipeline[CircuitBreaker].snapshot()


def state(pipeline: Pipeline) -> str:
    """Return "closed", "open" or "half_open", whatever hold may cover it."""
    return str(facts(pipeline)["automatic"])


def probes(pipeline: Pipeline) -> tuple[int, int, int]:
    """Return how many probes passed, failed and are in flight."""
    found = facts(pipeline)["probes"]
    return found["passed"], found["failed"], found["in_flight"]
