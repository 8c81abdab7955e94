"""What is sent again, and what becomes of the answers in between: C07, C08, C09, T40, T44."""

from __future__ import annotations

import io
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tests.conformance._http_cases import NOTHING, books, guarded, quick, unfinished
from tests.faults import Exchange, FaultServer, answer, echo, nobody, reset, step
from tests.http._world import COLOURS, FAMILIES, Client, World, every_world

BROKEN = ("ReadError", "RemoteProtocolError", "WriteError")


def broken(world: World) -> tuple[type[Exception], ...]:
    return tuple(getattr(world.family, name) for name in BROKEN)


# C07, T44: what becomes of the answers in between.


@every_world
@pytest.mark.parametrize("chunked", [False, True])
def test_C07_T44_five_sends_take_one_connection(world: World, chunked: bool) -> None:
    pipeline = guarded(5)

    async def scenario() -> None:
        with FaultServer([*[answer(503, b"no", chunked=chunked)] * 4, answer()]) as server:
            async with world.client(pipeline) as client:
                response = await client.get(server.url)
                assert (response.status_code, response.content) == (200, b"ok")
                assert (server.requests, server.connections) == (5, 1)
                assert books(pipeline).settled == (5, 4)
                assert books(pipeline).held == NOTHING

    world.run(scenario)


@every_world
def test_C07_the_last_answer_can_be_read_though_it_is_a_bad_one(world: World) -> None:
    async def scenario() -> None:
        with FaultServer([answer(503, b"first"), answer(503, b"last", {"x-which": "last"})]) as server:
            async with world.client(guarded(3)) as client:
                response = await client.get(server.url)
                assert (response.status_code, response.content) == (503, b"last")
                assert response.headers["x-which"] == "last"
                async with client.stream("GET", server.url) as response:
                    assert not response.is_closed
                    assert await client.read(response) == b"last"
                assert server.connections == 1

    world.run(scenario)


@every_world
@pytest.mark.parametrize(
    ("first", "longest"),
    [(answer(503, b"x" * 200_000), 0.2), (unfinished(), 0.5), (unfinished(declared=None), 0.5)],
    ids=["large", "stalled", "stalled and of no known length"],
)
def test_C07_a_body_not_worth_reading_is_closed_within_a_time(world: World, first: Any, longest: float) -> None:
    pipeline = guarded(2)

    async def scenario() -> None:
        with FaultServer([first, answer()]) as server:
            async with world.client(pipeline) as client:
                began = time.monotonic()
                assert (await client.get(server.url)).content == b"ok"
                assert time.monotonic() - began < longest
                assert (server.requests, server.connections) == (2, 2)
                assert books(pipeline).settled == (2, 1)

    world.run(scenario)


@every_world
def test_C07_an_endless_body_is_not_read_for_ever(world: World) -> None:
    sent = [0]

    @step
    async def flood(exchange: Exchange) -> None:
        await exchange.head(503, [])
        while True:
            await exchange.send(b"x" * 16_384)
            sent[0] += 16_384

    async def scenario() -> None:
        with FaultServer([flood(), answer()]) as server:
            async with world.client(guarded(2)) as client:
                began = time.monotonic()
                assert (await client.get(server.url)).content == b"ok"
                assert time.monotonic() - began < 0.5
                assert server.connections == 2
                assert sent[0] < 20_000_000, "what the buffers on the way hold, and not what fits in the time"

    world.run(scenario)


@every_world
@pytest.mark.parametrize("large", [False, True])
def test_C07_what_is_discarded_is_closed_and_settled_before_the_wait(world: World, large: bool) -> None:
    pipeline = guarded(limit=1, retry=quick(2, base=0.2))
    seen: list[tuple[Any, ...]] = []

    async def scenario() -> None:
        with FaultServer([answer(503, b"x" * 200_000 if large else b"no"), answer()]) as server:
            async with world.client(pipeline) as client:

                async def call() -> None:
                    assert (await client.get(server.url)).status_code == 200

                async def look() -> None:
                    while not (server.requests == 1 and books(pipeline).settled == (1, 1)):
                        await world.sleep(0.002)
                    await world.sleep(0.03)
                    seen.append((server.open, *books(pipeline).held))

                results = await world.together(call, look)
                assert results == [None, None]
                assert seen == [(0 if large else 1, *NOTHING)]
                assert server.received[1].time - server.received[0].time > 0.2

    world.run(scenario)


