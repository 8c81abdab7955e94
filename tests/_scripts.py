"""Run a program of its own in a fresh interpreter, with a limit on its time."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import resilient

PREAMBLE = """
import faulthandler, sys
sys.path[:0] = {paths!r}
faulthandler.dump_traceback_later({seconds!r}, exit=True)
"""


def run(program: str, *, seconds: float = 30) -> str:
    """Return what a program prints; it fails if it takes too long or does not exit with 0.

    Whoever stands still tells where, in every thread.
    """
    paths = [str(Path(resilient.__file__).parents[1]), str(Path(__file__).parents[1])]
    source = PREAMBLE.format(paths=paths, seconds=seconds) + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=seconds + 20, check=False
    )
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
    return done.stdout
