"""What holds on a downstream promise: whoever calls, however the call is made, with a breaker or without."""

from __future__ import annotations

import asyncio
import gc
import pickle
import sys
import threading
import weakref
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from random import Random

import pytest

from resilient import (
    Backoff,
    BreakerOpen,
    Bulkhead,
    BulkheadFull,
    CircuitBreaker,
    Classifier,
    ConfigError,
    Fallback,
    Keyed,
    Outcome,
    Pipeline,
    RateLimit,
    Retry,
    StaleCache,
    Timeout,
    subscribe,
)
from resilient._gate import gate as _gate
from resilient._gate.gate import gate_of
from resilient._machines.holds import CONTROL, FORCED_OPEN, Entry
from resilient._weave import inlays
from resilient._weave.gates import gates
from resilient.testing import FakeClock
from tests._stage import PATIENCE, THREADS, VirtualClock, every_colour, every_loop, installed, name, nothing_left

QUICK = Backoff(base=0)
WHY = {"reason": "maintenance", "expires": 60}


class Down(Exception):
    """What the downstream raises when it fails."""


async def answer(value="answer"):
    return value


async def fail():
    raise Down


@pytest.fixture
def clock():
    clock = VirtualClock()
    with installed(clock):
        yield clock


@pytest.fixture
def heard():
    kept = []
    stop = subscribe(kept.append)
    yield kept
    stop()


def refused(pipeline, call=None):
    """Expect the refusal of a hold, and return it."""
    with pytest.raises(BreakerOpen) as caught:
        (call or (lambda: pipeline.call(int)))()
    assert caught.value.reason == "forced_open"
    return caught.value


SHAPES = {
    "nothing": (),
    "breaker": (CircuitBreaker(),),
    "timeout": (Timeout(5),),
    "retry": (Retry(5, backoff=QUICK),),
    "bulkhead": (Bulkhead(2, queue=2, max_wait=1),),
    "breaker outside": (CircuitBreaker(), Retry(3), Bulkhead(3)),
    "all": (Timeout(9), Retry(backoff=QUICK), CircuitBreaker(), RateLimit(1000), Bulkhead(5), Timeout(3)),
}


@every_colour
@pytest.mark.parametrize("shape", SHAPES)
def test_a_downstream_that_is_held_open_gets_no_call(colour, shape):
    pipeline = Pipeline(name(), *SHAPES[shape])
    ran = []

    async def body():
        ran.append(1)

    async def scenario(stage):
        guarded = stage.guarded(pipeline, body)
        await guarded()
        hold = pipeline.hold("forced_open", **WHY)
        await stage.sleep(20)
        for call in (guarded, lambda: stage.call(pipeline, body)):
            with pytest.raises(BreakerOpen) as caught:
                await call()
            error = caught.value
            assert (error.downstream, error.reason, error.retry_after) == (pipeline.name, "forced_open", 40)
            assert error.policy == ("circuit_breaker" if shape == "breaker outside" else "hold")
        hold.release()
        if shape not in ("breaker", "breaker outside", "all"):
            stage.clock.random = lambda: 0.049
        await guarded()
        await stage.call(pipeline, body)

    colour.play(scenario)
    assert len(ran) == 3
    nothing_left(pipeline)


def test_nobody_retries_what_a_hold_refuses(clock):
    pipeline = Pipeline(name(), Retry(5, on=Exception, backoff=QUICK))
    pipeline.hold("forced_open", **WHY)
    asked = []
    with pytest.raises(BreakerOpen):
        Pipeline(name(), Retry(5, on=Exception, backoff=QUICK)).call(lambda: asked.append(1) or pipeline.call(int))
    assert asked == [1]


def test_a_hold_that_comes_between_two_attempts_ends_the_call(clock):
    pipeline = Pipeline(name(), Retry(5, backoff=QUICK))
    pipeline.hold("no_retries", **WHY).release()  # woven in
    ran = []

    def body():
        ran.append(1)
        pipeline.hold("forced_open", **WHY)
        raise Down

    with pytest.raises(Down) as caught:
        pipeline.call(body)
    assert ran == [1]
    assert "refused" in caught.value.__notes__[0]


def test_the_message_tells_a_hold_from_a_breaker_that_opened_and_seconds_are_no_power_of_ten(clock):
    pipeline = Pipeline("held", CircuitBreaker())
    pipeline.hold("forced_open", reason="migration", actor="ann", expires=2700)
    with pytest.raises(BreakerOpen) as caught:
        pipeline.call(len, "x")
    assert str(caught.value) == "held: held open (forced_open); retry in 2700 s"


