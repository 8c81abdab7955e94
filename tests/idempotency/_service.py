"""A service with a ledger, behind a real server: in a thread of the test, or in a process that can be killed.

    python -m tests.idempotency._service FOLDER [POINT]

The process serves charges, keeps its keys in FOLDER/keys.db and writes what it has done to
FOLDER/ledger; it kills itself at a named point, which stands for a crash there.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn

from resilient.idempotency import IdempotencyMiddleware, KeyBook
from resilient.stores import SqliteStore

LEASE = 0.6
"""Seconds, of a process that is killed: so long until what it has begun is in doubt."""

ROOT = Path(__file__).parents[2]

# In the order in which a request passes them, with how often the charge was made when they are reached.
POINTS = {
    "arrived": 0,
    "before_begin": 0,
    "begun": 0,
    "before_effect": 0,
    "after_effect": 1,
    "before_record": 1,
    "recorded": 1,
    "head_sent": 1,
    "sent": 1,
}
FREE = ("arrived", "before_begin")
DOUBTFUL = ("begun", "before_effect", "after_effect", "before_record")


class Ledger:
    """What was done, one line each, in a file that outlives its writer."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger"

    def add(self, line: str) -> int:
        """Write a line; return how many there are."""
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, f"{line}\n".encode())
        finally:
            os.close(handle)
        return len(self.lines)

    @property
    def lines(self) -> list[str]:
        return self.path.read_text("utf-8").splitlines() if self.path.exists() else []


def crash_at(point: str | None, here: str) -> None:
    if point == here:
        os.kill(os.getpid(), signal.SIGKILL)


class CrashingStore(SqliteStore):
    """Dies around the first write of a key, or the second."""

    point: str | None = None
    writes = 0

    def put(self, *args: Any, **options: Any) -> int | None:
        begins = options["expected"] == 0
        if begins or self.writes:
            crash_at(self.point, "before_begin" if begins else "before_record")
        version = super().put(*args, **options)
        if version is not None:
            self.writes += 1
            crash_at(self.point, "begun" if begins else "recorded")
        return version


def charging(ledger: Ledger, point: str | None, work: Callable[[str], float]) -> Any:
    """An application that charges: the order is the body; `work` says how many seconds that takes."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        order = body.decode()
        crash_at(point, "before_effect")
        number = ledger.add(order)
        crash_at(point, "after_effect")
        await asyncio.sleep(work(order))
        receipt = f"receipt {number} for {order}, {os.urandom(8).hex()}".encode()
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(receipt)).encode())]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": receipt})

    return app


def service(folder: Path, point: str | None = None, *, work: Callable[[str], float], **options: Any) -> Any:
    """The application behind its middleware, and in front of it what dies on arrival or while sending."""
    store = CrashingStore(folder / "keys.db", patience=10)
    store.point = point
    book = KeyBook(store, lease=options.pop("lease", 5), patience=20)
    served = IdempotencyMiddleware(charging(Ledger(folder), point, work), book, **options)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            crash_at(point, "arrived")

        status = 0

        async def sending(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)
            if status == 201:  # not with the refusal of a duplicate
                crash_at(point, "head_sent" if message["type"] == "http.response.start" else "sent")

        await served(scope, receive, sending)

    return app


class Server(uvicorn.Server):
    def __init__(self, app: Any) -> None:
        quiet = {
            "log_config": None,
            "access_log": False,
            "lifespan": "off",
            "ws": "none",
            "http": "h11",
            "loop": "asyncio",
        }
        super().__init__(uvicorn.Config(app, timeout_graceful_shutdown=5, **quiet))  # type: ignore[arg-type]


def listener() -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(128)
    return sock


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve in a thread; yields the URL."""
    sock, server = listener(), Server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


class Process:
    """The service in a process of its own."""

    def __init__(self, folder: Path, point: str | None = None) -> None:
        command = [sys.executable, "-m", "tests.idempotency._service", str(folder), *([point] if point else [])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
        self.child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=environment)
        assert self.child.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.child.stdout.readline())}"

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        self.child.kill()
        self.child.wait(10)
        if self.child.stdout is not None:
            self.child.stdout.close()

    def died(self) -> int:
        """Wait for the crash; return the signal."""
        return -self.child.wait(20)


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def main(folder: str, point: str | None = None) -> None:
    sock = listener()
    server = Server(service(Path(folder), point, work=lambda _: 0.02, lease=LEASE))
    print(sock.getsockname()[1], flush=True)  # noqa: T201 -- the parent reads it
    with suppress(KeyboardInterrupt):
        server.run(sockets=[sock])


if __name__ == "__main__":
    main(*sys.argv[1:])
