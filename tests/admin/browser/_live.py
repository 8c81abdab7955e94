"""A host with an application on it: worker processes that call, and the admin app that shows them, under a prefix."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from resilient.admin import Tokens, app, new_token

ROOT = Path(__file__).parents[3]
PREFIX = "/internal/ops"
APP = "shop"


@dataclass
class Host:
    """Where it runs, who may come in, and its workers."""

    directory: Path
    url: str
    tokens: dict[str, str]
    workers: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, number: int) -> None:
        """Start workers and wait until each one has called."""
        command = [sys.executable, "-m", "tests.admin.browser._worker", str(self.directory)]
        started = [
            subprocess.Popen(
                command, cwd=ROOT, env=environment(), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            for _ in range(number)
        ]
        self.workers += started
        for each in started:
            assert each.stdout is not None
            assert each.stdout.readline() == "calling\n"

    def command(self, *arguments: str) -> str:
        """Run the command `resilient`, in a process of its own."""
        command = [sys.executable, "-m", "resilient.cli", *arguments, "--dir", str(self.directory)]
        done = subprocess.run(
            command, env=environment(), cwd=ROOT, capture_output=True, text=True, timeout=20, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def stop(self) -> None:
        """End the workers."""
        for each in self.workers:
            assert each.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                each.stdin.close()
        for each in self.workers:
            each.wait(10)
            assert each.stdout is not None
            each.stdout.close()


def environment() -> dict[str, str]:
    """Return an environment in which a child finds what this process finds."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}


@contextlib.contextmanager
def hosting(directory: Path, workers: int, **roles: str) -> Iterator[Host]:
    """Run workers and the admin app, with a token for each name and its role, for the time of the block."""
    made = {name: new_token(name, role) for name, role in roles.items()}  # type: ignore[arg-type]
    tokens = Tokens.from_text("[tokens]\n" + "\n".join(line for _, line in made.values()))
    admin = app(directory, authenticator=tokens, hosts=["127.0.0.1"])
    server = uvicorn.Server(
        uvicorn.Config(Starlette(routes=[Mount(PREFIX, admin)]), port=0, log_config=None, timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    end = time.monotonic() + 10
    while not server.started:
        assert time.monotonic() < end
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    host = Host(directory, f"http://127.0.0.1:{port}{PREFIX}", {name: token for name, (token, _) in made.items()})
    try:
        host.start(workers)
        yield host
    finally:
        host.stop()
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()