def test_a_hold_for_ever_says_so(clock):
    pipeline = Pipeline(name())
    pipeline.hold("forced_open", reason="x", expires=None)
    assert refused(pipeline).retry_after is None


# -- what holds ask for ------------------------------------------------------------------------


@pytest.mark.parametrize("policies", [(), (CircuitBreaker(),)], ids=["no breaker", "breaker"])
def test_a_part_of_the_calls_is_refused(policies, clock):
    pipeline = Pipeline(name(), *policies)
    clock.random = Random(7).random
    pipeline.hold("forced_open", percent=30, **WHY)
    passed, refusals = 0, set()
    for _ in range(2000):
        try:
            pipeline.call(int)
            passed += 1
        except BreakerOpen as error:
            refusals.add((error.policy, error.reason, error.retry_after))
    assert 1350 < passed < 1450
    assert refusals == {("hold", "forced_open", 0)}
    clock.time += 60
    for _ in range(100):
        pipeline.call(int)


def test_observing_admits_all_that_the_breaker_would_refuse(clock, heard):
    pipeline = Pipeline(name(), CircuitBreaker(consecutive=1))
    pipeline.hold("observe", **WHY)
    for _ in range(3):
        with pytest.raises(Down):
            pipeline.call(_down)
    assert pipeline[CircuitBreaker].snapshot()["would_reject"] == 2
    assert [event.name for event in heard][1:] == ["resilient.breaker.transition", "resilient.breaker.would_open"]


def test_forced_closed_admits_all(clock):
    pipeline = Pipeline(name(), CircuitBreaker(consecutive=1))
    pipeline.hold("forced_closed", **WHY)
    for _ in range(30):
        with pytest.raises(Down):
            pipeline.call(_down)


def _down():
    raise Down


@every_colour
def test_the_retry_switch_lets_nothing_be_repeated(colour):
    pipeline = Pipeline(name(), Retry(4, backoff=QUICK, budget=None))
    ran, heard = [], []

    async def body():
        ran.append(1)
        raise Down

    async def scenario(stage):
        stop = subscribe(heard.append)
        hold = pipeline.hold("no_retries", **WHY)
        with pytest.raises(Down):
            await stage.call(pipeline, body)
        assert len(ran) == 1
        hold.release()
        with pytest.raises(Down):
            await stage.call(pipeline, body)
        assert len(ran) == 5
        stop()

    colour.play(scenario)
    whys = [event.fields["why"] for event in heard if event.name == "resilient.retry.exhausted"]
    assert whys == ["switched_off", "attempts"]


def test_the_retry_switch_counts_for_results(clock):
    pipeline = Pipeline(name(), Retry(4, backoff=QUICK, on_result=lambda value: value < 0))
    ran = []
    pipeline.hold("no_retries", **WHY)
    assert pipeline.call(lambda: ran.append(1) or -1) == -1
    judged = Pipeline(name(), Retry(4, backoff=QUICK), classifier=Classifier(result=lambda _: Outcome.FAILURE))
    judged.hold("no_retries", **WHY)
    assert judged.call(lambda: ran.append(1)) is None
    assert ran == [1, 1]


def test_an_error_of_a_downstream_without_retries_is_not_retried_further_out(clock):
    inner = Pipeline(name(), Retry(4, backoff=QUICK))
    inner.hold("no_retries", **WHY)
    ran = []

    def body():
        ran.append(1)
        raise Down

    with pytest.raises(Down):
        Pipeline(name(), Retry(4, backoff=QUICK)).call(lambda: inner.call(body))
    assert ran == [1]


@pytest.mark.parametrize("policies", [(), (CircuitBreaker(),)], ids=["no breaker", "breaker"])
def test_a_fallback_answers_for_a_refusal_unless_it_is_to_reach_the_caller(policies, clock):
    pipeline = Pipeline(name(), Fallback("instead"), *policies)
    hold = pipeline.hold("forced_open", **WHY)
    assert pipeline.call(int) == "instead"
    strict = pipeline.hold("forced_open", disposition="reject", **WHY)
    refused(pipeline)
    strict.release()
    assert pipeline.call(int) == "instead"
    hold.release()


def test_a_stored_answer_stands_in_for_a_refusal_unless_it_is_to_reach_the_caller(clock):
    pipeline = Pipeline(name(), StaleCache(10, stale=600, while_revalidating=False))
    fetch = pipeline(lambda: "answer")
    assert fetch() == "answer"
    clock.time += 20
    hold = pipeline.hold("forced_open", **WHY)
    assert fetch() == "answer"
    strict = pipeline.hold("forced_open", disposition="reject", **WHY)
    refused(pipeline, fetch)
    strict.release()
    assert fetch() == "answer"
    hold.release()


