"""What `StaleCache` promises: what is served without asking, what stands in where asking fails, and what never does."""

from __future__ import annotations

import asyncio
import datetime as dt
import pickle
import threading

import pytest
import trio

from resilient import (
    Backoff,
    BreakerOpen,
    Bulkhead,
    BulkheadFull,
    CallTimeout,
    CircuitBreaker,
    Classifier,
    ConfigError,
    DeadlineExceeded,
    Fallback,
    Outcome,
    Pipeline,
    RateLimit,
    Retry,
    StaleCache,
    Timeout,
    Unguardable,
    deadline,
    provenance,
    remaining,
    subscribe,
)
from resilient.provenance import watching
from resilient.testing import no_policies
from tests._stage import CANCELLED, VirtualClock, every_colour, every_loop, installed, name

CACHE = StaleCache(10, stale=50, while_revalidating=False, jitter=0)


class Down(Exception):
    """What the downstream raises when it fails."""


class Missing(Exception):
    """The downstream says that there is no such thing."""


class Busy(Exception):
    """The downstream is throttling."""


def judge(error):
    return {Missing: Outcome.SUCCESS, Busy: Outcome.THROTTLED, LookupError: Outcome.INCONCLUSIVE}.get(type(error))


JUDGE = Classifier(error=judge)


class Source:
    """A downstream: it answers with a new number each time, fails, or takes its time."""

    def __init__(self, stage=None):
        self.asked = 0
        self.error = None
        self.gate = None
        self.takes = 0.0
        self.stage = stage

    async def fetch(self, key="key"):
        self.asked += 1
        number = self.asked
        if self.gate is not None:
            await self.gate.wait()
        if self.takes:
            await self.stage.sleep(self.takes)
        if self.error is not None:
            raise self.error
        return f"{key} {number}"


def cached(*policies, **options):
    return Pipeline(name(), *(policies or (CACHE,)), **options)


def quiet(pipeline):
    """Return whether nobody asks, in front or behind the reader's back."""
    guard = pipeline[StaleCache]
    return not len(guard.flights) and not guard.background.running


# -- ages ------------------------------------------------------------------------------------------


@every_colour
def test_a_fresh_answer_is_served_without_asking_then_it_is_asked_for_anew(colour):
    async def scenario(stage):
        source, pipeline = Source(stage), cached()
        fetch = stage.guarded(pipeline, source.fetch)
        assert [await fetch("a") for _ in range(3)] == ["a 1"] * 3
        await stage.sleep(9.9)
        assert await fetch("a") == "a 1"
        await stage.sleep(0.2)
        assert await fetch("a") == "a 2"
        assert source.asked == 2
        assert await fetch("b") == "b 3"
        assert quiet(pipeline)

    colour.play(scenario)


@every_colour
def test_a_stale_answer_stands_in_up_to_its_hard_age(colour):
    async def scenario(stage):
        source, pipeline = Source(stage), cached()
        fetch = stage.guarded(pipeline, source.fetch)
        await fetch()
        source.error = Down()
        await stage.sleep(10)
        assert await fetch() == "key 1"
        await stage.sleep(49)
        assert await fetch() == "key 1"
        assert source.asked == 3, "it was asked first"
        await stage.sleep(1.1)
        with pytest.raises(Down):
            await fetch()
        assert quiet(pipeline)

    colour.play(scenario)


@every_colour
def test_with_no_fresh_time_it_is_asked_every_time_and_stands_in(colour):
    async def scenario(stage):
        source = Source(stage)
        fetch = stage.guarded(cached(StaleCache(0, stale=50)), source.fetch)
        assert [await fetch() for _ in range(3)] == ["key 1", "key 2", "key 3"]
        source.error = Down()
        assert await fetch() == "key 3"

    colour.play(scenario)


@every_colour
def test_with_no_stale_time_nothing_stands_in(colour):
    async def scenario(stage):
        source = Source(stage)
        fetch = stage.guarded(cached(StaleCache(10, stale=0, jitter=0)), source.fetch)
        await fetch()
        source.error = Down()
        assert await fetch() == "key 1"
        await stage.sleep(10)
        with pytest.raises(Down):
            await fetch()

    colour.play(scenario)


