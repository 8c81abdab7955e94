"""A request body is sent whole or not at all: on real sockets, what the server got first and what it got again."""

from __future__ import annotations

import asyncio
import gc
import io
import tempfile
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from resilient._http.bodies import Upload, upload
from resilient._http.family import Family
from tests.faults import FaultServer, answer, redirect, retry_after

FAMILIES = {module.__name__: Family(module, f"resilient.{module.__name__}") for module in (httpx, httpx2)}
DATA = bytes(range(256)) * 1000  # several chunks of the clients' reading


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def at(offset: int, file: Any) -> Any:
    """Put a file somewhere."""
    file.seek(offset)
    return file


opened: list[Any] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()


def written(make: Callable[[], Any]) -> Any:
    file = make()
    opened.append(file)
    file.write(DATA)
    return at(0, file)


class OnlyRead:
    """A file-like of no known length: sent in chunks, and silently empty at the second time."""

    def __init__(self, data: bytes = DATA) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._file)


class Chunked(OnlyRead):
    """One that can seek, but does not tell its length."""

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence:
            raise OSError("from the beginning only")
        return self._file.seek(offset)


class Pipe(Chunked):
    """One that has all the methods and cannot do it."""

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise io.UnsupportedOperation("tell")

    def seek(self, offset: int, whence: int = 0) -> int:
        raise io.UnsupportedOperation("seek")


class Again:
    """A body of an unknown class, which says that it can be read again."""

    replayable = True

    def __iter__(self) -> Iterator[bytes]:
        yield from (b"once ", b"more")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


class AgainAsync:
    replayable = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"once "
        yield b"more"


def parts() -> Iterator[bytes]:
    yield DATA
    yield b"the end"


async def aparts() -> AsyncIterator[bytes]:
    yield DATA
    yield b"the end"


class Parts:
    """An iterator that is no generator: httpx reads it twice without a word, and the second time it is empty."""

    def __init__(self) -> None:
        self._left = [b"some", b"more"]

    def __iter__(self) -> Parts:
        return self

    def __next__(self) -> bytes:
        if not self._left:
            raise StopIteration
        return self._left.pop(0)


