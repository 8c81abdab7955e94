"""What `Retry` promises: what it tries again, after how long, who pays, and how layers of it get along."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from dataclasses import dataclass

import pytest
import tenacity
import trio

from resilient import (
    Backoff,
    Bulkhead,
    BulkheadFull,
    Certainty,
    Classifier,
    Outcome,
    Pipeline,
    RateLimit,
    Retry,
    RetryBudget,
    Timeout,
    Verdict,
    deadline,
    subscribe,
)
from tests._stage import ASYNCIO, THREADS, VirtualClock, every_colour, every_loop, installed, name

QUICK = Backoff(base=0.01, jitter="none")


class Down(Exception):
    """What the downstream raises when it fails."""


def eager(attempts=3, **settings):
    """Return a retry that nothing but its own rules holds back."""
    return Retry(attempts, **{"backoff": QUICK, "budget": None, **settings})


class Script:
    """An async function that plays endings in turn, and stays with the last."""

    def __init__(self, *endings):
        self.endings = endings
        self.attempts = 0

    async def __call__(self):
        ending = self.endings[min(self.attempts, len(self.endings) - 1)]
        self.attempts += 1
        if isinstance(ending, BaseException) or (isinstance(ending, type) and issubclass(ending, BaseException)):
            raise ending
        return ending


def play(colour, pipeline, body, clock=None):
    """Play one call and return how it ended, be it by an error."""

    async def scenario(stage):
        try:
            return await stage.call(pipeline, body)
        except Exception as error:
            return error

    return colour.play(scenario, clock)


# -- what is tried again -----------------------------------------------------------------------


def group(*errors):
    return ExceptionGroup("several", list(errors))


ON = {
    "a type": (OSError, OSError(), True),
    "a subclass": (OSError, ConnectionResetError(), True),
    "another type": (OSError, KeyError(), False),
    "one of several types": ((OSError, KeyError), KeyError(), True),
    "none of several types": ((OSError, KeyError), IndexError(), False),
    "a predicate that says yes": (lambda error: error.args == ("again",), Down("again"), True),
    "a predicate that says no": (lambda error: error.args == ("again",), Down("enough"), False),
    "a leaf of a group": (OSError, group(KeyError(), OSError()), True),
    "a leaf far down": (OSError, group(KeyError(), group(IndexError(), group(OSError()))), True),
    "no leaf of a group": (OSError, group(KeyError(), group(IndexError())), False),
    "a predicate, asked about leaves": (lambda error: isinstance(error, OSError), group(KeyError(), OSError()), True),
    "anything that fails": (None, Down(), True),
}


@pytest.mark.parametrize(("on", "error", "again"), ON.values(), ids=ON)
@every_colour
def test_it_retries_what_it_was_told_to(colour, on, error, again):
    body = Script(error)
    assert play(colour, Pipeline(name(), eager(on=on)), body) is error
    assert body.attempts == (3 if again else 1)


@pytest.mark.parametrize(
    ("outcome", "attempts"),
    [(Outcome.FAILURE, 3), (Outcome.THROTTLED, 3), (Outcome.SUCCESS, 1), (Outcome.INCONCLUSIVE, 1)],
)
@every_colour
def test_by_default_the_classifier_says_what_is_retried(colour, outcome, attempts):
    body = Script(Down())
    pipeline = Pipeline(name(), eager(), classifier=Classifier(error=lambda error: outcome))
    assert isinstance(play(colour, pipeline, body), Down)
    assert body.attempts == attempts


@every_colour
def test_listed_types_are_retried_whatever_the_classifier_says(colour):
    body = Script(Down(), "answer")
    pipeline = Pipeline(name(), eager(on=Down), classifier=Classifier(error=lambda error: Outcome.SUCCESS))
    assert play(colour, pipeline, body) == "answer"


@every_colour
def test_a_predicate_that_raises_is_reported_once_and_retries_nothing(colour, caplog):
    def broken(error):
        raise LookupError("the predicate's own")

    raised = Down()
    body = Script(raised)
    pipeline = Pipeline(name(), eager(on=broken))
    assert play(colour, pipeline, body) is raised
    assert play(colour, pipeline, body) is raised
    assert body.attempts == 2
    assert [record.exc_info[0] for record in caplog.records] == [LookupError]


@every_colour
def test_the_error_of_the_last_attempt_is_raised_as_it_was(colour):
    errors = [Down(1), Down(2), Down(3)]
    body = Script(*errors)
    ending = play(colour, Pipeline(name(), eager()), body)
    assert ending is errors[2]
    assert not hasattr(ending, "__notes__")


class Falsy(Exception):
    def __len__(self):
        return 0


class Untrue(Exception):
    def __bool__(self):
        raise LookupError("neither true nor false")


@pytest.mark.parametrize("kind", [Falsy, Untrue])
@every_colour
def test_an_error_is_an_error_whatever_its_truth(colour, kind, heard):
    body = Script(kind)
    assert type(play(colour, Pipeline(name(), eager()), body)) is kind
    assert body.attempts == 3
    assert {event.fields["cause"] for event in heard} == {kind.__name__}


@pytest.fixture
def heard():
    """Return the list that every event of the test lands in."""
    events = []
    stop = subscribe(events.append)
    yield events
    stop()


# -- results that are not good enough ----------------------------------------------------------


@every_colour
def test_a_bad_result_is_tried_again_until_it_is_good(colour):
    clock = VirtualClock()
    body = Script(None, None, "answer")
    pipeline = Pipeline(name(), eager(on_result=lambda result: result is None))
    assert play(colour, pipeline, body, clock) == "answer"
    assert clock.sleeps == [0.01, 0.02]


@every_colour
def test_the_last_bad_result_is_returned_as_it_is(colour):
    results = [[1], [2], [3]]
    body = Script(*results)
    assert play(colour, Pipeline(name(), eager(on_result=lambda result: True)), body) is results[2]
    assert body.attempts == 3


@every_colour
def test_errors_and_bad_results_share_the_attempts(colour):
    body = Script(Down(), None, Down(), None, "answer")
    pipeline = Pipeline(name(), eager(4, on_result=lambda result: result is None))
    assert play(colour, pipeline, body) is None
    assert body.attempts == 4


@every_colour
def test_a_result_predicate_that_raises_is_reported_once_and_takes_no_result_away(colour, caplog):
    def broken(result):
        raise LookupError

    body = Script("answer")
    pipeline = Pipeline(name(), eager(on_result=broken))
    assert [play(colour, pipeline, body) for _ in range(2)] == ["answer"] * 2
    assert body.attempts == 2
    assert len(caplog.records) == 1


@every_colour
def test_a_result_that_the_classifier_calls_bad_is_retried_with_its_hint(colour):
    clock = VirtualClock()
    body = Script(503, 503, 200)

    def judge(status):
        return Verdict(Outcome.THROTTLED, Certainty.REFUSED, 2.0) if status == 503 else None

    assert play(colour, Pipeline(name(), eager(), classifier=Classifier(result=judge)), body, clock) == 200
    assert all(2 <= slept <= 2.2 for slept in clock.sleeps)
    assert len(clock.sleeps) == 2


# -- pauses ------------------------------------------------------------------------------------


class Busy(Exception):
    """A failure with a server's hint."""

    def __init__(self, retry_after=None):
        super().__init__()
        self.retry_after = retry_after