def test_none_is_an_answer_like_any_other():
    asked = []
    fetch = cached()(lambda: asked.append(1))
    assert [fetch() for _ in range(3)] == [None] * 3
    assert asked == [1]


# -- what a stale answer stands in for ---------------------------------------------------------------


def open_breaker(pipeline):
    pipeline.hold("forced_open", reason="maintenance", expires=None)


STANDS_IN = {
    "failure": (Down(), True),
    "throttled": (Busy(), True),
    "a timeout of the user's own": (TimeoutError(), True),
    "a group with a failure": (ExceptionGroup("several", [Missing(), Down()]), True),
    "refused by another pipeline": (BreakerOpen("other", "circuit_breaker", None), True),
    "timed out in another pipeline": (CallTimeout("other", "timeout", 1.0, 0.01), True),
    "the caller's own error": (Missing(), False),
    "inconclusive": (LookupError(), False),
    "a setting": (ConfigError("x"), False),
    "a function that cannot be guarded": (Unguardable("x"), False),
}


@every_colour
@pytest.mark.parametrize("case", STANDS_IN)
def test_a_stale_answer_stands_in_for_failures_and_refusals_and_nothing_else(colour, case):
    error, stands_in = STANDS_IN[case]

    async def scenario(stage):
        source, pipeline = Source(stage), cached(classifier=JUDGE)
        fetch = stage.guarded(pipeline, source.fetch)
        await fetch()
        await stage.sleep(10)
        source.error = error
        if stands_in:
            assert await fetch() == "key 1"
        else:
            with pytest.raises(type(error)) as caught:
                await fetch()
            assert caught.value is error
        assert quiet(pipeline)

    colour.play(scenario)


@every_colour
@pytest.mark.parametrize("refuser", ["breaker", "hold", "bulkhead", "rate limit"])
def test_a_stale_answer_stands_in_where_the_call_is_refused_here(colour, refuser):
    policies = {
        "breaker": CircuitBreaker(consecutive=1),
        "hold": CircuitBreaker(),
        "bulkhead": Bulkhead(1),
        "rate limit": RateLimit(1, per=1000, burst=1),
    }

    async def scenario(stage):
        source, pipeline = Source(stage), cached(CACHE, policies[refuser])
        fetch = stage.guarded(pipeline, source.fetch)
        await fetch("a")
        await stage.sleep(10)
        permit = None
        if refuser == "breaker":
            source.error = Down()
            with pytest.raises(Down):
                await fetch("b")
        elif refuser == "hold":
            pipeline.hold("forced_open", reason="maintenance", expires=None)
        elif refuser == "bulkhead":
            permit = pipeline.permit()
            permit.__enter__()
        asked = source.asked
        assert await fetch("a") == "a 1"
        assert source.asked == asked
        if permit is not None:
            permit.__exit__(None, None, None)

    colour.play(scenario)


@every_colour
@pytest.mark.parametrize("where", ["inside", "outside", "the caller's deadline"])
def test_a_stale_answer_stands_in_where_time_is_up(colour, where):
    policies = {
        "inside": (CACHE, Timeout(1)),
        "outside": (Timeout(1), CACHE),
        "the caller's deadline": (CACHE, Timeout(5)),
    }

    async def scenario(stage):
        source, pipeline = Source(stage), cached(*policies[where])
        fetch = stage.guarded(pipeline, source.fetch)
        await fetch()
        await stage.sleep(10)
        source.gate = stage.gate()
        began = stage.clock.now()
        with deadline(1 if where == "the caller's deadline" else 100):
            assert await fetch() == "key 1"
        assert stage.clock.now() - began == pytest.approx(1)
        source.gate.set()
        await stage.until(lambda: quiet(pipeline))

    colour.play(scenario)


