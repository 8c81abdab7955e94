"""Say whether a request's body can be sent again, and make sure that it is sent whole or not at all.

The clients send what is left of a body: the second attempt of a file that was read sends nothing,
and no error says so. A body in memory needs no help. Any other is wrapped: the wrapper knows
whether bytes were asked for, whether the body itself failed, and where it began; reading it once
more goes back to that point, or raises the family's `StreamConsumed`.

What can be sent again: anything that was not started; files that can seek, from the offset they
had; multipart forms of such files, texts and bytes (both families render files from their
beginning); lists, tuples and other collections of bytes. Generators, iterators and streams of
unknown classes are sent once, unless they say otherwise by an attribute `replayable = True`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any, Protocol

from resilient._http import replays
from resilient._http.family import Family

__all__ = ["Upload", "upload"]


class Sent(Protocol):
    """A request of a family."""

    stream: Any


def upload(family: Family, request: Sent) -> Upload | None:
    """Return what is known of a request's body, or None if it lies in memory and is always replayable.

    Call it before the first attempt. Sending `.stream` in place of the request's own stream is
    what makes it work; left on the request, the clients carry it on to redirects and to further
    steps of their authentication, where this function finds the same `Upload` again.

    Args:
        family: The family of the client.
        request: A request of that family.

    """
    stream = request.stream
    if type(stream) is family.byte_stream:
        return None
    if isinstance(stream, Upload):
        stream.fault = None
        return stream
    kit = _kits.get(family.byte_stream)
    if kit is None:
        kit = _kits.setdefault(family.byte_stream, _Kit(family))
    return kit.wrap(stream)


class Upload:
    """One request body on its way, over all attempts and hops of a call; itself the stream to send.

    Attributes:
        started: Whether bytes were asked for, by any attempt.
        fault: What the body itself raised when it was read: the caller's error, never the
            downstream's, and no reason to try again.

    """

    def __init__(self, source: Any, replay: replays.Replay, consumed: Callable[[], Exception]) -> None:  # noqa: ANN401
        self.started = False
        self.fault: Exception | None = None
        self._source = source
        self._replay = replay
        self._consumed = consumed
        self._fresh = True
        self._sent = 0
        self._most = 0

    @property
    def stream(self) -> Any:  # noqa: ANN401 -- a stream of the family, for the clients that the original is for
        """What to send."""
        return self

    def replayable(self) -> bool:
        """Tell, without touching the body, whether it is one that can be sent again."""
        return self.fault is None and (not self.started or self._replay is not replays.never)

    def rewind(self) -> bool:
        """Go back to where the body began, and tell whether it may be sent again.

        Ask while the outcome of the last attempt can still be returned: a file that refuses to
        seek shows here.
        """
        if not self.replayable():
            return False
        self._fresh = self._fresh or self._replay()
        return self._fresh

    def close(self) -> None:
        """Close the original."""
        self._forget()
        self._source.close()

    async def aclose(self) -> None:
        """Close the original."""
        self._forget()
        await self._source.aclose()

    def _forget(self) -> None:
        if self._replay is replays.declared:  # the stream said that it can be read again, not when it is closed
            self._replay = replays.never

    def __enter__(self) -> None:
        """Begin to read, from where the body began."""
        if not (self._fresh or self._replay()):
            self.fault = self._consumed()
            raise self.fault
        self._fresh = False
        self.started = True
        self._sent = 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Note how reading ended; a body that came out shorter than before must not pass for a whole one."""
        if kind is None and self._sent < self._most:
            self.fault = self._consumed()
            raise self.fault
        self._most = max(self._most, self._sent)
        if isinstance(error, Exception):
            self.fault = error

    def _count(self, chunk: bytes) -> bytes:
        self._sent += len(chunk)
        return chunk


class _Sync(Upload):
    def __iter__(self) -> Iterator[bytes]:
        with self:
            for chunk in self._source:
                yield self._count(chunk)


class _Async(Upload):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self:
            chunks = aiter(self._source)
            try:
                async for chunk in chunks:
                    yield self._count(chunk)
            finally:  # a body that is dropped half-way is closed now, not by the collector
                if isinstance(chunks, AsyncGenerator):
                    await chunks.aclose()


class _Nothing:
    """An async body of no bytes."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for nothing in b"":
            yield bytes(nothing)


class _Kit:
    """What is made once per family: the wrappers, and the classes its own requests use for bodies.

    Those are not public, so requests with samples of each kind tell them.
    """

    def __init__(self, family: Family) -> None:
        self._consumed: Callable[[], Exception] = family.module.StreamConsumed
        self._sync, self._async = family.module.SyncByteStream, family.module.AsyncByteStream
        self._plain = type("SyncUpload", (_Sync, self._sync), {})
        self._awaited = type("AsyncUpload", (_Async, self._async), {})
        self._either = type("Upload", (_Sync, _Async, self._sync, self._async), {})
        self._iterator, self._aiterator, self._multipart = (
            type(family.request("POST", "http://sample", **sample).stream)
            for sample in ({"content": iter(())}, {"content": _Nothing()}, {"files": {"sample": b""}})
        )

    def wrap(self, source: Any) -> Upload:  # noqa: ANN401
        """Return the upload that passes for what the original is, sync or async, and for no more."""
        plain, awaited = isinstance(source, self._sync), isinstance(source, self._async)
        kind = self._either if plain == awaited else self._plain if plain else self._awaited
        made: Upload = kind(source, self._replay(source), self._consumed)
        return made

    def _replay(self, source: Any) -> replays.Replay:  # noqa: ANN401
        if isinstance(source, self._multipart):
            return replays.of_form(source.fields)
        plain = type(source) is self._iterator
        wrapped = plain or type(source) is self._aiterator
        content = getattr(source, "_stream", None) if wrapped else source
        return replays.of_content(content, plain=plain)


_kits: dict[object, _Kit] = {}
