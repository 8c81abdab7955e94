"""The outage demo, while it runs, is tripped and released from a shell and on the dashboard."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.admin.browser.conftest import Visits

ROOT = Path(__file__).parents[3]
REASON = "a look at the demo"


class Demo:
    """The demo as a process, and an operator's shell beside it."""

    def __init__(self, directory: Path) -> None:
        path = os.pathsep.join(filter(None, (str(ROOT), *sys.path)))
        self.environment = {**os.environ, "PYTHONPATH": path, "RESILIENT_CONTROL_DIR": str(directory)}
        command = [sys.executable, "-m", "examples.outage", "--seconds", "50", "--json", "--operate"]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self.url, _, self.token = self.process.stderr.readline().split()[-1].partition("#token=")

    def resilient(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "resilient.cli", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=30)

    def state(self) -> dict[str, Any]:
        """What `rates` looks like from outside, once it has been called."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            shown = json.loads(self.resilient("status", "--output", "json").stdout or "{}")
            for each in shown.get("downstreams", ()):
                if each["name"] == "rates":
                    return dict(each)
            time.sleep(0.1)
        raise AssertionError("the demo made no call")


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    running = Demo(tmp_path / "control")
    yield running
    running.process.terminate()
    assert running.process.stderr is not None
    running.process.stderr.close()
    running.process.wait(20)


def test_the_demo_is_tripped_and_released_by_command_line_and_dashboard(demo: Demo, visit: Visits) -> None:
    assert demo.state()["state"] != "forced_open"
    tripped = demo.resilient("trip", "rates", "--reason", REASON, "--for", "2m")
    assert tripped.returncode == 0, tripped.stderr
    assert demo.state()["state"] == "forced_open"
    assert demo.resilient("release", "rates").returncode == 0
    assert demo.state()["state"] != "forced_open"

    page = visit(demo.url, demo.token)
    page.get_by_role("button", name="Trip rates").first.click()
    dialog = page.get_by_role("dialog", name="Trip rates")
    dialog.get_by_label("Reason").fill(REASON)
    dialog.get_by_label("15 min").check()
    dialog.get_by_role("button", name="Trip", exact=True).click()
    page.locator("article header .badge", has_text="held open").wait_for()
    assert [hold["reason"] for hold in demo.state()["holds"]] == [REASON]
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Release rates").first.click()
    dialog = page.get_by_role("dialog", name="Release rates")
    dialog.get_by_label("Reason").fill("seen enough")
    dialog.get_by_role("button", name="Release", exact=True).click()
    page.locator("article header .badge", has_text="held open").wait_for(state="detached")
    assert demo.state()["holds"] == []
