"""uvicorn with four workers, which are spawned and inherit nothing: a trip reaches each, whatever its loop does."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.servers import _scenes
from tests.servers._stage import Command, Downstream, Server, environment, free_port

WORKERS = 4


@pytest.mark.timeout(90)
def test_uvicorn_with_four_workers(tmp_path: Path) -> None:
    port = free_port()
    arguments = ["uvicorn", "tests.servers._app:asgi", "--port", str(port), "--workers", str(WORKERS)]
    arguments += ["--lifespan", "off", "--log-level", "warning", "--no-access-log"]
    with Downstream() as downstream:
        env = environment(tmp_path / "control", downstream)
        command = Command(env)
        with Server(arguments, port, env, tmp_path / "log") as server:
            workers = server.workers(WORKERS)
            counted = _scenes.warmed(server, workers)
            with _scenes.with_load(server) as load:
                _scenes.tripped(load, downstream, command, workers)
            assert load.faults == []
            assert command.live() == workers

            _scenes.respawned(server, counted + load.counts(), workers, command)

            with _scenes.with_load(server) as load:
                _scenes.released(load, downstream, command, WORKERS)
            assert load.faults == []

            _scenes.no_further_attempt(server, downstream, command)
            tripped_while_loops_hang(server, downstream, command, tmp_path / "hanging")


def tripped_while_loops_hang(server: Server, downstream: Downstream, command: Command, hanging: Path) -> None:
    """Trip while event loops are blocked: the command neither waits for them nor misses them."""
    server.burst("stock")
    assert downstream.since(0, "stock")
    hanging.touch()
    with ThreadPoolExecutor(2) as callers:
        blocked = [callers.submit(server.get, f"/block?while={hanging}", 40) for _ in range(2)]
        try:
            time.sleep(0.3)
            returned = command.trip("stock")
            command.heard()
            assert not any(each.done() for each in blocked), "their loops were blocked all the while"
        finally:
            hanging.unlink()
    for _ in range(3 * WORKERS):
        assert server.burst("stock")["passed"] == 0
    assert downstream.since(returned, "stock") == []
