"""Every call and attempt is counted once, under the outcome that its caller saw."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import threading
import types
from collections.abc import Callable, Iterator

import pytest
import trio

from resilient import (
    Backoff,
    BreakerOpen,
    Bulkhead,
    CallTimeout,
    CircuitBreaker,
    Classifier,
    Fallback,
    Outcome,
    Pipeline,
    RateLimit,
    Rejected,
    Retry,
    StaleCache,
    Timeout,
    provenance,
)
from resilient._weave import inlays
from resilient._weave.inlays import Inlay
from resilient.telemetry.statistics import Statistics
from resilient.testing import FakeClock, isolated, use
from tests.telemetry._statistics import ATTEMPTS, CALLS, counts, measured

QUICK = Retry(attempts=3, backoff=Backoff(base=0.0001), budget=None)


@pytest.fixture(autouse=True)
def _names_of_their_own() -> Iterator[None]:
    with isolated():
        yield


def failing() -> None:
    raise OSError("down")


def attempt(pipeline: Pipeline, function: object = failing) -> None:
    with contextlib.suppress(Exception):
        pipeline.call(function)


def flaky(failures: int):
    left = [failures]

    def call() -> str:
        if left[0]:
            left[0] -= 1
            raise OSError("down")
        return "up"

    return call


def test_a_good_call_is_one_call_and_one_first_attempt() -> None:
    with measured() as statistics:
        Pipeline("good", Timeout(5), QUICK, CircuitBreaker(), Bulkhead(3)).call(len, "x")
    assert counts(statistics, CALLS) == {("good", "success", ""): 1}
    assert counts(statistics, ATTEMPTS) == {("good", "first", "success", ""): 1}


def test_retries_are_told_from_first_attempts_and_counted_by_call() -> None:
    with measured() as statistics:
        pipeline = Pipeline("flaky", QUICK)
        pipeline.call(flaky(0))
        pipeline.call(flaky(1))
        pipeline.call(flaky(2))
        attempt(pipeline)
    assert counts(statistics, CALLS) == {("flaky", "success", ""): 3, ("flaky", "failure", "OSError"): 1}
    assert counts(statistics, ATTEMPTS) == {
        ("flaky", "first", "success", ""): 1,
        ("flaky", "first", "failure", "OSError"): 3,
        ("flaky", "retry", "success", ""): 2,
        ("flaky", "retry", "failure", "OSError"): 3,
    }
    assert counts(statistics, "resilient_call_retries") == {("flaky", "success"): 2, ("flaky", "failure"): 1}
    assert counts(statistics, "resilient_retry_delay_seconds") == {("flaky",): 5}
    assert counts(statistics, "resilient_retry_exhausted_total") == {("flaky", "attempts"): 1}


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_tasks_are_measured_like_threads(loop: str) -> None:
    pipeline = Pipeline("tasks", Timeout(5), QUICK, CircuitBreaker(), Timeout(2))

    async def main() -> None:
        for failures in (0, 1, 2):
            function = flaky(failures)

            async def call() -> str:
                return function()  # noqa: B023

            assert await pipeline.acall(call) == "up"

    with measured() as statistics:
        if loop == "asyncio":
            asyncio.run(main())
        else:
            trio.run(main)
    assert counts(statistics, CALLS) == {("tasks", "success", ""): 3}
    assert counts(statistics, ATTEMPTS) == {
        ("tasks", "first", "success", ""): 1,
        ("tasks", "first", "failure", "OSError"): 2,
        ("tasks", "retry", "success", ""): 2,
        ("tasks", "retry", "failure", "OSError"): 1,
    }


def test_a_refused_call_is_no_attempt() -> None:
    with measured() as statistics:
        pipeline = Pipeline("open", CircuitBreaker(consecutive=1))
        attempt(pipeline)
        for _ in range(3):
            with pytest.raises(BreakerOpen):
                pipeline.call(len, "x")
    assert counts(statistics, CALLS) == {("open", "failure", "OSError"): 1, ("open", "rejected", "breaker_open"): 3}
    assert counts(statistics, ATTEMPTS) == {("open", "first", "failure", "OSError"): 1}
    assert counts(statistics, "resilient_call_rejections_total") == {("open", "circuit_breaker", "breaker_open"): 3}
    assert counts(statistics, "resilient_breaker_transitions_total") == {
        ("open", "circuit_breaker", "closed", "open", "consecutive"): 1
    }


def test_a_hold_is_counted_like_every_other_refusal() -> None:
    with measured() as statistics:
        pipeline = Pipeline("held", RateLimit(100))
        hold = pipeline.hold("forced_open", reason="maintenance", expires=60)
        for _ in range(2):
            with pytest.raises(BreakerOpen):
                pipeline.call(len, "x")
        hold.release()
    assert counts(statistics, CALLS) == {("held", "rejected", "forced_open"): 2}
    assert counts(statistics, "resilient_call_rejections_total") == {("held", "hold", "forced_open"): 2}
    assert counts(statistics, "resilient_events_total")["held", "resilient.override.applied"] == 1


def test_what_an_observing_hold_lets_pass_is_counted() -> None:
    with measured() as statistics:
        pipeline = Pipeline("observed", CircuitBreaker(consecutive=2))
        pipeline.hold("observe", reason="trying out", expires=60)
        for _ in range(5):
            attempt(pipeline)
        assert counts(statistics, "resilient_call_would_reject_total") == {("observed", "breaker_open"): 3}
        assert counts(statistics, "resilient_call_would_reject_total") == {("observed", "breaker_open"): 3}


@pytest.mark.parametrize("value", ["fixed", lambda cause: "made"])
def test_an_answer_of_a_fallback_is_told_from_one_of_the_downstream(value: object) -> None:
    with measured() as statistics:
        pipeline = Pipeline("rescued", Fallback(value), CircuitBreaker(consecutive=1))
        pipeline.call(len, "x")
        pipeline.call(failing)
        pipeline.call(failing)

        @pipeline
        async def afailing() -> str:
            raise OSError("down")

        asyncio.run(afailing())
    assert counts(statistics, CALLS) == {("rescued", "success", ""): 1, ("rescued", "fallback", ""): 3}
    assert counts(statistics, "resilient_call_fallbacks_total") == {("rescued", "fallback"): 3}


def test_the_fallback_of_an_inner_pipeline_is_not_taken_for_ones_own() -> None:
    with measured() as statistics:
        inner = Pipeline("inner", Fallback("fixed"))
        outer = Pipeline("outer", Fallback("other"))
        assert outer.call(lambda: inner.call(failing)) == "fixed"
    assert counts(statistics, CALLS) == {("inner", "fallback", ""): 1, ("outer", "success", ""): 1}


def test_who_watches_provenance_hears_the_same_as_without_statistics() -> None:
    pipeline = Pipeline("watched", Fallback("fixed"))
    with measured(), provenance() as answer:
        pipeline.call(failing)
        pipeline.call(len, "x")
    assert [note.source for note in answer.all] == ["fallback"]


def test_an_answer_from_the_cache_is_told_from_one_of_the_downstream() -> None:
    with use(FakeClock()) as clock, measured() as statistics:
        cache = StaleCache(10, stale=100, while_revalidating=False, jitter=0)
        pipeline = Pipeline("cached", cache)
        answers = iter(["one"])

        @pipeline
        def ask() -> str:
            for answer in answers:
                return answer
            raise OSError("down")

        assert ask() == ask() == "one"
        clock.advance(50)
        assert ask() == "one"  # stale: nobody answered
    assert counts(statistics, CALLS) == {("cached", "success", ""): 1, ("cached", "cached", ""): 2}
    assert counts(statistics, "resilient_cache_stale_served_total") == {("cached", "OSError"): 1}


def test_our_own_timeout_is_told_from_a_failure() -> None:
    with measured() as statistics:
        pipeline = Pipeline("slow", Timeout(0.02))
        done = threading.Event()
        with pytest.raises(CallTimeout):
            pipeline.call(done.wait, 5)
        done.set()
    assert counts(statistics, CALLS) == {("slow", "timeout", "CallTimeout"): 1}
    assert counts(statistics, ATTEMPTS) == {("slow", "first", "timeout", "CallTimeout"): 1}


def test_results_are_judged_once_more_where_they_mean_something() -> None:
    classifier = Classifier(
        result={"bad": Outcome.FAILURE, "fast": Outcome.THROTTLED}.get,
        error=lambda error: {KeyError: Outcome.SUCCESS, ValueError: Outcome.INCONCLUSIVE}.get(type(error)),
    )
    with measured() as statistics:
        pipeline = Pipeline("judged", CircuitBreaker(), classifier=classifier)
        for result in ("good", "bad", "fast"):
            pipeline.call(lambda: result)  # noqa: B023
        for error in (KeyError, ValueError):
            with pytest.raises(error):
                pipeline.call(_raise, error)
    expected = {
        ("judged", "success", ""): 2,
        ("judged", "failure", ""): 1,
        ("judged", "throttled", ""): 1,
        ("judged", "inconclusive", "ValueError"): 1,
    }
    assert counts(statistics, CALLS) == expected
    assert counts(statistics, ATTEMPTS) == {(name, "first", *rest): n for (name, *rest), n in expected.items()}


def _raise(error: type[Exception]) -> None:
    raise error("x")


def test_a_cancelled_call_is_counted_as_cancelled_and_is_in_flight_no_more() -> None:
    async def main(statistics: Statistics) -> None:
        pipeline = Pipeline("cancelled", Timeout(5), CircuitBreaker())
        task = asyncio.create_task(pipeline.acall(asyncio.sleep, 5))
        await asyncio.sleep(0.01)
        assert statistics.live("cancelled")["in_flight"] == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert statistics.live("cancelled")["in_flight"] == 0

    with measured() as statistics:
        asyncio.run(main(statistics))
    assert counts(statistics, CALLS) == {("cancelled", "cancelled", "CancelledError"): 1}


@types.coroutine
def _hang() -> Iterator[None]:
    yield


def test_a_coroutine_that_is_thrown_away_is_counted_without_a_lock() -> None:
    with measured() as statistics:
        pipeline = Pipeline("thrown", Fallback("fixed"), CircuitBreaker())

        @pipeline
        async def hang() -> None:
            await _hang()

        with statistics._lock:  # whoever threw it away may be holding it
            other = threading.Thread(target=_throw_away, args=(hang,))
            other.start()
            other.join(5)
            assert not other.is_alive()
    assert counts(statistics, CALLS) == {("thrown", "cancelled", "GeneratorExit"): 1}
    assert statistics.live("thrown")["in_flight"] == 0


def _throw_away(hang) -> None:
    coroutine = hang()
    coroutine.send(None)
    del coroutine
    gc.collect()


def test_nothing_is_woven_in_before_or_after() -> None:
    pipeline = Pipeline("woven", QUICK, CircuitBreaker())
    before = pipeline.source(), pipeline.source("async")
    with measured():
        assert "tries_00" in pipeline.source()
    assert (pipeline.source(), pipeline.source("async")) == before


def test_a_call_that_begins_while_measuring_starts_or_stops_is_as_good_as_any(monkeypatch: pytest.MonkeyPatch) -> None:
    got = []

    def and_call(change: Callable[[Inlay], None]) -> Callable[[Inlay], None]:
        def changed(inlay: Inlay) -> None:
            change(inlay)
            got.append(guarded("four"))

        return changed

    with isolated():
        guarded = Pipeline("meanwhile", Retry(attempts=2))(len)
        monkeypatch.setattr(inlays, "add", and_call(inlays.add))
        monkeypatch.setattr(inlays, "remove", and_call(inlays.remove))
        statistics = Statistics()
        statistics.start()
        statistics.stop()
    assert got == [4, 4, 4, 4]


def test_functions_decorated_before_are_measured_and_so_are_those_in_flight_left_alone() -> None:
    pipeline = Pipeline("early", QUICK)
    inside, go = threading.Event(), threading.Event()

    @pipeline
    def wait() -> None:
        inside.set()
        go.wait(5)

    thread = threading.Thread(target=wait)
    thread.start()
    inside.wait(5)
    with measured() as statistics:
        go.set()
        thread.join(5)
        wait()
    assert counts(statistics, CALLS) == {("early", "success", ""): 1}


def test_two_that_measure_count_alike_and_the_first_to_stop_stops_alone() -> None:
    pipeline = Pipeline("shared")
    with measured() as one:
        one.start()
        with measured() as other:
            pipeline.call(len, "x")
        one.stop()
        pipeline.call(len, "x")
    pipeline.call(len, "x")
    assert counts(one, CALLS) == {("shared", "success", ""): 2}
    assert counts(other, CALLS) == {("shared", "success", ""): 1}


def test_threads_lose_no_call() -> None:
    with measured() as statistics:
        pipeline = Pipeline("busy", CircuitBreaker())
        guarded = pipeline(len)
        go = threading.Barrier(5)

        def work() -> None:
            go.wait()
            for number in range(5_000):
                guarded("x")
                if number % 100 == 0:
                    attempt(pipeline)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        go.wait()
        seen = [0.0]
        while any(thread.is_alive() for thread in threads):
            seen.append(sum(counts(statistics, CALLS).values()))
        assert seen == sorted(seen), "a counter never goes back"
    found = counts(statistics, CALLS)
    assert found == {("busy", "success", ""): 20_000, ("busy", "failure", "OSError"): 200}
    attempts = counts(statistics, ATTEMPTS)
    assert attempts == {("busy", "first", *rest): count for (_, *rest), count in found.items()}


def test_what_nobody_reads_is_added_up_all_the_same() -> None:
    with measured() as statistics:
        guarded = Pipeline("unread")(len)
        for _ in range(10_000):
            guarded("x")
        traffic = statistics._traffic["unread"]
        assert len(traffic.ended) < 5_000
        assert len(traffic.spent) < 5_000
        refused = Pipeline("unread-refused", CircuitBreaker(consecutive=1))
        for _ in range(10_000):
            attempt(refused)
        assert len(statistics._traffic["unread-refused"].odd) < 5_000
        assert len(statistics._heard.left) < 5_000
    assert counts(statistics, CALLS)["unread", "success", ""] == 10_000
    rejected = counts(statistics, "resilient_call_rejections_total")
    assert rejected["unread-refused", "circuit_breaker", "breaker_open"] == 9_999


def test_ten_thousand_generated_names_stay_within_the_cap(caplog: pytest.LogCaptureFixture) -> None:
    with measured(downstreams=50, errors=5) as statistics, caplog.at_level(logging.WARNING, "resilient.telemetry"):
        for number in range(10_000):
            pipeline = Pipeline._of((), _assembled(f"tenant-{number}"), None)
            pipeline.call(len, "x")
        for number in range(20):
            error = type(f"Error{number}", (Exception,), {})
            with pytest.raises(error):
                pipeline.call(_raise, error)
        totals = statistics.totals()
        statistics.totals()
    assert len(totals.downstreams()) == 51
    assert totals.value(CALLS, ("_other", "success", ""))[1] == 9_950
    assert len({labels[2] for labels in totals.series(CALLS)}) <= 1 + 5 + 1
    assert sum(value[1] for value in totals.series(CALLS).values()) == 10_020
    told = [record.message for record in caplog.records if record.name == "resilient.telemetry"]
    assert len(told) == 2
    assert "more than 50 downstreams" in told[0]


def _assembled(name: str):
    from resilient._weave.assembly import assemble

    return assemble(name, (), Classifier())


def test_live_numbers_are_those_of_the_last_seconds() -> None:
    with use(FakeClock()) as clock, measured() as statistics:
        pipeline = Pipeline("live", CircuitBreaker(consecutive=None, min_calls=1000))
        for number in range(20):
            pipeline.call(clock.advance, 0.02 if number < 18 else 0.35)
        for _ in range(5):
            attempt(pipeline)
        clock.advance(4)
        view = statistics.live("live")
        assert view["in_flight"] == 0
        assert view["rate"] == pytest.approx(25 / 5.06)
        assert view["error_share"] == pytest.approx(0.2)
        assert view["rejected_rate"] == 0
        assert 0.015 <= view["p50"] <= 0.025
        assert 0.3 <= view["p99"] <= 0.4
        assert len(view["history"]) == len(view["errors"]) == 60
        assert sum(view["history"]) == 25
        assert sum(view["errors"]) == 5
        clock.advance(300)
        quiet = statistics.live("live")
        assert (quiet["rate"], quiet["p50"], sum(quiet["history"])) == (0, None, 0)
        assert statistics.live("unknown")["rate"] == 0


def test_time_in_each_state_is_that_of_the_clock() -> None:
    with use(FakeClock()) as clock, measured() as statistics:
        pipeline = Pipeline("timed", CircuitBreaker(consecutive=1, open_for=5, jitter=0, ramp=0, probes=1))
        pipeline.call(len, "x")
        clock.advance(10)
        attempt(pipeline)
        clock.advance(3)
        assert times(statistics, "timed") == {"closed": 10, "open": 3}
        clock.advance(3)
        pipeline.call(len, "x")
        clock.advance(1)
        assert times(statistics, "timed") == {"closed": 11, "open": 6}


def test_time_in_which_nobody_listened_is_no_time_in_a_state() -> None:
    with use(FakeClock()) as clock, measured() as statistics:
        pipeline = Pipeline("paused", CircuitBreaker(consecutive=1, open_for=50, jitter=0))
        pipeline.call(len, "x")
        clock.advance(1)
        statistics.stop()
        attempt(pipeline)
        clock.advance(10)
        assert times(statistics, "paused") == {"closed": 1}
        statistics.start()
        clock.advance(2)
        assert times(statistics, "paused") == {"closed": 1, "open": 2}


def times(statistics: Statistics, name: str) -> dict[str, float]:
    found = counts(statistics, "resilient_breaker_state_time_seconds_total")
    return {state: seconds for (downstream, _, state), seconds in found.items() if downstream == name}


def test_a_forked_child_counts_from_nothing() -> None:
    with measured() as statistics:
        pipeline = Pipeline("forked")
        pipeline.call(len, "x")
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                pipeline.call(len, "x")
                pipeline.call(len, "x")
                os.write(writer, repr(counts(statistics, CALLS)).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reader, 1000).decode() == repr({("forked", "success", ""): 2.0})
        os.close(reader)
        os.close(writer)
        assert counts(statistics, CALLS) == {("forked", "success", ""): 1}


def test_others_count_by_the_catalogue_too() -> None:
    statistics = Statistics()
    statistics.add("resilient_admin_denials_total", ("auth",))
    statistics.add("resilient_admin_denials_total", ("auth",))
    statistics.add("resilient_admin_request_duration_seconds", ("/status", "GET", "200", "viewer"), 0.1)
    assert counts(statistics, "resilient_admin_denials_total") == {("auth",): 2}
    assert counts(statistics, "resilient_admin_request_duration_seconds") == {("/status", "GET", "200", "viewer"): 1}
    with pytest.raises(ValueError, match=r"^metric must be"):
        statistics.add("resilient_unknown_total")
    with pytest.raises(ValueError, match=r"^labels must be"):
        statistics.add("resilient_admin_denials_total")


def test_a_refusal_of_an_inner_pipeline_is_a_refused_attempt_of_the_outer_one() -> None:
    with measured() as statistics:
        inner = Pipeline("inside", RateLimit(1, per=100))
        outer = Pipeline("outside", QUICK)
        outer.call(inner.call, len, "x")
        with pytest.raises(Rejected):
            outer.call(inner.call, len, "x")
    assert counts(statistics, ATTEMPTS)["outside", "first", "rejected", "rate_limited"] == 1
    assert counts(statistics, CALLS)["outside", "rejected", "rate_limited"] == 1


@pytest.mark.parametrize("client", ["httpx", "httpx2"])
def test_an_http_answer_counts_as_its_status_says(client: str) -> None:
    http, door = importlib.import_module(client), importlib.import_module(f"resilient.{client}")
    statuses = iter([200, 404, 503, 200, 500, 500, 500])
    inner = http.MockTransport(lambda request: http.Response(next(statuses), text="x"))
    with measured() as statistics:
        transport = door.ResilientTransport(Pipeline("http", QUICK, CircuitBreaker()), transport=inner)
        with http.Client(transport=transport) as session:
            assert [session.get("https://orders.internal/").status_code for _ in range(4)] == [200, 404, 200, 500]
    assert counts(statistics, CALLS) == {("http", "success", ""): 3, ("http", "failure", ""): 1}
    assert counts(statistics, ATTEMPTS) == {
        ("http", "first", "success", ""): 2,
        ("http", "first", "failure", ""): 2,
        ("http", "retry", "success", ""): 1,
        ("http", "retry", "failure", ""): 2,
    }
