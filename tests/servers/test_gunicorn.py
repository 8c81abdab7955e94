"""gunicorn, which forks its workers, with the application loaded before the fork and after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import _scenes
from tests.servers._stage import Command, Downstream, Server, environment, free_port

WORKERS = 3


@pytest.mark.timeout(90)
@pytest.mark.parametrize("preload", [False, True], ids=["each loads", "preloaded"])
def test_gunicorn_that_forks(preload: bool, tmp_path: Path) -> None:
    port = free_port()
    arguments = ["gunicorn", "tests.servers._app:wsgi", "--bind", f"127.0.0.1:{port}", "--workers", str(WORKERS)]
    arguments += ["--log-level", "warning", "--worker-class", "gthread", "--threads", "2"] if preload else []
    arguments += ["--preload"] if preload else []
    with Downstream() as downstream:
        env = environment(tmp_path / "control", downstream)
        command = Command(env)
        with Server(arguments, port, env, tmp_path / "log") as server:
            workers = server.workers(WORKERS)
            counted = _scenes.warmed(server, workers)
            with _scenes.with_load(server) as load:
                _scenes.tripped(load, downstream, command, workers)
            assert load.faults == []
            assert command.live() == workers, "the master makes no call and has no page"

            _scenes.respawned(server, counted + load.counts(), workers, command)

            with _scenes.with_load(server) as load:
                _scenes.released(load, downstream, command, WORKERS)
            _scenes.no_further_attempt(server, downstream, command)
