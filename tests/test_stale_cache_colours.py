"""One random script for a stale cache, played on threads, on asyncio and on trio, must tell the same story."""

from __future__ import annotations

from collections import deque
from random import Random

import pytest

from resilient import Bulkhead, Classifier, Outcome, Pipeline, StaleCache, provenance, subscribe
from resilient._runtime.flights import LEASE
from tests._stage import ASYNCIO, THREADS, TRIO, VirtualClock, name


class Down(Exception):
    """A failure of the downstream."""


class Missing(Exception):
    """The downstream says that there is no such thing."""


def judge(error):
    return Outcome.SUCCESS if isinstance(error, Missing) else None


ENDS = {"ok": None, "down": Down, "missing": Missing}
STEPS = ["pause"] * 4 + ["start"] * 8 + ["go"] * 6 + ["forget", "clear", "prime"]


def script(seed):
    """Return steps; every call in it is ended by one of them, or at the end."""
    order = Random(seed)
    steps = []
    for _ in range(60):
        step = order.choice(STEPS)
        if step == "pause":
            steps.append((step, order.choice([0.5, 2.0, 5.0, 11.0, 40.0])))
        elif step == "start":
            steps.append((step, order.randrange(3), order.choice(["ok", "ok", "down", "missing", "bad"])))
        elif step in {"forget", "prime"}:
            steps.append((step, order.randrange(3)))
        else:
            steps.append((step,))
    return steps


class Play:
    """The calls of a script, in the stage's own colour."""

    def __init__(self, stage, story):
        self.stage, self.story = stage, story
        policy = StaleCache(
            10, stale=30, while_revalidating=5, jitter=0, negative=3, negative_on=Missing, max_entries=2
        )
        judged = Classifier(error=judge, result=lambda result: Outcome.FAILURE if result == "bad" else None)
        self.pipeline = Pipeline(name(), policy, Bulkhead(2), classifier=judged)
        self.guard = self.pipeline[StaleCache]
        self.fetch = stage.guarded(self.pipeline, self.source)
        self.inside = deque()
        self.calls = []
        self.over = set()
        self.asked = 0
        self.next = "ok"
        self.since = 0.0

    async def source(self, key):
        self.asked += 1
        number, does, gate = self.asked, self.next, self.stage.gate()
        self.inside.append(gate)
        await gate.wait()
        if ENDS.get(does):
            raise ENDS[does]
        return "bad" if does == "bad" else f"{key} {number}"

    async def call(self, key):
        with provenance() as answer:
            try:
                got = await self.fetch(key)
            except Exception as error:
                got = type(error).__name__
        return got, [(note.source, round(note.age, 3), note.reason) for note in answer.all]

    @property
    def waiting(self):
        return sum(len(flight.waiting) for flight in list(self.guard.flights._air.values()))

    async def start(self, key, does):
        """Start a call; return when it is inside, waits for another one, or is over."""
        if not self.inside:
            self.since = self.stage.clock.now()
        self.next = does
        number, inside, waiting, running = (
            len(self.calls),
            len(self.inside),
            self.waiting,
            self.guard.background.running,
        )

        async def call():
            try:
                return await self.call(key)
            finally:
                self.over.add(number)

        self.calls.append(self.stage.start(call))
        await self.stage.until(lambda: number in self.over or len(self.inside) > inside or self.waiting > waiting)
        if number in self.over and self.guard.background.running > running:  # it left a refresh behind
            await self.stage.until(lambda: len(self.inside) > inside or self.guard.background.running == running)
        await self.settled()

    async def settled(self):
        """Wait until every call is over, inside, or waits for one that is."""
        await self.stage.until(
            lambda: len(self.calls) - len(self.over) + self.guard.background.running == len(self.inside) + self.waiting
        )

    async def go(self):
        """Let the oldest call inside end, and with it all that wait for it."""
        if self.inside:
            self.inside.popleft().set()
            await self.settled()

    async def finish(self):
        """Let all calls end."""
        while self.inside:
            await self.go()

    async def step(self, kind, *rest):
        if kind == "pause":
            if self.stage.clock.now() + rest[0] - self.since > LEASE - 1:
                await self.finish()  # for time wakes who waits in tasks, and not in threads
            await self.stage.sleep(rest[0])
        elif kind == "start":
            await self.start(*rest)
        elif kind == "go":
            await self.go()
        elif kind == "prime":
            self.guard.prime(f"primed {rest[0]}", self.fetch_target, rest[0])
        elif kind == "forget":
            self.story.append(("forgotten", self.guard.forget(self.fetch_target, rest[0])))
        else:
            self.story.append(("cleared", self.guard.clear()))

    @property
    def fetch_target(self):
        """The function that the keys are of."""
        found = [key[0] for key in [*self.guard.shelf.entries, *self.guard.flights._air, *self.guard.refusals.entries]]
        return found[0] if found else len


async def play(stage, seed, story):
    game = Play(stage, story)
    stop = subscribe(lambda event: story.append((event.name, dict(event.fields))))
    try:
        for step in script(seed):
            if step[0] in {"forget", "clear", "prime"}:
                await game.finish()
            await game.step(*step)
            story.append((step, game.asked, len(game.inside), game.waiting))
        await game.finish()
        story.extend([await child.join() for child in game.calls])
    finally:
        stop()
    counts = game.guard.snapshot()
    story.append(counts)
    assert (counts["asking"], counts["refreshing"]) == (0, 0)


def told(colour, seed):
    clock, story = VirtualClock(), []
    clock.threads = 99
    colour.play(lambda stage: play(stage, seed, story), clock)
    return story


@pytest.mark.parametrize("seed", range(30))
def test_all_colours_tell_the_same_story(seed):
    threads, tasks, trio = (told(colour, seed) for colour in (THREADS, ASYNCIO, TRIO))
    assert threads == tasks
    assert tasks == trio
    assert len(threads) > 60