def test_what_reaches_the_caller_is_the_refusal_of_this_downstream_only(clock):
    inner, outer = Pipeline(name()), Pipeline(name(), Fallback("instead"))
    outer.hold("forced_open", percent=1, disposition="reject", **WHY)
    clock.random = lambda: 0.5
    inner.hold("forced_open", **WHY)
    assert outer.call(lambda: inner.call(int)) == "instead"
    inner.hold("forced_open", disposition="reject", **WHY)
    assert outer.call(lambda: inner.call(int)) == "instead", "it has reached the caller of the inner one"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mode": "shut"}, "mode must be one of forced_open, observe, forced_closed, no_retries"),
        ({"reason": ""}, "reason must be"),
        ({"expires": 0}, "expires must be"),
        ({"percent": 0}, "percent must be"),
        ({"percent": 101}, "percent must be 1 to 100 with forced_open"),
        ({"mode": "observe", "percent": 5}, "percent must be 1 to 100 with forced_open"),
        ({"disposition": "maybe"}, "disposition must be one of fallback, reject"),
    ],
)
def test_what_cannot_be_held_is_refused_and_changes_nothing(given, message, clock):
    pipeline = Pipeline(name())
    with pytest.raises(ConfigError, match=message):
        pipeline.hold(**{"mode": "forced_open", "reason": "x", "expires": 1, **given})
    assert pipeline.call(int) == 0
    assert pipeline.resting()


def test_a_hold_without_an_end_has_to_be_asked_for():
    with pytest.raises(TypeError, match="expires"):
        Pipeline(name()).hold("forced_open", reason="x")


# -- several holds, and their ends -------------------------------------------------------------


@pytest.mark.parametrize("policies", [(), (CircuitBreaker(),)], ids=["no breaker", "breaker"])
def test_releasing_one_hold_leaves_the_others(policies, clock):
    pipeline = Pipeline(name(), *policies)
    anna = pipeline.hold("forced_open", actor="anna", reason="deploy", expires=60)
    bob = pipeline.hold("forced_open", actor="bob", reason="network", expires=90)
    assert refused(pipeline).retry_after == 90
    assert bob.release()
    assert not bob.release()
    assert not bob.active
    assert anna.active
    assert refused(pipeline).retry_after == 60
    assert [hold.actor for hold in pipeline.holds()] == ["anna"]


@pytest.mark.parametrize("policies", [(), (CircuitBreaker(),)], ids=["no breaker", "breaker"])
def test_a_hold_expires_by_the_clock_alone(policies, clock, heard):
    pipeline = Pipeline(name(), *policies)
    clock.random = lambda: 0.0
    pipeline.hold("forced_open", **WHY)
    clock.time += 59.9
    refused(pipeline)
    clock.time += 0.1
    assert pipeline.call(int) == 0
    names = [event.name for event in heard if "override" in event.name]
    assert names == ["resilient.override.applied", "resilient.override.expired"]
    assert pipeline.holds() == ()


def test_a_hold_expires_on_the_clock_of_tests():
    clock = FakeClock()
    with installed(clock):
        pipeline = Pipeline(name())
        pipeline.hold("forced_open", **WHY)
        refused(pipeline)
        clock.advance(121)
        assert pipeline.call(int) == 0, "and calls have returned meanwhile"
        assert pipeline.resting()


@pytest.mark.parametrize("policies", [(), (CircuitBreaker(),)], ids=["no breaker", "breaker"])
def test_a_hold_lasts_as_long_on_another_clock(policies, clock):
    pipeline = Pipeline(name(), *policies)
    pipeline.hold("forced_open", **WHY)
    clock.time += 20
    other = VirtualClock()
    other.time = 5.0
    with installed(other):
        assert refused(pipeline).retry_after == pytest.approx(40)
        other.time += 39
        refused(pipeline)
        other.time += 1
        other.random = lambda: 0.0
        pipeline.call(int)


def test_the_way_back_lasts_as_long_on_another_clock(clock):
    pipeline = Pipeline(name())
    pipeline.hold("forced_open", **WHY).release()
    clock.time += 30
    assert pipeline.snapshot()["gate"]["share"] == 0.25
    other = VirtualClock()
    other.time = 5.0
    with installed(other):
        assert pipeline.snapshot()["gate"]["share"] == 0.25
        other.time += 31
        assert pipeline.resting()


