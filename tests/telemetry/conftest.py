"""Tests of what is counted see their own pipelines only, not what other tests of the process have left alive."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from resilient._runtime import live
from resilient.telemetry.names import Names
from resilient.telemetry.statistics import MOST_DOWNSTREAMS, PROCESS


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide every pipeline alive, and have the statistics of the process know no name and no count yet."""
    PROCESS._forget()
    kept = {key: each for key, each in live._members.items() if each() is PROCESS}
    with monkeypatch.context() as patch:
        patch.setattr(live, "_members", kept)
        patch.setattr(PROCESS, "_names", Names(MOST_DOWNSTREAMS, "downstreams"))
        patch.setattr(PROCESS, "_traffic", {})
        yield
