"""Control directories for the command to work on."""

from __future__ import annotations

import pytest


@pytest.fixture
def place(tmp_path):
    """Return where a control directory may be made: nobody else reaches it."""
    above = tmp_path / "resilient"
    above.mkdir(mode=0o700)
    return above / "checkout"