def test_without_a_breaker_calls_return_in_steps(clock):
    pipeline = Pipeline(name())
    pipeline.hold("forced_open", **WHY).release()
    for at, share in ((0, 0.05), (20, 0.25), (40, 0.5)):
        clock.time = 1000.0 + at
        for draw, passes in ((share - 0.01, True), (share, False)):
            clock.random = lambda draw=draw: draw
            if passes:
                pipeline.call(int)
            else:
                with pytest.raises(BreakerOpen) as caught:
                    pipeline.call(int)
                assert (caught.value.reason, caught.value.retry_after) == ("ramping", 0)
    clock.time = 1060.0
    clock.random = lambda: 0.999
    pipeline.call(int)
    assert pipeline.snapshot() == {}
    assert pipeline.resting()


def test_a_breaker_returns_through_half_open_in_the_steps_of_operators(clock):
    pipeline = Pipeline(name(), CircuitBreaker(probes=2))
    pipeline.hold("forced_open", **WHY).release()
    breaker = pipeline[CircuitBreaker]
    assert breaker.snapshot()["state"] == "half_open"
    assert "gate" not in pipeline.snapshot(), "the breaker sees to it"
    clock.random = lambda: 0.06
    pipeline.call(int)
    pipeline.call(int)
    assert breaker.snapshot()["state"] == "closed"
    with pytest.raises(BreakerOpen, match="ramping"):
        pipeline.call(int)
    clock.time += 20
    pipeline.call(int)


@pytest.mark.parametrize("weaker", [("forced_open", 50), ("no_retries", 100)])
def test_a_hold_that_its_owner_makes_weaker_lets_the_breaker_go(weaker, clock):
    pipeline = Pipeline(name(), CircuitBreaker())
    gate = gate_of(pipeline._assembly.env)
    pipeline.hold("no_retries", **WHY)
    mode, percent = weaker
    for entry in (Entry("h", FORCED_OPEN, "x", "me", origin=CONTROL), Entry("h", mode, "x", "me", 1e9, percent)):
        gate.publish(gate.take([entry], 0))
    assert pipeline[CircuitBreaker].snapshot()["state"] == "half_open"
    clock.random = lambda: 0.0
    pipeline.call(int)


def test_resetting_ends_the_slow_return(clock):
    pipeline = Pipeline(name())
    pipeline.hold("forced_open", **WHY).release()
    gate_of(pipeline._assembly.env).command("reset")
    clock.random = lambda: 0.999
    pipeline.call(int)
    assert pipeline.resting()
    assert pipeline.snapshot() == {}


def test_what_others_placed_is_not_released_by_code(clock):
    pipeline = Pipeline(name())
    gate = gate_of(pipeline._assembly.env)
    pipeline.hold("no_retries", **WHY).release()
    gate.take([Entry("h", FORCED_OPEN, "x", "me", origin=CONTROL)], 0)
    (hold,) = pipeline.holds()
    with pytest.raises(ConfigError, match="hold must be one of this process"):
        hold.release()
    refused(pipeline)
    gate.take([], 0)
    assert not hold.active


def test_the_snapshot_shows_what_is_held(clock):
    pipeline = Pipeline(name(), Retry())
    assert "gate" not in pipeline.snapshot()
    pipeline.hold("forced_open", percent=25, actor="me", reason="deploy", expires=60, disposition="reject")
    pipeline.hold("no_retries", reason="storm", expires=None)
    clock.time += 10
    gate = pipeline.snapshot()["gate"]
    (first, second) = gate.pop("holds")
    assert gate == {"mode": "forced_open", "share": 0.75, "retries": False}
    assert first.pop("id") != second.pop("id")
    shown = {"mode": "forced_open", "reason": "deploy", "actor": "me", "percent": 25, "disposition": "reject"}
    assert first == {**shown, "expires": 50}
    shown = {"mode": "no_retries", "reason": "storm", "actor": "", "percent": 100, "disposition": "fallback"}
    assert second == {**shown, "expires": None}


# -- every form of a call ----------------------------------------------------------------------


@pytest.mark.parametrize("kept", [False, True], ids=["asked for after the hold", "asked for before it"])
def test_a_permit_is_refused_too(kept, clock):
    pipeline = Pipeline(name(), CircuitBreaker(), Bulkhead(1))
    request = pipeline.permit()
    with request as permit:
        permit.succeeded()
    hold = pipeline.hold("forced_open", **WHY)
    if not kept:
        request = pipeline.permit()

    def enter():
        with request:
            pass

    assert refused(pipeline, enter).policy == "hold"

    async def aenter():
        async with request:
            pass

    refused(pipeline, lambda: asyncio.run(aenter()))
    hold.release()
    enter()
    nothing_left(pipeline)