HINTS = {
    "as far beyond our own delay as allowed": (1.0, 6.0, True),
    "a little too far beyond our own delay": (1.0, 6.01, False),
    "below our own delay": (3.0, 2.0, True),
    "as long as our own delay": (3.0, 3.0, True),
    "nothing to wait for": (1.0, 0, True),
    "a minute, which is the longest pause": (58.0, 60.0, True),
    "more than a minute": (58.0, 60.1, False),
}


@pytest.mark.parametrize(("own", "hint", "again"), HINTS.values(), ids=HINTS)
@every_colour
def test_rule_7_a_hint_is_obeyed_or_the_call_ends(colour, own, hint, again):
    clock = VirtualClock()
    body = Script(Busy(hint))
    pipeline = Pipeline(name(), eager(2, backoff=Backoff(base=own, cap=100, jitter="none")))
    ending = play(colour, pipeline, body, clock)
    assert ending.retry_after == hint
    assert body.attempts == (2 if again else 1)
    if again and hint > own:
        assert hint <= clock.sleeps[0] <= hint * 1.1
    else:
        assert clock.sleeps == ([own] if again else [])


@every_colour
def test_after_a_hint_our_own_delays_begin_anew(colour):
    clock = VirtualClock()
    clock.random = lambda: 0.0
    body = Script(Busy(), Busy(), Busy(5.0), Busy())
    play(colour, Pipeline(name(), eager(6, backoff=Backoff(base=1, jitter="none"))), body, clock)
    assert clock.sleeps == [1, 2, 5.0, 1, 2]


