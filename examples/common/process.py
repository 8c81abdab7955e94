"""How the processes of a demo talk: lines of JSON, out and in; the first one in says go."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

__all__ = ["Child", "every", "play", "say", "started", "stopped", "told"]

GRACE = 5.0
"""Seconds that a process has to end after it was told to."""

LONGEST = 4_194_304
"""Bytes of the longest message."""


def play(part: Coroutine[object, object, None]) -> None:
    """Run a child's part to its end; what stopped the parent is the parent's to report."""
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError, EOFError):
        asyncio.run(part)


def say(**message: object) -> None:
    """Print one message to the process that started this one."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def started() -> None:
    """Wait until the other side says go.

    Raises:
        EOFError: If it is gone instead.

    """
    if not await asyncio.to_thread(sys.stdin.readline):
        raise EOFError


async def told() -> dict[str, Any] | None:
    """Return what the other side says next, or None when it closes its end."""
    line = await asyncio.to_thread(sys.stdin.readline)
    return json.loads(line) if line else None


async def stopped() -> None:
    """Wait until the other side closes its end."""
    await asyncio.to_thread(sys.stdin.read)


@contextlib.asynccontextmanager
async def every(seconds: float, action: Callable[[], None]) -> AsyncIterator[None]:
    """Repeat an action while the block runs."""

    async def repeat() -> None:
        while True:
            await asyncio.sleep(seconds)
            action()

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Child:
    """A module that runs in a process of its own.

    Args:
        process: The started process, with pipes as its standard input and output.

    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Keep the process; use `Child.running` to make one."""
        self._process = process

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, module: str, *options: object) -> AsyncIterator[Child]:
        """Start a module with command-line options; it is gone when the block ends."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *map(str, options),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LONGEST,
        )
        child = cls(process)
        try:
            yield child
        finally:
            await child._end()

    def go(self) -> None:
        """Tell it to begin."""
        self.tell(go=True)

    def tell(self, **message: object) -> None:
        """Send it one message."""
        if self._process.stdin is not None:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def message(self) -> dict[str, Any]:
        """Return its next message.

        Raises:
            EOFError: If it ended instead.

        """
        line = b"" if self._process.stdout is None else await self._process.stdout.readline()
        if not line:
            message = f"{self._process.pid}: the process ended before its last message"
            raise EOFError(message)
        parsed: dict[str, Any] = json.loads(line)
        return parsed

    def stop(self) -> None:
        """Close its input, which ends it; its last messages can still be read."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def kill(self) -> None:
        """End it at once, whatever it is doing: it gets no chance to clean up."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def _end(self) -> None:
        """Stop it; kill it if that takes too long."""
        self.stop()
        try:
            await asyncio.wait_for(self._process.wait(), GRACE)
        except TimeoutError:
            await self.kill()
