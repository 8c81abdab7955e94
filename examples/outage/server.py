"""The downstream: a small HTTP/1.1 service with few workers, which lives through an outage.

It runs in its own process: `python -m examples.outage.server` prints its address as a line of
JSON, starts the phases when a line arrives on its standard input, prints what it received every
half second, and ends when its standard input does.

A request takes a free worker, or stands in line for one. As in most services, the line is
first come, first served, and a client that gave up waiting is noticed only when the work is done.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import random
from collections import Counter
from http import HTTPStatus

from examples.common.network import reset
from examples.common.process import every, play, say, started, stopped
from examples.outage.phases import TOTAL, Moment, Timeline

__all__ = ["Service"]

WORKERS = 16
RATES = json.dumps({"EUR": 1.0, "USD": 1.0843, "CHF": 0.9371, "JPY": 169.2}).encode()


class Service:
    """Answers `GET` of anything with exchange rates, as well as the phase lets it.

    Args:
        timeline: When it behaves how.
        seed: For the share of requests that fail.
        workers: Requests that are worked on at a time.

    """

    def __init__(self, timeline: Timeline, *, seed: int = 0, workers: int = WORKERS) -> None:
        """Prepare a service that is healthy until it is started."""
        self.timeline = timeline
        self.received: Counter[str] = Counter()
        self.replied: Counter[str] = Counter()
        self.waiting = 0
        self._random = random.Random(seed)  # noqa: S311 -- simulated faults, not cryptography
        self._workers = asyncio.Semaphore(workers)
        self._began: float | None = None
        self._windows: Counter[int] = Counter()

    def start(self) -> None:
        """Begin with the first phase now."""
        self._began = asyncio.get_running_loop().time()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return 0.0 if self._began is None else asyncio.get_running_loop().time() - self._began

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until either side closes it."""
        gone = (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError)
        with contextlib.suppress(*gone, asyncio.CancelledError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.received[self.timeline.at(self.elapsed).phase.name] += 1
                reply = await self._reply()
                if reply is None:
                    reset(writer.transport)
                    return
                writer.write(reply)
                await writer.drain()
        writer.close()

    async def _reply(self) -> bytes | None:
        """Return the bytes of an answer, or None for a connection that breaks."""
        moment = self.timeline.at(self.elapsed)
        if moment.phase.closed or moment.phase.quota is not None:
            refusal = self._turned_away(moment)
            if refusal is not None:
                return refusal
        self.waiting += 1
        try:
            async with self._workers:
                await asyncio.sleep(self.timeline.at(self.elapsed).service)
        finally:
            self.waiting -= 1
        # What holds when the work is done: work in progress fails, too, when the service breaks.
        if self._random.random() >= self.timeline.at(self.elapsed).errors:
            return self._answer(HTTPStatus.OK, RATES)
        if self._random.random() < 0.3:  # noqa: PLR2004 -- three of ten failures break the connection
            self.replied["reset"] += 1
            return None
        return self._answer(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _turned_away(self, moment: Moment) -> bytes | None:
        """Refuse at the door, which costs no worker, or return None to let in."""
        if moment.phase.closed:
            return self._answer(HTTPStatus.SERVICE_UNAVAILABLE, retry_after=moment.left)
        window = int(self.elapsed)
        if self._windows[window] < (moment.phase.quota or 0):
            self._windows[window] += 1
            return None
        return self._answer(HTTPStatus.TOO_MANY_REQUESTS, retry_after=window + 1 - self.elapsed)

    def _answer(self, status: HTTPStatus, body: bytes = b"{}", *, retry_after: float | None = None) -> bytes:
        self.replied[str(status.value)] += 1
        hint = "" if retry_after is None else f"Retry-After: {max(1, math.ceil(retry_after))}\r\n"
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\n{hint}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def _allow_many_connections() -> None:
    """Raise the limit of open files: clients that gave up still hold a place in line."""
    try:
        import resource  # noqa: PLC0415 -- not on Windows, which has no such limit
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _main(timeline: Timeline, seed: int) -> None:
    service = Service(timeline, seed=seed)
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0, backlog=1024)
    host, port = server.sockets[0].getsockname()[:2]
    say(url=f"http://{host}:{port}")

    def tell() -> None:
        say(received=service.received, replied=service.replied, waiting=service.waiting)

    await started()
    service.start()
    async with every(0.5, tell):
        await stopped()
    server.close()
    tell()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=TOTAL)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    _allow_many_connections()
    play(_main(Timeline(arguments.seconds), arguments.seed))
