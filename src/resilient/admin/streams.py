"""The live stream's frames: a snapshot, then what changed, at most twice a second, kept for those who come back.

One look at the pages serves all streams, and nothing is looked at while there are none. The hub needs no task of
its own and so no lifespan: the stream whose turn it is takes the look for all.
"""

from __future__ import annotations

import json
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from resilient import clock
from resilient.control.errors import ControlUnavailable

__all__ = ["Hub", "Seats", "frame", "stable"]

_EVERY = 0.5
_RING = 1024
_RING_BYTES = 8 << 20
_BACKLOG = 8
"""Deltas that a stream may be behind; beyond them it gets a snapshot in their place."""

_UNSTABLE = frozenset({"remaining", "heartbeat_age"})
"""What changes by the mere passing of time, and is left out where changes are looked for."""


class Seats:
    """Places for streams.

    Args:
        most: How many there are.

    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self.taken = 0

    @contextmanager
    def seat(self) -> Iterator[bool]:
        """Take a place for a stream; False if there is none."""
        with self._lock:
            free = self.taken < self._most
            self.taken += free
        try:
            yield free
        finally:
            with self._lock:
                self.taken -= free


class Hub:
    """Numbers frames and keeps the last 1 024 of them, 8 MiB at most.

    Args:
        overview: Looks at everything; blocks.
        events: Returns the events behind a cursor, oldest first, and the next cursor; blocks.

    """

    def __init__(
        self,
        overview: Callable[[], dict[str, Any]],
        events: Callable[[int | None], tuple[list[dict[str, Any]], int]],
    ) -> None:
        self._overview = overview
        self._events = events
        self._boot = secrets.token_hex(4)
        self._lock = Lock()
        self._ring: deque[tuple[int, str, bytes]] = deque()
        self._size = 0
        self._seq = 0
        self._due = 0.0
        self._known: dict[str, str] = {}
        self._cursor: int | None = None
        self.latest: dict[str, Any] = {}
        self.looking = False
        self.closed = False

    @property
    def due(self) -> bool:
        """Tell whether it is time for another look."""
        return clock.SYSTEM.now() >= self._due

    def refresh(self) -> None:
        """Look, if it is time, and add a frame for what has changed; blocks.

        Raises:
            ControlUnavailable: If nothing can be seen.

        """
        with self._lock:
            if not self.due:
                return
            self._due = clock.SYSTEM.now() + _EVERY
            latest = self._overview()
            self._add_delta(latest)
            self._add_events()

    def start(self, last_event_id: str) -> tuple[list[bytes], int]:
        """Return the first frames of a stream, and its position: what it missed, or a snapshot.

        Args:
            last_event_id: The id of the last frame it had, or an empty text.

        """
        boot, _, seq = last_event_id.partition("-")
        if boot == self._boot and seq.isascii() and seq.isdigit() and len(seq) < 16:  # noqa: PLR2004 -- ours are short
            return self.after(int(seq))
        return self.after(-1)

    def after(self, position: int) -> tuple[list[bytes], int]:
        """Return the frames behind a position and the new position; a snapshot for what is not there any more."""
        with self._lock:
            if position == self._seq:
                return [], position
            oldest = self._ring[0][0] if self._ring else self._seq + 1
            if not oldest <= position + 1 <= self._seq:
                return [frame("snapshot", self.latest, self._id(self._seq))], self._seq
            pending = [(event, data) for seq, event, data in self._ring if seq > position]
            if sum(event == "delta" for event, _ in pending) <= _BACKLOG:
                return [data for _, data in pending], self._seq
            told = [data for event, data in pending if event != "delta"]
            return [*told, frame("snapshot", self.latest, self._id(self._seq))], self._seq

    def _id(self, seq: int) -> str:
        return f"{self._boot}-{seq}"

    def _add(self, event: str, data: Any) -> None:  # noqa: ANN401 -- whatever JSON can say
        self._seq += 1
        made = frame(event, data, self._id(self._seq))
        self._ring.append((self._seq, event, made))
        self._size += len(made)
        while len(self._ring) > _RING or self._size > _RING_BYTES:
            self._size -= len(self._ring.popleft()[2])

    def _add_delta(self, latest: dict[str, Any]) -> None:
        known = {row["name"]: stable(row) for row in latest.get("downstreams", ())}
        rest = {key: value for key, value in latest.items() if key not in ("at", "downstreams")}
        known[""] = stable(rest)  # no downstream has an empty name
        before, self._known = self._known, known
        self.latest = latest
        if not before or known == before:
            return
        changed = [row for row in latest.get("downstreams", ()) if known[row["name"]] != before.get(row["name"])]
        gone = sorted(before.keys() - known.keys())
        self._add("delta", {"at": latest.get("at"), **rest, "downstreams": changed, "gone": gone})

    def _add_events(self) -> None:
        try:
            events, self._cursor = self._events(self._cursor)
        except ControlUnavailable:  # the pages could be read; the record is busy, and asked again at the next turn
            return
        for event in events:
            self._add("event", event)


def frame(event: str, data: Any, frame_id: str = "") -> bytes:  # noqa: ANN401 -- whatever JSON can say
    """Return one frame of a stream; its JSON is plain ASCII, so nothing in it can be taken for the end of a line."""
    text = json.dumps(data, separators=(",", ":"), default=str)
    head = f"id: {frame_id}\n" if frame_id else ""
    return f"{head}event: {event}\ndata: {text}\n\n".encode()


def stable(value: Any) -> str:  # noqa: ANN401 -- whatever JSON can say
    """Return a text that differs where two values differ in more than the passing of time."""
    return json.dumps(_without(value), sort_keys=True, separators=(",", ":"), default=str)


def _without(value: Any) -> Any:  # noqa: ANN401 -- whatever JSON can say
    if isinstance(value, dict):
        return {key: _without(each) for key, each in value.items() if key not in _UNSTABLE}
    return [_without(each) for each in value] if isinstance(value, (list, tuple)) else value