@every_colour
def test_the_gravest_hint_of_a_group_counts(colour):
    clock = VirtualClock()
    clock.random = lambda: 0.0
    play(colour, Pipeline(name(), eager(2)), Script(group(Busy(1.0), Busy(3.0), Busy())), clock)
    assert clock.sleeps == [3.0]


@every_colour
def test_a_throttle_is_waited_out_longer_than_a_failure(colour):
    clock = VirtualClock()
    pipeline = Pipeline(
        name(),
        eager(3, backoff=Backoff(base=0.05, jitter="none")),
        classifier=Classifier(error=lambda error: Outcome.THROTTLED),
    )
    play(colour, pipeline, Script(Down()), clock)
    assert clock.sleeps == [1.0, 2.0]


@every_colour
def test_no_sleep_is_begun_that_ends_at_the_deadline_or_later(colour):
    for whole, attempts in ((1.0, 1), (1.001, 2)):
        clock = VirtualClock()
        body = Script(Down())
        pipeline = Pipeline(name(), Timeout(whole, cooperative=True), eager(backoff=Backoff(base=1, jitter="fixed")))
        assert isinstance(play(colour, pipeline, body, clock), Down)
        assert (body.attempts, len(clock.sleeps)) == (attempts, attempts - 1)


TENACITY = {
    "waits": (tenacity.wait_fixed(2), 4, [2, 2, 2]),
    "growing waits": (tenacity.wait_exponential(multiplier=1, max=3), 4, [1, 2, 3]),
    "stops": (QUICK, tenacity.stop_after_attempt(2), [0.01]),
    "both": (tenacity.wait_fixed(2), tenacity.stop_after_delay(5), [2, 2, 2]),
    "stops before a delay": (tenacity.wait_fixed(2), tenacity.stop_before_delay(5), [2, 2]),
    "either of two stops": (QUICK, tenacity.stop_after_attempt(3) | tenacity.stop_after_delay(60), [0.01, 0.02]),
}


@every_colour
def test_tenacitys_objects_see_how_long_the_call_and_its_pauses_took(colour):
    clock = VirtualClock()
    seen = []

    class Own(tenacity.wait.wait_base):
        def __call__(self, retry_state):
            seen.append((retry_state.attempt_number, retry_state.idle_for, retry_state.seconds_since_start))
            return 2.0

    pipeline = Pipeline(name(), eager(tenacity.stop_after_delay(12), backoff=Own()))

    async def scenario(stage):
        async def fail():
            await stage.sleep(3)
            raise Down

        with pytest.raises(Down):
            await stage.call(pipeline, fail)

    colour.play(scenario, clock)
    assert seen == [(1, 0, 3), (2, 2, 8), (3, 4, 13)], "counted from the start of the first attempt"


@pytest.mark.parametrize(("backoff", "attempts", "sleeps"), TENACITY.values(), ids=TENACITY)
@every_colour
def test_tenacitys_objects_pace_and_stop(colour, backoff, attempts, sleeps):
    clock = VirtualClock()
    raised = Down()
    pipeline = Pipeline(name(), eager(attempts, backoff=backoff))
    assert play(colour, pipeline, Script(raised), clock) is raised
    assert clock.sleeps == sleeps