@every_colour
def test_a_deadline_that_has_passed_gets_a_stale_answer_too(colour):
    async def scenario(stage):
        source, pipeline = Source(stage), cached(CACHE, Timeout(5))
        fetch = stage.guarded(pipeline, source.fetch)
        with deadline(0), pytest.raises(DeadlineExceeded):
            await fetch()
        await fetch()
        with deadline(0):
            assert await fetch() == "key 1", "a fresh one needs no time"
        await stage.sleep(10)
        with deadline(0):
            assert await fetch() == "key 1"
        assert source.asked == 1

    colour.play(scenario)


@every_colour
@pytest.mark.parametrize(
    ("on", "error", "stands_in"),
    [
        (Missing, Missing(), True),
        (Missing, Down(), False),
        ((Missing, LookupError), KeyError(), True),
        (lambda error: error.args == ("x",), Down("x"), True),
        (lambda error: error.args == ("x",), Down("y"), False),
        (lambda error: 1 / 0, Down(), False),
        (Exception, Unguardable("x"), False),
        (Exception, ConfigError("x"), False),
        (Missing, BreakerOpen("other", "circuit_breaker", None), False),
    ],
)
def test_what_a_stale_answer_stands_in_for_can_be_listed(colour, on, error, stands_in):
    async def scenario(stage):
        source, pipeline = (
            Source(stage),
            cached(StaleCache(10, stale=50, while_revalidating=0, on=on), classifier=JUDGE),
        )
        fetch = stage.guarded(pipeline, source.fetch)
        await fetch()
        await stage.sleep(10)
        source.error = error
        if stands_in:
            assert await fetch() == "key 1"
        else:
            with pytest.raises(type(error)):
                await fetch()

    colour.play(scenario)


@every_colour
def test_a_bad_result_is_not_stored_and_a_stale_answer_stands_in_for_it(colour):
    verdicts = {"bad": Outcome.FAILURE, "busy": Outcome.THROTTLED, "odd": Outcome.INCONCLUSIVE}

    async def scenario(stage):
        pipeline = cached(classifier=Classifier(result=verdicts.get))
        says = ["bad"]

        async def fetch(key):
            return says[0]

        fetch = stage.guarded(pipeline, fetch)
        assert [await fetch(1), await fetch(1)] == ["bad", "bad"]
        assert len(pipeline[StaleCache].shelf) == 0
        for word, expected in (("good", "good"), ("bad", "good"), ("busy", "good"), ("odd", "odd"), ("bad", "odd")):
            await stage.sleep(10)
            says[0] = word
            assert await fetch(1) == expected, word

    colour.play(scenario)


@every_loop
def test_cancellation_is_not_covered_by_a_stale_answer(colour):
    async def scenario(stage):
        source, pipeline = Source(stage), cached()
        fetch = stage.guarded(pipeline, source.fetch)
        await fetch()
        await stage.sleep(10)
        source.gate = stage.gate()
        child = stage.start(fetch)
        await stage.until(lambda: source.asked == 2)
        child.cancel()
        assert await child.join() == CANCELLED
        assert quiet(pipeline)

    colour.play(scenario)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), GeneratorExit()])
def test_an_interrupt_is_not_covered_by_a_stale_answer(error):
    clock = VirtualClock()
    with installed(clock):
        pipeline, raises = cached(), []

        @pipeline
        def fetch():
            if raises:
                raise raises[0]
            return 1

        fetch()
        clock.time += 10
        raises.append(error)
        with pytest.raises(type(error)):
            fetch()
        assert quiet(pipeline)
        assert watching() is None
        raises.clear()
        assert fetch() == 1


@every_colour
def test_an_answer_that_the_downstream_takes_back_is_forgotten(colour):
    async def scenario(stage):
        source, pipeline = Source(stage), cached(classifier=JUDGE)
        fetch = stage.guarded(pipeline, source.fetch)
        await fetch()
        await stage.sleep(10)
        source.error = Missing()
        with pytest.raises(Missing):
            await fetch()
        source.error = Down()
        with pytest.raises(Down):
            await fetch()

    colour.play(scenario)


# -- while a fresh one is asked for ------------------------------------------------------------------

REFRESHING = StaleCache(10, stale=50, while_revalidating=20, jitter=0)


