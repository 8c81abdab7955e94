"""Ten processes on one SqliteStore are killed at random moments, and nothing is lost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(10, id="seeded hundredth"),
        pytest.param(1_000, id="in full", marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
    ],
)
def test_what_was_written_survives_the_death_of_its_writer(rounds, tmp_path, capsys):
    done = subprocess.run(
        [sys.executable, "-m", "tests.stores._crash", str(tmp_path), "--rounds", str(rounds)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=50 if rounds == 10 else 3_500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    with capsys.disabled():
        if rounds > 10:
            sys.stdout.write("\n" + done.stdout)
    told, caught = map(int, re.search(r"told (\d+) caught (\d+)", done.stdout).groups())
    assert told > rounds * 10, "hardly anything was written"
    assert caught > 0, "nobody was killed in the middle of a write"