def test_on_an_event_loop_a_plain_call_does_not_sleep():
    clock = VirtualClock()
    raised = Down()
    pipeline = Pipeline(name("on-loop"), Retry(backoff=QUICK), Bulkhead(1))
    tries = []

    def fail():
        tries.append(1)
        raise raised

    async def scenario(stage):
        with pytest.warns(RuntimeWarning, match="on-loop.*sleep before a retry"), pytest.raises(Down) as caught:
            pipeline.call(fail)
        assert caught.value is raised
        with pytest.raises(Down):  # warned once
            pipeline.call(fail)

    ASYNCIO.play(scenario, clock)
    assert len(tries) == 2
    assert clock.sleeps == []
    assert pipeline[Retry].budget.tokens() == pytest.approx(2.2), "a retry that was not made costs nothing"


@every_loop
def test_on_an_event_loop_a_plain_calls_bad_result_is_returned_at_once(colour):
    clock = VirtualClock()
    pipeline = Pipeline(name("results-on-loop"), Retry(on_result=lambda result: True, backoff=QUICK))

    async def scenario(stage):
        with pytest.warns(RuntimeWarning, match="results-on-loop"):
            return pipeline.call(list, "ab")

    assert colour.play(scenario, clock) == ["a", "b"]
    assert clock.sleeps == []


@every_loop
def test_on_an_event_loop_a_plain_call_may_retry_without_a_pause(colour):
    pipeline = Pipeline(name(), eager(backoff=Backoff(base=0)))
    endings = iter([Down(), "answer"])

    def flaky():
        ending = next(endings)
        if isinstance(ending, Exception):
            raise ending
        return ending

    async def scenario(stage):
        return pipeline.call(flaky)

    assert colour.play(scenario) == "answer"


# -- who pays ----------------------------------------------------------------------------------


@every_colour
def test_an_empty_budget_raises_the_real_error(colour, heard):
    raised = Down()
    body = Script(raised)
    pipeline = Pipeline(name(), eager(budget=RetryBudget(start=0, ratio=0.01)))
    assert play(colour, pipeline, body) is raised
    assert body.attempts == 1
    assert [event.name for event in heard] == ["resilient.retry.budget_exhausted"]


@every_colour
def test_budgets_of_one_name_are_one(colour):
    shared = RetryBudget(name=name("fleet"), start=3, ratio=0.01)
    first, second = Pipeline(name(), eager(3, budget=shared)), Pipeline(name(), eager(3, budget=shared))
    bodies = [Script(Down()) for _ in range(3)]
    play(colour, first, bodies[0])
    play(colour, second, bodies[1])
    play(colour, first, bodies[2])
    assert [body.attempts for body in bodies] == [3, 2, 1]


@every_colour
def test_budgets_without_a_name_belong_to_their_pipelines(colour):
    for _ in range(2):
        body = Script(Down())
        play(colour, Pipeline(name(), eager(3, budget=RetryBudget(start=2))), body)
        assert body.attempts == 3


@every_colour
def test_a_refusal_before_anything_ran_is_raised_itself(colour):
    body = Script("answer")
    pipeline = Pipeline(name(), eager(), Bulkhead(1))
    with pipeline.permit():
        ending = play(colour, pipeline, body)
    assert type(ending) is BulkheadFull
    assert (ending.downstream, ending.policy) == (pipeline.name, "bulkhead")
    assert not hasattr(ending, "__notes__")
    assert body.attempts == 0


@every_colour
def test_of_several_errors_the_last_one_that_ran_gets_the_note(colour):
    errors = [Down(1), Down(2)]
    body = Script(*errors)
    pipeline = Pipeline(name(), eager(5), RateLimit(1, per=60, burst=2))
    assert play(colour, pipeline, body) is errors[1]
    assert len(errors[1].__notes__) == 1
    assert errors[1].__notes__[0].startswith("attempt 3 was refused: ")
    assert not hasattr(errors[0], "__notes__")


