"""The page for three in the morning: each of its commands is run, in order, against two processes that are at work."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from resilient.cli import main

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "runbook.md").read_text("utf-8")

APPLICATION = """
import sys, threading, time
from resilient import CircuitBreaker, Pipeline, Rejected, Retry

over = threading.Event()
pipelines = [Pipeline(name, Retry(attempts=2), CircuitBreaker()) for name in ("payments", "stock", "search")]

def work():
    while not over.is_set():
        for pipeline in pipelines:
            try:
                pipeline.call(time.sleep, 0.001)
            except Rejected:
                pass
        time.sleep(0.02)

caller = threading.Thread(target=work)
caller.start()
sys.stdin.read()
over.set()
caller.join()
"""
PROCESSES = 2


@dataclass(frozen=True)
class Section:
    """A part of the page, and its commands."""

    title: str
    commands: tuple[str, ...]


def sections(page: str) -> Iterator[Section]:
    """Yield the parts of the page that have commands."""
    title, commands, heading = "", [], False
    for token in MarkdownIt().parse(page):
        if token.type == "heading_open":
            heading = True
        elif heading and token.type == "inline":
            if commands:
                yield Section(title, tuple(commands))
            title, commands, heading = token.content, [], False
        elif token.type == "fence":
            assert token.info == "console", f"{token.info} in {title}: only blocks of `console` are run"
            lines = token.content.splitlines()
            assert all(line.startswith("$ resilient ") for line in lines), lines
            commands += [line.removeprefix("$ ") for line in lines]
    if commands:
        yield Section(title, tuple(commands))


SECTIONS = list(sections(PAGE))


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    code: int
    stdout: str
    stderr: str


@dataclass
class Shell:
    """Where somebody sits at three in the morning; in this process, which spares each command a start of Python."""

    env: dict[str, str]

    def __call__(self, line: str) -> Done:
        program, *arguments = shlex.split(line)
        assert program == "resilient"
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name, value in self.env.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main(arguments)
        return Done(int(ended.value.code or 0), out.getvalue(), err.getvalue())

    def told(self, line: str) -> Any:
        done = self(f"{line} --output json")
        return json.loads(done.stdout) if done.code == 0 else None


def _works(shell: Shell) -> bool:
    """Tell whether all processes show all downstreams."""
    picture = shell.told("resilient status")
    return picture is not None and [each["live"] for each in picture["downstreams"]] == [PROCESSES] * 3


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Start the application; hand out a shell on its host."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RESILIENT_")}
    env = {
        **kept,
        "RESILIENT_CONTROL_DIR": str(tmp_path_factory.mktemp("runbook") / "control"),
        "RESILIENT_APP": "shop",
    }
    command = [sys.executable, "-c", APPLICATION]
    team = [
        subprocess.Popen(command, env={**os.environ, **env}, cwd=ROOT, stdin=subprocess.PIPE) for _ in range(PROCESSES)
    ]
    try:
        shell = Shell(env)
        deadline = time.monotonic() + 20
        while not _works(shell):
            assert all(each.poll() is None for each in team)
            assert time.monotonic() < deadline, shell("resilient status")
            time.sleep(0.1)
        yield shell
    finally:
        for each in team:
            each.stdin.close()
        for each in team:
            assert each.wait(20) == 0


@pytest.mark.timeout(60)
@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.title.lower().replace(" ", "-"))
def test_the_commands_of_a_part_do_what_it_says(section: Section, shell: Shell) -> None:
    for line in section.commands:
        done = shell(line)
        assert done.code == 0, (line, done.stdout, done.stderr)
        assert done.stdout.strip(), line
        verb = line.split()[1]
        if verb in {"trip", "release", "retries", "reset", "probe"} and "--dry-run" not in line:
            assert f"In force in {PROCESSES} of {PROCESSES} processes" in done.stdout, (line, done.stdout)
        if verb == "status":
            assert done.stdout.splitlines()[0].strip(), "the first line is the verdict"
    left = shell.told("resilient status")
    assert [hold for each in left["downstreams"] for hold in each["holds"]] == [], "the part undoes what it did"


def test_every_part_of_the_page_that_needs_commands_has_some() -> None:
    titles = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert [title for title in titles if title not in {each.title for each in SECTIONS}] == ["Calls are refused"]


def test_the_page_tells_of_the_exit_codes_that_there_are() -> None:
    from resilient.cli import exits

    told = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    assert told <= codes
    assert {exits.APPLIED, exits.USAGE, exits.REFUSED, exits.PARTLY, exits.UNREACHABLE} <= told


@pytest.mark.timeout(60)
def test_an_unknown_name_and_a_missing_reason_are_refused_with_a_hint(shell: Shell) -> None:
    refused = shell("resilient trip paymets --reason 'INC-7: wrong amounts' --for 45m")
    assert refused.code == 3
    assert "payments" in refused.stderr
    assert shell("resilient trip payments --for 45m").code == 2
    assert shell("resilient trip payments --reason 'INC-7: wrong amounts'").code == 2
