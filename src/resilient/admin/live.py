"""The streams: what changes, as it changes; and the same for dashboards made for Hystrix."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
from starlette.responses import Response

from resilient import clock
from resilient.admin.backend import in_thread
from resilient.admin.endpoints import Call, Table
from resilient.admin.hystrix import commands
from resilient.admin.problems import Problem
from resilient.admin.sse import EventStream
from resilient.admin.streams import Hub, frame
from resilient.control.errors import ControlUnavailable

__all__ = ["table"]

table = Table()

_LOOK = 0.25
_HYSTRIX_EVERY = 1.0
_TROUBLE_EVERY = 5.0
"""Seconds between two frames that say that the control directory cannot be read."""

_ASKED_EVERY = 15.0
"""Seconds between two looks at whether the reader of a stream is still who may read it."""

_STREAM = ("text/event-stream",)


@table(
    "GET",
    "/v1/stream",
    headers={"Last-Event-ID": "The id of the last frame that was received; what was missed follows, or a snapshot."},
    answers={200: None},
    media=_STREAM,
)
async def stream_changes(call: Call) -> Response:
    """Stream what changes: frames `snapshot`, `delta` (at most two a second) and `event`.

    A frame `problem` says that the control directory cannot be read now. A comment comes every 10 seconds in which
    nothing else does. A reader that is too slow gets a snapshot in place of the deltas that it missed.
    """
    hub = call.site.hub
    await in_thread(hub.refresh)  # what cannot be read is a 503, not a stream without content
    changes = _changes(hub, call.request.headers.get("last-event-id", ""))
    return EventStream(_while_admitted(call, changes), call.site.seats.seat)


@table("GET", "/hystrix.stream", answers={200: None}, media=_STREAM)
async def stream_for_hystrix(call: Call) -> Response:
    """Stream each downstream every second as a HystrixCommand, for dashboards that read those."""
    await in_thread(call.site.hub.refresh)
    return EventStream(_while_admitted(call, _commands(call.site.hub)), call.site.few.seat)


async def _while_admitted(call: Call, source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pass a stream on until its reader would not be let in any more, as when a session of theirs has ended."""
    due = clock.SYSTEM.now() + _ASKED_EVERY
    async for data in source:
        if clock.SYSTEM.now() >= due:
            if call.admitted is None or not await call.admitted():
                return
            due = clock.SYSTEM.now() + _ASKED_EVERY
        yield data


async def _changes(hub: Hub, last_event_id: str) -> AsyncIterator[bytes]:
    frames, position = hub.start(last_event_id)
    silent = 0.0
    while not hub.closed:
        for each in frames:
            yield each
        yield b""
        await anyio.sleep(_LOOK)
        silent -= _LOOK
        if hub.due:
            try:
                await _look(hub)
            except ControlUnavailable as fault:
                if silent <= 0:
                    silent = _TROUBLE_EVERY
                    yield frame("problem", _trouble(fault))
        frames, position = hub.after(position)


async def _commands(hub: Hub) -> AsyncIterator[bytes]:
    while not hub.closed:
        try:
            await _look(hub)
        except ControlUnavailable:
            yield b""  # this format has no words for it
        else:
            for data in commands(hub.latest):
                yield data
        for _ in range(2):
            yield b""
            await anyio.sleep(_HYSTRIX_EVERY / 2)


async def _look(hub: Hub) -> None:
    """Take the look that is due, for all streams; one thread is enough for that."""
    if hub.due and not hub.looking:
        hub.looking = True
        try:
            await in_thread(hub.refresh)
        finally:
            hub.looking = False


def _trouble(fault: ControlUnavailable) -> dict[str, Any]:
    problem = Problem("unavailable", str(fault))
    return {"title": problem.title, "status": problem.status, "detail": problem.detail}