def custom(family: Family, *, replayable: bool | None = None) -> Any:
    class Custom(family.module.SyncByteStream, family.module.AsyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b"custom"

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"custom"

    stream = Custom()
    if replayable is not None:
        stream.replayable = replayable
    return stream


def attached(family: Family, stream: Any) -> dict[str, Any]:
    return {"stream": stream, "headers": {"host": "x", "transfer-encoding": "chunked"}}


Make = Callable[[Family], dict[str, Any]]

BOTH: dict[str, Make] = {
    "multipart of bytes and text": lambda f: {"data": {"a": "b"}, "files": {"x": b"bytes", "y": "text"}},
    "multipart of a file": lambda f: {"files": {"x": ("n", io.BytesIO(DATA))}},
    "multipart of a file somewhere": lambda f: {"files": {"x": ("n", at(1000, io.BytesIO(DATA)))}},
    "multipart of a real file somewhere": lambda f: {"files": {"x": ("n", at(1000, written(tempfile.TemporaryFile)))}},
    "multipart without length": lambda f: {"files": {"x": ("n", Chunked())}},
    "stream that says so": lambda f: attached(f, custom(f, replayable=True)),
}
SYNC: dict[str, Make] = {
    "file in memory": lambda f: {"content": io.BytesIO(DATA)},
    "file": lambda f: {"content": written(tempfile.TemporaryFile)},
    "chunked file": lambda f: {"content": Chunked()},
    "chunked file somewhere": lambda f: {"content": at(1000, Chunked())},
    "spooled file": lambda f: {"content": written(lambda: tempfile.SpooledTemporaryFile(10))},  # noqa: SIM115 -- closed by the fixture
    "list": lambda f: {"content": [b"a", DATA, b"z"]},
    "tuple": lambda f: {"content": (b"a", b"z")},
    "deque": lambda f: {"content": deque([b"a", b"z"])},
    "iterable that says so": lambda f: {"content": Again()},
}
ASYNC: dict[str, Make] = {
    "async iterable that says so": lambda f: {"content": AgainAsync()},
}
BOTH_ONCE: dict[str, Make] = {
    "multipart of a pipe": lambda f: {"files": {"x": ("n", Pipe())}},
    "multipart of something to read": lambda f: {"files": {"x": ("n", OnlyRead())}},
    "custom stream": lambda f: attached(f, custom(f)),
    "stream that says no": lambda f: attached(f, custom(f, replayable=False)),
}
SYNC_ONCE: dict[str, Make] = {
    "generator": lambda f: {"content": parts()},
    "iterator": lambda f: {"content": Parts()},
    "map": lambda f: {"content": map(bytes, [b"a", b"b"])},
    "something to read": lambda f: {"content": OnlyRead()},
    "pipe": lambda f: {"content": Pipe()},
}
ASYNC_ONCE: dict[str, Make] = {"async generator": lambda f: {"content": aparts()}}

IN_MEMORY: dict[str, Make] = {
    "nothing": lambda f: {},
    "bytes": lambda f: {"content": b"bytes"},
    "no bytes": lambda f: {"content": b""},
    "text": lambda f: {"content": "tëxt"},
    "json": lambda f: {"json": {"a": 1}},
    "form": lambda f: {"data": {"a": "b"}},
}


def cases(*tables: dict[str, Make]) -> Any:
    table = {name: make for each in tables for name, make in each.items()}
    return pytest.mark.parametrize("make", table.values(), ids=table)


def wrapped(family: Family, url: str, made: dict[str, Any]) -> tuple[Any, Upload]:
    """Return a request as the transport sends it, and what is known of its body."""
    request = family.request("POST", url, **made)
    found = upload(family, request)
    assert found is not None
    request.stream = found.stream
    return request, found


def colours(test: Callable[..., Any]) -> Any:
    return pytest.mark.anyio(test)


# In memory


@cases(IN_MEMORY)
def test_a_body_in_memory_costs_nothing(family: Family, make: Make) -> None:
    assert upload(family, family.request("POST", "http://x", **make(family))) is None


def test_a_body_that_was_read_into_memory_costs_nothing(family: Family) -> None:
    request = family.request("POST", "http://x", content=parts())
    request.read()
    assert upload(family, request) is None


# Sent twice


def assert_same(server: FaultServer, found: Upload) -> None:
    first, second = server.received
    assert first.complete
    assert second.complete
    assert first.body
    assert second.body == first.body
    assert found.fault is None


@cases(BOTH, SYNC)
def test_T40_C08_a_body_that_can_be_replayed_arrives_twice_alike(family: Family, make: Make) -> None:
    with FaultServer([retry_after(), answer()]) as server, family.module.HTTPTransport() as transport:
        request, found = wrapped(family, server.url, make(family))
        for _ in range(2):
            assert found.rewind()
            assert transport.handle_request(request).read()
        assert_same(server, found)


@colours
@cases(BOTH, ASYNC)
async def test_T40_C08_async_a_body_that_can_be_replayed_arrives_twice_alike(family: Family, make: Make) -> None:
    with FaultServer([retry_after(), answer()]) as server:
        async with family.module.AsyncHTTPTransport() as transport:
            request, found = wrapped(family, server.url, make(family))
            for _ in range(2):
                assert found.rewind()
                assert await (await transport.handle_async_request(request)).aread()
        assert_same(server, found)


@cases(BOTH, SYNC, BOTH_ONCE, SYNC_ONCE)
def test_what_was_never_started_can_be_sent_whatever_it_is(family: Family, make: Make) -> None:
    _, found = wrapped(family, "http://x", make(family))
    assert not found.started
    assert found.replayable()
    assert found.rewind()
    assert found.rewind()
    assert not found.started


@cases(BOTH_ONCE, SYNC_ONCE)
def test_C08_a_body_that_is_gone_is_refused_and_never_sent_empty(family: Family, make: Make) -> None:
    with FaultServer([retry_after(), answer()]) as server, family.module.HTTPTransport() as transport:
        request, found = wrapped(family, server.url, make(family))
        assert transport.handle_request(request).read()
        assert found.started
        assert not found.replayable()
        assert not found.rewind()
        with pytest.raises(family.module.StreamConsumed) as caught:  # nobody asked, and it is sent all the same
            transport.handle_request(request)
        assert found.fault is caught.value
        (only,) = [received for received in server.received if received.complete]
        assert only.body


@colours
@cases(BOTH_ONCE, ASYNC_ONCE)
async def test_C08_async_a_body_that_is_gone_is_refused_and_never_sent_empty(family: Family, make: Make) -> None:
    with FaultServer([retry_after(), answer()]) as server:
        async with family.module.AsyncHTTPTransport() as transport:
            request, found = wrapped(family, server.url, make(family))
            assert await (await transport.handle_async_request(request)).aread()
            assert found.started
            assert not found.replayable()
            assert not found.rewind()
            with pytest.raises(family.module.StreamConsumed) as caught:
                await transport.handle_async_request(request)
            assert found.fault is caught.value
        (only,) = [received for received in server.received if received.complete]
        assert only.body


def test_T40_without_the_wrapper_the_second_body_is_empty(family: Family) -> None:
    """The bug that the others are about: this one must fail when the clients mend it."""
    with FaultServer() as server, family.module.HTTPTransport() as transport:
        request = family.request("POST", server.url, content=OnlyRead())
        for _ in range(2):
            transport.handle_request(request).read()
        assert [received.complete for received in server.received] == [True, True]
        assert server.bodies == [DATA, b""]


def test_T40_a_file_is_sent_again_from_where_it_stood(family: Family) -> None:
    with FaultServer([retry_after(), answer()]) as server, family.module.HTTPTransport() as transport:
        request, found = wrapped(family, server.url, {"content": at(1000, Chunked())})
        transport.handle_request(request).read()
        assert found.rewind()
        transport.handle_request(request).read()
        assert server.bodies == [DATA[1000:]] * 2


def test_T40_a_file_of_known_length_goes_as_far_as_the_client_can_count(family: Family) -> None:
    """httpx counts from the beginning of the file, so it cannot send one from its middle; httpx2 can."""
    with FaultServer([retry_after(), answer()]) as server, family.module.HTTPTransport() as transport:
        request, found = wrapped(family, server.url, {"content": at(1000, io.BytesIO(DATA))})
        if family.name == "httpx":
            with pytest.raises(Exception, match="Too little data"):  # of h11; the client lets it through
                transport.handle_request(request)
            assert found.fault is None  # neither the body's doing
            return
        for _ in range(2):
            assert found.rewind()
            transport.handle_request(request).read()
        assert server.bodies == [DATA[1000:]] * 2


def test_C08_a_body_that_was_read_in_part_is_sent_again_whole(family: Family) -> None:
    file = Chunked()
    _, found = wrapped(family, "http://x", {"content": file})
    begun = iter(found.stream)
    first = next(begun)
    begun.close()  # the server answered before the body was sent
    assert found.started
    assert found.fault is None
    assert 0 < len(first) < len(DATA)
    assert found.rewind()
    assert b"".join(found.stream) == DATA


@colours
async def test_C08_async_a_body_that_was_read_in_part_is_sent_again_whole(family: Family) -> None:
    class Reading:
        def __init__(self) -> None:
            self._left = [b"one ", b"two"]

        def __aiter__(self) -> Reading:
            return self

        async def __anext__(self) -> bytes:
            if not self._left:
                raise StopAsyncIteration
            return self._left.pop(0)

    class Readable:
        replayable = True

        def __aiter__(self) -> Reading:
            return Reading()

    _, found = wrapped(family, "http://x", {"content": Readable()})
    begun = aiter(found.stream)
    assert await anext(begun) == b"one "
    await begun.aclose()
    assert found.rewind()
    assert [chunk async for chunk in found.stream] == [b"one ", b"two"]


@colours
async def test_a_generator_that_is_dropped_half_way_is_closed_at_once() -> None:
    closed = []

    async def watched() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            yield b"two"
        finally:
            closed.append(True)

    _, found = wrapped(FAMILIES["httpx2"], "http://x", {"content": watched()})  # httpx leaves it to the collector
    begun = aiter(found.stream)
    assert await anext(begun) == b"one"
    await begun.aclose()
    assert closed == [True]


# The stream guards itself


def test_C08_a_body_that_comes_out_shorter_is_no_body(family: Family) -> None:
    class Lying:
        replayable = True

        def __init__(self) -> None:
            self._left = iter([b"all", b"that", b"there", b"is"])

        def __iter__(self) -> Iterator[bytes]:
            yield from self._left

    with FaultServer([retry_after(), answer()]) as server, family.module.HTTPTransport() as transport:
        request, found = wrapped(family, server.url, {"content": Lying()})
        transport.handle_request(request).read()
        assert found.rewind()
        with pytest.raises(family.module.StreamConsumed):
            transport.handle_request(request)
        assert isinstance(found.fault, family.module.StreamConsumed)
        assert [received.body for received in server.received if received.complete] == [b"allthatthereis"]


def test_C08_the_longest_reading_counts_not_the_last(family: Family) -> None:
    class Shrinking:
        replayable = True

        def __init__(self) -> None:
            self.chunks = [b"a", b"b", b"c"]

        def __iter__(self) -> Iterator[bytes]:
            yield from self.chunks

    body = Shrinking()
    _, found = wrapped(family, "http://x", {"content": body})
    assert b"".join(found.stream) == b"abc"
    begun = iter(found.stream)
    next(begun)
    begun.close()
    body.chunks.pop()
    with pytest.raises(family.module.StreamConsumed):
        list(found.stream)


def test_a_collection_may_say_no(family: Family) -> None:
    class Once(list[bytes]):
        replayable = False

    _, found = wrapped(family, "http://x", {"content": Once([b"a"])})
    assert found.rewind()
    list(found.stream)
    assert not found.replayable()


def test_a_body_of_no_bytes_is_not_taken_for_a_lost_one(family: Family) -> None:
    for content in ([], io.BytesIO()):
        _, found = wrapped(family, "http://x", {"content": content})
        for _ in range(2):
            assert found.rewind()
            assert b"".join(found.stream) == b""


def test_reading_again_without_asking_goes_back_as_well(family: Family) -> None:
    request, found = wrapped(family, "http://x", {"content": Chunked()})
    assert b"".join(request.stream) == DATA
    assert request.read() == DATA  # as mocks do
    assert found.fault is None
    assert upload(family, request) is None


# Faults of the body


def failing() -> Iterator[bytes]:
    yield b"some"
    raise LookupError("row 7 is gone")


async def afailing() -> AsyncIterator[bytes]:
    yield b"some"
    raise LookupError("row 7 is gone")


def test_C09_what_the_body_raises_is_its_own_fault(family: Family) -> None:
    with FaultServer() as server, family.module.HTTPTransport() as transport:
        request, found = wrapped(family, server.url, {"content": failing()})
        with pytest.raises(LookupError) as caught:
            transport.handle_request(request)
        assert found.fault is caught.value
        assert not found.replayable()
        assert not found.rewind()
        assert not any(received.complete for received in server.received)


@colours
async def test_C09_async_what_the_body_raises_is_its_own_fault(family: Family) -> None:
    with FaultServer() as server:
        async with family.module.AsyncHTTPTransport() as transport:
            request, found = wrapped(family, server.url, {"content": afailing()})
            with pytest.raises(LookupError) as caught:
                await transport.handle_async_request(request)
            assert found.fault is caught.value
            assert not found.rewind()


def test_C09_the_body_of_a_relay_fails_with_the_clients_own_errors(family: Family) -> None:
    """A body that is itself a download: its ReadError is not that of the connection it is sent by."""

    def relayed() -> Iterator[bytes]:
        yield b"some"
        raise family.module.ReadError("the other server went away")

    with FaultServer() as server, family.module.HTTPTransport() as transport:
        request, found = wrapped(family, server.url, {"content": relayed()})
        with pytest.raises(family.module.ReadError) as caught:
            transport.handle_request(request)
        assert found.fault is caught.value


def test_C09_a_list_that_failed_is_not_sent_again(family: Family) -> None:
    class Failing(list[bytes]):
        def __iter__(self) -> Iterator[bytes]:
            return failing()

    _, found = wrapped(family, "http://x", {"content": Failing()})
    with pytest.raises(LookupError):
        b"".join(found.stream)
    assert not found.rewind()


@pytest.mark.parametrize("end", [KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
def test_C09_what_ends_a_thread_or_a_task_is_no_fault_of_the_body(family: Family, end: type[BaseException]) -> None:
    def cut() -> Iterator[bytes]:
        yield b"some"
        raise end

    _, found = wrapped(family, "http://x", {"content": cut()})
    with pytest.raises(end):
        list(found.stream)
    assert found.fault is None


def test_a_file_that_refuses_to_seek_is_refused_without_an_error(family: Family) -> None:
    file = Chunked()
    _, found = wrapped(family, "http://x", {"content": file})
    list(found.stream)
    file._file.close()
    assert found.replayable()  # of the right kind
    assert not found.rewind()  # the last word
    with pytest.raises(family.module.StreamConsumed):
        list(found.stream)


def test_a_file_that_lands_elsewhere_is_refused(family: Family) -> None:
    class Tape(Chunked):
        def seek(self, offset: int, whence: int = 0) -> int:
            return offset

    _, found = wrapped(family, "http://x", {"content": Tape()})
    list(found.stream)
    assert not found.rewind()


@pytest.mark.parametrize("wrap", [lambda file: {"content": file}, lambda file: {"files": {"x": file}}])
def test_a_file_that_is_closed_between_attempts_is_refused(family: Family, wrap: Any) -> None:
    file = Chunked()
    _, found = wrapped(family, "http://x", wrap(file))
    list(found.stream)
    file._file.close()
    assert not found.rewind()


@pytest.mark.parametrize("name", ["seekable", "tell", "read", "replayable"])
def test_a_hostile_file_is_sent_once(family: Family, name: str) -> None:
    def hostile(self: object) -> Any:
        raise RuntimeError(name)

    kind = type("Hostile", (Chunked,), {name: property(hostile)})
    request = family.request("POST", "http://x", content=[])
    request.stream._stream = kind()
    try:
        found = upload(family, request)
    except RuntimeError:
        assert name == "read"  # the client itself cannot send that
        return
    assert found is not None
    assert found.rewind()


# Closing


def test_closing_is_handed_on_and_ends_replays_of_unknown_streams(family: Family) -> None:
    closed = []
    stream = custom(family, replayable=True)
    stream.close = lambda: closed.append("close")
    _, found = wrapped(family, "http://x", attached(family, stream))
    list(found.stream)
    assert found.rewind()
    found.stream.close()
    assert closed == ["close"]
    assert found.replayable() is False
    assert found.rewind() is False


@colours
async def test_async_closing_is_handed_on_and_ends_replays_of_unknown_streams(family: Family) -> None:
    closed = []

    async def close() -> None:
        closed.append("aclose")

    stream = custom(family, replayable=True)
    stream.aclose = close
    _, found = wrapped(family, "http://x", attached(family, stream))
    assert [chunk async for chunk in found.stream] == [b"custom"]
    await found.stream.aclose()
    assert closed == ["aclose"]
    assert not found.rewind()


def test_closing_a_list_takes_nothing_away(family: Family) -> None:
    _, found = wrapped(family, "http://x", {"content": [b"a"]})
    list(found.stream)
    found.stream.close()
    assert found.rewind()


# One class per family, and no more than the original


def test_the_wrapper_passes_for_what_the_original_is(family: Family) -> None:
    module: ModuleType = family.module
    for made, kinds in (
        ({"content": parts()}, (True, False)),
        ({"content": aparts()}, (False, True)),
        ({"files": {"x": b"y"}}, (True, True)),
        (attached(family, custom(family)), (True, True)),
    ):
        stream = wrapped(family, "http://x", made)[1].stream
        assert (isinstance(stream, module.SyncByteStream), isinstance(stream, module.AsyncByteStream)) == kinds


def test_the_wrapper_is_one_class_per_family(family: Family) -> None:
    one, other = (wrapped(family, "http://x", {"content": parts()})[1] for _ in range(2))
    assert type(one.stream) is type(other.stream)
    elsewhere = FAMILIES["httpx2" if family.name == "httpx" else "httpx"]
    assert type(wrapped(elsewhere, "http://x", {"content": parts()})[1].stream) is not type(one.stream)


def test_the_body_goes_with_the_request(family: Family) -> None:
    """No cycle keeps a large body until the collector runs."""

    class Large(list[bytes]):
        pass

    content = Large([b"a"])
    gone = weakref.ref(content)
    gc.disable()
    try:
        request, found = wrapped(family, "http://x", {"content": content})
        list(found.stream)
        del request, found, content
        assert gone() is None
    finally:
        gc.enable()


# Hops


class Wrapping:
    """What the transport does with a body: on the request, so that hops carry it on."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.inner = family.module.HTTPTransport()
        self.uploads: list[Upload | None] = []

    def transport(self) -> Any:
        outer = self

        class Transport(self.family.module.BaseTransport):  # type: ignore[name-defined,misc]
            def handle_request(self, request: Any) -> Any:
                found = upload(outer.family, request)
                outer.uploads.append(found)
                if found is not None:
                    request.stream = found.stream
                return outer.inner.handle_request(request)

            def close(self) -> None:
                outer.inner.close()

        return Transport()


@pytest.mark.parametrize("make", [lambda: at(1000, Chunked()), lambda: [DATA[1000:]]], ids=["file", "list"])
def test_T40_a_redirect_carries_the_whole_body(family: Family, make: Callable[[], Any]) -> None:
    wrapping = Wrapping(family)
    with (
        FaultServer([redirect("/there", 307), answer()]) as server,
        family.module.Client(transport=wrapping.transport(), follow_redirects=True) as client,
    ):
        assert client.post(server.url, content=make()).status_code == 200
        assert server.bodies == [DATA[1000:]] * 2
    assert wrapping.uploads[0] is wrapping.uploads[1]


def test_T40_a_redirect_of_a_generator_says_so(family: Family) -> None:
    wrapping = Wrapping(family)
    with (
        FaultServer([redirect("/there", 307), answer()]) as server,
        family.module.Client(transport=wrapping.transport(), follow_redirects=True) as client,
    ):
        with pytest.raises(family.module.StreamConsumed):
            client.post(server.url, content=Parts())
        assert [received.body for received in server.received if received.complete] == [b"somemore"]


def test_T40_authentication_that_sends_the_request_again_sends_its_body_again(family: Family) -> None:
    class Twice(family.module.Auth):  # type: ignore[name-defined,misc]
        def auth_flow(self, request: Any) -> Any:
            yield request
            yield request

    wrapping = Wrapping(family)
    with (
        FaultServer([answer(401), answer()]) as server,
        family.module.Client(transport=wrapping.transport(), auth=Twice()) as client,
    ):
        assert client.post(server.url, content=Chunked()).status_code == 200
        assert server.bodies == [DATA] * 2


def test_a_later_call_forgets_the_fault_of_an_earlier_one(family: Family) -> None:
    class Shaky(Chunked):
        broken = True

        def read(self, size: int = -1) -> bytes:
            if self.broken:
                raise OSError("not yet")
            return super().read(size)

    file = Shaky()
    request, found = wrapped(family, "http://x", {"content": file})
    with pytest.raises(OSError, match="not yet"):
        list(request.stream)
    assert not found.rewind()
    file.broken = False
    assert upload(family, request) is found
    assert found.rewind()
    assert b"".join(request.stream) == DATA
