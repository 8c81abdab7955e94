"""The server: ports, the script, and one thread with one asyncio loop that serves them all."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

import anyio

from tests.faults.connection import Connection
from tests.faults.exchange import Step
from tests.faults.record import Received, Record
from tests.faults.steps import answer

Line = Step | Sequence[Step] | Callable[[Received], Step]
Script = Line | Mapping[str, Line]

POLL = 0.002
PATIENCE = 5.0
BACKLOG = 1024


def chooser(script: Script) -> Callable[[Received], Step]:
    """Return the function that says which step a request gets."""
    if isinstance(script, Step):
        return lambda _: script
    if isinstance(script, Mapping):
        lines = {path: chooser(line) for path, line in script.items()}
        missing = lines.get("*", chooser(answer(404, b"not in the script")))
        return lambda received: lines.get(received.path, missing)(received)
    if callable(script):
        return script
    steps = list(script)
    if not steps or not all(isinstance(step, Step) for step in steps):
        raise ValueError(f"a script needs steps, got {script!r}")
    coming = iter(steps)
    return lambda _: next(coming, steps[-1])


class Hub:
    """What the connections share; lives in the server's thread."""

    def __init__(self, record: Record, choose: Callable[[Received], Step], *, early: bool) -> None:
        self.record = record
        self.choose = choose
        self.early = early
        self.loop = asyncio.SelectorEventLoop()
        self.open: set[Connection] = set()
        self._gates: dict[threading.Event, asyncio.Task[None]] = {}

    async def opened(self, event: threading.Event) -> None:
        """Wait for an event of another thread; all who wait for it share one look at it."""
        if event not in self._gates:
            self._gates[event] = self.loop.create_task(self._watch(event))
        await asyncio.shield(self._gates[event])

    async def _watch(self, event: threading.Event) -> None:
        while not event.is_set():
            await asyncio.sleep(POLL)
        del self._gates[event]

    def drop(self, *, reset: bool) -> None:
        """End every connection."""
        for connection in list(self.open):
            connection.silence()
            if reset:
                connection.reset()
            else:
                connection.close()

    async def serve(self, sockets: Sequence[socket.socket], stopping: asyncio.Event) -> None:
        self.loop.set_exception_handler(self._failed)
        servers = [
            await self.loop.create_server(lambda port=port: Connection(self, port), sock=sock, backlog=BACKLOG)
            for port, sock in enumerate(sockets)
        ]
        await stopping.wait()
        for sock in sockets:
            self.loop.remove_reader(sock)
        # A connection that was just accepted is a task of asyncio's and owns a socket: it is let come up,
        # and only then the servers close, for a connection of a closed server is lost unclosed.
        while self.open or asyncio.all_tasks() - {asyncio.current_task()}:
            self.drop(reset=True)
            for gate in self._gates.values():
                gate.cancel()
            await asyncio.sleep(0)
        for server in servers:
            server.close()

    def _failed(self, _: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        fault = context.get("exception")
        if not isinstance(fault, OSError):  # the client's doing
            self.record.failed(fault if isinstance(fault, BaseException) else RuntimeError(str(context)))


class FaultServer:
    """Serve a script on one or more ports of loopback, for the length of a `with` block.

    Args:
        script: A step for every request; or steps for one request after another, the last of which
            repeats; or a function of `Received` that returns a step; or a mapping from paths to any of
            these ("*" for all other paths, which else get 404). Ports share the script, and its order.
        ports: How many ports to listen on; `Received.port` tells them apart.
        early: Play as soon as the headers of a request are in, not when its body is; and leave
            `Expect: 100-continue` unanswered.
        remember: How many requests `received` keeps, the newest; all if not given.

    Raises:
        ExceptionGroup: At the end of the block, if the script itself failed.
    """

    def __init__(
        self, script: Script | None = None, *, ports: int = 1, early: bool = False, remember: int | None = None
    ) -> None:
        self._record = Record(remember)
        self._script = answer() if script is None else script
        self._early = early
        self._ports = ports
        self.urls: list[str] = []

    def __enter__(self) -> FaultServer:
        self._hub = Hub(self._record, chooser(self._script), early=self._early)
        self._stopping = asyncio.Event()
        sockets = [socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) for _ in range(self._ports)]
        self.urls = [f"http://127.0.0.1:{sock.getsockname()[1]}" for sock in sockets]
        self._thread = threading.Thread(target=self._run, args=(sockets,), name="fault server", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()
        faults = self._record.faults()
        if faults and error is None:
            raise BaseExceptionGroup("the script failed", faults)

    def _run(self, sockets: Sequence[socket.socket]) -> None:
        with asyncio.Runner(loop_factory=lambda: self._hub.loop) as runner:
            runner.run(self._hub.serve(sockets, self._stopping))

    def stop(self) -> None:
        """Close every port and connection; again it does nothing."""
        if self._thread.is_alive():
            self._hub.loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the server does not stop"

    def play(self, script: Script) -> None:
        """Go on with another script, from its beginning."""
        self._hub.choose = chooser(script)

    def drop(self, *, reset: bool = False) -> None:
        """Close (or reset) every connection that is open now, idle or not, and return when it is done."""
        done = threading.Event()

        def drop() -> None:
            self._hub.drop(reset=reset)
            self._hub.loop.call_later(POLL, done.set)  # their sockets are closed a moment later

        self._hub.loop.call_soon_threadsafe(drop)
        assert done.wait(PATIENCE), "the server does not answer"

    @property
    def url(self) -> str:
        """The first port's."""
        return self.urls[0]

    @property
    def received(self) -> list[Received]:
        """The requests, in the order in which they came."""
        return self._record.received()

    @property
    def broken_off(self) -> list[Received]:
        """The requests whose body never came whole."""
        return self._record.broken_off()

    @property
    def bodies(self) -> list[bytes]:
        return [received.body for received in self.received]

    @property
    def requests(self) -> int:
        return self._record.count("requests")

    @property
    def connections(self) -> int:
        """Connections accepted in all."""
        return self._record.count("connections")

    @property
    def open(self) -> int:
        """Connections open now."""
        return self._record.count("open")

    @property
    def most_open(self) -> int:
        return self._record.count("most_open")

    @property
    def in_flight(self) -> int:
        """Requests that the script is at work on now."""
        return self._record.count("in_flight")

    @property
    def most_in_flight(self) -> int:
        return self._record.count("most_in_flight")

    @property
    def disappointed(self) -> int:
        """How many times `close_on_reuse` closed a connection that was used again."""
        return self._record.count("disappointed")

    def counts(self) -> dict[str, int]:
        """Return all of these numbers at one moment."""
        return self._record.counts()

    def wait_until(self, predicate: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Block until something is true of the server; in async code, `until` does not block the loop."""
        latest = time.monotonic() + seconds
        while not predicate():
            assert time.monotonic() < latest, f"it never came true: {self.counts()}"
            time.sleep(POLL)

    async def until(self, predicate: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Wait until something is true of the server, on asyncio and trio."""
        latest = time.monotonic() + seconds
        while not predicate():
            assert time.monotonic() < latest, f"it never came true: {self.counts()}"
            await anyio.sleep(POLL)