# C08, T40: bodies.


class Own:
    """A body of the user's own making."""

    def __init__(self, *parts: bytes, replayable: bool | None = None, error: BaseException | None = None) -> None:
        self.parts, self.error = parts, error
        self.begun = 0
        if replayable is not None:
            self.replayable = replayable

    def again(self) -> Iterator[bytes]:
        self.begun += 1
        yield from self.parts
        if self.error is not None:
            raise self.error


class Plain(Own):
    def __iter__(self) -> Iterator[bytes]:
        return self.again()


class Awaited(Own):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.again():
            yield part


def own(world: World, *arguments: Any, **options: Any) -> Any:
    """Return an iterable for the clients to wrap."""
    return (Awaited if world.is_async else Plain)(*arguments, **options)


def stream(world: World, *arguments: Any, **options: Any) -> Any:
    """Return a stream of the family, to be sent as it is."""
    kind, base = (Awaited, "AsyncByteStream") if world.is_async else (Plain, "SyncByteStream")
    return type("Stream", (kind, getattr(world.family, base)), {})(*arguments, **options)


def generator(world: World, *arguments: Any, **options: Any) -> Any:
    body = own(world, *arguments, **options)
    return aiter(body) if world.is_async else iter(body)


async def put(world: World, client: Client, url: str, *, stream: Any = None, **options: Any) -> Any:
    if stream is None:
        return await client.request("PUT", url, **options)
    headers = {"host": url.removeprefix("http://"), **CHUNKED}
    return await client.send(world.family.Request("PUT", url, stream=stream, headers=headers))


def at(offset: int, data: bytes) -> io.BytesIO:
    file = io.BytesIO(data)
    file.seek(offset)
    return file


class Pipe(io.RawIOBase):
    """A file that cannot seek."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def readable(self) -> bool:
        return True


class OnlyRead:
    """A file-like without a length: the clients send it in chunks, and silently empty at the second time."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(64), b"")


Make = Callable[[World], dict[str, Any]]

AGAIN: dict[str, Make] = {
    "nothing": lambda _: {},
    "bytes": lambda _: {"content": b"0123456789" * 20_000},
    "text": lambda _: {"content": "text"},
    "json": lambda _: {"json": {"a": [1, 2]}},
    "form": lambda _: {"data": {"a": "1", "b": ["2", "3"]}},
    "multipart": lambda _: {"files": {"f": ("name", b"0123456789" * 20_000)}, "data": {"a": "1"}},
    "multipart file": lambda _: {"files": {"f": io.BytesIO(b"0123456789" * 20_000)}},
    "iterable that says so": lambda world: {"content": own(world, b"one", b"two", replayable=True)},
    "stream that says so": lambda world: {"stream": stream(world, b"one", b"two", replayable=True)},
}
AGAIN_PLAIN: dict[str, Make] = {
    "file": lambda _: {"content": io.BytesIO(b"0123456789" * 20_000)},
    "file in the middle": lambda _: {"content": at(5, b"01234" + b"0123456789" * 20_000), "headers": CHUNKED},
    "list": lambda _: {"content": [b"one", b"two"]},
}
ONCE: dict[str, Make] = {
    "generator": lambda world: {"content": generator(world, b"one", b"two")},
    "iterable": lambda world: {"content": own(world, b"one", b"two")},
    "stream": lambda world: {"stream": stream(world, b"one", b"two")},
}
ONCE_PLAIN: dict[str, Make] = {
    "pipe": lambda _: {"content": Pipe(b"one" * 100)},
    "file-like": lambda _: {"content": OnlyRead(b"one" * 100)},
    "multipart of a pipe": lambda _: {"files": {"f": Pipe(b"one" * 100)}},
}
CHUNKED = {"Transfer-Encoding": "chunked"}


def of(everywhere: dict[str, Make], plain: dict[str, Make]) -> Any:
    """Parametrize by all worlds and the bodies that their clients take."""
    worlds = [World(family, colour) for family in FAMILIES for colour in COLOURS]
    return pytest.mark.parametrize(
        ("world", "make"),
        [
            pytest.param(world, make, id=f"{world.name}-{world.colour}-{name}")
            for world in worlds
            for name, make in (everywhere if world.is_async else everywhere | plain).items()
        ],
    )