def test_a_variant_is_held_with_its_pipeline(clock):
    pipeline = Pipeline(name(), Timeout(5), Retry())
    variant = pipeline.with_options(timeout=2, attempts=1)
    guarded = variant(lambda: 1)
    assert guarded() == 1
    hold = pipeline.hold("forced_open", **WHY)
    refused(variant)
    refused(variant, guarded)
    later = pipeline.with_options(attempts=2)
    refused(later)
    hold.release()
    other = variant.hold("forced_open", **WHY)
    refused(pipeline)
    assert [each.id for each in pipeline.holds()] == [other.id]


def test_each_member_of_a_family_is_held_by_itself_and_stays(clock):
    family = Keyed(name(), CircuitBreaker(), idle=10, most=2)
    hold = family["a"].hold("forced_open", **WHY)
    refused(family["a"])
    assert family["b"].call(int) == 0
    clock.time += 30
    assert family.evict_idle() == 1
    assert "a" in family
    refused(family["a"])
    hold.release()
    clock.random = lambda: 0.0
    for _ in range(5):
        family["a"].call(int)
    clock.time += 100
    assert family.evict_idle() == 1


def test_a_member_without_a_breaker_may_go_when_calls_have_returned(clock):
    family = Keyed(name(), idle=10)
    family["a"].hold("forced_open", **WHY).release()
    clock.time += 59
    assert family.evict_idle() == 0
    clock.time += 1
    assert family.evict_idle() == 1


def test_nested_pipelines_are_held_one_by_one(clock):
    outer, inner = Pipeline(name(), CircuitBreaker(consecutive=1)), Pipeline(name(), CircuitBreaker())
    call = outer(inner(lambda: 1))
    hold = inner.hold("forced_open", **WHY)
    assert refused(outer, call).downstream == inner.name
    assert outer[CircuitBreaker].snapshot()["failures"] == 0, "a refusal of ours is no failure"
    hold.release()
    clock.random = lambda: 0.0
    assert call() == 1
    outer.hold("forced_open", **WHY)
    assert refused(outer, call).downstream == outer.name


def test_refreshing_a_stored_answer_passes_the_gate(clock):
    pipeline = Pipeline(name(), StaleCache(10, stale=600), Retry(3, backoff=QUICK))
    asked = []
    fetch = pipeline(lambda: asked.append(1) or len(asked))
    assert fetch() == 1
    clock.time += 20
    hold = pipeline.hold("forced_open", **WHY)
    assert fetch() == 1
    _settled(pipeline)
    assert asked == [1]
    hold.release()
    clock.random = lambda: 0.0
    clock.time += 20
    fetch()
    _settled(pipeline)
    assert asked == [1, 1]


def _settled(pipeline):
    end = threading.Event()
    for _ in range(1000):
        if not pipeline[StaleCache].background.running:
            return
        end.wait(0.01)
    pytest.fail("a refresh does not end")


@pytest.mark.parametrize("family", ["httpx", "httpx2"])
def test_a_client_gets_its_own_kind_of_error(family, clock):
    client = pytest.importorskip(family)
    from importlib import import_module

    transport = import_module(f"resilient.{family}").ResilientTransport
    pipeline = Pipeline(name(), Retry(3, backoff=QUICK), CircuitBreaker())
    sent = []

    def serve(request):
        sent.append(request)
        return client.Response(503)

    mock = client.MockTransport(serve)
    with client.Client(transport=transport({"http://api.test": pipeline}, transport=mock)) as http:
        pipeline.hold("no_retries", **WHY)
        assert http.get("http://api.test/").status_code == 503
        assert len(sent) == 1
        pipeline.hold("forced_open", **WHY)
        with pytest.raises(client.TransportError) as caught:
            http.get("http://api.test/")
        assert isinstance(caught.value, BreakerOpen)
        assert caught.value.request.url == "http://api.test/"
        assert (caught.value.policy, caught.value.reason, caught.value.retry_after) == ("hold", "forced_open", 60)
        assert len(sent) == 1


def test_an_open_body_may_be_read_to_its_end_under_a_hold(clock):
    httpx2 = pytest.importorskip("httpx2")
    from resilient.httpx2 import ResilientTransport

    pipeline = Pipeline(name(), Bulkhead(1), CircuitBreaker())
    transport = ResilientTransport(
        {"http://api.test": pipeline}, transport=httpx2.MockTransport(lambda _: httpx2.Response(200, text="body"))
    )
    with httpx2.Client(transport=transport) as http:
        with http.stream("GET", "http://api.test/") as response:
            pipeline.hold("forced_open", **WHY)
            assert response.read() == b"body"
        with pytest.raises(BreakerOpen):
            http.get("http://api.test/")
    nothing_left(pipeline)


