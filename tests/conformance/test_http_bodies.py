"""Answers come out as the server gave them, and are settled when their bodies end: C01, C02, C03, T24, T28."""

from __future__ import annotations

import contextlib
import gc
import gzip
import threading
from typing import Any

import pytest

from resilient import BreakerOpen, Bulkhead, CircuitBreaker, Pipeline
from tests.conformance._http_cases import HALF_READ, NOTHING, books, guarded, in_two, pieces, quick
from tests.faults import FaultServer, answer, close_mid_body, raw, reset_mid_body, stall_mid_body
from tests.http._world import World, every_family, every_world

HEAD = (
    b"HTTP/1.0 207 Quite Fine, Thanks\r\n"
    b"X-First: 1\r\nSet-Cookie: a=1\r\nx-MIXED-case: \xe4\xf6\r\nSet-Cookie: b=2; Path=/\r\nX-First: again\r\n"
    b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Length: 5\r\n\r\n"
)
ODD = raw(HEAD + b"h\xe4llo")


def parts(response: Any) -> dict[str, Any]:
    """What there is to see of a response, but for times and sockets."""
    return {
        "class": type(response),
        "status": response.status_code,
        "headers": response.headers.raw,
        "version": (response.http_version, response.extensions["http_version"]),
        "reason": (response.reason_phrase, response.extensions["reason_phrase"]),
        "extensions": sorted(response.extensions),
        "cookies": sorted(response.cookies.items()),
        "encoding": (response.encoding, response.charset_encoding, response.default_encoding),
        "history": response.history,
    }


@every_world
def test_C01_an_answer_comes_out_as_the_server_gave_it(world: World) -> None:
    async def scenario() -> None:
        kind = world.family.AsyncHTTPTransport if world.is_async else world.family.HTTPTransport
        with FaultServer(ODD) as server:
            async with world.over(kind(verify=False)) as bare, world.client(guarded()) as client:
                expected, found = await bare.get(server.url), await client.get(server.url)
                assert parts(found) == parts(expected)
                assert found.headers.raw[:3] == [
                    (b"X-First", b"1"),
                    (b"Set-Cookie", b"a=1"),
                    (b"x-MIXED-case", b"\xe4\xf6"),
                ]
                assert [name for name, _ in found.headers.raw].count(b"X-First") == 2
                assert (found.http_version, found.reason_phrase) == ("HTTP/1.0", "Quite Fine, Thanks")
                assert (found.text, found.content) == (expected.text, expected.content) == ("hällo", b"h\xe4llo")
                assert found.elapsed.total_seconds() > 0
                assert found.num_bytes_downloaded == expected.num_bytes_downloaded == 5

    world.run(scenario)


@every_world
def test_C01_an_unread_answer_has_its_network_stream(world: World) -> None:
    async def scenario() -> None:
        with FaultServer(ODD) as server:
            async with world.client(guarded()) as client, client.stream("GET", server.url) as response:
                stream = response.extensions["network_stream"]
                port = int(server.url.rpartition(":")[2])
                assert stream.get_extra_info("server_addr")[1] == port
                assert not response.is_stream_consumed
                assert not response.is_closed
                assert str(response.request.url) == server.url
                assert await client.read(response) == b"h\xe4llo"
                assert response.is_closed

    world.run(scenario)


@every_world
@pytest.mark.parametrize("status", [200, 204, 304, 404, 418, 501])
def test_C01_the_inner_response_itself_is_returned(world: World, status: int) -> None:
    """Also of an error that no retry helps against."""
    made: list[Any] = []

    def handler(request: Any) -> Any:
        made.append(world.family.Response(status, headers=[("x-a", "1"), ("X-A", "2")], content=b"mock"))
        return made[-1]

    async def scenario() -> None:
        async with world.client(guarded(), transport=world.mock(handler)) as client:
            response = await client.get("http://downstream/")
            assert response is made[0]
            assert len(made) == 1
            assert response.headers.raw[:2] == [(b"x-a", b"1"), (b"X-A", b"2")]
            assert response.content == b"mock"

    world.run(scenario)


