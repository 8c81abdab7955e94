"""What must hold behind every server with several workers."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from resilient.control.locks import release, take
from resilient.control.paths import DATABASE, LOCK
from tests.servers._stage import OUTCOMES, Command, Downstream, Load, Scrape, Server, Told, grown, settled, until


def warmed(server: Server, workers: set[int]) -> Counter[str]:
    """Let every worker make its first calls, one after the other; return how they ended."""
    counted = Counter(dict.fromkeys(OUTCOMES, 0))
    seen: set[int] = set()
    while seen != workers:
        told = server.burst()
        seen.add(told["pid"])
        counted.update({key: told[key] for key in OUTCOMES})
    return counted


def tripped(
    load: Told,
    downstream: Downstream,
    command: Command,
    workers: set[int],
    name: str = "payments",
    *,
    frozen: bool = False,
) -> float:
    """Trip while all workers are busy: once the command has returned, nobody begins another call.

    Those that are frozen meanwhile cannot have heard of it from their thread: their next call has to look.
    """
    until(lambda: workers <= load.pids(outcome="passed"), "every worker makes calls")
    if frozen:
        until(lambda: _frozen(workers, command.directory), "all workers are frozen, none of them within a change")
    returned = command.trip(name)
    for each in workers if frozen else ():
        os.kill(each, signal.SIGCONT)
    until(lambda: workers <= load.pids(returned, "refused"), "every worker has refused calls")
    assert load.counts(since=returned)["passed"] == 0
    assert downstream.since(returned, name) == []
    assert [each for each in downstream.arrivals if each.name == name], "it had been called before"
    return returned


def _frozen(workers: set[int], directory: Path) -> bool:
    """Freeze processes, unless one of them is just changing the record: nobody else could change it then."""
    for each in workers:
        os.kill(each, signal.SIGSTOP)
    until(lambda: all(_state(each) == "T" for each in workers), "they stand still")
    try:
        with closing(sqlite3.connect(directory / DATABASE, timeout=0, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE").execute("ROLLBACK")
        lock = take(directory / LOCK, os.getuid())
    except sqlite3.OperationalError:
        lock = None
    if lock is not None:
        release(lock)
        return True
    for each in workers:
        os.kill(each, signal.SIGCONT)
    return False


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def released(load: Told, downstream: Downstream, command: Command, workers: int, name: str = "payments") -> None:
    """Release under load: in the first second at most a tenth of the calls passes, beside each worker's probe."""
    asked = time.monotonic()
    command("release", name, "--reason", "tests of servers")
    came = until(lambda: downstream.since(asked, name), "calls pass again")
    first = came[0].began
    until(lambda: time.monotonic() > first + 1.1, "a second is over")
    passed = [each for each in downstream.since(asked, name) if each.began < first + 1]
    offered = load.counts(since=first, before=first + 1)
    assert 0 < len(passed) <= 0.1 * offered.total() + workers, (len(passed), offered)


def respawned(server: Server, counted: Counter[str], workers: set[int], command: Command) -> Scrape:
    """Kill a worker: its successor starts tripped, and no counter that any worker shows goes back."""
    scrape: Callable[[], Scrape] = lambda: Scrape.of(server.get("/metrics"))  # noqa: E731
    before = settled(scrape, counted)
    victim = max(workers)
    os.kill(victim, signal.SIGKILL)
    until(lambda: server.attempt("/pid").get("pid", victim) not in workers, "a new worker answers", 20)
    fresh: set[int] = set()
    while not fresh - workers:
        told = server.burst()
        counted.update({key: told[key] for key in OUTCOMES})
        fresh.add(told["pid"])
        assert told["passed"] == 0
        assert told["refused"] == 10
    after = settled(scrape, counted)
    assert grown(before, after) == []
    until(lambda: victim not in command.live(), "nobody lists the dead worker", 2.5)
    return after


def no_further_attempt(server: Server, downstream: Downstream, command: Command) -> None:
    """Trip while a call waits for its next attempt: it does not get one."""
    downstream.status = 503
    told: list[dict[str, int]] = []
    caller = threading.Thread(target=lambda: told.append(server.burst("slow", 1)))
    caller.start()
    until(lambda: downstream.since(0, "slow"), "the first attempt is there")
    returned = command.trip("slow")
    caller.join(15)
    downstream.status = 200
    assert told[0]["failed"] == 1, "the caller gets the error of the attempt that ran"
    attempts = downstream.since(0, "slow")
    assert len(attempts) < 3, "not all attempts were made"
    assert all(each.arrived < returned for each in attempts)


def with_load(server: Server, name: str = "payments", callers: int = 4) -> Load:
    return Load(lambda: server.burst(name), callers)
