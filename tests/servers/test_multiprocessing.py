"""Processes without a server, spawned and forked, and threads."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.servers import _scenes
from tests.servers._stage import OUTCOMES, ROOT, Command, Downstream, Scrape, Told, environment, grown, settled, until

CHILDREN = 3


class Pool(Told):
    """The parent, and what all of them say."""

    def __init__(self, way: str, size: int, env: dict[str, str]) -> None:
        super().__init__()
        self._scrapes: list[str] = []
        command = [sys.executable, "-m", "tests.servers._pool", way, str(size)]
        self.process = subprocess.Popen(
            command, env=env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Pool:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(20)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)  # frozen ones, too
            self._reader.join(20)
            self.process.stdout.close()

    def _read(self) -> None:
        for line in self.process.stdout:
            told = json.loads(line)
            if "metrics" in told:
                self._scrapes.append(told["metrics"])
            else:
                self.told.append((told["began"], told))

    def wish(self, what: str) -> None:
        self.process.stdin.write(f"{what}\n".encode())
        self.process.stdin.flush()

    def scrape(self) -> Scrape:
        """Let the parent scrape."""
        before = len(self._scrapes)
        self.wish("metrics")
        until(lambda: len(self._scrapes) > before, "the parent has scraped")
        return Scrape.of(self._scrapes[-1])


@pytest.mark.timeout(60)
@pytest.mark.parametrize("way", ["spawn", "fork"])
def test_children_of_multiprocessing(way: str, tmp_path: Path) -> None:
    with Downstream() as downstream:
        env = environment(tmp_path / "control", downstream)
        command = Command(env)
        with Pool(way, CHILDREN, env) as pool:
            parent = pool.process.pid
            until(lambda: len(pool.pids(outcome="passed")) > CHILDREN, "the parent and all children make calls")
            children = pool.pids() - {parent}
            _scenes.tripped(pool, downstream, command, children, frozen=True)
            assert command.live() == {parent, *children}

            victim = max(children)
            before = pool.scrape()
            killed = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            (fresh,) = until(lambda: pool.pids() - children - {parent}, "a successor makes calls")
            of_it = [told for _, told in pool.told if told["pid"] == fresh]
            assert not any(told["passed"] for told in of_it), "it starts tripped"
            until(lambda: victim not in command.live(), "nobody lists the dead", 2.5)
            assert grown(before, pool.scrape()) == []

            _scenes.released(pool, downstream, command, CHILDREN + 1)
            pool.wish("")
            until(lambda: not _grows(pool), "the children are gone")
            last = pool.scrape()
            # A process that is killed takes with it what it has not told yet: the last second.
            unsaid = [told for began, told in pool.told if told["pid"] == victim and began > killed - 1.5]
            told, scraped = pool.counts(), last.calls()
            for outcome in OUTCOMES:
                most = sum(each[outcome] for each in unsaid)
                assert 0 <= told[outcome] - scraped[outcome] <= most, outcome
            assert grown(before, last) == []


def _grows(pool: Pool) -> bool:
    before = len(pool.told)
    time.sleep(0.3)
    return len(pool.told) > before


@pytest.mark.timeout(60)
def test_threads(tmp_path: Path) -> None:
    with Downstream() as downstream:
        env = environment(tmp_path / "control", downstream)
        command = Command(env)
        with Pool("threads", 4, env) as pool:
            _scenes.tripped(pool, downstream, command, {pool.process.pid}, frozen=True)
            assert command.live() == {pool.process.pid}
            with Pool("threads", 8, env) as late:
                until(lambda: late.counts()["refused"] >= 80, "threads that all begin at once have made calls")
                assert late.counts()["passed"] == 0, "their first calls wait for the holds"
            _scenes.released(pool, downstream, command, 1)
            pool.wish("")
            until(lambda: not _grows(pool), "the threads are gone")
            settled(pool.scrape, pool.counts() + late.counts())
