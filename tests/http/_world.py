"""One scenario, run with both families by threads, by asyncio and by trio.

A scenario is an async function. For a plain client nothing in it ever suspends, so it is driven
without any event loop, each of several concurrent ones in a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from types import ModuleType
from typing import Any

import pytest
import trio

FAMILIES = ("httpx", "httpx2")
COLOURS = ("threads", "asyncio", "trio")


class World:
    """A family and a way to run."""

    def __init__(self, family: str, colour: str) -> None:
        self.name = family
        self.colour = colour
        self.family: ModuleType = importlib.import_module(family)
        self.door: ModuleType = importlib.import_module(f"resilient.{family}")

    @property
    def is_async(self) -> bool:
        return self.colour != "threads"

    def transport(self, *arguments: Any, **options: Any) -> Any:
        """A transport of ours; its own pools skip loading certificates."""
        if "transport" not in options:
            options.setdefault("verify", False)
        kind = self.door.AsyncResilientTransport if self.is_async else self.door.ResilientTransport
        return kind(*arguments, **options)

    def client(self, *arguments: Any, client: dict[str, Any] | None = None, **options: Any) -> Client:
        """A client with a transport of ours; `client` holds options of the client itself."""
        return self.over(self.transport(*arguments, **options), **(client or {}))

    def over(self, transport: Any, **options: Any) -> Client:
        """A client with any transport."""
        kind = self.family.AsyncClient if self.is_async else self.family.Client
        return Client(self, kind(transport=transport, **options))

    def mock(self, handler: Callable[[Any], Any]) -> Any:
        """The family's `MockTransport` around a plain handler."""
        return self.family.MockTransport(handler)

    def run(self, scenario: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any, seconds: float = 20) -> Any:
        """Run a scenario to its end, in bounded time."""
        if self.colour == "asyncio":

            async def main() -> Any:
                async with asyncio.timeout(seconds):
                    return await scenario(*arguments)

            return asyncio.run(main())
        if self.colour == "trio":

            async def tmain() -> Any:
                with trio.fail_after(seconds):
                    return await scenario(*arguments)

            return trio.run(tmain)
        return drive(scenario(*arguments))

    async def sleep(self, seconds: float) -> None:
        if self.colour == "asyncio":
            await asyncio.sleep(seconds)
        elif self.colour == "trio":
            await trio.sleep(seconds)
        else:
            time.sleep(seconds)

    async def together(self, *scenarios: Callable[[], Awaitable[Any]]) -> list[Any]:
        """Run scenarios at the same time; return what each returned or raised."""
        results: list[Any] = [None] * len(scenarios)

        async def one(place: int) -> None:
            try:
                results[place] = await scenarios[place]()
            except Exception as error:
                results[place] = error

        if self.colour == "asyncio":
            await asyncio.gather(*(one(place) for place in range(len(scenarios))))
        elif self.colour == "trio":
            async with trio.open_nursery() as nursery:
                for place in range(len(scenarios)):
                    nursery.start_soon(one, place)
        else:
            threads = [threading.Thread(target=lambda p=place: drive(one(p))) for place in range(len(scenarios))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
        return results


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise AssertionError("a plain scenario suspended")


class Client:
    """A client of either colour, as an async one."""

    def __init__(self, world: World, real: Any) -> None:
        self.world = world
        self.real = real

    async def __aenter__(self) -> Client:
        if self.world.is_async:
            await self.real.__aenter__()
        else:
            self.real.__enter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        if self.world.is_async:
            await self.real.__aexit__(*error)
        else:
            self.real.__exit__(*error)

    async def request(self, method: str, url: Any, **options: Any) -> Any:
        """Send, and read the response."""
        answer = self.real.request(method, url, **options)
        return await answer if self.world.is_async else answer

    async def get(self, url: Any, **options: Any) -> Any:
        return await self.request("GET", url, **options)

    async def post(self, url: Any, **options: Any) -> Any:
        return await self.request("POST", url, **options)

    async def send(self, request: Any, **options: Any) -> Any:
        answer = self.real.send(request, **options)
        return await answer if self.world.is_async else answer

    @contextlib.asynccontextmanager
    async def stream(self, method: str, url: Any, **options: Any) -> AsyncIterator[Any]:
        """Send, and give the response unread; see `chunks`, `read` and `close`."""
        if self.world.is_async:
            async with self.real.stream(method, url, **options) as response:
                yield response
        else:
            with self.real.stream(method, url, **options) as response:
                yield response

    async def chunks(self, response: Any) -> AsyncIterator[bytes]:
        """The raw chunks of an unread response."""
        if self.world.is_async:
            async for chunk in response.aiter_raw():
                yield chunk
        else:
            for chunk in response.iter_raw():
                yield chunk

    async def read(self, response: Any) -> bytes:
        return await response.aread() if self.world.is_async else response.read()

    async def close(self, response: Any = None) -> None:
        """Close a response, or the client."""
        target = self.real if response is None else response
        if self.world.is_async:
            await target.aclose()
        else:
            target.close()


every_world = pytest.mark.parametrize(
    "world",
    [World(family, colour) for family in FAMILIES for colour in COLOURS],
    ids=lambda world: f"{world.name}-{world.colour}",
)
async_worlds = pytest.mark.parametrize(
    "world",
    [World(family, colour) for family in FAMILIES for colour in COLOURS if colour != "threads"],
    ids=lambda world: f"{world.name}-{world.colour}",
)
every_family = pytest.mark.parametrize(
    "world", [World(family, "threads") for family in FAMILIES], ids=lambda world: world.name
)