@every_colour
def test_a_stale_answer_is_served_at_once_while_one_fresh_one_is_asked_for(colour):
    async def scenario(stage):
        source, pipeline = Source(stage), cached(REFRESHING, Timeout(30, cooperative=True))
        fetch = stage.guarded(pipeline, source.fetch)
        await fetch()
        await stage.sleep(10)
        source.gate = stage.gate()
        assert [await fetch() for _ in range(5)] == ["key 1"] * 5
        await stage.until(lambda: source.asked == 2)
        assert [await fetch() for _ in range(5)] == ["key 1"] * 5
        source.gate.set()
        await stage.until(lambda: quiet(pipeline))
        assert source.asked == 2
        assert await fetch() == "key 2"
        counts = pipeline[StaleCache].snapshot()
        assert (counts["refreshed"], counts["refresh_failed"], counts["stale_served"]) == (1, 0, 10)
        assert (counts["misses"], counts["asking"], counts["refreshing"]) == (1, 0, 0)

    colour.play(scenario)


@every_colour
def test_past_its_time_for_that_the_caller_waits_for_the_fresh_one(colour):
    async def scenario(stage):
        source, pipeline = Source(stage), cached(REFRESHING)
        fetch = stage.guarded(pipeline, source.fetch)
        await fetch()
        await stage.sleep(30)
        assert await fetch() == "key 2"
        assert not pipeline[StaleCache].background.running

    colour.play(scenario)


@pytest.mark.parametrize(
    ("given", "seconds"), [(None, 10.0), (True, 50.0), (False, 0.0), (0, 0.0), (7, 7.0), (dt.timedelta(seconds=9), 9.0)]
)
def test_how_long_it_is_served_while_it_is_refreshed(given, seconds):
    assert StaleCache(10, stale=50, while_revalidating=given).while_revalidating == seconds
    assert StaleCache(100, stale=50).while_revalidating == 50, "never longer than it may be used"


@every_colour
def test_a_refresh_that_fails_leaves_the_answer_tells_it_and_rests(colour):
    async def scenario(stage):
        heard = []
        stop = subscribe(heard.append)
        source, pipeline = Source(stage), cached(REFRESHING)
        fetch = stage.guarded(pipeline, source.fetch)
        await fetch()
        await stage.sleep(10)
        source.error = Down()
        for rest in (1, 2, 4):
            asked = source.asked
            assert await fetch() == "key 1"
            await stage.until(lambda: quiet(pipeline))
            assert source.asked == asked + 1
            await stage.sleep(rest - 0.5)
            with provenance() as answer:
                assert await fetch() == "key 1"
            assert (answer.source, answer.reason) == ("stale", "Down")
            await stage.until(lambda: quiet(pipeline))
            assert source.asked == asked + 1, "it rests"
            await stage.sleep(0.6)
        stop()
        told = [(event.name, dict(event.fields)) for event in heard]
        assert told == [("resilient.cache.refresh_failed", {"policy": "stale_cache", "cause": "Down"})] * 3
        source.error = None
        await fetch()
        await stage.until(lambda: quiet(pipeline))
        assert await fetch() == f"key {source.asked}"

    colour.play(scenario)


@every_colour
def test_a_refresh_honours_the_servers_hint(colour):
    async def scenario(stage):
        source, pipeline = Source(stage), cached(REFRESHING)
        fetch = stage.guarded(pipeline, source.fetch)
        await fetch()
        await stage.sleep(10)
        source.error = Down()
        source.error.retry_after = 5.0
        await fetch()
        await stage.until(lambda: quiet(pipeline))
        await stage.sleep(4.9)
        await fetch()
        assert source.asked == 2
        await stage.sleep(0.2)
        await fetch()
        await stage.until(lambda: source.asked == 3)
        await stage.until(lambda: quiet(pipeline))

    colour.play(scenario)


