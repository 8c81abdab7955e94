"""What is sent again, how often, and what is left of the answers that were not good enough: C11, C13, C27, C29, C30."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from resilient import Backoff, Bulkhead, CallTimeout, CircuitBreaker, Classifier, Fallback, Outcome, Timeout, deadline
from resilient.testing import capture_events, no_waits
from tests.conformance._http_retry_kit import Answers, Trace, eager, outcome, pipeline, respond
from tests.faults import (
    FaultServer,
    answer,
    close,
    nobody,
    raw,
    redirect,
    reset,
    retry_after,
    stall,
    unanswered,
)
from tests.http._world import World, every_family, every_world

SAFE_TO_REPEAT = ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY")
NOT_SAFE = ("POST", "PATCH", "PURGE")
METHODS = (*SAFE_TO_REPEAT, *NOT_SAFE)

WITH_KEY = {
    "a header of the user's": {"headers": {"Idempotency-Key": "order-1"}},
    "an extension": {"extensions": {"resilient": {"idempotency_key": "order-1"}}},
}

UNKNOWN = {
    "reset": (reset(), "ReadError"),
    "closed": (close(), "RemoteProtocolError"),
    "nonsense": (raw(b"no HTTP\r\n\r\n"), "RemoteProtocolError"),
    **{str(status): (answer(status, b""), status) for status in (408, 500, 502, 503, 504)},
    "503 with a hint": (retry_after(503, 0, b""), 503),
}
PROOF = {
    "429": (answer(429, b""), 429),
    "429 with a hint": (retry_after(429, 0, b""), 429),
    "403 with a hint": (retry_after(403, 0, b""), 403),
    "asked to": (answer(500, b"", {"x-should-retry": "true"}), 500),
    "asked to in spite of the status": (answer(400, b"", {"x-should-retry": "true"}), 400),
}
NEVER = {
    **{str(each): (answer(each, b""), each) for each in (400, 401, 403, 404, 409, 410, 422, 423, 425, 501, 505)},
    "asked not to": (answer(503, b"", {"x-should-retry": "false"}), 503),
    "asked not to, in spite of 429": (retry_after(429, 0, b"", {"x-should-retry": "false"}), 429),
}


def ended_as(result: object) -> str | int:
    return type(result).__name__ if isinstance(result, Exception) else result.status_code


async def sends(world: World, server: FaultServer, client, method: str, **options) -> tuple[object, int]:
    """Return how one call ended, and how often it was sent."""
    before = server.requests
    result = await outcome(client.request(method, server.url, **options))
    return ended_as(result), server.requests - before


# -- C11: who may be sent again -------------------------------------------------------------------


@every_world
@pytest.mark.parametrize("failure", UNKNOWN)
def test_C11_what_may_have_been_done_is_repeated_only_where_that_is_harmless(world: World, failure: str) -> None:
    step, end = UNKNOWN[failure]

    async def scenario() -> None:
        with FaultServer(step) as server:
            async with world.client(pipeline(eager())) as client:
                for method in METHODS:
                    wanted = (end, 3 if method in SAFE_TO_REPEAT else 1)
                    assert await sends(world, server, client, method) == wanted, method
                    for key, options in WITH_KEY.items():
                        assert await sends(world, server, client, method, **options) == (end, 3), (method, key)

    world.run(scenario)


@every_world
@pytest.mark.parametrize("failure", PROOF)
def test_C11_a_server_that_says_it_did_nothing_is_asked_again_by_every_method(world: World, failure: str) -> None:
    step, end = PROOF[failure]

    async def scenario() -> None:
        with FaultServer(step) as server:
            async with world.client(pipeline(eager())) as client:
                for method in METHODS:
                    assert await sends(world, server, client, method) == (end, 3), method

    world.run(scenario)


@every_world
@pytest.mark.parametrize("failure", NEVER)
def test_C11_what_another_attempt_cannot_mend_is_sent_once(world: World, failure: str) -> None:
    step, end = NEVER[failure]

    async def scenario() -> None:
        with FaultServer(step) as server:
            async with world.client(pipeline(eager())) as client:
                for method in METHODS:
                    assert await sends(world, server, client, method) == (end, 1), method
                    key = WITH_KEY["a header of the user's"]
                    assert await sends(world, server, client, method, **key) == (end, 1), method

    world.run(scenario)


@every_world
def test_C11_a_connection_that_never_came_to_be_is_proof_that_nothing_was_sent(world: World) -> None:
    async def scenario() -> None:
        with nobody() as url:
            async with world.client(pipeline(eager())) as client:
                for method in METHODS:
                    trace = Trace(world)
                    with pytest.raises(world.family.ConnectError):
                        await client.request(method, url, extensions={"trace": trace.extension})
                    assert (trace.connects, trace.sends) == (3, 0), method

    world.run(scenario)


@every_world
def test_C11_a_connect_timeout_of_the_users_is_proof_too(world: World) -> None:
    async def scenario() -> None:
        with unanswered() as url:
            async with world.client(pipeline(eager(2))) as client:
                trace = Trace(world)
                limits = world.family.Timeout(5, connect=0.03)
                with pytest.raises(world.family.ConnectTimeout):
                    await client.post(url, timeout=limits, extensions={"trace": trace.extension})
                assert (trace.connects, trace.sends) == (2, 0)

    world.run(scenario)


@every_world
@pytest.mark.parametrize("whose", ["the server's", "ours"])
def test_C11_silence_after_the_request_proves_nothing(world: World, whose: str) -> None:
    ours = whose == "ours"
    policies = [eager(2), Timeout(0.04)] if ours else [eager(2)]
    kind = CallTimeout if ours else world.family.ReadTimeout

    async def scenario() -> None:
        with FaultServer(stall()) as server:
            async with world.client(pipeline(*policies), client={"timeout": 5 if ours else 0.04}) as client:
                for method, options, wanted in (("POST", {}, 1), ("POST", WITH_KEY["an extension"], 2), ("GET", {}, 2)):
                    before = server.requests
                    with pytest.raises(kind):
                        await client.request(method, server.url, **options)
                    assert server.requests - before == wanted, (method, options)

    world.run(scenario)


@every_world
def test_C11_only_these_statuses_are_worth_another_attempt(world: World) -> None:
    retried = {408, 429, 500, 502, 503, 504}

    async def scenario() -> None:
        for status in range(200, 600):
            handler = Answers(respond(world, status))
            async with world.client(pipeline(eager()), transport=world.mock(handler)) as client:
                assert (await client.get("http://a/")).status_code == status
                assert len(handler.requests) == (3 if status in retried else 1), status

    world.run(scenario)


@every_world
@pytest.mark.parametrize("status", [200, 204, 301, 304])
@pytest.mark.parametrize("said", ["true", "false"])
def test_C11_the_servers_word_counts_on_errors_only(world: World, status: int, said: str) -> None:
    async def scenario() -> None:
        with FaultServer(answer(status, b"", {"x-should-retry": said})) as server:
            async with world.client(pipeline(eager())) as client:
                assert await sends(world, server, client, "GET") == (status, 1)

    world.run(scenario)


@every_world
def test_C11_a_word_of_one_answer_is_not_carried_to_the_next(world: World) -> None:
    script = [answer(503, b"", {"x-should-retry": "true"}), answer(503, b""), answer(200)]

    async def scenario() -> None:
        with FaultServer(script) as server:
            async with world.client(pipeline(eager())) as client:
                assert await sends(world, server, client, "POST") == (503, 2)

    world.run(scenario)


@every_world
def test_C11_a_verdict_of_one_attempt_is_not_carried_to_the_next(world: World) -> None:
    async def scenario() -> None:
        with FaultServer([answer(429, b""), reset(), answer(200)]) as server:
            async with world.client(pipeline(eager())) as client:
                assert await sends(world, server, client, "POST") == ("ReadError", 2)

    world.run(scenario)


@every_world
def test_T45_no_setting_makes_an_unsafe_request_repeatable(world: World) -> None:
    """A list of errors to retry says which are worth it, not that the request may be sent twice."""
    retries = [
        eager(on=Exception),
        eager(on=(world.family.TransportError,)),
        eager(on=lambda error: True),
        eager(on_result=lambda response: response.status_code != 200),
    ]

    async def scenario() -> None:
        for retry in retries:
            for step in (reset(), answer(503, b"")):
                with FaultServer(step) as server:
                    async with world.client(pipeline(retry)) as client:
                        assert (await sends(world, server, client, "POST"))[1] == 1
                        assert (await sends(world, server, client, "PUT"))[1] == 3

    world.run(scenario)


@every_world
def test_T45_what_was_retried_is_released(world: World) -> None:
    guarded = pipeline(eager(4), Bulkhead(1))

    async def scenario() -> None:
        with FaultServer([answer(503, b"busy")] * 3 + [answer(200)]) as server:
            async with world.client(guarded) as client:
                assert (await client.get(server.url)).status_code == 200
                assert (server.requests, server.connections) == (4, 1)
                assert guarded.snapshot()["bulkhead"]["in_flight"] == 0

    world.run(scenario)


# -- T41, T43: the last attempt is judged like the first; no colour needs another's sleep ----------


@every_world
def test_T41_the_last_answer_is_judged_as_well(world: World) -> None:
    wrong = Classifier(result=lambda response: Outcome.FAILURE if response.headers.get("x-wrong") else None)
    judged = pipeline(eager(), CircuitBreaker(consecutive=3, min_calls=1000), classifier=wrong)

    async def scenario() -> None:
        with FaultServer(answer(200, b"wrong", {"x-wrong": "1"})) as server:
            async with world.client(judged) as client:
                response = await client.get(server.url)
                assert (response.status_code, response.content, server.requests) == (200, b"wrong", 3)
                assert judged.snapshot()["circuit_breaker"]["state"] == "open"

    world.run(scenario)


@every_world
def test_T41_a_classifiers_word_goes_before_the_status_and_keeps_the_servers_hint(world: World) -> None:
    def judge(response) -> Outcome | None:
        return {"bad": Outcome.FAILURE, "fine": Outcome.SUCCESS}.get(response.headers.get("x-word", ""))

    async def scenario() -> None:
        for status, word, wanted in ((501, "bad", 2), (404, "bad", 2), (503, "fine", 1), (501, "", 1), (503, "", 2)):
            with FaultServer([answer(status, b"", {"x-word": word}), answer(200)]) as server:
                async with world.client(pipeline(eager(), classifier=Classifier(result=judge))) as client:
                    assert (await sends(world, server, client, "GET"))[1] == wanted, (status, word)
                    assert (await sends(world, server, client, "GET"))[1] == 1
        with no_waits() as clock, FaultServer([retry_after(503, 3, headers={"x-word": "bad"}), answer(200)]) as server:
            async with world.client(pipeline(eager(), classifier=Classifier(result=judge))) as client:
                assert await sends(world, server, client, "GET") == (200, 2)
                assert 3 <= clock.slept[0] <= 3.3

    world.run(scenario)


@every_world
def test_T41_a_predicate_sees_every_answer_and_one_that_raises_leaves_nothing_open(world: World) -> None:
    seen: list[str] = []

    def picky(response) -> bool:
        seen.append(response.headers["x-number"])
        if len(seen) == 3:
            raise KeyError("of the user's")
        return True

    guarded = pipeline(eager(4, on_result=picky), Bulkhead(1))

    async def scenario() -> None:
        with FaultServer([answer(200, b"ok", {"x-number": str(n)}) for n in range(4)]) as server:
            async with world.client(guarded) as client:
                response = await client.get(server.url)
                assert (response.headers["x-number"], response.content) == ("2", b"ok")
                assert seen == ["0", "1", "2"]
                assert guarded.snapshot()["bulkhead"]["in_flight"] == 0
                assert (await client.get(server.url)).content == b"ok"
                assert server.connections == 1

    world.run(scenario)


@every_world
def test_T43_every_way_to_run_waits_between_attempts_in_its_own_way(world: World) -> None:
    with capture_events() as events:

        async def scenario() -> None:
            with FaultServer([reset(), answer(503), answer(200)]) as server:
                async with world.client(pipeline(eager(), Timeout(5))) as client:
                    assert (await client.get(server.url)).status_code == 200

        world.run(scenario)
    assert [each.fields["attempt"] for each in events.of("resilient.retry.scheduled")] == [2, 3]


# -- C13: hints of the server ----------------------------------------------------------------------


def http_date(seconds: float) -> str:
    return (datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).strftime("%a, %d %b %Y %H:%M:%S GMT")


SOON = {
    "0": 0,
    "2": 2,
    "0.5": 0.5,
    "1, 3": 3,
    http_date(4): 4,
    "Monday, 01-Jan-24 00:00:04 GMT": 4,
    "Mon Jan  1 00:00:04 2024": 4,
    http_date(-4): 0,
}
NONSENSE = (
    "",
    "-1",
    "-0",
    "nan",
    "inf",
    "1e3",
    "0x10",
    "1_0",
    "soon",
    "5 seconds",
    "9" * 400,
    "Mon, 01 Jan 2024 01:00:00",
    "Tue, 01 Jan 2024 01:00:00 GMT",
    "Mon, 01 Jan 10000 00:00:00 GMT",
)
NO_TEXT = (b"\xb2", b"\xff\xfe", b"\xd9\xa3", b"3\xe9")
LONG = ("6", "61", "3600", "999999999999999", http_date(3600), "Fri, 31 Dec 9999 23:59:59 GMT")


def hinted(status: int, value: str):
    return answer(status, b"wait", [("retry-after", value), ("date", http_date(0))])


@every_world
@pytest.mark.parametrize("status", [429, 503])
def test_C13_no_attempt_comes_sooner_than_the_server_allowed(world: World, status: int) -> None:
    async def scenario() -> None:
        with FaultServer() as server:
            async with world.client(pipeline(eager(2))) as client:
                for value, seconds in SOON.items():
                    server.play([hinted(status, value), answer(200)])
                    with no_waits() as clock:
                        assert (await client.get(server.url)).status_code == 200
                        assert len(clock.slept) == 1, value
                        assert seconds <= clock.slept[0] <= max(seconds * 1.1, 0.001), value

    world.run(scenario)


@every_world
@pytest.mark.parametrize("status", [429, 503])
def test_C13_nonsense_is_as_if_nothing_was_said(world: World, status: int) -> None:
    async def scenario() -> None:
        with FaultServer() as server:
            async with world.client(pipeline(eager(2))) as client:
                for value in NONSENSE:
                    server.play([hinted(status, value), answer(200)])
                    with no_waits() as clock:
                        assert (await client.get(server.url)).status_code == 200, value
                        assert clock.slept == [0.001], value

    world.run(scenario)


@every_world
def test_C13_bytes_that_are_no_number_in_any_encoding_say_nothing_either(world: World) -> None:
    async def scenario() -> None:
        for value in NO_TEXT:
            head = b"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\nRetry-After: %b\r\n\r\n" % value
            with no_waits() as clock, FaultServer([raw(head), answer(200)]) as server:
                async with world.client(pipeline(eager(2))) as client:
                    assert (await client.get(server.url)).status_code == 200
                    assert clock.slept == [0.001], value

    world.run(scenario)


@every_world
@pytest.mark.parametrize("status", [429, 503])
def test_C13_too_long_a_hint_means_no_retry_and_the_answer_comes_out(world: World, status: int) -> None:
    async def scenario() -> None:
        with FaultServer() as server:
            async with world.client(pipeline(eager(2))) as client:
                for value in LONG:
                    server.play([hinted(status, value), answer(200)])
                    with no_waits() as clock:
                        response = await client.get(server.url)
                        assert (response.status_code, response.content) == (status, b"wait"), value
                        assert response.headers["retry-after"] == value
                        assert clock.slept == []

    world.run(scenario)


@every_world
@pytest.mark.parametrize("whose", ["a timeout", "the caller's deadline"])
def test_C13_a_hint_beyond_the_deadline_means_the_same(world: World, whose: str) -> None:
    policies = [Timeout(1.0), eager(2)] if whose == "a timeout" else [eager(2)]

    async def scenario() -> None:
        with no_waits() as clock, FaultServer([retry_after(429, 2), answer(200)]) as server:
            async with world.client(pipeline(*policies)) as client:
                with deadline(1.0):
                    response = await client.get(server.url)
                assert (response.status_code, response.content, server.requests) == (429, b"later", 1)
                assert clock.slept == []

    world.run(scenario)


@every_world
@pytest.mark.parametrize(("own", "hint", "retried"), [(58, "59", True), (58, "60", True), (58, "61", False)])
def test_C13_no_pause_is_longer_than_a_minute(world: World, own: float, hint: str, retried: bool) -> None:
    patient = eager(2, backoff=Backoff(base=own, cap=own, jitter="fixed"))

    async def scenario() -> None:
        with no_waits() as clock, FaultServer([retry_after(503, hint), answer(200)]) as server:
            async with world.client(pipeline(patient)) as client:
                response = await client.get(server.url)
                assert (response.status_code == 200) is retried
                assert all(float(hint) <= each <= 60 for each in clock.slept)
                assert len(clock.slept) == retried

    world.run(scenario)


@every_world
@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_C13_on_a_redirect_it_means_something_else(world: World, status: int) -> None:
    moved = answer(status, b"", [("retry-after", "3"), ("location", "/there")])

    async def scenario() -> None:
        with no_waits() as clock, FaultServer({"/": moved, "/there": answer(200)}) as server:
            async with world.client(pipeline(eager())) as client:
                response = await client.get(server.url + "/", follow_redirects=True)
                assert clock.slept == []
                assert server.requests == (1 if status in (300, 304) else 2)
                assert response.status_code == (status if status in (300, 304) else 200)

    world.run(scenario)


# -- C27, C29, C30: what belongs to the client stays the client's ------------------------------------


@every_world
def test_C27_the_users_trace_hears_of_every_attempt(world: World) -> None:
    async def scenario() -> None:
        with FaultServer([reset(), answer(503), answer(200)]) as server:
            async with world.client(pipeline(Timeout(5), eager())) as client:
                trace = Trace(world)
                await client.get(server.url, extensions={"trace": trace.extension})
                assert (trace.sends, trace.connects) == (3, 2)
                assert trace.times("http11.receive_response_headers.complete") == 2
                assert trace.times("http11.response_closed.complete") == 3

    world.run(scenario)


@every_world
def test_C29_hooks_run_once_per_hop_and_never_per_attempt(world: World) -> None:
    heard: list[tuple[str, object]] = []

    def on_request(request) -> None:
        heard.append(("request", request.url.path))

    def on_response(response) -> None:
        heard.append(("response", response.status_code))

    async def aon_request(request) -> None:
        on_request(request)

    async def aon_response(response) -> None:
        on_response(response)

    hooks = {"request": [on_request], "response": [on_response]}
    ahooks = {"request": [aon_request], "response": [aon_response]}
    script = {"/a": [answer(503), redirect("/b")], "/b": [reset(), answer(200)]}

    async def scenario() -> None:
        with FaultServer(script) as server:
            options = {"event_hooks": ahooks if world.is_async else hooks, "follow_redirects": True}
            async with world.client(pipeline(eager(4)), client=options) as client:
                response = await client.get(server.url + "/a")
                assert (response.status_code, server.requests) == (200, 4)
                assert len(response.history) == 1
        assert heard == [("request", "/a"), ("response", 302), ("request", "/b"), ("response", 200)]

    world.run(scenario)


def baked(status: int, *cookies: str, body: bytes = b"ok"):
    return answer(status, body, [("Set-Cookie", each) for each in cookies])


def cookies_of(response) -> list[str]:
    return response.headers.get_list("set-cookie")


@every_world
def test_C30_cookies_of_retried_answers_reach_the_client(world: World) -> None:
    async def scenario() -> None:
        with FaultServer([baked(503, "a=1", "b=1"), baked(503, "b=2"), baked(200, "b=3", "c=3")]) as server:
            async with world.client(pipeline(eager())) as client:
                response = await client.get(server.url)
                assert cookies_of(response) == ["a=1", "b=1", "b=2", "b=3", "c=3"]
                assert dict(client.real.cookies) == {"a": "1", "b": "3", "c": "3"}

    world.run(scenario)


@every_world
def test_C30_each_cookie_comes_once_whatever_is_handed_out(world: World) -> None:
    async def scenario() -> None:
        # Exhausted: the last answer is handed out, and was never discarded.
        with FaultServer([baked(503, "a=1"), baked(503, "b=2")]) as server:
            async with world.client(pipeline(eager(2))) as client:
                assert cookies_of(await client.get(server.url)) == ["a=1", "b=2"]
        # Refused later: an answer that was discarded, and read in the meantime, is handed out after all.
        tripped = pipeline(eager(3), CircuitBreaker(consecutive=1))
        with FaultServer(baked(503, "a=1", body=b"kept")) as server:
            async with world.client(tripped) as client:
                response = await client.get(server.url)
                assert (response.content, cookies_of(response), server.requests) == (b"kept", ["a=1"], 1)
        # Told not to wait so long.
        too_long = answer(503, b"", [("set-cookie", "b=2"), ("retry-after", "99")])
        with FaultServer([baked(503, "a=1"), too_long]) as server:
            async with world.client(pipeline(eager())) as client:
                assert cookies_of(await client.get(server.url)) == ["a=1", "b=2"]

    world.run(scenario)


@every_world
def test_C30_cookies_are_added_to_headers_of_any_encoding(world: World) -> None:
    foreign = raw(b"HTTP/1.1 200 OK\r\nX-Name: \xc3\xa9\r\nX-Name: \xe9\r\nContent-Length: 2\r\n\r\nok", closes=False)

    async def scenario() -> None:
        with FaultServer([baked(503, "a=1"), foreign]) as server:
            async with world.client(pipeline(eager())) as client:
                response = await client.get(server.url)
                assert response.headers.raw == [
                    (b"Set-Cookie", b"a=1"),
                    (b"X-Name", b"\xc3\xa9"),
                    (b"X-Name", b"\xe9"),
                    (b"Content-Length", b"2"),
                ]

    world.run(scenario)


@every_world
def test_C30_nothing_is_added_where_no_cookie_was_set(world: World) -> None:
    async def scenario() -> None:
        with FaultServer([answer(503), baked(200, "z=1")]) as server:
            async with world.client(pipeline(eager())) as client:
                assert cookies_of(await client.get(server.url)) == ["z=1"]
                assert (await client.get(server.url)).headers.raw[0] == (b"Set-Cookie", b"z=1")

    world.run(scenario)


@every_family
def test_C30_the_headers_of_a_fallback_may_be_of_any_encoding(world: World) -> None:
    kept = world.family.Response(200, headers={b"x-name": b"\xc3\xa9"}, content=b"kept")

    async def scenario() -> None:
        with nobody() as url:
            async with world.client(pipeline(Fallback(kept))) as client:
                response = await client.get(url)
                assert response.headers.raw[0] == (b"x-name", b"\xc3\xa9")
                assert response.content == b"kept"

    world.run(scenario)
