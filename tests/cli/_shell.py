"""The command as a shell runs it, and small processes for it to find."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from resilient.cli import main

MEMBER = Path(__file__).with_name("_member.py")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    """Return an environment in which nothing leads to a control directory by chance."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RESILIENT_", "XDG_", "SUDO_"))}
    for key in ("NO_COLOR", "FORCE_COLOR", "PYTHONDONTWRITEBYTECODE"):
        kept.pop(key, None)
    return {**kept, "PYTHONWARNINGS": "error", "TERM": "xterm", "COLUMNS": "120", **more}


def here(*words: str, **more: str) -> Done:
    """Run the command in this process, which is quicker; each command is also run in a process of its own somewhere."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, environment(**more), clear=True),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main(words)
        except SystemExit as end:
            return Done(int(end.code or 0), out.getvalue(), err.getvalue())


def resilient(*words: str, stdin: str = "", timeout: float = 20, command: Sequence[str] = (), **more: str) -> Done:
    """Run the command in a process of its own."""
    command = command or (sys.executable, "-m", "resilient.cli")
    done = subprocess.run(
        [*command, *words],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(**more),
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


@contextlib.contextmanager
def member(directory: Path, *words: str) -> Iterator[str]:
    """Let a small process live in a control directory; tells its name."""
    process = subprocess.Popen(
        [sys.executable, str(MEMBER), str(directory), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        instance = process.stdout.readline().strip()
        assert instance, "the process died"
        yield instance
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()
