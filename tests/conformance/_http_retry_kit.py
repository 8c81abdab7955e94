"""What the cases of retried requests share: pipelines with names of their own, and ways to count what was sent."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from itertools import count
from typing import Any

from resilient import Backoff, Pipeline, Retry
from tests.faults import FaultServer
from tests.http._world import World

_number = count()

QUICK = Backoff(base=0.001, throttled_base=0.001, jitter="none")


def eager(attempts: int = 3, **options: Any) -> Retry:
    """A retry that hardly waits, and that nothing but its own rules holds back."""
    return Retry(**{"attempts": attempts, "backoff": QUICK, "budget": None, **options})


def pipeline(*policies: Any, **options: Any) -> Pipeline:
    """A pipeline with a name of its own."""
    return Pipeline(f"http-retry-{next(_number)}", *policies, **options)


class Trace:
    """The `trace` extension: what httpcore tells of every attempt."""

    def __init__(self, world: World) -> None:
        self.events: list[str] = []
        self.extension = self._told_async if world.is_async else self._told

    def _told(self, event: str, _info: dict[str, Any]) -> None:
        self.events.append(event)

    async def _told_async(self, event: str, _info: dict[str, Any]) -> None:
        self.events.append(event)

    def times(self, event: str) -> int:
        return self.events.count(event)

    @property
    def connects(self) -> int:
        return self.times("connection.connect_tcp.started")

    @property
    def sends(self) -> int:
        return self.times("http11.send_request_headers.complete")


class Answers:
    """A handler of `MockTransport` that plays a list, the last of which repeats, and remembers the requests."""

    def __init__(self, *answers: Callable[[Any], Any]) -> None:
        self._answers = answers
        self.requests: list[Any] = []
        self.extensions: list[dict[str, Any]] = []

    def __call__(self, request: Any) -> Any:
        self.requests.append(request)
        self.extensions.append(request.extensions)
        return self._answers[min(len(self.requests), len(self._answers)) - 1](request)

    @property
    def timeouts(self) -> list[dict[str, float | None]]:
        return [each["timeout"] for each in self.extensions]


def respond(world: World, status: int = 200, **options: Any) -> Callable[[Any], Any]:
    """An answer for `Answers`."""
    return lambda _request: world.family.Response(status, **options)


async def outcome(call: Any) -> Any:
    """Return what a call returned, or the exception it raised."""
    try:
        return await call
    except Exception as error:
        return error


@contextlib.contextmanager
def nothing_sent(server: FaultServer) -> Any:
    """Hold that no byte reaches the server in this block, not even a connection."""
    before = server.connections, server.requests
    yield
    assert (server.connections, server.requests) == before
