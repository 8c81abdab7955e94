"""The same server in a process of its own, so that it takes no time from the client under load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]


class ProcessServer:
    """Serve a script, given as an expression in the names of `tests.faults`, from another process.

    Example: `ProcessServer("lambda r: stall() if r.port < 5 else answer()", ports=50)`.
    """

    def __init__(self, script: str = "answer()", *, ports: int = 1, early: bool = False) -> None:
        options = ["--ports", str(ports), "--script", script, *(["--early"] if early else [])]
        self._command = [sys.executable, "-m", "tests.faults", *options]
        self.urls: list[str] = []

    def __enter__(self) -> ProcessServer:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.urls = self._read()["urls"]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()  # it serves as long as somebody could ask it
        try:
            self._process.wait(5)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()

    def counts(self) -> dict[str, int]:
        """Return what the server counted until now."""
        stream: IO[str] = self._process.stdin
        stream.write("\n")
        stream.flush()
        return self._read()

    def _read(self):
        line = self._process.stdout.readline()
        assert line, "the server has gone"
        return json.loads(line)
