"""Each test has a wall clock of its own, which only the test moves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from resilient.testing import FakeClock, use
from tests.cache._world import World

EPOCH = 1_900_000_000.0
"""A whole second: dates in headers have no others."""


def wall_clock() -> FakeClock:
    made = FakeClock(auto=False)
    made._epoch = EPOCH - made._start
    return made


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with use(wall_clock()) as made:
        yield made


@pytest.fixture
def world(clock: FakeClock) -> World:
    """A private cache, as it is by default."""
    return World()


@pytest.fixture
def shared(clock: FakeClock) -> World:
    """A shared cache, as it is by default."""
    return World(shared=True)
