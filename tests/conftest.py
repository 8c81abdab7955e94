"""What every test gets: seeded examples, both event loops by name, and nothing left from the test before."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from resilient import events, faults, registry

# Seeded: the same examples on every machine and in every run. "explore" looks for new ones,
# "soak" looks long. Choose with HYPOTHESIS_PROFILE.
settings.register_profile(
    "seeded",
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.register_profile("soak", settings.get_profile("explore"), max_examples=5_000, stateful_step_count=100)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "seeded"))


ROOT = Path(__file__).parents[1]

# Long ones in which the version of Python plays no part: CI runs them on the newest one, to fit ten minutes.
LONG = (
    "tests/admin/browser/",
    "tests/admin/test_attacks_served.py",
    "tests/admin/test_mounted.py",
    "tests/admin/test_openapi.py",
    "tests/admin/test_serve.py",
    "tests/cache/suite/",
    "tests/cache/test_cache_model.py",
    "tests/control/test_operations_model.py",
    "tests/control/test_operations_processes.py",
    "tests/control/test_incidents.py",
    "tests/control/test_keeper.py",
    "tests/control/test_reach.py",
    "tests/cli/test_changing.py",
    "tests/cli/test_doctor.py",
    "tests/cli/test_places.py",
    "tests/cli/test_with_apps.py",
    "tests/control/test_agent.py",
    "tests/idempotency/test_book.py",
    "tests/idempotency/test_crashes.py",
    "tests/idempotency/test_end_to_end.py",
    "tests/idempotency/test_review_steps.py",
    "tests/machines/",
    "tests/ops/",
    "tests/servers/",
    "tests/stores/test_crash.py",
    "tests/stores/test_model.py",
    "tests/stores/test_sqlite_damage.py",
    "tests/telemetry/test_workers.py",
    "tests/test_http_soak.py",
    "tests/test_runbook.py",
    "tests/test_stale_cache_model.py",
)

# The same for what stands upon the core: HTTP, caches, stores, and the operator's tools.
UPON = (
    "tests/admin/",
    "tests/cache/",
    "tests/cli/",
    "tests/conformance/test_http",
    "tests/http/",
    "tests/idempotency/",
    "tests/stores/",
    "tests/telemetry/",
)


LEFT_OUT = {"long": LONG, "upon": UPON}
"""What CI leaves out, by the word that asks for it: it is not even collected, which takes seconds in each worker."""


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out what RESILIENT_LEAVE_OUT names."""
    left_out = [each for word in os.environ.get("RESILIENT_LEAVE_OUT", "").split() for each in LEFT_OUT[word]]
    path = collection_path.relative_to(ROOT).as_posix()
    return True if f"{path}/".startswith(tuple(left_out)) or path.startswith(tuple(left_out)) else None


def pytest_collection() -> None:
    """Collect no garbage while tests are collected: thousands of them would be looked at again and again."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Exempt thousands of collected tests from garbage collection: each one would look at all of them."""
    gc.enable()
    gc.collect()
    gc.freeze()


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run a test marked `anyio` on each event loop."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _fresh_faults() -> Iterator[None]:
    """Forget reported faults, so that each test sees its own first report."""
    faults.reset()
    yield
    faults.reset()


@pytest.fixture(autouse=True)
def _no_listener_left() -> Iterator[None]:
    """Fail the test that leaves a listener behind: it would hear all tests that follow."""
    before = set(events._listeners)
    yield
    left = [events._listeners.pop(each) for each in events._listeners.keys() - before]
    assert not left, f"still subscribed: {left}"


@pytest.fixture(autouse=True)
def _no_pipeline_left() -> Iterator[None]:
    """Forget the names of a test: thousands of pipelines would make every change of the clock slow."""
    before = registry._entries.copy()
    yield
    registry.exchange(before)