pickled = Pipeline("gate-pickled", CircuitBreaker())


@pickled
def guarded_here():
    return 1


def test_what_is_unpickled_here_is_held(clock):
    pipeline = Pipeline(name(), CircuitBreaker())
    pipeline.hold("forced_open", **WHY)
    refused(pickle.loads(pickle.dumps(pipeline)))
    hold = pickled.hold("forced_open", **WHY)
    refused(pickled, pickle.loads(pickle.dumps(guarded_here)))
    hold.release()
    error = refused(pipeline)
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)


# -- weaving, with calls in flight -------------------------------------------------------------


def test_while_nobody_holds_anything_no_gate_is_woven_in():
    pipeline = Pipeline(name(), Retry(), CircuitBreaker(), Bulkhead(1, queue=1, max_wait=1))
    assert not any("gate" in pipeline.source(colour) for colour in ("sync", "async"))
    pipeline.hold("observe", **WHY).release()
    assert pipeline.source().count("gate_100") == 2
    assert pipeline.source().count("gate_101") == 2


@every_colour
def test_a_call_in_flight_ends_as_it_began_when_a_hold_is_woven_in(colour):
    pipeline = Pipeline(name(), Retry(2, backoff=QUICK), CircuitBreaker(), Bulkhead(2))

    async def scenario(stage):
        gate, inside = stage.gate(), stage.gate()
        fails = [True]

        async def body():
            inside.set()
            await gate.wait()
            if fails:
                raise Down
            return "done"

        child = stage.start(lambda: stage.call(pipeline, body))
        await inside.wait()
        hold = pipeline.hold("forced_open", **WHY)
        with pytest.raises(BreakerOpen):
            await stage.call(pipeline, body)
        hold.release()
        fails.clear()
        stage.clock.random = lambda: 0.0
        gate.set()
        assert await child.join() == "done"

    colour.play(scenario)
    nothing_left(pipeline)


@every_colour
@pytest.mark.parametrize("policies", [(Timeout(50), Bulkhead(1, queue=1)), (RateLimit(1, per=10, max_wait=20),)])
def test_who_waited_while_the_downstream_was_held_is_turned_back(colour, policies):
    pipeline = Pipeline(name(), CircuitBreaker(), *policies)
    pipeline.hold("no_retries", **WHY)  # woven in
    ran = []

    async def scenario(stage):
        go = stage.gate()

        async def first():
            ran.append("first")
            if isinstance(policies[-1], Bulkhead):
                await go.wait()

        async def second():
            ran.append("second")

        one = stage.start(lambda: stage.call(pipeline, first))
        await stage.until(lambda: ran)
        sleep = stage.clock.sleep
        if isinstance(policies[-1], RateLimit):
            stage.clock.sleep = lambda seconds: (pipeline.hold("forced_open", **WHY), sleep(seconds))
            inner = stage.clock.asleep

            async def asleep(seconds):
                pipeline.hold("forced_open", **WHY)
                await inner(seconds)

            stage.clock.asleep = asleep
        two = stage.start(lambda: stage.call(pipeline, second))
        if isinstance(policies[-1], Bulkhead):
            await stage.until(lambda: pipeline[Bulkhead].snapshot()["queued"])
            pipeline.hold("forced_open", **WHY)
        go.set()
        await one.join()
        outcome = await two.join()
        assert isinstance(outcome, BreakerOpen), outcome
        assert (outcome.policy, outcome.reason) == ("hold", "forced_open")

    colour.play(scenario)
    assert ran == ["first"]
    assert pipeline[CircuitBreaker].snapshot()["failures"] == 0
    nothing_left(pipeline)


def test_a_share_is_drawn_once_for_each_attempt_not_again_after_a_wait(clock):
    pipeline = Pipeline(name(), Bulkhead(1, queue=1, max_wait=1))
    drawn = []
    clock.random = lambda: drawn.append(1) or 0.9
    pipeline.hold("forced_open", percent=50, **WHY)
    with pytest.raises(BreakerOpen):
        pipeline.call(int)
    assert len(drawn) == 1
    clock.random = lambda: drawn.append(1) or 0.1
    pipeline.call(int)
    assert len(drawn) == 2


# -- races, each proved by stopping in the middle ----------------------------------------------


@contextmanager
def between(target, attribute, action):
    """Have something happen once, just before a function of ours goes on."""
    before = getattr(target, attribute)

    def meanwhile(*args, **kwargs):
        setattr(target, attribute, before)
        action()
        return before(*args, **kwargs)

    setattr(target, attribute, meanwhile)
    try:
        yield
    finally:
        setattr(target, attribute, before)


