"""Tests of control see their own pipelines only: one of the same name that is still alive would be held, too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from resilient._runtime import live
from resilient._weave.assembly import Assembly


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide every pipeline that is alive."""
    kept = {key: each for key, each in live._members.items() if not isinstance(each(), Assembly)}
    with monkeypatch.context() as patch:
        patch.setattr(live, "_members", kept)
        yield