@every_colour
def test_a_refresh_is_not_cut_by_the_deadline_of_the_call_that_started_it(colour):
    async def scenario(stage):
        pipeline, left = cached(StaleCache(10, stale=50), Timeout(30, cooperative=True)), []

        async def fetch(key):
            left.append(remaining())
            return len(left)

        fetch = stage.guarded(pipeline, fetch)
        with deadline(1):
            await fetch(1)
        await stage.sleep(10)
        with deadline(1), provenance() as answer:
            await fetch(1)
            await stage.until(lambda: quiet(pipeline))
        assert left == [pytest.approx(1), pytest.approx(30)]
        assert [note.source for note in answer.all] == ["stale"]

    colour.play(scenario)


@every_colour
def test_a_refresh_runs_through_what_stands_inside_and_shares_its_state(colour):
    async def scenario(stage):
        source = Source(stage)
        retries = [Retry(2, backoff=Backoff(base=0), budget=None)] * 2
        pipeline = cached(retries[0], StaleCache(10, stale=50), retries[1], CircuitBreaker(consecutive=2), Bulkhead(3))
        fetch = stage.guarded(pipeline, source.fetch)
        await fetch()
        await stage.sleep(10)
        source.error = Down()
        await fetch()
        await stage.until(lambda: quiet(pipeline))
        assert source.asked == 3, "two attempts of the inner retry"
        assert pipeline[CircuitBreaker].snapshot()["automatic"] == "open"
        assert pipeline[Bulkhead].snapshot()["in_flight"] == 0

    colour.play(scenario)


@every_colour
def test_refreshes_are_bounded_over_all_keys(colour):
    async def scenario(stage):
        source, pipeline = Source(stage), cached(StaleCache(10, stale=50, refreshes=3))
        fetch = stage.guarded(pipeline, source.fetch)
        for key in range(10):
            await fetch(key)
        await stage.sleep(10)
        source.gate = stage.gate()
        for key in range(10):
            assert await fetch(key) == f"{key} {key + 1}"
        await stage.until(lambda: source.asked == 13)
        assert len(pipeline[StaleCache].flights) == 3
        assert pipeline[StaleCache].background.running == 3
        source.gate.set()
        await stage.until(lambda: quiet(pipeline))
        assert source.asked == 13

    colour.play(scenario)


@every_colour
def test_a_refresh_that_comes_to_a_stand_in_or_a_bad_result_has_failed(colour):
    async def scenario(stage):
        inner = cached(Fallback("instead"))
        outer = cached(StaleCache(10, stale=50), classifier=Classifier(result={"bad": Outcome.FAILURE}.get))
        source, says = Source(stage), []
        nested = stage.guarded(inner, source.fetch)

        async def fetch(key):
            return says[0] if says else await nested(key)

        fetch = stage.guarded(outer, fetch)
        await fetch("a")
        await stage.sleep(10)
        source.error = Down()
        await fetch("a")
        await stage.until(lambda: quiet(outer))
        assert outer[StaleCache].snapshot()["refresh_failed"] == 1
        await stage.sleep(5)
        says.append("bad")
        assert await fetch("a") == "a 1"
        await stage.until(lambda: quiet(outer))
        assert outer[StaleCache].snapshot()["refresh_failed"] == 2
        assert await fetch("a") == "a 1"

    colour.play(scenario)


def test_a_plain_call_on_the_thread_of_a_loop_refreshes_in_another_thread():
    clock = VirtualClock()
    with installed(clock):
        pipeline, threads = cached(StaleCache(10, stale=50)), []

        @pipeline
        def fetch():
            threads.append(threading.current_thread())
            return len(threads)

        async def main():
            fetch()
            clock.time += 10
            assert fetch() == 1
            while not quiet(pipeline):
                await asyncio.sleep(0.001)

        asyncio.run(main())
    assert len(set(threads)) == 2


@every_loop
def test_a_refresh_cut_short_by_the_end_of_the_program_leaves_nothing(colour):
    source, pipeline = Source(), cached(StaleCache(10, stale=50))

    async def scenario(stage):
        fetch = stage.guarded(pipeline, source.fetch)
        await fetch()
        await stage.sleep(10)
        source.gate = stage.gate()
        await fetch()
        await stage.until(lambda: source.asked == 2)

    colour.play(scenario)
    assert quiet(pipeline)
    assert pipeline[StaleCache].snapshot()["refresh_failed"] == 0


