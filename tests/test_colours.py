"""One random script, played on threads, on asyncio and on trio, must tell one and the same story."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient import Backoff, Bulkhead, CircuitBreaker, Classifier, Count, Outcome, Retry, RetryBudget, events
from resilient.errors import Rejected
from tests.conformance._colours import COLOURS, FORMS, Down, Ending, Flight, Play, facts, perform, probes


class Busy(Exception):
    """The downstream asks for a pause."""

    retry_after = 0.25


class Mine(Exception):
    """An error of the caller."""


KINDS = {"fails": Down, "throttled": Busy, "ignored": Mine}


def judge(error: Exception) -> Outcome | None:
    """Say what an error means to every policy of the script."""
    if isinstance(error, Busy):
        return Outcome.THROTTLED
    return Outcome.INCONCLUSIVE if isinstance(error, Mine) else None


JUDGE = Classifier(error=judge)
WINDOWS = {"count": Count(8), "time": 4.0}


# -- the script -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pause:
    """Let time pass."""

    seconds: float


@dataclass(frozen=True)
class Call:
    """Make a call whose attempts end like this; the last one repeats."""

    attempts: tuple[str, ...]
    form: str


@dataclass(frozen=True)
class Start:
    """Make a call that stays in its first attempt."""

    attempts: tuple[str, ...]
    form: str


@dataclass(frozen=True)
class GoOn:
    """Let the oldest (or newest) call in flight go on, or cancel it."""

    newest: bool
    cancelled: bool


forms = st.sampled_from(list(FORMS))
ends = st.sampled_from(["ok", "ok", "fails", "fails", "throttled", "ignored"])
FAILING, PASSING = Call(("fails",), "through"), Call(("ok",), "decorated")
single = st.one_of(
    st.builds(Pause, st.sampled_from([0.125, 1.0, 3.0, 12.0])),
    st.builds(Call, st.lists(st.one_of(ends, st.just("cancelled")), min_size=1, max_size=3).map(tuple), forms),
    st.builds(Start, st.lists(ends, min_size=1, max_size=3).map(tuple), forms),
    st.builds(GoOn, st.booleans(), st.booleans()),
)
# Single steps seldom add up to an outage and its end: scenes of several steps lead there.
scenes = st.one_of(
    single.map(lambda step: [step]),
    st.just([FAILING, FAILING, FAILING]),
    st.just([Pause(3.0)]),
    st.just([Pause(3.0), PASSING, PASSING]),
    st.just([FAILING, FAILING, FAILING, Pause(3.0), Start(("ok",), "permit"), PASSING]),
)
scripts = st.lists(scenes, min_size=6, max_size=24).map(lambda parts: [step for part in parts for step in part])


class Scripted(Flight):
    """A call whose attempts end as the script says."""

    def __init__(self, new_event: Callable[[], Any], attempts: Sequence[str], *, held: bool) -> None:
        super().__init__(new_event)
        self.attempts = attempts
        self.held = held
        self.ran = 0

    @property
    def now(self) -> str:
        return self.attempts[min(self.ran, len(self.attempts)) - 1]

    def waits(self) -> bool:
        self.ran += 1
        return self.now == "cancelled" or (self.held and self.ran == 1)

    def end(self) -> object:
        if self.raises is not None:  # a thread is cancelled
            raise self.raises
        if self.now == "ok":
            return f"attempt {self.ran}"
        raise KINDS[self.now]


# -- the story ------------------------------------------------------------------------------------


def told(ending: Ending) -> str:
    """Say how a call ended, in words that are the same in every colour."""
    error = ending.error
    if error is None:
        return f"returned {ending.value}"
    if isinstance(error, (KeyboardInterrupt, asyncio.CancelledError, trio.Cancelled)):
        return "cancelled"
    said = f"raised {type(error).__name__} {getattr(error, '__notes__', '')}"
    return f"{said} {error.reason} {error.retry_after}" if isinstance(error, Rejected) else said


async def play_script(play: Play, script: Sequence[object], window: str, story: list[object]) -> None:
    """Play a script and write down, after each step, all there is to see."""
    play.clock.random = Random(1).random  # type: ignore[method-assign]
    breaker = CircuitBreaker(consecutive=3, min_calls=6, window=WINDOWS[window], probes=2, open_for=2.0, ramp=4.0)
    retry = Retry(attempts=3, backoff=Backoff(base=0.5), budget=RetryBudget(cap=3))
    pipeline = play.pipeline(retry, breaker, Bulkhead(2), classifier=JUDGE)
    flying: list[Scripted] = []
    stop = events.subscribe(lambda event: story.append((event.name, dict(event.fields))))
    try:
        for step in script:
            if isinstance(step, Pause):
                play.clock.advance(step.seconds)
            elif isinstance(step, GoOn):
                if flying:
                    flight = flying.pop(-1 if step.newest else 0)
                    await (play.cancel if step.cancelled else play.end)(flight)
                    story.append((told(flight.ending), flight.ran))
            else:
                flight = Scripted(play.new_event, step.attempts, held=isinstance(step, Start))
                await play.launch([flight], pipeline, step.form)
                if flight.over.is_set():
                    story.append((told(flight.ending), flight.ran))
                elif isinstance(step, Start):
                    flying.append(flight)
                else:
                    await play.cancel(flight)
                    story.append((told(flight.ending), flight.ran))
            story.append((step, play.clock.time, list(play.clock.slept), pipeline.snapshot()))
        for flight in flying:
            await play.cancel(flight)
    finally:
        stop()
    assert pipeline[Bulkhead].snapshot()["in_flight"] == 0
    assert facts(pipeline)["probes"] is None or probes(pipeline)[2] == 0
    story.append(pipeline.snapshot())


def stories(script: Sequence[object], window: str) -> dict[str, list[object]]:
    """Play a script in every colour."""
    found: dict[str, list[object]] = {colour: [] for colour in COLOURS}
    for colour, story in found.items():
        perform(colour, play_script, script=script, window=window, story=story)
    return found


@settings(max_examples=80)
@given(script=scripts, window=st.sampled_from(list(WINDOWS)))
def test_threads_asyncio_and_trio_tell_the_same_story(script, window):
    found = stories(script, window)
    assert found["asyncio"] == found["threads"]
    assert found["trio"] == found["threads"]


TOUR = [
    Call(("fails", "ok"), "through"),  # retried
    Call(("throttled", "throttled", "ok"), "decorated"),  # budgeted
    Start(("ok",), "through"),
    Start(("ok",), "permit"),
    PASSING,  # the bulkhead is full
    GoOn(newest=True, cancelled=True),
    Call(("cancelled",), "through"),
    FAILING,
    FAILING,
    FAILING,  # opens
    GoOn(newest=False, cancelled=False),
    PASSING,  # refused
    Pause(3.0),
    Call(("ignored",), "permit"),  # a probe that says nothing
    PASSING,
    PASSING,  # closes
    Pause(12.0),
    PASSING,
]


def test_the_story_has_every_turn_that_a_script_can_take():
    for window in WINDOWS:
        found = stories(TOUR, window)
        assert found["threads"] == found["asyncio"] == found["trio"]
        heard = "\n".join(map(str, found["threads"]))
        for turn in (
            "returned attempt 2",
            "cancelled",
            "bulkhead_full",
            "breaker_open",
            "'to': 'open'",
            "'to': 'half_open'",
            "'to': 'closed'",
            "resilient.retry.scheduled",
            "raised Mine",
            "raised Down",
            "returned attempt 1",
        ):
            assert turn in heard, turn
