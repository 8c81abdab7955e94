"""A downstream that writes down who came, callers that count, servers and the command, all of them real."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from resilient.control.pages import read_pages
from resilient.telemetry.catalogue import METRICS

ROOT = Path(__file__).parents[2]
OUTCOMES = ("passed", "refused", "failed")
CLI = [sys.executable, "-m", "resilient.cli"]


def until(condition: Callable[[], Any], what: str, seconds: float = 15.0) -> Any:
    """Poll until something is true, and return it."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(frozen=True)
class Arrival:
    """A request that reached the downstream: when its call began, and when it arrived, both in seconds."""

    name: str
    began: float
    arrived: float
    pid: int


class Downstream:
    """A real server on the loopback that keeps a list of what reaches it."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                began = int(self.headers["X-Began"]) / 1e9
                name, pid = self.path.strip("/"), int(self.headers["X-Pid"])
                outer.arrivals.append(Arrival(name, began, time.monotonic(), pid))
                self.send_response_only(outer.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Downstream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def since(self, moment: float, name: str = "payments") -> list[Arrival]:
        """Return what arrived of calls that began after a moment."""
        return [each for each in list(self.arrivals) if each.name == name and each.began > moment]


class Told:
    """What callers were told: when a burst began, and how its calls ended."""

    def __init__(self) -> None:
        self.told: list[tuple[float, dict[str, int]]] = []

    def pids(self, since: float = 0.0, outcome: str | None = None) -> set[int]:
        """Return the workers that answered bursts which began after a moment."""
        return {told["pid"] for began, told in list(self.told) if began > since and (not outcome or told[outcome])}

    def counts(self, since: float = 0.0, before: float = math.inf) -> Counter[str]:
        """Return how calls ended, of bursts which began within a time."""
        total = Counter(dict.fromkeys(OUTCOMES, 0))
        for began, told in list(self.told):
            if since < began < before:
                total.update({key: told[key] for key in OUTCOMES})
        return total


class Load(Told):
    """Callers that ask without a pause."""

    def __init__(self, ask: Callable[[], dict[str, int]], callers: int = 4) -> None:
        super().__init__()
        self.faults: list[BaseException] = []
        self._ask = ask
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(callers)]

    def __enter__(self) -> Load:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for each in self._threads:
            each.join(20)
            assert not each.is_alive()

    def _call(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            try:
                self.told.append((began, self._ask()))
            except (OSError, http.client.HTTPException) as fault:
                self.faults.append(fault)
                time.sleep(0.02)


def environment(directory: Path, downstream: Downstream) -> dict[str, str]:
    """Return what servers and commands find in their environment."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RESILIENT_", "PYTEST_", "COV_"))}
    return {
        **kept,
        "RESILIENT_APP": "servers",
        "RESILIENT_CONTROL_DIR": str(directory),
        "TEST_DOWNSTREAM_PORT": str(downstream.port),
        "PYTHONPATH": str(ROOT),
    }


@dataclass
class Command:
    """The command `resilient`, each time in a process of its own."""

    env: dict[str, str]

    @property
    def directory(self) -> Path:
        return Path(self.env["RESILIENT_CONTROL_DIR"])

    def __call__(self, *arguments: str, codes: Collection[int] = (0,)) -> Any:
        """Run it, and return its JSON."""
        done = subprocess.run(
            [*CLI, *arguments, "--output", "json"],
            env=self.env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode in codes, (arguments, done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def trip(self, name: str = "payments") -> float:
        """Trip a downstream, and return the moment at which the command had returned.

        It does not wait until processes say that they have heard of it: what it promises holds without.
        """
        self("trip", name, "--reason", "tests of servers", "--for", "5m", "--wait", "0", codes=(0, 4))
        return time.monotonic()

    def heard(self) -> None:
        """Wait until all processes have said that they know of the newest change."""

        def all_of_them() -> bool:
            processes = self("processes")
            return all(each["applied"] == self("status")["revision"] for each in processes)

        until(all_of_them, "every process has applied it")

    def live(self) -> set[int]:
        """Return the process numbers of those that live."""
        return {each.data["pid"] for each in read_pages(self.directory) if each.alive}


@dataclass
class Server:
    """A server with several workers, started as people start it."""

    arguments: list[str]
    port: int
    env: dict[str, str]
    log: Path

    def __enter__(self) -> Server:
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.arguments],
                env=self.env,
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def get(self, path: str, timeout: float = 15) -> bytes:
        """Ask over a new connection, so that any worker may answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        assert answer.status == 200, (answer.status, body)
        return body

    def json(self, path: str) -> dict[str, int]:
        return json.loads(self.get(path))

    def attempt(self, path: str) -> dict[str, int]:
        """Return what is there, or nothing if nobody answers now."""
        try:
            return self.json(path)
        except (OSError, http.client.HTTPException):
            return {}

    def burst(self, name: str = "payments", calls: int = 10) -> dict[str, int]:
        return self.json(f"/{name}?calls={calls}")

    def workers(self, number: int) -> set[int]:
        """Wait until so many workers have answered, and return them."""
        seen: set[int] = set()

        def enough() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(OSError, http.client.HTTPException):
                seen.add(self.json("/pid")["pid"])
            return len(seen) >= number

        until(enough, f"{number} workers answer", 25)
        return seen


SAMPLE = re.compile(r"^(?P<name>\w+?)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Scrape:
    """What one scrape showed."""

    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]

    @classmethod
    def of(cls, text: str | bytes) -> Scrape:
        text = text.decode() if isinstance(text, bytes) else text
        return cls(
            {
                (match["name"], frozenset(LABEL.findall(match["labels"] or ""))): float(match["value"])
                for match in SAMPLE.finditer(text)
            }
        )

    def total(self, name: str, **labels: str) -> float:
        wanted = set(labels.items())
        return sum(value for (each, has), value in self.samples.items() if each == name and wanted <= has)

    def counters(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Return what may only grow."""
        gauges = {name for name, metric in METRICS.items() if metric.kind == "gauge"}
        return {key: value for key, value in self.samples.items() if key[0] not in gauges}

    def calls(self, name: str = "payments") -> dict[str, int]:
        """Return calls by the words of the application."""
        metric = "resilient_call_duration_seconds_count"
        words = {"passed": "success", "refused": "rejected", "failed": "failure"}
        return {word: int(self.total(metric, downstream=name, outcome=outcome)) for word, outcome in words.items()}


def grown(before: Scrape, after: Scrape) -> list[str]:
    """Return the counters that went back or vanished."""
    later = after.counters()
    return [
        f"{key}: {value} -> {later.get(key)}" for key, value in before.counters().items() if later.get(key, -1) < value
    ]


def settled(scrape: Callable[[], Scrape], told: Mapping[str, int], seconds: float = 2.5) -> Scrape:
    """Scrape until the sums are what callers were told; two seconds of quiet are promised to be enough."""
    deadline = time.monotonic() + seconds
    while True:
        seen = scrape()
        if all(told[outcome] == count for outcome, count in seen.calls().items()):
            return seen
        assert time.monotonic() < deadline, f"scraped {seen.calls()}, callers were told {dict(told)}"
        time.sleep(0.1)
