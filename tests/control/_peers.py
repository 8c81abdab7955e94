"""Processes beside the test: each evaluates what it is asked for, line by line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

SERVE = """
import json, sys

told = sys.stdout
sys.stdout = sys.stderr
names = {}

def answer(line):
    kind, text = json.loads(line)
    if kind == "run":
        exec(text, names)
        return None
    return eval(text, names)

for line in sys.stdin:
    try:
        said = ["ok", answer(line)]
    except BaseException as error:
        said = ["error", f"{type(error).__name__}: {error}"]
    print(json.dumps(said, default=str), file=told, flush=True)
"""

OPERATOR = """
from resilient.control.directory import Directory
from resilient.control.operations import Operations
from resilient.control.receipts import Who

def at(path):
    global operations
    operations = Operations(Directory(path, create=True))

def trip(target, ttl=600, actor="ann", **more):
    given = {"mode": "forced_open", "reason": "a test", "allow_unknown": True, **more}
    return operations.place(target, who=Who(actor, "operator", "cli"), ttl=ttl, **given).id

def release(target, actor="ann"):
    return operations.release(target, who=Who(actor, "operator", "cli")).id

def command(target, what):
    return operations.command(target, what, reason="a test", who=Who("ann", "operator", "cli")).revision
"""

APP = """
import os, threading, time
from resilient import *
from resilient import control
from resilient.control import agent

def ask(name="payments"):
    try:
        Pipeline(name).call(int)
    except BreakerOpen as error:
        return error.reason
    return "passed"
"""


class Peer:
    """One process, and what it has been told to know."""

    def __init__(self, code: str = "", *flags: str, **environment: str) -> None:
        command = [sys.executable, *flags, "-c", SERVE]
        env = {key: value for key, value in os.environ.items() if not key.startswith("RESILIENT_")} | environment
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=env, cwd=ROOT, text=True)
        self.run(code)

    def _say(self, kind: str, text: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([kind, text]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the process has died"
        state, said = json.loads(line)
        assert state == "ok", said
        return said

    def run(self, code: str) -> None:
        """Execute statements there."""
        self._say("run", code)

    def __call__(self, expression: str) -> Any:
        """Evaluate an expression there, and return its value."""
        return self._say("value", expression)

    def end(self) -> str:
        """Let it end in its own way; return what it wrote to its standard error."""
        _, errors = self.process.communicate(timeout=20)
        return errors

    def kill(self) -> None:
        """Kill it, if it still lives."""
        self.process.kill()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        self.process.wait(20)


def until(condition: Callable[[], Any], what: str, seconds: float = 15.0) -> Any:
    """Poll until something is true, and return it."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)
    return found
