"""A transport of either colour that writes down what is done to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.http._world import World


def recorder(world: World, handler: Callable[[Any], Any] | None = None) -> Any:
    """Return a transport of the world's family; `log` is what was done to it, in order."""
    answered = handler or (lambda _: world.family.Response(200, content=b"ok"))

    if world.is_async:

        class AsyncRecorder(world.family.AsyncBaseTransport):
            def __init__(self) -> None:
                self.log: list[Any] = []

            async def handle_async_request(self, request: Any) -> Any:
                self.log.append("request")
                return answered(request)

            async def __aenter__(self) -> Any:
                self.log.append("enter")
                return self

            async def __aexit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
                self.log.append("exit" if kind is None else f"exit {kind.__name__}")

            async def aclose(self) -> None:
                self.log.append("close")

        return AsyncRecorder()

    class Recorder(world.family.BaseTransport):
        def __init__(self) -> None:
            self.log: list[Any] = []

        def handle_request(self, request: Any) -> Any:
            self.log.append("request")
            return answered(request)

        def __enter__(self) -> Any:
            self.log.append("enter")
            return self

        def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
            self.log.append("exit" if kind is None else f"exit {kind.__name__}")

        def close(self) -> None:
            self.log.append("close")

    return Recorder()


async def shut(world: World, transport: Any) -> None:
    """Close a transport, as its colour wants it."""
    if world.is_async:
        await transport.aclose()
    else:
        transport.close()
