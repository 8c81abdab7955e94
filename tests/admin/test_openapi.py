"""The OpenAPI document is that of this version, describes every route, and the API keeps to it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from resilient.admin import openapi
from resilient.admin.site import ENDPOINTS
from tests.admin._site import TEXT, TOKENS

ROOT = Path(__file__).parents[2]
CHECKED_IN = ROOT / "docs" / "openapi.json"

SERVER = """
import sys
from pathlib import Path
from resilient.admin import Tokens, failures
from resilient.admin.serve import Listening, serve
from resilient.control.directory import Directory
from tests.control._rows import Shown, row
failures._ALLOWED = 1_000_000  # each check for missing credentials comes from one address
directory = Directory(Path(sys.argv[1]), create=True, app="shop")
page = Shown(directory.path, "a", payments=row(), search=row())
page.data["applied"] = 1_000_000  # nothing is waited for
page.show(payments=row(), search=row())
serve(directory, tokens=Tokens.from_text(sys.argv[2]), listening=Listening(port=0), metrics=True)
"""

# Every edge of every parameter is tried where most can be said; the rest is asked at random.
SETTINGS = """
[phases.coverage]
unexpected-methods = ["TRACE"]

[[operations]]
include-method = ["GET", "DELETE", "PATCH"]
phases.coverage.enabled = false

[[operations]]
include-operation-id = ["retries_off", "end_window", "give_command"]
phases.coverage.enabled = false
"""


def test_the_document_that_is_checked_in_is_the_one_of_this_version():
    assert openapi.text() == CHECKED_IN.read_text("utf-8"), (
        "write it again: python -m resilient.admin.openapi docs/openapi.json"
    )


def test_the_document_is_served(site):
    assert site.get("openapi.json", who=None).json()["paths"].keys() <= openapi.document(ENDPOINTS)["paths"].keys()


def test_every_route_is_in_the_document_with_its_role():
    document = json.loads(CHECKED_IN.read_text("utf-8"))
    assert document["openapi"] == "3.1.0"
    names = [each["operationId"] for path in document["paths"].values() for each in path.values()]
    assert len(set(names)) == len(names)
    for endpoint in ENDPOINTS:
        operation = document["paths"][endpoint.path][endpoint.method.lower()]
        assert operation.get("x-role") == endpoint.role
        assert bool(operation["security"]) is (endpoint.role is not None)
        assert operation["summary"]
        assert set(map(str, endpoint.answers)) <= operation["responses"].keys()


def test_every_reference_leads_somewhere():
    text = CHECKED_IN.read_text("utf-8")
    known = json.loads(text)["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/(\w+)"', text)) <= known.keys()


@pytest.mark.timeout(120)
def test_the_api_keeps_to_its_document(tmp_path):
    pytest.importorskip("schemathesis")
    here = {**os.environ, "PYTHONPATH": str(ROOT)}
    serving = [sys.executable, "-c", SERVER, str(tmp_path / "shop"), TEXT]
    server = subprocess.Popen(serving, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=here)
    try:
        url = server.stdout.readline().removeprefix("Serving on ").strip()
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}openapi.json"),
            *("--header", f"Authorization: Bearer {TOKENS['ada']}", "--checks", "all"),
            # What a text may not contain beyond its length is said in words: a reason is printable, times are ahead.
            *("--exclude-checks", "positive_data_acceptance"),
            *("--exclude-path", "/v1/stream", "--exclude-path", "/hystrix.stream"),  # they have no end
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "3", "--generation-deterministic"),
        ]
        (tmp_path / "schemathesis.toml").write_text(SETTINGS)
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        assert "429 responses" not in done.stdout
    finally:
        server.kill()
        _, said = server.communicate()
    assert "Traceback" not in said, said[-4000:]