@every_world
@pytest.mark.parametrize("kind", ["raw", "bytes", "text", "lines"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_C02_the_first_part_is_there_before_the_body_ends(world: World, kind: str, packed: bool) -> None:
    first, second = b"first line\nsecond line\n" * 40, b"last line\nno end"
    headers: tuple[tuple[str, str], ...] = ()
    wire = [first, second]
    if packed:
        packer = __import__("zlib").compressobj(wbits=31)
        wire = [packer.compress(first) + packer.flush(2), packer.compress(second) + packer.flush()]
        assert gzip.decompress(b"".join(wire)) == first + second
        headers = (("content-encoding", "gzip"),)
    gate = threading.Event()
    pipeline = guarded()

    async def scenario() -> None:
        step = in_two(wire[0], gate, wire[1], headers=headers)
        with FaultServer(step) as server:
            async with world.client(pipeline) as client, client.stream("GET", server.url) as response:
                with pytest.raises(RuntimeError):
                    _ = response.elapsed
                found = []
                async for piece in pieces(client, response, kind):
                    if not found:
                        assert not gate.is_set(), "this part came before the rest was sent"
                        assert response.num_bytes_downloaded == len(wire[0])
                        assert books(pipeline).held[1] == 1
                        gate.set()
                    found.append(piece)
                assert response.num_bytes_downloaded == len(b"".join(wire))
                assert response.elapsed.total_seconds() > 0
                assert books(pipeline).held == NOTHING
        expected: dict[str, Any] = {
            "raw": b"".join(wire),
            "bytes": first + second,
            "text": (first + second).decode(),
            "lines": (first + second).decode().splitlines(),
        }
        joined = found if kind == "lines" else ("" if kind == "text" else b"").join(found)
        assert joined == expected[kind]

    world.run(scenario)


@every_world
def test_C02_a_read_answer_is_read_once_and_has_its_times(world: World) -> None:
    packed = gzip.compress(b"hello" * 500)

    async def scenario() -> None:
        with FaultServer(answer(200, packed, {"content-encoding": "gzip"}, chunked=True)) as server:
            async with world.client(guarded()) as client:
                response = await client.get(server.url)
                assert response.content == b"hello" * 500
                assert response.num_bytes_downloaded == len(packed)
                assert 0 < response.elapsed.total_seconds() < 5
                async with client.stream("GET", server.url) as response:
                    assert b"".join([each async for each in client.chunks(response)]) == packed
                    with pytest.raises(world.family.StreamConsumed):
                        _ = [each async for each in client.chunks(response)]

    world.run(scenario)


@every_world
def test_C03_a_body_that_was_read_settles_once(world: World) -> None:
    pipeline = guarded()

    async def scenario() -> None:
        with FaultServer(answer(200, b"hello" * 1000)) as server:
            async with world.client(pipeline) as client:
                for number in range(3):
                    async with client.stream("GET", server.url) as response:
                        assert books(pipeline).settled == (number, 0)
                        assert books(pipeline).held[1] == 1
                        assert await client.read(response) == b"hello" * 1000
                        assert books(pipeline).settled == (number + 1, 0)
                        assert books(pipeline).held == NOTHING
                        await client.close(response)
                    await client.close(response)
                    assert books(pipeline).settled == (number + 1, 0)
                    assert books(pipeline).held == NOTHING
                assert server.connections == 1

    world.run(scenario)


@every_world
@HALF_READ
@pytest.mark.parametrize("reads", [0, 1])
def test_C03_a_body_that_is_closed_early_settles_once_by_its_status(world: World, reads: int) -> None:
    pipeline = guarded(1)

    async def scenario() -> None:
        with FaultServer([stall_mid_body(), stall_mid_body(), answer(503, b"x" * 100_000)]) as server:
            async with world.client(pipeline) as client:
                for number, failures in enumerate([0, 0, 1]):
                    async with client.stream("GET", server.url) as response:
                        chunks = client.chunks(response)
                        if reads:
                            await anext(chunks)
                        assert books(pipeline).settled == (number, 0)
                        assert books(pipeline).held[1] == 1
                        await client.close(response)
                        assert books(pipeline).settled == (number + 1, failures)
                        assert books(pipeline).held == NOTHING
                        await chunks.aclose()
                    assert books(pipeline).settled == (number + 1, failures)

    world.run(scenario)


@every_world
@pytest.mark.parametrize("step", [reset_mid_body(), reset_mid_body(declared=None), close_mid_body()])
def test_C03_T28_a_body_that_breaks_off_is_one_failure(world: World, step: Any) -> None:
    pipeline = guarded()

    async def scenario() -> None:
        with FaultServer(step) as server:
            async with world.client(pipeline) as client, client.stream("GET", server.url) as response:
                assert response.status_code == 200
                assert books(pipeline).settled == (0, 0)
                with pytest.raises((world.family.ReadError, world.family.RemoteProtocolError)) as caught:
                    await client.read(response)
                assert str(caught.value.request.url) == server.url
                assert books(pipeline).settled == (1, 1)
                assert books(pipeline).held == NOTHING
                await client.close(response)
            assert books(pipeline).settled == (1, 1)
            assert books(pipeline).held == NOTHING
            assert server.requests == 1, "something was handed out: nothing is sent again"

    world.run(scenario)


@every_world
@HALF_READ
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # of the sockets, which are the families' own
@pytest.mark.parametrize("reads", [0, 1])
def test_C03_a_response_that_is_never_closed_is_given_back(world: World, reads: int) -> None:
    """With a warning; but httpx2 closes by itself what was being iterated over."""
    pipeline = guarded(limit=1)
    closes = world.name == "httpx2" and reads > 0

    async def collected() -> None:
        for _ in range(10):  # the loops close what was being iterated over, one by one
            gc.collect()
            if books(pipeline).held == NOTHING:
                return
            await world.sleep(0)

    async def scenario() -> None:
        with FaultServer([stall_mid_body(), answer()]) as server:
            async with world.client(pipeline) as client:
                response = await client.send(client.real.build_request("GET", server.url), stream=True)
                chunks = client.chunks(response)
                if reads:
                    await anext(chunks)
                assert books(pipeline).held[1] == 1
                with contextlib.nullcontext() if closes else pytest.warns(ResourceWarning, match="never closed"):
                    del response, chunks
                    await collected()
                assert books(pipeline).held == NOTHING
                late = closes and not world.is_async  # no lock may be taken there: the next request settles it
                assert books(pipeline).settled == (closes and not late, 0), "nobody knows how it would have ended"
                assert (await client.get(server.url)).content == b"ok"
                assert books(pipeline).settled == (closes + 1, 0)
            await _gone(world, server)

    world.run(scenario)


async def _gone(world: World, server: FaultServer) -> None:
    if world.is_async:
        await server.until(lambda: server.open == 0)
    else:
        server.wait_until(lambda: server.open == 0)


@every_family
def test_C03_what_the_collector_finds_half_read_takes_no_lock(world: World) -> None:
    """The families' generators close what they read from; with httpx2 that is the whole response."""
    pipeline = guarded(1)

    async def scenario() -> None:
        with FaultServer(answer(503, b"x" * 200_000)) as server:
            async with world.client(pipeline) as client:
                response = await client.send(client.real.build_request("GET", server.url), stream=True)
                box = [response.iter_raw()]
                next(box[0])
                del response

                def collected() -> None:
                    with pipeline[CircuitBreaker].machine._lock:
                        box.clear()
                        gc.collect()

                thread = threading.Thread(target=collected, daemon=True)
                thread.start()
                thread.join(5)
                assert not thread.is_alive(), "it waits for itself"
                assert books(pipeline).held == NOTHING
                assert (await client.get(server.url)).status_code == 503
                assert books(pipeline).settled == ((2, 2) if world.name == "httpx2" else (1, 1))

    if world.name == "httpx":
        with pytest.warns(ResourceWarning, match="never closed"):
            world.run(scenario)
    else:
        world.run(scenario)


@every_world
def test_T28_headers_are_no_success_five_broken_bodies_open_the_breaker(world: World) -> None:
    pipeline = guarded(consecutive=5)

    async def scenario() -> None:
        with FaultServer(reset_mid_body()) as server:
            async with world.client(pipeline) as client:
                for number in range(5):
                    assert books(pipeline).failures == number
                    with pytest.raises((world.family.ReadError, world.family.RemoteProtocolError)):
                        await client.get(server.url)
                assert books(pipeline).state == "open"
                with pytest.raises(BreakerOpen):
                    await client.get(server.url)
                assert server.requests == 5

    world.run(scenario)


@every_world
@pytest.mark.parametrize("good", [True, False])
def test_T28_a_probe_holds_its_place_until_its_body_ends(world: World, good: bool) -> None:
    pipeline = guarded(1, consecutive=1, open_for=0.02, probes=1, ramp=0)
    gate = threading.Event()

    async def scenario() -> None:
        last = in_two(b"half", gate, b"half") if good else reset_mid_body()
        with FaultServer([answer(503), last, answer()]) as server:
            async with world.client(pipeline) as client:
                assert (await client.get(server.url)).status_code == 503
                assert books(pipeline).state == "open"
                await world.sleep(0.03)
                async with client.stream("GET", server.url) as response:
                    assert (books(pipeline).state, books(pipeline).probes) == ("half_open", 1)
                    assert books(pipeline).held[1] == 1
                    with pytest.raises(BreakerOpen):
                        await client.get(server.url)
                    gate.set()
                    if good:
                        await client.read(response)
                    else:
                        with pytest.raises(world.family.TransportError):
                            await client.read(response)
                    assert (books(pipeline).state, books(pipeline).probes) == ("closed" if good else "open", 0)
                    assert books(pipeline).held == NOTHING
                assert server.requests == 2

    world.run(scenario)


@every_world
def test_T24_a_503_is_a_failure_for_the_breaker(world: World) -> None:
    pipeline = guarded(1, consecutive=3)

    async def scenario() -> None:
        with FaultServer(answer(503)) as server:
            async with world.client(pipeline) as client:
                for number in range(1, 4):
                    assert (await client.get(server.url)).status_code == 503
                    assert books(pipeline).settled == (number, number)
                with pytest.raises(BreakerOpen):
                    await client.get(server.url)
                assert server.requests == 3

    world.run(scenario)


@every_world
def test_T24_every_attempt_counts_and_not_every_error_status_is_a_failure(world: World) -> None:
    pipeline = guarded(3)

    async def scenario() -> None:
        steps = [answer(503), answer(502), answer(), answer(404), answer(403), answer(500), answer()]
        with FaultServer(steps) as server:
            async with world.client(pipeline) as client:
                assert (await client.get(server.url)).status_code == 200
                assert books(pipeline).settled == (3, 2)
                assert (await client.get(server.url)).status_code == 404
                assert (await client.get(server.url)).status_code == 403
                assert books(pipeline).settled == (5, 2)
                assert (await client.get(server.url)).status_code == 200
                assert books(pipeline).settled == (7, 3)
                assert books(pipeline).held == NOTHING

    world.run(scenario)


@every_world
def test_T24_a_throttled_answer_counts_in_no_rate(world: World) -> None:
    pipeline = guarded(1, consecutive=2)

    async def scenario() -> None:
        with FaultServer(answer(429)) as server:
            async with world.client(pipeline) as client:
                for _ in range(4):
                    assert (await client.get(server.url)).status_code == 429
                assert books(pipeline).settled == (0, 0)
                assert books(pipeline).state == "closed"

    world.run(scenario)


@every_world
def test_T24_a_breaker_around_the_retry_counts_what_came_of_it(world: World) -> None:
    breaker = CircuitBreaker(consecutive=2, min_calls=1_000, jitter=0.0)
    pipeline = Pipeline(f"around-{world.name}-{world.colour}", breaker, quick(3), Bulkhead(2))

    async def scenario() -> None:
        with FaultServer([*[answer(503)] * 2, answer(), answer(503)]) as server:
            async with world.client(pipeline) as client:
                assert (await client.get(server.url)).status_code == 200
                assert books(pipeline).settled == (1, 0)
                for _ in range(2):
                    assert (await client.get(server.url)).status_code == 503
                with pytest.raises(BreakerOpen):
                    await client.get(server.url)
                assert server.requests == 3 + 2 * 3
                assert books(pipeline).held == NOTHING

    world.run(scenario)