def test_early_refreshes_come_before_the_fresh_time_ends():
    clock = VirtualClock()
    with installed(clock):
        pipeline, draws, asked = cached(StaleCache(100, stale=0, early=1.0, jitter=0)), [], []
        clock.random = draws.pop

        @pipeline
        def fetch():
            asked.append(1)
            clock.time += 2
            return len(asked)

        fetch()
        clock.time += 59
        assert fetch() == 1
        assert draws == [], "too early even for a draw"
        clock.time += 39
        draws.append(0.5)  # would be 1.4 s early
        assert fetch() == 1
        draws.append(0.9)  # would be 4.6 s early
        assert fetch() == 1
        end = threading.Event()
        for _ in range(1000):
            if quiet(pipeline):
                break
            end.wait(0.01)
        assert asked == [1, 1]
        assert fetch() == 2


# -- errors that are kept ----------------------------------------------------------------------------

KEEPING = StaleCache(10, stale=50, while_revalidating=0, negative=4, negative_on=Missing, jitter=0)


@every_colour
def test_listed_errors_are_raised_again_without_asking(colour):
    async def scenario(stage):
        source, pipeline = Source(stage), cached(KEEPING, classifier=JUDGE)
        fetch = stage.guarded(pipeline, source.fetch)
        source.error = Missing("no such thing")
        for _ in range(3):
            with pytest.raises(Missing, match="no such thing"):
                await fetch()
        assert source.asked == 1
        with provenance() as answer, pytest.raises(Missing):
            await fetch()
        assert (answer.source, answer.reason, answer.served_by) == ("negative", "Missing", "stale_cache")
        counts = pipeline[StaleCache].snapshot()
        assert (counts["negative_entries"], counts["negative_served"], counts["entries"]) == (1, 3, 0)
        await stage.sleep(4)
        source.error = None
        assert await fetch() == "key 2"
        assert pipeline[StaleCache].snapshot()["negative_entries"] == 0

    colour.play(scenario)


@every_colour
def test_other_errors_and_refusals_are_not_kept(colour):
    async def scenario(stage):
        policy = StaleCache(10, stale=50, negative=4, negative_on=lambda error: not isinstance(error, Down))
        source, pipeline = Source(stage), cached(policy, Bulkhead(1))
        fetch = stage.guarded(pipeline, source.fetch)
        for error in (Down(), ConfigError("x"), BreakerOpen("other", "x", None)):
            source.error = error
            before = source.asked
            for _ in range(2):
                with pytest.raises(type(error)):
                    await fetch()
            assert source.asked == before + 2
        with pipeline.permit():
            for _ in range(2):
                with pytest.raises(BulkheadFull):
                    await fetch()
        source.error = None
        assert await fetch() == "key 7"

    colour.play(scenario)


def test_a_kept_error_carries_nothing_of_those_who_got_it_before():
    import traceback

    clock = VirtualClock()
    with installed(clock):
        pipeline = cached(KEEPING)

        @pipeline
        def fetch():
            error = Missing("gone")
            error.add_note("from the source")
            raise error from OSError("cause")

        def deep(levels):
            return deep(levels - 1) if levels else fetch()

        seen = set()
        for levels in (0, 30, 5, 0, 7):
            with pytest.raises(Missing) as caught:
                try:
                    raise RuntimeError("something else")
                except RuntimeError:
                    deep(levels)
            error = caught.value
            assert isinstance(error.__cause__, OSError)
            assert error.__notes__ == ["from the source"]
            error.add_note("of a caller")
            seen.add(len(traceback.extract_tb(error.__traceback__)) - levels)
        assert len(seen) <= 2, "as long as its caller is deep; the first comes from the source itself"


def test_kept_errors_are_bounded_by_themselves():
    pipeline = cached(StaleCache(10, stale=50, max_entries=5, negative=4, negative_on=Missing))

    @pipeline
    def fetch(key):
        if key >= 100:
            raise Missing
        return key

    for key in range(5):
        fetch(key)
    for key in range(100, 200):
        with pytest.raises(Missing):
            fetch(key)
    counts = pipeline[StaleCache].snapshot()
    assert (counts["entries"], counts["negative_entries"]) == (5, 5)