def test_a_variant_with_other_attempts_pays_from_the_same_budget():
    pipeline = Pipeline(name(), Retry(3, backoff=QUICK, budget=RetryBudget(start=2, ratio=0.01)))
    with installed(VirtualClock()):
        for attempts, tries in ((2, 2), (5, 2), (5, 1)):
            body = Script(Down())
            play(THREADS, pipeline.with_options(attempts=attempts), body)
            assert body.attempts == tries


@pytest.mark.parametrize("results", [False, True], ids=["errors", "results"])
@pytest.mark.parametrize(
    ("budget", "left"),
    [(RetryBudget.aws(quota=28), 28), (RetryBudget.grpc(10, 0.5), 9.5), (RetryBudget(start=5), 4.1)],
    ids=["aws gives the price back", "gRPC counts a success", "ours keeps it"],
)
@every_colour
def test_a_retry_that_succeeds_settles_with_the_budget(colour, budget, left, results):
    pipeline = Pipeline(name(), eager(3, budget=budget, on_result=(lambda result: result is None) if results else None))
    body = Script(None if results else Down(), "answer")
    assert play(colour, pipeline, body) == "answer"
    assert pipeline[Retry].budget.tokens() == pytest.approx(left)


def test_the_snapshot_tells_the_balance():
    pipeline = Pipeline(name(), Retry(3))
    assert pipeline.snapshot() == {"retry": {"budget": 2.0, "budget_ratio": 0.2}}
    assert Pipeline(name(), eager()).snapshot() == {"retry": {"budget": None}}


# -- layers ------------------------------------------------------------------------------------


def layers(outer=None, inner=None):
    return Pipeline(name("outer"), outer or eager()), Pipeline(name("inner"), inner or eager())


@dataclass(frozen=True)
class Frozen(Exception):
    """An error that refuses to be changed."""

    code: int = 1


class Slotted(Exception):
    __slots__ = ("code",)


@pytest.mark.parametrize("kind", [Down, Frozen, Slotted, OSError])
@every_colour
def test_what_an_inner_pipeline_gave_up_on_is_not_retried_outside(colour, kind):
    outer, inner = layers()
    body = Script(kind)

    async def scenario(stage):
        with pytest.raises(kind):
            await stage.call(outer, lambda: stage.call(inner, body))

    colour.play(scenario)
    assert body.attempts == 3


@every_colour
def test_not_even_in_a_group_with_other_errors(colour):
    outer, inner = layers()
    body = Script(Down)

    async def scenario(stage):
        async def both():
            try:
                await stage.call(inner, body)
            except Down as error:
                raise group(OSError(), group(error)) from None

        with pytest.raises(ExceptionGroup):
            await stage.call(outer, both)

    colour.play(scenario)
    assert body.attempts == 3


GIVEN_UP = {
    "no attempts left": (eager(2), Down(), 2),
    "no budget": (eager(budget=RetryBudget(start=0, ratio=0.01)), Down(), 1),
    "a hint too long": (eager(), Busy(30.0), 1),
    "tenacity's stop": (eager(tenacity.stop_after_attempt(2)), Down(), 2),
}


@pytest.mark.parametrize(("inner", "error", "attempts"), GIVEN_UP.values(), ids=GIVEN_UP)
@every_colour
def test_whatever_made_the_inner_one_give_up(colour, inner, error, attempts):
    outer, inner = layers(inner=inner)
    body = Script(error)

    async def scenario(stage):
        with pytest.raises(type(error)):
            await stage.call(outer, lambda: stage.call(inner, body))

    colour.play(scenario)
    assert body.attempts == attempts


@pytest.mark.parametrize("inner", [eager(1), eager(on=KeyError)], ids=["one attempt", "other errors"])
@every_colour
def test_an_error_that_no_inner_pipeline_would_retry_is_retried_outside(colour, inner):
    outer, inner = layers(inner=inner)
    body = Script(Down)

    async def scenario(stage):
        with pytest.raises(Down):
            await stage.call(outer, lambda: stage.call(inner, body))

    colour.play(scenario)
    assert body.attempts == 3


