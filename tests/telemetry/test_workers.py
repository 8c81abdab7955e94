"""One scrape of any worker is exact for all of them, and no counter goes back when one is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

WORKER = Path(__file__).parent / "_worker.py"
GOOD = (("downstream", "orders"), ("error_type", ""), ("outcome", "success"))
BAD = (("downstream", "orders"), ("error_type", "OSError"), ("outcome", "failure"))
QUIET = 2.0


class Worker:
    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _ask(self, line: str) -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def call(self, times: int) -> None:
        assert self._ask(f"call {times}") == "done"

    def scrape(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        assert self.process.stdout
        text = "".join(self.process.stdout.readline() for _ in range(int(self._ask("scrape 0"))))
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def calls(self) -> tuple[float, float]:
        found = self.scrape()
        name = "resilient_call_duration_seconds_count"
        return found.get((name, GOOD), 0), found.get((name, BAD), 0)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=10)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Worker]]:
    started = [Worker(tmp_path / "control") for _ in range(3)]
    yield started
    for worker in started:
        worker.end()


def becomes(worker: Worker, calls: tuple[float, float]) -> None:
    """Poll until a worker tells these calls; it never told more, and never less than before."""
    deadline, seen = time.monotonic() + QUIET + 10, (0.0, 0.0)
    while (now := worker.calls()) != calls:
        assert seen <= now <= calls
        seen = now
        assert time.monotonic() < deadline, f"{now} instead of {calls}"
        time.sleep(0.05)


def test_any_worker_tells_of_all_of_them_exactly_also_of_the_dead(workers: list[Worker]) -> None:
    for number, worker in enumerate(workers, 1):
        worker.call(number * 100)
    assert workers[0].calls() >= (100, 100), "its own page is written first"
    for worker in workers:
        becomes(worker, (600, 600))
    workers[2].end()
    for worker in workers[:2]:
        assert worker.calls() == (600, 600)
    workers[1].call(50)
    becomes(workers[0], (650, 650))
    found = workers[0].scrape()
    assert found["resilient_control_process_count", (("state", "live"),)] == 2
    assert found["resilient_breaker_window_calls", (("breaker", "circuit_breaker"), ("downstream", "orders"))] > 0
    sums = [value for (name, labels), value in found.items() if name.endswith("_bucket") and ("le", "+Inf") in labels]
    assert sum(sums) == 2 * (650 + 650), "calls, and as many attempts"