@pytest.mark.parametrize("form", ["decorated", "called"])
def test_a_function_woven_while_the_gate_is_woven_in_is_held(form, clock):
    from resilient._weave import weaver

    pipeline, made, threads = Pipeline(name()), weaver.make, []

    def late(*args):
        woven = made(*args)
        threads.append(threading.Thread(target=lambda: pipeline.hold("forced_open", **WHY)))
        threads[0].start()
        threads[0].join(0.1)
        return woven

    weaver.make = late
    try:
        guarded = pipeline(lambda: 1) if form == "decorated" else partial(pipeline.call, int)
    finally:
        weaver.make = made
    threads[0].join(PATIENCE)
    refused(pipeline, guarded)


def test_a_hold_counts_for_everybody_once_it_is_placed(clock):
    """Two threads hold at once: the one that need not weave waits for the one that does."""
    pipeline = Pipeline(name())
    functions = [pipeline(lambda: 1) for _ in range(50)]
    passed, go = [], threading.Barrier(2)

    def work():
        go.wait(PATIENCE)
        pipeline.hold("forced_open", **WHY)
        for function in functions:
            with suppress(BreakerOpen):
                passed.append(function())

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    finally:
        sys.setswitchinterval(interval)
    assert passed == []


class Word:
    """A source whose word others change."""

    begun = True

    def __init__(self, *entries):
        self.word = [1]
        self.entries = list(entries)
        self.asked = 0
        self.meanwhile = lambda: None

    def refresh(self, gate):
        self.asked += 1
        word = self.word[0]
        news = gate.take(self.entries, word)
        self.meanwhile()
        gate.publish(news)


@contextmanager
def sourced(source):
    _gate.install(source)
    for gate in gates():
        gate.unsettle()
    inlays.reweave_all()
    try:
        yield source
    finally:
        source.entries = []
        _gate.install(None)
        for gate in gates():
            gate.take([], 0)
            gate.unsettle()
        inlays.reweave_all()


def test_the_source_is_asked_when_the_word_differs_and_only_then(clock):
    with sourced(Word()) as source:
        pipeline = Pipeline(name(), Retry(3, backoff=QUICK, budget=None))
        guarded = pipeline(lambda: 1)
        for _ in range(5):
            assert guarded() == 1
            assert pipeline.call(int) == 0
        assert source.asked == 1
        source.entries.append(Entry("h", FORCED_OPEN, "x", "me", 1060.0, origin=CONTROL))
        source.word[0] = 2
        assert refused(pipeline, guarded).retry_after == 60
        assert source.asked == 2

        ran = []

        def body():
            ran.append(1)
            source.word[0] += 1
            source.entries[:] = [Entry("h", FORCED_OPEN, "x", "me", 1060.0, origin=CONTROL)]
            raise Down

        source.entries.clear()
        source.word[0] = 3
        clock.random = lambda: 0.0
        with pytest.raises(Down):
            pipeline.call(body)
        assert ran == [1], "each attempt compares the word"


def test_a_hold_placed_while_others_are_taken_in_is_not_passed_by(clock):
    with sourced(Word()) as source:
        pipeline = Pipeline(name())
        gate = gate_of(pipeline._assembly.env)
        before = type(gate)._show

        def slow(self):
            """Stop where the fast path is about to be told that it need not ask."""
            if self is gate and not gate.holds() and source.asked:
                thread = threading.Thread(target=lambda: gate.hold("forced_open", **WHY))
                thread.start()
                thread.join(0.2)
                before(self)
                threads.append(thread)
            else:
                before(self)

        threads = []
        type(gate)._show = slow
        try:
            pipeline.call(int)
        finally:
            type(gate)._show = before
        for thread in threads:
            thread.join(PATIENCE)
        assert threads
        assert gate.seen is None
        refused(pipeline)


def test_the_source_may_go_while_a_call_looks_at_it(clock):
    class Going(Word):
        looks = 0

        @property
        def word(self):
            Going.looks += 1
            if Going.looks > 2:
                _gate.install(None)
            return [Going.looks]

        @word.setter
        def word(self, value):
            pass

    with sourced(Going()):
        assert Pipeline(name()).call(int) == 0


def test_a_hold_of_this_process_outlives_the_source(clock):
    with sourced(Word()):
        pipeline = Pipeline(name())
        guarded = pipeline(lambda: 1)
        guarded()
        pipeline.hold("forced_open", **WHY)
        refused(pipeline, guarded)
    refused(pipeline, guarded)