def test_an_answer_takes_the_place_of_a_kept_error():
    pipeline, raises = cached(KEEPING), [Missing()]

    @pipeline
    def fetch():
        if raises:
            raise raises[0]
        return 1

    with pytest.raises(Missing):
        fetch()
    pipeline[StaleCache].prime(2, fetch)
    assert pipeline[StaleCache].snapshot()["negative_entries"] == 0
    assert fetch() == 2


def test_a_call_that_fails_while_somebody_else_got_a_fresh_answer_hands_that_out_as_fresh():
    clock = VirtualClock()
    with installed(clock):
        pipeline, down = cached(), []

        @pipeline
        def fetch():
            if down:
                pipeline[StaleCache].prime("new", fetch)
                raise Down
            return "old"

        fetch()
        clock.time += 10
        down.append(True)
        with provenance() as answer:
            assert fetch() == "new"
        assert (answer.source, answer.age, answer.reason) == ("fresh", 0, "Down")


def test_a_stale_answer_is_better_than_a_kept_error():
    clock = VirtualClock()
    with installed(clock):
        policy = StaleCache(10, stale=50, while_revalidating=0, negative=4, negative_on=Down, jitter=0)
        pipeline, raises = cached(policy), []

        @pipeline
        def fetch():
            if raises:
                raise raises[0]
            return 1

        fetch()
        clock.time += 10
        raises.append(Down())
        assert fetch() == 1
        assert pipeline[StaleCache].snapshot()["negative_entries"] == 0


# -- its place in a pipeline -------------------------------------------------------------------------


@every_colour
def test_a_fallback_outside_answers_only_when_nothing_is_stored(colour):
    async def scenario(stage):
        source, pipeline = Source(stage), cached(Fallback("instead"), CACHE, Retry(1))
        fetch = stage.guarded(pipeline, source.fetch)
        source.error = Down()
        assert await fetch() == "instead"
        source.error = None
        assert await fetch() == "key 2"
        await stage.sleep(10)
        source.error = Down()
        assert await fetch() == "key 2"
        await stage.sleep(60)
        assert await fetch() == "instead"

    colour.play(scenario)


@every_colour
def test_a_fallback_inside_is_handed_out_and_never_stored(colour):
    async def scenario(stage):
        source, pipeline = Source(stage), cached(CACHE, Fallback("instead"))
        fetch = stage.guarded(pipeline, source.fetch)
        source.error = Down()
        assert [await fetch() for _ in range(3)] == ["instead"] * 3
        assert len(pipeline[StaleCache].shelf) == 0
        source.error = None
        assert await fetch() == "key 4"
        assert await fetch() == "key 4"

    colour.play(scenario)


@every_colour
def test_wherever_it_stands_it_answers(colour):
    async def scenario(stage):
        others = (
            Timeout(9),
            Retry(2, backoff=Backoff(base=0)),
            CircuitBreaker(),
            RateLimit(1e6),
            Bulkhead(9),
            Timeout(3),
        )
        for place in range(len(others) + 1):
            source = Source(stage)
            pipeline = cached(*others[:place], CACHE, *others[place:])
            fetch = stage.guarded(pipeline, source.fetch)
            assert [await fetch(), await fetch()] == ["key 1", "key 1"]
            await stage.sleep(10)
            source.error = Down()
            assert await fetch() == "key 1"
            await stage.sleep(60)
            with pytest.raises(Down):
                await fetch()
            assert quiet(pipeline)

    colour.play(scenario)


def test_a_transport_refuses_it_and_points_to_its_own_cache():
    import httpx2

    from resilient.httpx2 import ResilientTransport

    with httpx2.HTTPTransport(verify=False) as plain, pytest.raises(ConfigError, match="cache=HttpCache"):
        ResilientTransport(cached(CACHE), transport=plain)


