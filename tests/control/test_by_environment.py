"""An application named by its environment: configured with its first pipeline, begun with its first call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

CODE = """
import json, os, sys, threading
from pathlib import Path
from resilient import Pipeline, control
directory = Path(os.environ["RESILIENT_CONTROL_DIR"])
pipeline = Pipeline("payments")
{more}
said = {{"files before": directory.exists(), "threads before": threading.active_count()}}
pipeline.call(len, "x")
from resilient.control import agent
from resilient.telemetry.statistics import PROCESS
totals = PROCESS.totals()
here = agent.current()
said["app"] = None if here is None else here.app
said["files after"] = directory.exists()
said["calls"] = totals.value("resilient_call_duration_seconds", ("payments", "success", ""))[1] if here else 0
print(json.dumps(said))
"""


def told(tmp_path: Path, app: str, more: str = "") -> tuple[dict[str, object], str]:
    environment = {
        **os.environ,
        "RESILIENT_APP": app,
        "RESILIENT_CONTROL_DIR": str(tmp_path / "control"),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [sys.executable, "-c", CODE.format(more=more)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=30)
    return json.loads(done.stdout), done.stderr


def test_nothing_happens_before_the_first_call_and_that_one_is_counted(tmp_path):
    said, _ = told(tmp_path, "shop")
    assert said == {"files before": False, "threads before": 1, "app": "shop", "files after": True, "calls": 1.0}


def test_what_the_code_says_counts(tmp_path):
    said, _ = told(tmp_path, "shop", 'control.configure("checkout")')
    assert (said["app"], said["files after"], said["calls"]) == ("checkout", True, 1.0)


def test_the_code_may_switch_it_off(tmp_path):
    said, _ = told(tmp_path, "shop", "control.stop()")
    assert (said["app"], said["files after"]) == (None, False)


def test_a_name_that_is_none_is_told_and_fails_no_call(tmp_path):
    said, errors = told(tmp_path, "no name/../")
    assert (said["app"], said["files after"]) == (None, False)
    assert errors.startswith("RESILIENT_APP: app must be 1 to 64 letters")
    assert "Traceback" not in errors
