"""A stale cache against a dictionary: the same script, the same answers, the same number of calls."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from resilient import Bulkhead, Classifier, Outcome, Pipeline, StaleCache, registry
from resilient._runtime import live
from resilient._runtime.background import detached
from resilient.errors import BulkheadFull
from tests._stage import VirtualClock, name


class Down(Exception):
    """A failure of the downstream."""


class Busy(Exception):
    """The downstream asks for a pause."""

    retry_after = 3.0


class Missing(Exception):
    """The downstream says that there is no such thing."""


class Ignored(Exception):
    """Says nothing about the downstream."""


ERRORS = {"down": Down, "busy": Busy, "missing": Missing, "ignored": Ignored}
OUTCOMES = {Busy: Outcome.THROTTLED, Missing: Outcome.SUCCESS, Ignored: Outcome.INCONCLUSIVE}
JUDGE = Classifier(
    error=lambda error: OUTCOMES.get(type(error)),
    result=lambda result: Outcome.FAILURE if result == "bad" else None,
)
FAILING = {"down", "busy", "bad", "full"}
FRESH, STALE, NEGATIVE = 10.0, 30.0, 4.0


class Naive:
    """What the documentation says, written down once more."""

    def __init__(self, grace):
        self.grace = grace
        self.answers = {}
        self.errors = {}
        self.asked = 0

    def keep(self, key, value, now):
        self.answers[key] = {"value": value, "at": now, "rest": 0.0, "failures": 0}
        self.errors.pop(key, None)

    def forget(self, key, now):
        known, (_, end) = self.answers.pop(key, None), self.errors.pop(key, ("", now))
        return (known is not None and now < known["at"] + FRESH + STALE) or now < end

    def call(self, key, does, value, now):
        """Return ("answer", value) or ("error", name)."""
        known = self.answers.get(key)
        age = None if known is None else now - known["at"]
        if age is not None and age >= FRESH + STALE:
            known = age = None
            self.answers.pop(key)
        if age is not None and age < FRESH:
            return "answer", known["value"]
        if age is not None and age < FRESH + self.grace:
            if now >= known["rest"]:
                self.refresh(key, known, does, value, now)
            return "answer", known["value"]
        if key in self.errors and now < self.errors[key][1]:
            return "error", self.errors[key][0]
        return self.ask(key, known, does, value, now)

    def ask(self, key, known, does, value, now):
        if does != "full":
            self.asked += 1
        if does == "ok":
            self.keep(key, value, now)
            return "answer", value
        if does in FAILING:
            if known is not None:
                return "answer", known["value"]
            if does == "down":
                self.errors[key] = does, now + NEGATIVE
            return ("answer", "bad") if does == "bad" else ("error", does)
        if does == "missing":
            self.answers.pop(key, None)
            self.errors[key] = does, now + NEGATIVE
        return "error", does

    def refresh(self, key, known, does, value, now):
        if does != "full":
            self.asked += 1
        if does == "ok":
            self.keep(key, value, now)
            return
        if does == "missing":
            self.answers.pop(key, None)
            self.errors[key] = does, now + NEGATIVE
        pause = min(60.0, 2.0 ** known["failures"])
        known["rest"] = now + (max(pause, 3.0) if does == "busy" else pause)
        known["failures"] += 1


class AtOnce:
    """Background work that is done before its start returns."""

    running = 0

    @staticmethod
    def start(function, *args):
        detached().run(function, *args)
        return True


class CacheModel(RuleBasedStateMachine):
    """Calls, time, refusals and invalidation, side by side with the dictionary."""

    def __init__(self):
        super().__init__()
        self.clock = VirtualClock()
        self.number = 0
        self.does = "ok"

    def teardown(self):
        registry.clear()

    @initialize(grace=st.sampled_from([0.0, 8.0, STALE]), keyed=st.booleans())
    def begin(self, grace, keyed):
        self.naive = Naive(grace)
        self.asked = 0
        cache = StaleCache(
            FRESH,
            stale=STALE,
            while_revalidating=grace,
            negative=NEGATIVE,
            negative_on=(Missing, Down),
            jitter=0.0,
            key=str if keyed else None,
        )
        self.pipeline = Pipeline(name(), cache, Bulkhead(1), classifier=JUDGE)
        self.guard = self.pipeline[StaleCache]
        self.use(self.clock)
        self.guard.background = AtOnce()
        self.fetch = self.pipeline(self.source)

    def use(self, clock):
        """Put a clock in force for our pipeline alone: all others of this process would make it slow."""
        self.clock = clock
        ours = [each for each in live.members() if getattr(each, "env", None) is self.pipeline._assembly.env]
        for member in [*ours, self.guard.flights]:
            member.use_clock(clock)

    def source(self, key):
        self.asked += 1
        if self.does in ERRORS:
            raise ERRORS[self.does]
        return "bad" if self.does == "bad" else self.number

    @rule(
        key=st.sampled_from([0, 1, "0", True]), does=st.sampled_from(["ok", "ok", "bad", *ERRORS]), form=st.booleans()
    )
    def call(self, key, does, form):
        self.play(key, does, form)

    @rule(key=st.sampled_from([0, 1]), form=st.booleans())
    def call_while_there_is_no_room(self, key, form):
        with self.pipeline.permit():
            self.play(key, "full", form)

    def play(self, key, does, form):
        self.number += 1
        self.does = does
        mine = str(key) if self.guard.policy.key else (key, type(key))
        expected = self.naive.call(mine, does, self.number, self.clock.time)
        try:
            got = "answer", self.fetch(key) if form else self.pipeline.call(self.source, key)
        except BulkheadFull:
            got = "error", "full"
        except tuple(ERRORS.values()) as error:
            got = "error", next(word for word, kind in ERRORS.items() if type(error) is kind)
        assert got == expected

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 30.0]))
    def wait(self, seconds):
        self.clock.time += seconds

    @rule(key=st.sampled_from([0, 1]))
    def forget(self, key):
        mine = str(key) if self.guard.policy.key else (key, type(key))
        found = self.guard.forget(self.fetch, key)
        assert found == self.naive.forget(mine, self.clock.time)

    @rule(key=st.sampled_from([0, 1]))
    def prime(self, key):
        self.number += 1
        self.guard.prime(self.number, self.source, key)
        mine = str(key) if self.guard.policy.key else (key, type(key))
        self.naive.keep(mine, self.number, self.clock.time)

    @rule()
    def clear(self):
        self.guard.clear()
        self.naive.answers.clear()
        self.naive.errors.clear()

    @rule()
    def fork(self):
        self.pipeline._assembly.renew()

    @rule(seconds=st.sampled_from([-500.0, 1e6]))
    def change_the_clock(self, seconds):
        """Another clock, far away: ages stay what they are."""
        clock = VirtualClock()
        clock.time = self.clock.time + seconds
        self.use(clock)
        for known in self.naive.answers.values():
            known["at"] += seconds
            known["rest"] += seconds
        self.naive.errors = {key: (does, end + seconds) for key, (does, end) in self.naive.errors.items()}

    @invariant()
    def as_many_calls_were_made_and_nothing_is_in_the_air(self):
        if hasattr(self, "guard"):
            assert self.asked == self.naive.asked
            assert len(self.guard.flights) == 0
            assert self.guard.background.running == 0


TestCacheModel = CacheModel.TestCase
TestCacheModel.settings = settings(max_examples=150, stateful_step_count=40)