FAILURES = pytest.mark.parametrize("failure", [answer(503, b"original"), reset()], ids=["503", "reset"])


@FAILURES
@of(AGAIN, AGAIN_PLAIN)
def test_C08_T40_a_body_is_sent_again_whole(world: World, make: Make, failure: Any) -> None:

    async def scenario() -> None:
        with FaultServer([failure, failure, echo()]) as server:
            async with world.client(guarded(3)) as client:
                response = await put(world, client, server.url, **make(world))
                assert response.status_code == 200
                first, second, third = server.bodies
                assert first == second == third == response.content
                assert bool(first) == bool(make(world))
                assert {each.headers.get("content-type") for each in server.received} == {
                    server.received[0].headers.get("content-type")
                }

    world.run(scenario)


@FAILURES
@of(ONCE, ONCE_PLAIN)
def test_C08_T40_a_body_that_is_gone_keeps_the_original_outcome(world: World, make: Make, failure: Any) -> None:
    pipeline = guarded(3)

    async def scenario() -> None:
        with FaultServer([failure, answer()]) as server:
            async with world.client(pipeline) as client:
                if failure.name == "reset":
                    with pytest.raises(broken(world)):
                        await put(world, client, server.url, **make(world))
                else:
                    response = await put(world, client, server.url, **make(world))
                    assert (response.status_code, response.content) == (503, b"original")
                assert server.requests == 1
                assert server.bodies[0]
                assert books(pipeline).settled == (1, 1)
                assert books(pipeline).held == NOTHING

    world.run(scenario)


@every_world
def test_C08_what_was_never_sent_is_sent_whatever_it_is(world: World) -> None:
    """A refused connection asks for no byte of the body."""
    pipeline = guarded(3)
    body = stream(world, b"one")

    async def scenario() -> None:
        with nobody() as url:
            async with world.client(pipeline) as client:
                with pytest.raises(world.family.ConnectError):
                    await put(world, client, url, stream=body)
                assert body.begun == 0
                assert books(pipeline).settled == (3, 3)

    world.run(scenario)


# C09: a body that raises.

ERRORS = [ValueError("mine"), OSError("mine"), TimeoutError("mine"), RuntimeError("mine")]


@every_world
@pytest.mark.parametrize("kind", ["generator", "iterable", "stream", "replayable stream"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("sent", [(), (b"one",)], ids=["at once", "half-way"])
def test_C09_a_body_that_raises_is_nobody_elses_failure(
    world: World, kind: str, error: Exception, sent: tuple[bytes, ...]
) -> None:
    pipeline = guarded(3, consecutive=1)
    make = {"generator": generator, "iterable": own}.get(kind, stream)
    options = {"replayable": True} if "replayable" in kind else {}
    body = make(world, *sent, error=error, **options)

    async def scenario() -> None:
        with FaultServer(answer()) as server:
            async with world.client(pipeline) as client:
                with pytest.raises(type(error)) as caught:
                    await put(world, client, server.url, **{"stream" if make is stream else "content": body})
                assert caught.value is error
                assert server.requests == 0, "no whole request came"
                assert len(server.broken_off) <= 1
                if kind != "generator":
                    assert body.begun == 1
                assert books(pipeline).settled == (0, 0)
                assert (books(pipeline).state, books(pipeline).held) == ("closed", NOTHING)
                assert (await client.get(server.url)).status_code == 200

    world.run(scenario)


@every_world
def test_C09_an_error_of_the_family_raised_by_a_body_is_the_users_own(world: World) -> None:
    error = world.family.ReadError("of another request, say")
    pipeline = guarded(3, consecutive=1)

    async def scenario() -> None:
        with FaultServer(answer()) as server:
            async with world.client(pipeline) as client:
                with pytest.raises(world.family.ReadError) as caught:
                    await put(world, client, server.url, stream=stream(world, b"one", error=error, replayable=True))
                assert caught.value is error
                assert server.requests == 0
                assert books(pipeline).settled == (0, 0)
                assert books(pipeline).state == "closed"

    world.run(scenario)
