"""What events promise: their names and fields, what they cost, and what listeners cannot do to a call."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from resilient import (
    Backoff,
    BreakerOpen,
    Bulkhead,
    BulkheadFull,
    CircuitBreaker,
    Classifier,
    Event,
    Fallback,
    Outcome,
    Pipeline,
    RateLimit,
    RateLimited,
    Retry,
    RetryBudget,
    StaleCache,
    Timeout,
    deadline,
    events,
    log_events,
    subscribe,
)
from resilient.control import watching
from resilient.control.applying import Applying
from resilient.control.chores import Chores
from resilient.control.directory import Directory
from resilient.control.following import Agent
from resilient.control.incidents import Incident
from resilient.control.intent import Hold, Intent
from resilient.stores import MemoryStore
from resilient.stores.front import Front
from tests._stage import VirtualClock, installed, name

QUICK = Backoff(base=0)


class Down(Exception):
    """What the downstream raises when it fails."""


def down():
    raise Down


def fails(pipeline, times=1, error=Exception):
    for _ in range(times):
        with pytest.raises(error):
            pipeline.call(down)


@pytest.fixture
def clock():
    clock = VirtualClock()
    with installed(clock):
        yield clock


@pytest.fixture
def heard():
    """Return the list that every event of the test lands in."""
    kept = []
    stop = subscribe(kept.append)
    yield kept
    stop()


# -- names and fields --------------------------------------------------------------------------


def breaker_opens(clock, pipeline):
    fails(pipeline, 2)


def breaker_would_open(clock, pipeline):
    pipeline.hold("observe", reason="trial", expires=None)
    fails(pipeline, 2)


def bulkhead_is_full(clock, pipeline):
    with pipeline.permit():
        fails(pipeline, 1, BulkheadFull)


def hold_is_applied(clock, pipeline):
    pipeline.hold("forced_closed", reason="trial", actor="me", expires=60)


def hold_is_released(clock, pipeline):
    pipeline.hold("forced_closed", reason="trial", expires=None).release()


def hold_expires(clock, pipeline):
    pipeline.hold("forced_closed", reason="trial", expires=60)
    clock.time += 60
    fails(pipeline)


def one_failure(clock, pipeline):
    fails(pipeline)


def one_call(clock, pipeline):
    pipeline.call(down)


def a_place_is_lost(clock, pipeline):
    import httpx2

    from resilient._http.pools import SyncPool

    class Plan:
        def make(self, limit):
            return httpx2.HTTPTransport(verify=False), True

    pool = SyncPool(Plan(), 1, pipeline._assembly.env)
    lease = pool.lease()
    orphan = lease.transport._pool.create_connection(httpx2.URL("http://nobody"))  # nobody connects it
    lease.transport._pool._connections.append(orphan)
    lease.release(ok=False)
    pool.close()


def a_stale_answer_stands_in(clock, pipeline):
    answers = iter(["answer"])
    fetch = pipeline(lambda: next(answers, None) or down())
    fetch()
    clock.time += 30
    assert fetch() == "answer"


def a_refresh_fails(clock, pipeline):
    answers = iter(["answer"])
    fetch = pipeline(lambda: next(answers, None) or down())
    fetch()
    clock.time += 30
    fetch()
    end = time.monotonic() + 10
    while pipeline[StaleCache].background.running:
        assert time.monotonic() < end


class BrokenStore(MemoryStore):
    def get(self, key):
        raise Down


def store_fails(clock, pipeline):
    front = Front(BrokenStore(), name=pipeline.name)
    assert front.run((), "get", "key") == ()
    return front


def store_comes_back(clock, pipeline):
    front = store_fails(clock, pipeline)
    clock.time += 0.5
    assert front.run(0, "purge") == 0


def executed(pipeline, *errors):
    """Execute something once; then again, unless it was cut short, after its lease."""
    from resilient.idempotency import KeyBook, once
    from resilient.stores import MemoryStore

    @once(KeyBook(MemoryStore(), name=pipeline.name, lease=10), key="order", scope="doc")
    def charge(order):
        for error in errors:
            raise error

    with contextlib.suppress(KeyboardInterrupt):
        charge("a")
    return charge


def an_operation_is_repeated(clock, pipeline):
    executed(pipeline)("a")


def an_operation_is_cut_short(clock, pipeline):
    executed(pipeline, KeyboardInterrupt())


def an_operation_is_in_doubt(clock, pipeline):
    from resilient.idempotency import KeyInDoubt

    charge = executed(pipeline, KeyboardInterrupt())
    clock.sleep(11)
    with pytest.raises(KeyInDoubt):
        charge("a")


def incident(pipeline):
    return Incident(pipeline.name, 1.0, 1.0, planned=False, cause="consecutive", id=7)


def incident_begins(clock, pipeline):
    watching.tell("opened", incident(pipeline))


def incident_ends(clock, pipeline):
    watching.tell("closed", incident(pipeline), seconds=3.0)


def agent_at(pipeline, folder):
    """Return the agent of an application that has not begun."""
    return Agent("shop", Path(folder) / pipeline.name, statistics=False)


def control_is_lost(clock, pipeline):
    with tempfile.TemporaryDirectory() as folder:
        agent = agent_at(pipeline, folder)
        (Path(folder) / pipeline.name).write_text("no directory")
        agent._reach()()


def control_is_back(clock, pipeline):
    with tempfile.TemporaryDirectory() as folder:
        agent = agent_at(pipeline, folder)
        agent.problem = "it was lost"
        agent._reach()()
        agent.applying.use(None)


def a_record_goes_back(clock, pipeline):
    with tempfile.TemporaryDirectory() as folder:
        applying = Applying()
        applying.intent = Intent(revision=7)
        applying.use(Directory(Path(folder) / "shop", create=True))
        applying.refresh([])
        applying.use(None)


def a_hold_ends_soon(clock, pipeline):
    hold = Hold(
        id="h-1", target=pipeline.name, mode="forced_open", reason="trial", actor="me", via="cli",
        created_at=0.0, expires_at=9e9, ends=9e9, boot="", ttl=3600.0, revision=1,
    )  # fmt: skip
    chores = Chores.__new__(Chores)  # one that listens to nothing
    chores._told = set()
    chores._applying = SimpleNamespace(expiring=lambda seconds: [(hold, seconds - 1)])
    chores._warn()


OF_NOBODY = {"resilient.control.lost", "resilient.control.restored", "resilient.control.regressed"}
MOVED = "breaker from to cause failure_rate slow_rate calls failures open_for era"
HELD = "breaker id mode reason actor percent expires"
STORIES = {
    "resilient.breaker.transition": (
        (CircuitBreaker(consecutive=2, jitter=0.0),),
        breaker_opens,
        MOVED,
        {"breaker": "circuit_breaker", "from": "closed", "to": "open", "cause": "consecutive", "open_for": 5},
    ),
    "resilient.breaker.would_open": ((CircuitBreaker(consecutive=2),), breaker_would_open, MOVED, {"to": "open"}),
    "resilient.call.rejected": (
        (Bulkhead(1),),
        bulkhead_is_full,
        "policy reason retry_after",
        {"policy": "bulkhead", "reason": "bulkhead_full", "retry_after": None},
    ),
    "resilient.retry.scheduled": (
        (Retry(2, backoff=Backoff(base=3, jitter="none")),),
        one_failure,
        "policy attempt delay cause",
        {"policy": "retry", "attempt": 2, "delay": 3, "cause": "Down"},
    ),
    "resilient.retry.exhausted": (
        (Retry(2, backoff=QUICK),),
        one_failure,
        "policy attempts why cause",
        {"policy": "retry", "attempts": 2, "why": "attempts", "cause": "Down"},
    ),
    "resilient.retry.budget_exhausted": (
        (Retry(3, backoff=QUICK, budget=RetryBudget(start=1, ratio=0.01)),),
        one_failure,
        "policy attempts cause",
        {"policy": "retry", "attempts": 2, "cause": "Down"},
    ),
    "resilient.fallback.used": ((Fallback(0),), one_call, "policy cause", {"policy": "fallback", "cause": "Down"}),
    "resilient.bulkhead.saturated": (
        (Bulkhead(1),),
        bulkhead_is_full,
        "policy limit",
        {"policy": "bulkhead", "limit": 1},
    ),
    "resilient.rate_limit.changed": (
        (RateLimit(100, on_failure=True),),
        one_failure,
        "policy rate cause",
        {"policy": "rate_limit"},
    ),
    "resilient.override.applied": (
        (CircuitBreaker(),),
        hold_is_applied,
        HELD,
        {"breaker": "circuit_breaker", "mode": "forced_closed", "reason": "trial", "actor": "me", "expires": 60},
    ),
    "resilient.override.released": ((CircuitBreaker(),), hold_is_released, HELD, {"expires": None}),
    "resilient.override.expired": ((CircuitBreaker(),), hold_expires, HELD, {"mode": "forced_closed", "expires": 0}),
    "resilient.override.expiring": (
        (),
        a_hold_ends_soon,
        "id mode reason actor expires",
        {"id": "h-1", "mode": "forced_open", "reason": "trial", "actor": "me", "expires": 299.0},
    ),
    "resilient.control.lost": ((), control_is_lost, "directory problem", {}),
    "resilient.control.restored": ((), control_is_back, "directory revision", {"revision": 0}),
    "resilient.control.regressed": (
        (),
        a_record_goes_back,
        "directory known revision kept",
        {"known": 7, "revision": 0, "kept": 0},
    ),
    "resilient.cache.stale_served": (
        (StaleCache(20, stale=60, while_revalidating=False),),
        a_stale_answer_stands_in,
        "policy age cause",
        {"policy": "stale_cache", "age": 30, "cause": "Down"},
    ),
    "resilient.cache.refresh_failed": (
        (StaleCache(20, stale=60),),
        a_refresh_fails,
        "policy cause",
        {"policy": "stale_cache", "cause": "Down"},
    ),
    "resilient.idempotency.replayed": ((), an_operation_is_repeated, "key", {}),
    "resilient.idempotency.in_doubt": ((), an_operation_is_in_doubt, "key", {}),
    "resilient.idempotency.unrecorded": ((), an_operation_is_cut_short, "key cause", {"cause": "cut_short"}),
    "resilient.http.pool_rebuilt": ((), a_place_is_lost, "orphans", {"orphans": 1}),
    "resilient.store.bypassed": (
        (),
        store_fails,
        "store cause rest",
        {"store": "BrokenStore", "cause": "Down", "rest": 0.5},
    ),
    "resilient.store.resumed": ((), store_comes_back, "store", {"store": "BrokenStore"}),
    "resilient.incident.opened": ((), incident_begins, "id planned cause", {"id": 7, "planned": False}),
    "resilient.incident.closed": (
        (),
        incident_ends,
        "id planned cause seconds",
        {"cause": "consecutive", "seconds": 3},
    ),
}


def test_there_is_a_story_for_every_event():
    assert set(STORIES) == set(events.LEVELS)


@pytest.mark.parametrize("wanted", list(STORIES))
def test_an_event_has_its_name_downstream_and_fields(wanted, clock, heard):
    policies, story, fields, values = STORIES[wanted]
    pipeline = Pipeline(name(), *policies)
    story(clock, pipeline)
    told = [event for event in heard if event.name == wanted]
    assert len(told) == 1, [event.name for event in heard]
    assert told[0].downstream == ("" if wanted in OF_NOBODY else pipeline.name)
    assert list(told[0].fields) == fields.split()
    assert {key: told[0].fields[key] for key in values} == values


def throttled(error):
    return Outcome.THROTTLED


REFUSALS = {
    "open breaker": ((CircuitBreaker(consecutive=1, jitter=0.0),), "circuit_breaker", "breaker_open", 5),
    "rate limit": ((RateLimit(1, per=60, adaptive=False),), "rate_limit", "rate_limited", 60),
    "rate limit past the deadline": (
        (RateLimit(1, per=60, max_wait=9, adaptive=False),),
        "rate_limit",
        "deadline",
        None,
    ),
    "timeout past the deadline": ((Timeout(5), Timeout(2)), "timeout_0", "deadline", None),
}


@pytest.mark.parametrize(("policies", "policy", "reason", "retry_after"), REFUSALS.values(), ids=REFUSALS)
def test_every_refusal_says_who_why_and_when_to_come_back(policies, policy, reason, retry_after, clock, heard):
    pipeline = Pipeline(name(), *policies)
    fails(pipeline)
    heard.clear()
    with deadline(0 if reason == "deadline" else 1e6), pytest.raises(Exception) as caught:
        pipeline.call(down)
    told = [dict(event.fields) for event in heard if event.name == "resilient.call.rejected"]
    assert told == [{"policy": policy, "reason": reason, "retry_after": pytest.approx(retry_after)}]
    assert (caught.value.policy, caught.value.reason) == (policy, reason)
    assert caught.value.retry_after == told[0]["retry_after"]


def test_a_forced_open_breaker_says_so(clock, heard):
    pipeline = Pipeline(name(), CircuitBreaker())
    pipeline.hold("forced_open", reason="maintenance", expires=30)
    fails(pipeline, 1, BreakerOpen)
    assert dict(heard[-1].fields) == {"policy": "hold", "reason": "forced_open", "retry_after": 30}


WHYS = {
    "attempts": (Retry(1), None),
    "hint": (Retry(), 30.0),
    "deadline": (Retry(backoff=Backoff(base=60, cap=60, jitter="none")), None),
}


@pytest.mark.parametrize("why", WHYS)
def test_a_retry_says_why_it_gave_up(why, clock, heard):
    retry, hint = WHYS[why]
    pipeline = Pipeline(name(), Timeout(50, cooperative=True), retry)
    error = Down()
    error.retry_after = hint

    def fail():
        raise error

    with pytest.raises(Down):
        pipeline.call(fail)
    assert [event.fields["why"] for event in heard if event.name == "resilient.retry.exhausted"] == [why]


def test_saturation_is_told_at_its_edge(clock, heard):
    pipeline = Pipeline(name(), Bulkhead(1))
    with pipeline.permit():
        for _ in range(5):
            fails(pipeline, 1, BulkheadFull)
            clock.time += 0.5
        clock.time += 1.1
        fails(pipeline, 1, BulkheadFull)
    told = [event.name.rpartition(".")[2] for event in heard]
    assert told == ["saturated", "rejected", *["rejected"] * 4, "saturated", "rejected"]


def test_events_come_in_the_order_things_happened(clock, heard):
    pipeline = Pipeline(name(), Fallback(0), Retry(2, backoff=QUICK), CircuitBreaker(consecutive=2))
    assert pipeline.call(down) == 0
    assert pipeline.call(down) == 0
    assert [event.name.removeprefix("resilient.") for event in heard] == [
        *("retry.scheduled", "breaker.transition", "retry.exhausted", "fallback.used"),
        *("call.rejected", "fallback.used"),
    ]


def test_a_success_tells_nothing(clock, heard):
    pipeline = Pipeline(
        name(), Timeout(9), Retry(), CircuitBreaker(), RateLimit(100), Bulkhead(5), Timeout(3), Fallback(0)
    )
    assert pipeline.call(int, "7") == 7

    async def answer():
        return 7

    assert asyncio.run(pipeline.acall(answer)) == 7
    assert heard == []


def test_an_event_is_frozen():
    event = Event("resilient.call.rejected", "payments", {"reason": "x"})
    with pytest.raises(AttributeError):
        event.name = "other"
    assert event == Event("resilient.call.rejected", "payments", {"reason": "x"})


# -- nobody listens ----------------------------------------------------------------------------


def test_while_nobody_listens_nothing_is_built(clock, monkeypatch):
    built = []
    monkeypatch.setattr(events, "Event", lambda *args: built.append(args))
    for policies, story, *_ in STORIES.values():
        story(clock, Pipeline(name(), *policies))
    assert built == []
    with_listener = subscribe(lambda event: None)
    fails(Pipeline(name(), Retry(2, backoff=QUICK)))
    with_listener()
    assert len(built) == 2, "it would have shown"


def test_functions_decorated_before_anybody_listened_are_heard(clock):
    heard = []
    guarded = Pipeline(name(), Fallback(0))(down)
    assert guarded() == 0
    stop = subscribe(heard.append)
    assert guarded() == 0
    stop()
    assert guarded() == 0
    assert len(heard) == 1


# -- listeners ---------------------------------------------------------------------------------


def refuse():
    """Publish one event."""
    pipeline = Pipeline(name(), Bulkhead(1))
    with pipeline.permit(), pytest.raises(BulkheadFull):
        pipeline.call(int)


def test_every_listener_hears_in_the_order_of_subscription(clock):
    heard = []
    stops = [subscribe(lambda event, who=who: heard.append(who)) for who in "abc"]
    Pipeline(name(), Fallback(0)).call(down)
    for stop in stops:
        stop()
    assert heard == ["a", "b", "c"]


def test_unsubscribing_stops_this_subscription_and_no_other(clock):
    heard = []
    pipeline = Pipeline(name(), Fallback(0))
    first, second = subscribe(heard.append), subscribe(heard.append)
    pipeline.call(down)
    assert len(heard) == 2
    first()
    first()
    pipeline.call(down)
    assert len(heard) == 3, "the second one still listens"
    second()
    pipeline.call(down)
    assert len(heard) == 3
    assert not events.wanted()


def test_no_subscription_of_many_threads_is_lost():
    import sys

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    stops, heard = [], []
    try:

        def work():
            for _ in range(200):
                stop = subscribe(lambda event: None)
                stops.append(subscribe(heard.append))
                stop()

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    finally:
        sys.setswitchinterval(interval)
    events.publish("resilient.call.rejected", "x", {})
    for stop in stops:
        stop()
    assert len(heard) == 1600
    assert not events.wanted()


def test_a_listener_may_unsubscribe_itself_and_others(clock):
    heard = []
    stops = []

    def once(event):
        heard.append("once")
        for stop in stops:
            stop()

    stops += [subscribe(once), subscribe(lambda event: heard.append("other"))]
    pipeline = Pipeline(name(), Fallback(0))
    pipeline.call(down)
    pipeline.call(down)
    assert heard.count("once") == 1
    assert heard.count("other") <= 1
    assert not events.wanted()


class Broken(Exception):
    pass


def test_a_listener_that_raises_is_reported_once_and_changes_nothing(clock, caplog):
    heard = []

    def broken(event):
        raise Broken

    stops = [subscribe(broken), subscribe(heard.append)]
    pipeline = Pipeline(name(), Fallback("instead"), Retry(2, backoff=QUICK), CircuitBreaker(), Bulkhead(1))
    assert [pipeline.call(down) for _ in range(3)] == ["instead"] * 3
    for stop in stops:
        stop()
    assert [event.name.rpartition(".")[2] for event in heard][:3] == ["scheduled", "exhausted", "used"]
    assert pipeline[CircuitBreaker].snapshot()["failures"] == 4, "the budget allows one retry"
    assert pipeline[Bulkhead].snapshot()["in_flight"] == 0
    assert [record.exc_info[0] for record in caplog.records] == [Broken]
    assert "broken raised Broken; the call was not affected, and this is reported once" in caplog.text


def test_what_is_no_exception_passes_a_listener_and_leaks_nothing(clock):
    def harsh(event):
        raise KeyboardInterrupt

    pipeline = Pipeline(name(), Bulkhead(2), RateLimit(1, per=60))
    pipeline.call(int)
    stop = subscribe(harsh)
    with pytest.raises(KeyboardInterrupt):
        pipeline.call(int)
    stop()
    with pytest.raises(RateLimited):
        pipeline.call(int)
    assert pipeline[Bulkhead].snapshot()["in_flight"] == 0


async def later(event):
    pass


@pytest.mark.parametrize("listener", [None, 3, "text", later])
def test_what_cannot_listen_is_refused(listener):
    with pytest.raises(TypeError, match="listener must be a plain function"):
        subscribe(listener)
    assert not events.wanted()


# -- logging -----------------------------------------------------------------------------------


LOGGED = {**events.LEVELS, "resilient.breaker.transition": "WARNING"}


@pytest.mark.parametrize("wanted", list(STORIES))
def test_events_are_logged_with_their_levels_and_fields(wanted, clock, caplog):
    policies, story, fields, values = STORIES[wanted]
    pipeline = Pipeline(name(), *policies)
    caplog.set_level(logging.DEBUG, "resilient")
    stop = log_events()
    try:
        story(clock, pipeline)
    finally:
        stop()
    (record,) = [record for record in caplog.records if getattr(record, "event", None) == wanted]
    assert record.levelname == LOGGED[wanted]
    assert record.name == wanted.rpartition(".")[0]
    downstream = "" if wanted in OF_NOBODY else pipeline.name
    assert record.resilient_downstream == downstream
    for field in fields.split():
        assert isinstance(getattr(record, f"resilient_{field}"), str)
    for field, value in values.items():
        logged = getattr(record, f"resilient_{field}")
        assert logged == str(float(value) if isinstance(value, int) and "." in logged else value)
    assert record.getMessage().startswith(f"{wanted} {downstream} {fields.split()[0]}=")


@pytest.mark.parametrize("wanted", sorted({"resilient.override.expiring", *OF_NOBODY}))
def test_what_operators_must_know_is_logged_though_nobody_listens(wanted, clock, caplog):
    caplog.set_level(logging.DEBUG, "resilient")
    STORIES[wanted][1](clock, Pipeline(name()))
    (record,) = [record for record in caplog.records if getattr(record, "event", None) == wanted]
    assert record.levelname == events.LEVELS[wanted]


def test_only_a_transition_to_open_is_a_warning(clock, caplog):
    caplog.set_level(logging.DEBUG, "resilient")
    pipeline = Pipeline(name(), CircuitBreaker(consecutive=1, probes=1, jitter=0.0, ramp=0))
    stop = log_events()
    try:
        fails(pipeline)
        clock.time += 5
        pipeline.call(int)
    finally:
        stop()
    assert [(record.resilient_to, record.levelname) for record in caplog.records] == [
        ("open", "WARNING"),
        ("half_open", "INFO"),
        ("closed", "INFO"),
    ]


def test_a_stopped_log_is_silent(clock, caplog):
    caplog.set_level(logging.DEBUG, "resilient")
    log_events()()
    Pipeline(name(), Fallback(0)).call(down)
    assert caplog.records == []


def test_nothing_is_formatted_below_the_level_of_the_logger(clock):
    shown = []

    class Shown:
        def __str__(self):
            shown.append(1)
            return "shown"

    logger = logging.getLogger("resilient.call")
    before = logger.level
    logger.setLevel(logging.WARNING)
    stop = log_events()
    try:
        events.publish("resilient.call.rejected", "payments", {"policy": Shown()})
        assert shown == []
        logger.setLevel(logging.DEBUG)
        events.publish("resilient.call.rejected", "payments", {"policy": Shown()})
        assert shown
    finally:
        stop()
        logger.setLevel(before)


def test_the_documentation_lists_every_event_with_its_fields():
    page = (Path(__file__).parents[1] / "docs" / "events.md").read_text("utf-8")
    rows = {line.split("|")[1].strip(" `"): line for line in page.splitlines() if line.startswith("| `resilient.")}
    assert set(rows) == set(events.LEVELS)
    for wanted, (_, _, fields, _) in STORIES.items():
        row = rows[wanted]
        assert events.LEVELS[wanted] in row
        if "the same" not in row:
            assert all(f"`{field}`" in row for field in fields.split()), wanted


def test_the_classifier_is_not_asked_twice_for_the_sake_of_an_event(clock, heard):
    asked = []
    pipeline = Pipeline(name(), Retry(1), classifier=Classifier(error=asked.append))
    fails(pipeline)
    assert len(asked) == 1