@every_colour
def test_who_asks_for_it_retries_given_up_errors_and_each_retry_is_one_attempt(colour):
    outer, inner = layers(eager(retry_given_up=True))
    body = Script(Down)

    async def scenario(stage):
        with pytest.raises(Down):
            await stage.call(outer, lambda: stage.call(inner, body))

    colour.play(scenario)
    assert body.attempts == 3 + 1 + 1


@every_colour
def test_inside_a_second_attempt_an_inner_pipeline_makes_one(colour):
    outer, inner = layers()
    own, body = Script(Down, "go on"), Script(Down)

    async def scenario(stage):
        async def attempt():
            await own()
            await stage.call(inner, body)

        with pytest.raises(Down):
            await stage.call(outer, attempt)
        assert body.attempts == 2, "one in the second attempt, one in the third"

    colour.play(scenario)


@every_colour
def test_calls_beside_and_after_keep_their_own_attempts(colour):
    outer, inner = layers()
    inside, beside, after = Script(Down), Script(Down), Script(Down)
    own = Script(Down, "go on")

    async def scenario(stage):
        second, sibling_is_done = stage.gate(), stage.gate()

        async def attempt():
            await own()
            second.set()
            await sibling_is_done.wait()
            await stage.call(inner, inside)

        async def sibling():
            await second.wait()
            with pytest.raises(Down):
                await stage.call(inner, beside)
            sibling_is_done.set()

        async def first():
            with pytest.raises(Down):
                await stage.call(outer, attempt)
            with pytest.raises(Down):
                await stage.call(inner, after)

        assert await stage.together(first, sibling) == [None, None]

    colour.play(scenario)
    assert (inside.attempts, beside.attempts, after.attempts) == (2, 3, 3)


@every_loop
def test_a_child_task_of_a_second_attempt_makes_one_attempt(colour):
    outer, inner = layers(eager(2))
    own, body = Script(Down, "go on"), Script(Down)

    async def scenario(stage):
        async def attempt():
            await own()
            return await stage.start(lambda: stage.call(inner, body)).join()

        assert isinstance(await stage.call(outer, attempt), Down)

    colour.play(scenario)
    assert body.attempts == 1


@every_loop
def test_a_task_that_outlives_the_retried_call_has_its_own_attempts_back(colour):
    outer, inner = layers()
    own, body = Script(Down, "go on"), Script(Down)

    async def scenario(stage):
        go, children = stage.gate(), []

        async def later():
            await go.wait()
            with pytest.raises(Down):
                await stage.call(inner, body)

        async def attempt():
            await own()
            children.append(stage.start(later))

        await stage.call(outer, attempt)
        go.set()
        assert await children[0].join() is None

    colour.play(scenario)
    assert body.attempts == 3, "it is nobody's second attempt any more"


@every_loop
def test_a_retried_call_that_is_thrown_away_leaves_nobody_behind_as_its_child(colour):
    outer, inner = layers()
    own, body = Script(Down, "go on"), Script(Down)

    async def scenario(stage):
        forever = stage.gate()

        async def attempt():
            await own()
            await forever.wait()

        call = outer.acall(attempt)

        with installed(Still()):
            call.send(None)
            call.close()
        with pytest.raises(Down):
            await stage.call(inner, body)

    colour.play(scenario)
    assert body.attempts == 3


class Still(VirtualClock):
    """Time in which a pause is over at once."""

    async def asleep(self, seconds):
        self.sleeps.append(seconds)


def test_a_worker_thread_belongs_to_the_attempt_it_works_for():
    outer = Pipeline(name("outer"), Timeout(20), eager())
    inner = Pipeline(name("inner"), Timeout(10), eager())
    tries, own = [], iter([Down(), None, None])

    def fail():
        tries.append(threading.current_thread().name)
        raise Down

    def attempt():
        error = next(own)
        if error is not None:
            raise error
        inner.call(fail)

    with pytest.raises(Down):
        outer.call(attempt)
    assert len(tries) == 2, "one in each later attempt"
    with pytest.raises(Down):
        outer.call(inner.call, fail)
    assert len(tries) == 5, "given up on inside, not retried outside"


