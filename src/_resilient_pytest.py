"""The pytest plugin of `resilient`: fixtures that control time, events and policies.

It stands beside the package, not inside it, because pytest loads it in every run: this way
`resilient` is imported only once a fixture is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from resilient.testing import Events, FakeClock, InstantClock

__all__ = [
    "pytest_configure",
    "resilient_clock",
    "resilient_events",
    "resilient_isolated",
    "resilient_no_policies",
    "resilient_no_waits",
]


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", "resilient_clock(auto=True, seed=0, patience=0.5): settings of the fixture resilient_clock"
    )


@pytest.fixture
def resilient_clock(request: pytest.FixtureRequest) -> Iterator[FakeClock]:
    """Put a `FakeClock` in force for the test; `@pytest.mark.resilient_clock(auto=False)` sets it up."""
    from resilient.testing import FakeClock, use  # noqa: PLC0415 -- see above

    marker = request.node.get_closest_marker("resilient_clock")
    settings = {} if marker is None else marker.kwargs
    with use(FakeClock(**settings)) as clock:
        yield clock


@pytest.fixture
def resilient_events() -> Iterator[Events]:
    """Collect every event that happens in the test."""
    from resilient.testing import capture_events  # noqa: PLC0415

    with capture_events() as events:
        yield events


@pytest.fixture
def resilient_isolated() -> Iterator[None]:
    """Start the test without any pipeline, and put the names back afterwards."""
    from resilient.testing import isolated  # noqa: PLC0415

    with isolated():
        yield


@pytest.fixture
def resilient_no_waits() -> Iterator[InstantClock]:
    """Let every sleep of the test end at once, in otherwise real time."""
    from resilient.testing import no_waits  # noqa: PLC0415

    with no_waits() as clock:
        yield clock


@pytest.fixture
def resilient_no_policies() -> Iterator[None]:
    """Leave every policy out while the test runs."""
    from resilient.testing import no_policies  # noqa: PLC0415

    with no_policies():
        yield
