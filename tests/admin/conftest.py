"""A control directory with two processes in it, and the API over it."""

from __future__ import annotations

import pytest

from resilient.control.directory import Directory
from tests.admin._site import Site
from tests.control._rows import Shown, row


@pytest.fixture
def directory(tmp_path):
    found = Directory(tmp_path / "shop", create=True, app="shop")
    yield found
    found.close()


@pytest.fixture
def pages(directory):
    """Two processes: both call `payments`, one calls `search`."""
    return [
        Shown(directory.path, "a", payments=row(), search=row()),
        Shown(directory.path, "b", payments=row()),
    ]


@pytest.fixture
def site(directory, pages):
    return Site(directory)
