"""Redirects and authentication rounds belong to one call: attempts, end, key. C12, C14, C15, T42, T49, T50."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Generator
from typing import Any

import pytest

from resilient import CallTimeout, CircuitBreaker, DeadlineExceeded, Timeout, deadline
from tests.conformance._http_retry_kit import eager, outcome, pipeline
from tests.faults import FaultServer, answer, echo, redirect, reset, stall, unauthorized
from tests.http._world import World, drive, every_world

FOLLOW = {"follow_redirects": True}
KEY = "idempotency-key"
UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def keys(server: FaultServer, port: int | None = None) -> list[str | None]:
    return [each.headers.get(KEY) for each in server.received if port in (None, each.port)]


def paths(server: FaultServer) -> list[str]:
    return [each.path for each in server.received]


# -- C14, T42: one allowance -------------------------------------------------------------------------


@every_world
@pytest.mark.parametrize("hops", [1, 2, 3, 5])
def test_C14_T42_redirects_share_the_attempts(world: World, hops: int) -> None:
    """Every hop fails whenever it may: in all there are no more sends than hops and retries."""

    async def scenario() -> None:
        seen: dict[str, int] = {}

        def script(received: Any) -> Any:
            seen[received.path] = seen.get(received.path, 0) + 1
            number = int(received.path[1:])
            if seen[received.path] == 1:
                return answer(503)
            return redirect(f"/{number + 1}") if number < hops else answer(200)

        with FaultServer(script) as server:
            async with world.client(pipeline(eager(3)), client=FOLLOW) as client:
                response = await client.get(server.url + "/1")
                assert response.status_code == (200 if hops <= 2 else 503)
                assert server.requests <= hops + 3 - 1
                assert len(response.history) == min(hops, 3) - 1

    world.run(scenario)


@every_world
def test_C14_T42_what_the_first_hop_has_used_is_gone_for_the_second(world: World) -> None:
    script = {"/a": [answer(503), answer(503), redirect("/b")], "/b": answer(503)}

    async def scenario() -> None:
        with FaultServer(script) as server:
            async with world.client(pipeline(eager(3)), client=FOLLOW) as client:
                assert (await client.get(server.url + "/a")).status_code == 503
                assert paths(server) == ["/a", "/a", "/a", "/b"]
                # The next call has all of them again.
                assert (await client.get(server.url + "/b")).status_code == 503
                assert server.requests == 7

    world.run(scenario)


@every_world
def test_C14_T42_another_downstream_on_the_way_gives_no_fresh_attempts(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(ports=2) as server:
            server.play({"/a": [answer(503), answer(503), redirect(server.urls[1] + "/b")], "/b": answer(503)})
            routes = {url: pipeline(eager(3)) for url in server.urls}
            async with world.client(routes, client=FOLLOW) as client:
                assert (await client.get(server.url + "/a")).status_code == 503
                assert paths(server) == ["/a", "/a", "/a", "/b"]

    world.run(scenario)


@every_world
def test_C14_T42_authentication_rounds_share_them_too(world: World) -> None:
    script = [answer(503), answer(503), unauthorized(), answer(503)]

    async def scenario() -> None:
        with FaultServer(script) as server:
            async with world.client(pipeline(eager(3))) as client:
                response = await client.get(server.url, auth=world.family.DigestAuth("me", "secret"))
                assert (response.status_code, server.requests) == (503, 4)

    world.run(scenario)


@every_world
def test_C14_attempts_that_a_request_asks_for_are_for_all_hops(world: World) -> None:
    script = {"/a": [answer(503), redirect("/b")], "/b": answer(503)}

    async def scenario() -> None:
        with FaultServer(script) as server:
            async with world.client(pipeline(eager(5)), client=FOLLOW) as client:
                mine = {"resilient": {"attempts": 2}}
                assert (await client.get(server.url + "/a", extensions=mine)).status_code == 503
                assert paths(server) == ["/a", "/a", "/b"]

    world.run(scenario)


@every_world
@pytest.mark.parametrize("whose", ["pipeline", "request", "request alone", "caller"])
def test_C14_the_end_is_the_same_for_every_hop(world: World, whose: str) -> None:
    timeouts = {"pipeline": [Timeout(0.15)], "request": [Timeout(30)]}.get(whose, [])
    extensions = {"resilient": {"timeout": 0.15}} if whose.startswith("request") else {}

    async def scenario() -> None:
        with FaultServer(lambda received: stall(0.06, redirect(received.path + "x"))) as server:
            async with world.client(pipeline(*timeouts, eager()), client=FOLLOW) as client:
                began = time.monotonic()
                with (
                    deadline(0.15 if whose == "caller" else 30),
                    pytest.raises((CallTimeout, DeadlineExceeded)) as caught,
                ):
                    await client.get(server.url + "/", extensions=extensions)
                assert 0.14 <= time.monotonic() - began < 1
                assert isinstance(caught.value, world.family.TransportError)
                assert server.requests <= 3

    world.run(scenario)


@every_world
def test_C14_the_same_request_sent_again_is_a_new_call(world: World) -> None:
    """A request that is kept and sent at intervals has all attempts and all time, each time."""
    script = {"/": lambda received: answer(200) if "authorization" in received.headers else unauthorized()}

    async def scenario() -> None:
        with FaultServer(script) as server:
            async with world.client(pipeline(Timeout(0.3), eager(3))) as client:
                auth = world.family.DigestAuth("me", "secret")
                request = client.real.build_request("GET", server.url + "/")
                for _ in range(4):
                    assert (await client.send(request, auth=auth)).status_code == 200
                    await world.sleep(0.1)
                server.play(answer(503))
                assert (await client.send(request, auth=auth)).status_code == 503
                assert server.requests == 1 + 4 + 3

    world.run(scenario)


@every_world
def test_C14_a_request_that_was_redirected_can_be_sent_again(world: World) -> None:
    async def scenario() -> None:
        with FaultServer({"/a": redirect("/b"), "/b": answer(503)}) as server:
            async with world.client(pipeline(Timeout(0.3), eager(3)), client=FOLLOW) as client:
                request = client.real.build_request("GET", server.url + "/a")
                for _ in range(3):
                    assert (await client.send(request)).status_code == 503
                    await world.sleep(0.15)
                assert paths(server) == ["/a", "/b", "/b", "/b"] * 3

    world.run(scenario)


@every_world
def test_C14_who_follows_a_redirect_by_hand_may_take_his_time(world: World) -> None:
    async def scenario() -> None:
        with FaultServer({"/a": redirect("/b"), "/b": answer(200)}) as server:
            async with world.client(pipeline(Timeout(0.1), eager())) as client:
                response = await client.get(server.url + "/a")
                await world.sleep(0.15)
                assert (await client.send(response.next_request)).status_code == 200

    world.run(scenario)


# -- C15, T50: authentication ------------------------------------------------------------------------


def fields(authorization: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)="?([^",]*)"?', authorization))


@every_world
def test_C15_digest_works_and_keeps_counting(world: World) -> None:
    script = {"/": lambda received: answer(200) if "authorization" in received.headers else unauthorized("first")}

    async def scenario() -> None:
        with FaultServer(script) as server:
            async with world.client(pipeline(Timeout(5), eager())) as client:
                auth = world.family.DigestAuth("me", "secret")
                for _ in range(3):
                    response = await client.get(server.url + "/", auth=auth)
                    assert response.status_code == 200
                signed = [fields(each.headers["authorization"]) for each in server.received[1:]]
                assert [each["nc"] for each in signed] == ["00000001", "00000002", "00000003"]
                assert {each["nonce"] for each in signed} == {"first"}
                assert len({each["cnonce"] for each in signed}) == 3

    world.run(scenario)


@every_world
def test_C15_T50_an_attempt_repeats_the_signature_of_the_one_before(world: World) -> None:
    """A transport is below authentication: it cannot sign. A server that is strict about it answers 401 in the end."""
    used: list[str] = []

    def strict(received: Any) -> Any:
        signature = received.headers.get("authorization")
        if signature is None or signature in used:
            return unauthorized("fresh", stale=signature is not None)
        used.append(signature)
        return answer(503) if len(used) == 1 else answer(200)

    async def scenario() -> None:
        with FaultServer(strict) as server:
            async with world.client(pipeline(Timeout(5), eager())) as client:
                auth = world.family.DigestAuth("me", "secret")
                response = await client.get(server.url, auth=auth)
                assert response.status_code == 401
                assert "stale=true" in response.headers["www-authenticate"]
                signatures = [each.headers.get("authorization") for each in server.received]
                assert signatures == [None, used[0], used[0]]

    world.run(scenario)


@every_world
def test_T50_a_retry_around_the_client_signs_each_attempt_anew(world: World) -> None:
    used: list[str] = []

    def strict(received: Any) -> Any:
        signature = received.headers.get("authorization")
        if signature is None or signature in used:
            return unauthorized("fresh", stale=signature is not None)
        used.append(signature)
        return answer(503) if len(used) == 1 else answer(200)

    async def scenario() -> None:
        with FaultServer(strict) as server:
            async with world.client(pipeline(CircuitBreaker())) as client:
                auth = world.family.DigestAuth("me", "secret")
                outer = pipeline(eager())

                async def ask() -> Any:
                    return (await client.get(server.url, auth=auth)).raise_for_status()

                guarded = outer.acall(ask) if world.is_async else _sync(outer, ask)
                assert (await guarded).status_code == 200
                assert [fields(each)["nc"] for each in used] == ["00000001", "00000002"]

    world.run(scenario)


async def _sync(outer: Any, ask: Any) -> Any:
    return outer.call(lambda: drive(ask()))


@every_world
def test_C15_an_auth_that_refreshes_its_token_works_through_the_same_client(world: World) -> None:
    """The refresh is a call of its own, with all its attempts; the request goes on with what it has left."""
    family = world.family

    class Refreshing(family.Auth):
        requires_response_body = True
        token = "old"

        def auth_flow(self, request: Any) -> Generator[Any, Any, None]:
            request.headers["authorization"] = f"Bearer {self.token}"
            response = yield request
            if response.status_code == 401:
                answered = yield family.Request("POST", request.url.join("/token"), content=b"refresh")
                self.token = answered.text
                request.headers["authorization"] = f"Bearer {self.token}"
                yield request

    def data(received: Any) -> Any:
        if received.headers["authorization"] != "Bearer new":
            return answer(401)
        tries.append(received.body)
        return echo() if len(tries) > 1 else answer(503)

    tries: list[bytes] = []
    script = {"/data": data, "/token": [answer(429), answer(429), answer(200, b"new")]}

    async def scenario() -> None:
        with FaultServer(script) as server:
            async with world.client(pipeline(Timeout(5), eager())) as client:
                response = await client.request("PUT", server.url + "/data", auth=Refreshing(), content=b"the body")
                assert (response.status_code, response.content) == (200, b"the body")
                assert paths(server) == ["/data", "/token", "/token", "/token", "/data", "/data"]
                assert tries == [b"the body"] * 2

    world.run(scenario)


@every_world
def test_C15_credentials_of_the_url_and_of_basic_auth_come_with_every_attempt(world: World) -> None:
    async def scenario() -> None:
        with FaultServer([reset(), answer(503), answer(200)]) as server:
            async with world.client(pipeline(eager())) as client:
                url = server.url.replace("http://", "http://me:secret@")
                assert (await client.get(url)).status_code == 200
                wanted = "Basic " + base64.b64encode(b"me:secret").decode()
                assert [each.headers["authorization"] for each in server.received] == [wanted] * 3

    world.run(scenario)


# -- C12, T49: the key -------------------------------------------------------------------------------


@every_world
@pytest.mark.parametrize("style", ["raw", "quoted"])
def test_C12_T49_a_key_is_the_same_for_all_attempts_and_hops_of_a_call(world: World, style: str) -> None:
    script = {
        "/a": [reset(), answer(503), redirect("/b", 307)],
        "/b": [answer(503), redirect("/c", 308)],
        "/c": answer(),
    }

    async def scenario() -> None:
        with FaultServer(script) as server:
            key = world.door.IdempotencyKey(style=style)
            async with world.client(pipeline(eager(9)), idempotency=key, client=FOLLOW) as client:
                assert (await client.post(server.url + "/a", json={"order": 1})).status_code == 200
                assert paths(server) == ["/a", "/a", "/a", "/b", "/b", "/c"]
                assert server.bodies == [server.bodies[0]] * 6
                (first,) = set(keys(server))
                bare = first.strip('"')
                assert UUID.fullmatch(bare)
                assert first == (bare if style == "raw" else f'"{bare}"')
                await client.post(server.url + "/c")
                assert keys(server)[-1] not in (first, None)

    world.run(scenario)


@every_world
def test_C12_T49_the_same_in_an_authentication_round(world: World) -> None:
    def script(received: Any) -> Any:
        return answer(200) if "authorization" in received.headers else unauthorized()

    async def scenario() -> None:
        with FaultServer(script) as server:
            async with world.client(pipeline(eager()), idempotency=world.door.IdempotencyKey()) as client:
                response = await client.post(server.url, auth=world.family.DigestAuth("me", "secret"))
                assert response.status_code == 200
                first, second = keys(server)
                assert first == second
                assert first is not None

    world.run(scenario)


@every_world
@pytest.mark.parametrize("style", ["raw", "quoted"])
def test_C12_T49_the_users_own_key_wins(world: World, style: str) -> None:
    async def scenario() -> None:
        with FaultServer([answer(503), answer()]) as server:
            key = world.door.IdempotencyKey(style=style)
            async with world.client(pipeline(eager()), idempotency=key) as client:
                headers = {"IDEMPOTENCY-key": "mine: as it is"}
                asked = {"resilient": {"idempotency_key": "of the extension"}}
                await client.post(server.url, headers=headers, extensions=asked)
                assert [each.headers.all(KEY) for each in server.received] == [["mine: as it is"]] * 2

    world.run(scenario)


@every_world
def test_C12_T49_a_key_of_the_requests_extension_comes_before_a_made_one(world: World) -> None:
    async def scenario() -> None:
        with FaultServer([answer(503), answer()]) as server:
            for settings, wanted in (
                ({"idempotency": world.door.IdempotencyKey(style="quoted")}, '"order-7"'),
                ({}, "order-7"),
            ):
                server.play([answer(503), answer()])
                async with world.client(pipeline(eager()), **settings) as client:
                    await client.post(server.url, extensions={"resilient": {"idempotency_key": "order-7"}})
                    assert keys(server)[-2:] == [wanted] * 2

    world.run(scenario)


@every_world
def test_C12_T49_safe_methods_never_get_one_and_others_when_asked(world: World) -> None:
    async def scenario() -> None:
        with FaultServer() as server:
            async with world.client(pipeline(eager()), idempotency=world.door.IdempotencyKey()) as client:
                for method in ("GET", "HEAD", "OPTIONS", "TRACE"):
                    for wanted in (None, True, "key"):
                        asked = {} if wanted is None else {"resilient": {"idempotency_key": wanted}}
                        await client.request(method, server.url, extensions=asked)
                        assert keys(server)[-1] is None, (method, wanted)
                for method, wanted, has in (
                    ("POST", None, True),
                    ("PATCH", None, True),
                    ("POST", False, False),
                    ("PUT", None, False),
                    ("PUT", True, True),
                    ("DELETE", "key", True),
                ):
                    asked = {} if wanted is None else {"resilient": {"idempotency_key": wanted}}
                    await client.request(method, server.url, extensions=asked)
                    assert (keys(server)[-1] is not None) is has, (method, wanted)

    world.run(scenario)


@every_world
def test_C12_T49_a_get_after_303_has_none(world: World) -> None:
    async def scenario() -> None:
        with FaultServer({"/a": redirect("/b", 303), "/b": answer()}) as server:
            async with world.client(
                pipeline(eager()), idempotency=world.door.IdempotencyKey(), client=FOLLOW
            ) as client:
                await client.post(server.url + "/a")
                assert [each.method for each in server.received] == ["POST", "GET"]
                first, second = keys(server)
                assert (first is not None, second) == (True, None)

    world.run(scenario)


OWN = {
    "made": ({"idempotency": True}, {}),
    "the user's header": ({}, {"headers": {"Idempotency-Key": "mine"}}),
    "the user's header, where others are made": ({"idempotency": True}, {"headers": {"Idempotency-Key": "mine"}}),
    "an extension": ({}, {"extensions": {"resilient": {"idempotency_key": "mine"}}}),
}


@every_world
@pytest.mark.parametrize("whose", OWN)
@pytest.mark.parametrize("status", [303, 307, 308])
def test_C12_T49_a_key_does_not_leave_its_origin(world: World, whose: str, status: int) -> None:
    settings, options = OWN[whose]
    settings = {"idempotency": world.door.IdempotencyKey()} if settings else {}

    async def scenario() -> None:
        with FaultServer(ports=2) as server:
            # And without its key, a POST is not repeated there.
            there = server.urls[1] + "/there"
            server.play({"/": [answer(503), redirect(there, status)], "/there": answer(503)})
            async with world.client(pipeline(eager(5)), client=FOLLOW, **settings) as client:
                await client.post(server.url + "/", **options)
                assert len(keys(server, 0)) == 2
                assert None not in keys(server, 0)
                assert set(keys(server, 1)) == {None}
                assert len(keys(server, 1)) == (4 if status == 303 else 1)

    world.run(scenario)


@every_world
def test_C12_a_key_is_with_the_call_again_where_it_comes_home(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(ports=2) as server:
            home, abroad = server.urls
            server.play({"/a": redirect(abroad + "/b", 307), "/b": redirect(home + "/c", 307), "/c": answer()})
            async with world.client(
                pipeline(eager()), client=FOLLOW, idempotency=world.door.IdempotencyKey()
            ) as client:
                await client.post(home + "/a")
                first, second, third = keys(server)
                assert (first is not None, second, third) == (True, None, first)

    world.run(scenario)


@every_world
def test_C12_nested_transports_send_the_key_of_the_outer_one(world: World) -> None:
    async def scenario() -> None:
        for retries, sends in (((3, 1), 3), ((1, 3), 3), ((3, 2), 2)):
            key = world.door.IdempotencyKey()
            inner = world.transport(pipeline(eager(retries[1])), idempotency=key, verify=False)
            with FaultServer(reset()) as server:
                async with world.client(pipeline(eager(retries[0])), idempotency=key, transport=inner) as client:
                    with pytest.raises(world.family.ReadError):
                        await client.post(server.url)
                    assert server.requests == sends
                    assert None not in keys(server)
                    assert len(set(keys(server))) == 1

    world.run(scenario)


@every_world
def test_C12_the_users_request_stays_without_our_headers(world: World) -> None:
    async def scenario() -> None:
        with FaultServer([answer(503), answer()]) as server:
            settings = {"idempotency": world.door.IdempotencyKey(), "attempt_header": "x-attempt"}
            async with world.client(pipeline(eager()), **settings) as client:
                request = client.real.build_request("POST", server.url, headers={"x-mine": "1"})
                before = list(request.headers.raw)
                response = await client.send(request)
                assert request.headers.raw == before
                assert response.request is request
                assert [each.headers["x-attempt"] for each in server.received] == ["1", "2"]

    world.run(scenario)


@every_world
def test_C12_another_name_for_the_header(world: World) -> None:
    async def scenario() -> None:
        with FaultServer([answer(503), answer()]) as server:
            key = world.door.IdempotencyKey(header="X-Request-Id", make=lambda: "made")
            async with world.client(pipeline(eager()), idempotency=key) as client:
                assert (await outcome(client.post(server.url))).status_code == 200
                assert [each.headers["x-request-id"] for each in server.received] == ["made"] * 2

    world.run(scenario)