def test_a_pipeline_made_while_a_source_comes_asks_it(clock):
    from resilient._weave import assembly

    source = Word(Entry("h", FORCED_OPEN, "x", "me", origin=CONTROL))
    with ExitStack() as stack:
        with between(assembly, "Assembly", lambda: stack.enter_context(sourced(source))):
            pipeline = Pipeline(name())
        refused(pipeline)


def test_both_pipelines_of_one_name_are_gates_of_it(clock):
    first = Pipeline(name(), Timeout(5))
    second = Pipeline(first.name, Timeout(6), replace=True)
    found = [gate for gate in gates() if gate.env.downstream == first.name]
    assert len(found) == 2
    assert {id(gate.env) for gate in found} == {id(each._assembly.env) for each in (first, second)}


def test_a_gate_goes_with_its_pipeline():
    pipeline = Pipeline._of((), _assembled(), None)
    pipeline.hold("forced_open", **WHY)
    gone = weakref.ref(gate_of(pipeline._assembly.env).env)
    del pipeline
    gc.collect()
    assert gone() is None


def _assembled():
    from resilient._weave.assembly import assemble

    return assemble(name(), (), Classifier())


def test_a_finaliser_may_call_while_a_gate_is_changed(clock):
    """The collector runs it on the thread that changes the gate."""
    pipeline = Pipeline(name())
    pipeline.hold("forced_open", percent=1, reason="x", expires=5)
    outcomes = []

    class Farewell:
        def __del__(self):
            outcomes.append(pipeline.call(int))

    gate, last = gate_of(pipeline._assembly.env), [Farewell()]
    clock.random = lambda: 0.5
    before = type(gate)._set

    def collecting(self, state):
        if self is gate and last:
            last.clear()
        before(self, state)

    type(gate)._set = collecting
    try:
        clock.time += 5
        assert pipeline.call(int) == 0
    finally:
        type(gate)._set = before
    assert outcomes == [0]
    assert pipeline.resting()


def test_an_exception_from_a_signal_handler_leaves_no_way_past_a_hold_without_a_breaker(clock):
    pipeline = Pipeline(name())
    gate = gate_of(pipeline._assembly.env)
    pipeline.hold("no_retries", **WHY).release()
    assert gate.seen is not None
    before = type(gate)._show

    def interrupted(self):
        raise KeyboardInterrupt

    type(gate)._show = interrupted
    try:
        with pytest.raises(KeyboardInterrupt):
            gate.take([Entry("h", FORCED_OPEN, "x", "me", origin=CONTROL)], 0)
    finally:
        type(gate)._show = before
    refused(pipeline)


def test_an_exception_from_a_signal_handler_leaves_no_way_past_a_hold(clock):
    pipeline = Pipeline(name(), CircuitBreaker())
    gate = gate_of(pipeline._assembly.env)
    pipeline.hold("no_retries", **WHY).release()
    entry = Entry("h", FORCED_OPEN, "x", "me", origin=CONTROL)
    for step in ("_set", "_show"):
        before = getattr(type(gate), step)

        def interrupted(self, *args, before=before):
            raise KeyboardInterrupt

        setattr(type(gate), step, interrupted)
        try:
            with pytest.raises(KeyboardInterrupt):
                gate.take([entry], 0)
        finally:
            setattr(type(gate), step, before)
        refused(pipeline)
    gate.take([entry], 0)
    refused(pipeline)
    gate.publish(gate.take([], 0))
    assert pipeline[CircuitBreaker].snapshot()["state"] == "half_open"


@every_loop
def test_an_abandoned_call_leaves_nothing_behind_a_gate(colour):
    pipeline = Pipeline(name(), Bulkhead(1))
    pipeline.hold("no_retries", **WHY)

    async def scenario(stage):
        gate = stage.gate()
        child = stage.start(lambda: stage.call(pipeline, gate.wait))
        await stage.until(lambda: pipeline[Bulkhead].snapshot()["in_flight"])
        child.cancel()
        await child.join()

    colour.play(scenario)
    nothing_left(pipeline)


def test_full_bulkheads_refuse_before_anybody_waits_behind_the_gate(clock):
    pipeline = Pipeline(name(), Bulkhead(1))
    pipeline.hold("no_retries", **WHY)

    async def scenario(stage):
        go = stage.gate()
        child = stage.start(lambda: stage.call(pipeline, go.wait))
        await stage.until(lambda: pipeline[Bulkhead].snapshot()["in_flight"])
        with pytest.raises(BulkheadFull):
            await stage.call(pipeline, answer)
        go.set()
        await child.join()

    THREADS.play(scenario)
