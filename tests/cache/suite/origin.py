"""The origin of the suite: a real server on the loopback that answers each request as its step says.

A request names its step in the field `Suite-Step`, so that what the cache sends on its own account
is told apart. Answers tell which request they answer: `Origin-Step` (the step), `Origin-Count` (how
many requests of the case had come by then), `Origin-Steps` (which those were) and `Origin-Time`
(by the clock in force).
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import h11

from resilient.clock import current
from tests.cache.suite.script import DATE, ETAG, UNCHECKED, Case, Field, filled
from tests.cache.suite.script import field as parsed
from tests.http._sockets import serving

BODILESS = (204, 304)
MARK = "Suite-Step"


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it reached the origin, and the fields that its answer had to show."""

    step: int
    method: str
    fields: dict[str, str]
    demanded: dict[str, str]


@dataclass(slots=True)
class Play:
    """A case being played: what has reached the origin so far."""

    case: Case
    path: str
    seen: list[Seen] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The body of each answer that has no text of its own."""
        return f"the answer to {self.path}"


class Origin:
    """Holds the plays, and answers their requests."""

    def __init__(self) -> None:
        self.url = ""
        self._plays: dict[str, Play] = {}
        self._lock = threading.Lock()

    def play(self, case: Case) -> Play:
        """Begin to play a case at a URL of its own."""
        with self._lock:
            path = f"/{len(self._plays)}/{case.slug}"
            self._plays[path] = play = Play(case, path)
        return play

    def _play_of(self, target: str) -> Play | None:
        path = "/" + "/".join(target.partition("?")[0].lstrip("/").split("/")[:2])
        return self._plays.get(path)

    def serve(self, connection: socket.socket, number: int) -> None:
        """Answer the requests of one connection."""
        rest = b""
        while (received := receive(connection, rest)) is not None:
            request, _, rest = received
            fields = joined(request.headers)
            target = request.target.decode("ascii")
            play = self._play_of(target)
            number = int(fields.get(MARK.lower(), "0"))
            if play is None or not 0 < number <= len(play.case.steps):
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            elif not self._answer(connection, play, number, request.method.decode("ascii"), target, fields):
                return

    def _answer(
        self, connection: socket.socket, play: Play, number: int, method: str, target: str, fields: dict[str, str]
    ) -> bool:
        step = play.case.steps[number - 1]
        if step.delay:
            current().sleep(step.delay)
        wall = current().wall()
        status = self._status(play, number, fields)
        given = [Field(each.name, filled(each.value, wall, target), each.demanded) for each in map(parsed, step.gives)]
        with self._lock:
            play.seen.append(Seen(number, method, fields, demanded(given)))
            steps = [str(seen.step) for seen in play.seen]
        if step.drops:
            return False
        for early, lines in step.early:
            connection.sendall(head(early, "Early", [(each.name, each.value) for each in map(parsed, lines)]))
        text = "" if status in BODILESS else (play.text if step.text is None else step.text)
        about = [("Origin-Step", str(number)), ("Origin-Count", str(len(steps))), ("Origin-Time", repr(wall))]
        about.append(("Origin-Steps", " ".join(steps)))
        sized = None if method == "HEAD" or status in BODILESS else len(text.encode())
        lines = completed([*about, *((each.name, each.value) for each in given)], sized, wall)
        connection.sendall(head(status, "Of The Suite", lines) + (b"" if method == "HEAD" else text.encode()))
        return "transfer-encoding" not in {each.name.lower() for each in given}

    @staticmethod
    def _status(play: Play, number: int, fields: dict[str, str]) -> int:
        """Say 304 to the validator of the step before, where a condition is due."""
        step = play.case.steps[number - 1]
        if step.source not in (ETAG, DATE):
            return step.status
        before = [(seen.demanded, seen) for seen in play.seen if seen.step == number - 1]
        held = {each.name.lower(): each.value for each in map(parsed, play.case.steps[number - 2].gives)}
        if before:
            held |= before[-1][0]
        for ours, theirs in (("etag", "if-none-match"), ("last-modified", "if-modified-since")):
            if held.get(ours) and fields.get(theirs) == held[ours]:
                return 304
        return UNCHECKED


def receive(connection: socket.socket, rest: bytes) -> tuple[h11.Request, bytes, bytes] | None:
    """Return one request, its body, and what came after it; nothing at the end of the connection."""
    wire = h11.Connection(h11.SERVER)
    if rest:  # nothing would mean the end of the connection
        wire.receive_data(rest)
    request, body = None, b""
    while True:
        event = wire.next_event()
        if event is h11.NEED_DATA:
            data = connection.recv(65_536)
            if not data:
                return None
            wire.receive_data(data)
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert request is not None
            return request, body, wire.trailing_data[0]
        else:
            return None


def joined(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the fields of a message, those of one name as one, names in lower case."""
    fields: dict[str, str] = {}
    for name, value in pairs:
        key, text = name.decode("ascii").lower(), value.decode("latin-1")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return fields


def demanded(given: list[Field]) -> dict[str, str]:
    """Return the fields that an answer must show as the origin gave them."""
    return joined((each.name.encode(), each.value.encode("latin-1")) for each in given if each.demanded)


def completed(lines: list[tuple[str, str]], size: int | None, wall: float) -> list[tuple[str, str]]:
    """Add what a server adds of itself: its date, the type and length of the body, what becomes of the connection."""
    names = {name.lower() for name, _ in lines}
    if "date" not in names:
        lines.append(("Date", filled("{0}", wall, "")))
    if "content-type" not in names:
        lines.append(("Content-Type", "text/plain"))
    if "connection" not in names:
        lines.append(("Connection", "keep-alive"))
        if "keep-alive" not in names:
            lines.append(("Keep-Alive", "timeout=5"))
    if size is not None and not names & {"content-length", "transfer-encoding"}:
        lines.append(("Content-Length", str(size)))
    return lines


def head(status: int, reason: str, lines: list[tuple[str, str]]) -> bytes:
    """Write the head of an answer; not with h11, for some of them break the rules."""
    return "".join(
        [f"HTTP/1.1 {status} {reason}\r\n", *(f"{name}: {value}\r\n" for name, value in lines), "\r\n"]
    ).encode("latin-1")


@contextmanager
def serving_cases() -> Iterator[Origin]:
    """Run an origin for a block."""
    origin = Origin()
    with serving(origin.serve) as server:
        origin.url = server.url.removesuffix("/")
        yield origin
