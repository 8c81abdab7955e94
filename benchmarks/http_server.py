"""Answer every request alike and fast, from a process of its own: `with serving() as url: ...`.

Run as a program it prints its URL and ends with its input.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BODY = b'{"id": 1, "name": "benchmark", "ok": true}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
END = b"\r\n\r\n"


class Connection(asyncio.Protocol):
    """Answers whatever ends with an empty line; requests have no body here."""

    def connection_made(self, transport: Any) -> None:
        """Begin with nothing read."""
        self._transport = transport
        self._read = b""

    def data_received(self, data: bytes) -> None:
        """Answer the requests that are complete."""
        *requests, self._read = (self._read + data).split(END)
        self._transport.write(ANSWER * len(requests))


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Start the server; yield its URL."""
    command = [sys.executable, "-m", "benchmarks.http_server"]
    root = Path(__file__).parents[1]
    with subprocess.Popen(  # noqa: S603 -- this interpreter, a constant program
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


async def main() -> None:
    """Serve until the input ends, so that nothing is left when the benchmarks are killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}/", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
