"""A cache, an origin that answers as it is told, and a wall clock that is moved by hand.

`World.ask` does what a transport does: the short way first, then the flow, whose commands it carries
out. Where the short way has an answer, the flow must have the same one, and send nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from resilient import clock
from resilient.cache import HttpCache
from resilient.cache.flow import answer, failed, quick
from resilient.cache.messages import Asked, Background, Call, Close, Got, Pass, Read, Reply, Send
from resilient.stores.memory import MemoryStore

URL = "https://api.example/thing"


class Unreachable(Exception):
    """The network is down."""


@dataclass
class Sent:
    """A request that reached the origin."""

    method: str
    url: str
    fields: list[tuple[bytes, bytes]]

    def __getitem__(self, name: str) -> str | None:
        return joined(self.fields, name)


@dataclass
class Seen:
    """What the client sees."""

    status: int
    fields: list[tuple[bytes, bytes]]
    body: bytes
    source: str
    reason: str | None = None
    age: float = 0.0
    sent: list[Sent] = field(default_factory=list)

    def __getitem__(self, name: str) -> str | None:
        return joined(self.fields, name)

    @property
    def stored(self) -> bool:
        """Whether it came from the store, without or with a word from the origin."""
        return self.source != "origin"


@dataclass
class Answer:
    """What the origin answers."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    replaced: bool = False


def joined(fields: list[tuple[bytes, bytes]], name: str) -> str | None:
    values = [value.decode("latin-1") for key, value in fields if key.lower() == name.lower().encode()]
    return ", ".join(values) if values else None


def pairs(headers: Any) -> list[tuple[str, str]]:
    return list(headers.items()) if isinstance(headers, dict) else list(headers or ())


def raw(headers: Any) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in pairs(headers)]


class World:
    def __init__(self, **settings: Any) -> None:
        settings.setdefault("store", MemoryStore())
        self.cache = HttpCache(**settings)
        self.store = settings["store"]
        self.answers: list[Answer | Exception | Callable[[Sent], Answer | Exception]] = []
        self.sent: list[Sent] = []
        self.closed: list[Got] = []
        self.reads: list[int | None] = []
        self.behind: list[tuple[Any, Asked]] = []
        self.accepts_background = True
        self.background = "later"
        self.delay = 0.0
        self.dated = True

    # Time

    def now(self) -> float:
        return clock.current().wall()

    def date(self, offset: float = 0.0) -> str:
        return formatdate(self.now() + offset, usegmt=True)

    def sleep(self, seconds: float) -> None:
        clock.current().advance(seconds)

    # The origin

    def gives(self, headers: Any = None, body: bytes | str = b"body", status: int = 200, **more: Any) -> World:
        """Answer so from now on; several calls are answered in order, the last one again and again."""
        content = body.encode() if isinstance(body, str) else body
        self.answers.append(Answer(status, pairs(headers), content, **more))
        return self

    def fails(self, error: Exception | None = None) -> World:
        self.answers.append(error or Unreachable("down"))
        return self

    def does(self, act: Callable[[Sent], Answer | Exception]) -> World:
        self.answers.append(act)
        return self

    def only(self) -> World:
        """Forget what it was told to answer."""
        self.answers.clear()
        return self

    def _origin(self, sent: Sent) -> Answer:
        told = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(told) and not isinstance(told, (Answer, Exception)):
            told = told(sent)
        if isinstance(told, Exception):
            raise told
        return told

    def _send(self, asked: Asked, fields: list[tuple[bytes, bytes]] | None) -> Got:
        sent = Sent(asked.method, asked.url, asked.fields if fields is None else fields)
        self.sent.append(sent)
        requested = self.now()
        told = self._origin(sent)
        self.sleep(self.delay)
        headers = list(told.headers)
        if self.dated and not any(name.lower() == "date" for name, _ in headers):
            headers.append(("Date", self.date()))
        body = b"" if asked.method == "HEAD" or told.status in (204, 304) else told.body
        return Got(told.status, raw(headers), requested, self.now(), body, told.replaced)

    # The client and its driver

    def ask(
        self,
        url: str = URL,
        headers: Any = None,
        method: str = "GET",
        *,
        bodied: bool = False,
        read: str = "whole",
    ) -> Seen:
        """Send a request; read the body "whole", or break off ("broken"), or leave it ("unread")."""
        asked = Asked(method, url, raw(headers), bodied)
        before = len(self.sent)
        fast = quick(self.cache, asked, self.now)
        result = self.drive(answer(self.cache, asked, self.now, failed), asked)
        if fast is not None:
            assert self.sent[before:] == [], "the short way answered, the flow asked"
            assert (fast.status, fast.body, fast.source, fast.age) == (
                result.status,
                result.body,
                result.source,
                result.age,
            )
            assert fast.fields == result.fields
        seen = self._seen(result, read)
        seen.sent = self.sent[before:]
        return seen

    def _seen(self, result: Reply | Pass, read: str) -> Seen:
        if isinstance(result, Reply):
            source = result.source or "made up"
            return Seen(result.status, result.fields, result.body, source, result.reason, result.age)
        got = result.got
        self._consume(result, read)
        return Seen(got.status, got.fields if result.fields is None else result.fields, got.handle, "origin")

    def _consume(self, passed: Pass, read: str = "whole") -> None:
        filling = passed.filling
        if filling is None or read == "unread":
            return
        body = passed.got.handle
        middle = len(body) // 2
        took = [filling.take(part) for part in (body[:middle], body[middle:]) if part]
        wanted = all(took)
        if read == "broken":
            filling.broken()
        flow = filling.done()
        assert (flow is None) == (read == "broken" or not wanted)
        if flow is not None:
            self.drive(flow, None)

    def drive(self, flow: Any, asked: Asked | None) -> Any:
        value: Any = None
        error: Exception | None = None
        while True:
            try:
                command = flow.send(value) if error is None else flow.throw(error)
            except StopIteration as stop:
                return stop.value
            value = error = None
            try:
                value = self._do(command, asked)
            except Exception as fault:
                error = fault

    def _do(self, command: Any, asked: Asked | None) -> Any:
        match command:
            case Call():
                return self.cache.front.run(command.default, command.method, *command.args, **command.kwargs)
            case Send():
                assert asked is not None
                return self._send(asked, command.fields)
            case Read():
                self.reads.append(command.most)
                too_long = command.most is not None and len(command.got.handle) > command.most
                return None if too_long else command.got.handle
            case Close():
                self.closed.append(command.got)
            case Background():
                if not self.accepts_background:
                    command.flow.close()
                    return False
                self.behind.append((command.flow, asked))
                return True
            case _:
                raise AssertionError(command)
        return None

    def settle(self) -> int:
        """Run what waits in the background; return how many flows that were."""
        waiting, self.behind = self.behind, []
        for flow, asked in waiting:
            try:
                result = self.drive(flow, asked)
            except Exception:
                continue
            assert result is None
        return len(waiting)