def test_the_test_switch_leaves_it_out_and_variants_share_its_answers():
    asked = []
    pipeline = cached(CACHE, Timeout(5, cooperative=True))

    @pipeline
    def fetch():
        asked.append(1)
        return len(asked)

    assert fetch() == 1
    with no_policies():
        assert fetch() == 2
    assert fetch() == 1
    assert pipeline.with_options(timeout=2).call(fetch.__wrapped__) == 1


# -- settings ----------------------------------------------------------------------------------------

BAD = {
    "fresh": [-1, float("nan"), float("inf"), "60", None, True, dt.timedelta(seconds=-1)],
    "stale": [-1, float("nan"), "60", None, True],
    "key": [7, "sku", asyncio.sleep],
    "while_revalidating": [-1, 601, "yes", float("inf")],
    "on": [7, (), (int,), BaseException, asyncio.sleep],
    "max_entries": [0, -1, 1.5, None, True],
    "max_bytes": [0, -1, 1.5, True],
    "negative": [0, -1, "1", True],
    "negative_on": [7, KeyboardInterrupt],
    "early": [0, -1, "1", float("nan")],
    "jitter": [-0.1, 1, "x", None, float("nan")],
    "refreshes": [0, 1.5, None],
}


@pytest.mark.parametrize(("parameter", "value"), [(key, value) for key, values in BAD.items() for value in values])
def test_a_bad_setting_is_refused_by_name(parameter, value):
    good = {"fresh": 60, "stale": 600}
    if parameter == "negative":
        good["negative_on"] = Missing
    if parameter == "negative_on":
        good["negative"] = 5
    with pytest.raises((ConfigError, TypeError), match=rf"^{parameter} must be "):
        StaleCache(**{**good, parameter: value})


def test_settings_that_do_not_go_together_are_refused():
    with pytest.raises(ConfigError, match="negative_on"):
        StaleCache(60, stale=600, negative=5)
    with pytest.raises(ConfigError, match="negative_on"):
        StaleCache(60, stale=600, negative_on=Missing)
    with pytest.raises(ConfigError, match="size"):
        StaleCache(60, stale=600, size=len)
    with pytest.raises(TypeError, match="size"):
        StaleCache(60, stale=600, size=7, max_bytes=100)
    with pytest.raises(TypeError):
        StaleCache(60)


def test_it_is_frozen_comparable_and_pickled():
    policy = StaleCache(dt.timedelta(minutes=1), stale=600, on=Missing)
    assert policy == StaleCache(60, stale=600.0, on=Missing)
    assert policy != StaleCache(60, stale=601, on=Missing)
    assert pickle.loads(pickle.dumps(policy)) == policy
    with pytest.raises(AttributeError):
        policy.fresh = 1


def test_it_says_what_is_configured():
    policy = StaleCache(60, stale=600, negative=5, negative_on=Missing, early=1, max_bytes=1000)
    assert policy.describe() == (
        "fresh 60 s, then stale up to 600 s; served while it is refreshed for 60 s of that; refreshed early; "
        "errors kept 5 s; at most 1024 answers of 1000 bytes"
    )
    assert StaleCache(60, stale=0).describe() == "fresh 60 s, then stale up to 0 s; at most 1024 answers"
    assert "stale_cache" in cached().explain()


def test_the_fresh_time_is_shortened_at_random_and_never_longer():
    clock = VirtualClock()
    with installed(clock):
        pipeline, asked = cached(StaleCache(100, stale=0)), []
        fetch = pipeline(asked.append)
        for key in range(200):
            fetch(key)
        clock.time += 90
        for key in range(200):
            fetch(key)
        assert len(asked) == 200, "never by more than a tenth"
        clock.time += 9.99
        for key in range(200):
            fetch(key)
        assert 350 < len(asked) <= 400, "they do not end together"


def test_trio_and_asyncio_share_one_shelf_with_threads():
    pipeline, asked = cached(), []

    @pipeline
    async def fetch(key):
        asked.append(key)
        return key

    assert asyncio.run(fetch(1)) == 1
    assert trio.run(fetch, 1) == 1
    assert asked == [1]