@every_colour
def test_one_error_object_raised_again_and_again_is_retried_each_time(colour):
    outer, inner = layers()
    singleton = Down()
    inside, outside = Script(singleton), Script(singleton)

    async def scenario(stage):
        for _ in range(2):
            with pytest.raises(Down):
                await stage.call(outer, lambda: stage.call(inner, inside))
            with pytest.raises(Down):
                await stage.call(outer, outside)

    colour.play(scenario)
    assert (inside.attempts, outside.attempts) == (6, 6)


@every_colour
def test_three_layers_make_no_more_attempts_than_one(colour):
    top, (middle, bottom) = Pipeline(name("top"), eager()), layers()
    body = Script(Down)

    async def scenario(stage):
        with pytest.raises(Down):
            await stage.call(top, lambda: stage.call(middle, lambda: stage.call(bottom, body)))

    colour.play(scenario)
    assert body.attempts == 3


# -- settings ----------------------------------------------------------------------------------


def test_it_says_what_it_does():
    assert Retry().describe() == (
        "3 attempts, full jitter, 0.05 s times 2 up to 20 s, 1 s after a throttle, "
        "retries up to 10 % of calls, bursts of 10"
    )
    assert eager(2).describe().endswith("no budget")
    assert Retry(tenacity.stop_after_attempt(2)).describe().startswith("tenacity's stop_after_attempt, full jitter")
    assert "tenacity's wait_fixed" in Retry(backoff=tenacity.wait_fixed(1)).describe()
    assert Retry(1).describe().startswith("1 attempt, ")


def test_policies_with_equal_settings_are_equal():
    assert Retry() == Retry(3)
    assert hash(Retry(2, on=OSError)) == hash(Retry(2, on=OSError))
    assert Retry(2) != Retry(3)
    assert Retry(on=OSError) != Retry(on=(OSError,))
    with pytest.raises(AttributeError):
        Retry().attempts = 5


def test_a_hint_may_be_a_timedelta():
    clock = VirtualClock()
    clock.random = lambda: 0.0
    play(THREADS, Pipeline(name(), eager(2)), Script(Busy(dt.timedelta(seconds=3))), clock)
    assert clock.sleeps == [3.0]


def test_a_passed_deadline_leaves_the_first_error():
    clock = VirtualClock()
    with installed(clock), deadline(0.005), pytest.raises(Down):
        Pipeline(name(), eager()).call(_raise, Down())
    assert clock.sleeps == []


def _raise(error):
    raise error


def test_asyncio_and_trio_calls_share_the_budget_with_threads():
    pipeline = Pipeline(name(), eager(budget=RetryBudget(start=3, ratio=0.01)))
    body = Script(Down)
    with installed(Still()):
        for run in (lambda: asyncio.run(pipeline.acall(body)), lambda: trio.run(pipeline.acall, body)):
            with pytest.raises(Down):
                run()
        with pytest.raises(Down):
            pipeline.call(_raise, Down())
    assert body.attempts == 3 + 2
    assert pipeline[Retry].budget.tokens() == pytest.approx(0.03)


@every_colour
def test_a_bad_result_is_what_the_call_gets_when_its_next_attempt_is_refused(colour):
    for before in ((), (Down(),)):
        body = Script(*before, ["bad"])
        pipeline = Pipeline(
            name(), eager(5, on_result=lambda result: True), RateLimit(1, per=60, burst=1 + len(before))
        )
        assert play(colour, pipeline, body) == ["bad"], "it ran: the refusal of a later attempt is not its ending"
        assert body.attempts == 1 + len(before)


@every_colour
def test_an_error_is_what_the_call_gets_when_it_came_last(colour):
    raised = Down()
    pipeline = Pipeline(name(), eager(5, on_result=lambda result: True), RateLimit(1, per=60, burst=2))
    assert play(colour, pipeline, Script(["bad"], raised)) is raised
    assert "attempt 3 was refused" in raised.__notes__[0]
