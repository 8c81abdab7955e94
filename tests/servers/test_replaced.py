"""A control directory is removed while a process lives: what was held stays held, and it is operated again."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers._stage import ROOT, Command, Downstream, environment, until

APPLICATION = """
import logging, sys, time
from resilient import Pipeline, Rejected

logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
payments = Pipeline("payments")
while True:
    try:
        payments.call(len, "x")
        print("passed", flush=True)
    except Rejected as refusal:
        print(refusal.reason, flush=True)
    time.sleep(0.05)
"""


class Application:
    """A process that says of each call how it ended."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self.said, self.logged = folder / "said", folder / "logged"
        with self.said.open("w") as out, self.logged.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-c", APPLICATION], env=env, cwd=ROOT, stdout=out, stderr=err
            )

    def words(self) -> list[str]:
        return self.said.read_text().split()

    def goes_on(self, word: str, seconds: float) -> bool:
        """Tell whether all calls for a while end so."""
        before = len(self.words())
        time.sleep(seconds)
        fresh = self.words()[before:]
        return bool(fresh) and set(fresh) == {word}


@pytest.fixture
def application(tmp_path: Path) -> Iterator[tuple[Application, Command, Path]]:
    with Downstream() as downstream:
        directory = tmp_path / "control"
        env = environment(directory, downstream)
        app = Application(env, tmp_path)
        try:
            until(lambda: "passed" in app.words(), "a call passes")
            yield app, Command(env), directory
        finally:
            app.process.send_signal(signal.SIGKILL)
            app.process.wait(10)


@pytest.mark.timeout(60)
def test_what_was_held_stays_held_when_the_directory_is_removed_and_a_new_one_is_operated(
    application: tuple[Application, Command, Path],
) -> None:
    app, command, directory = application
    command.trip()
    shutil.rmtree(directory)
    until(lambda: directory.exists() and command.live() == {app.process.pid}, "it shows itself in a new one")
    assert app.goes_on("forced_open", 1.5)
    # The new record knows nothing of the old hold: a new one takes its place, and can be released.
    command.trip()
    command("release", "payments")
    until(lambda: app.words()[-1] == "passed", "calls pass again")
    logged = app.logged.read_text()
    assert "ERROR resilient.control resilient.control.lost" in logged
    assert "ERROR resilient.control resilient.control.regressed" in logged
    assert "Traceback" not in logged
