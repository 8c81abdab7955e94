"""Several processes change one record at once, die in the middle, fork: nothing is lost, and nothing stays unseen."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.control._record import ANN, BOB, Desk

PROGRAM = """
import os, signal, sys
from resilient.control.directory import Directory
from resilient.control.operations import Operations
from resilient.control.receipts import Who
directory = Directory(sys.argv[1])
operations = Operations(directory)
me = Who(sys.argv[2], "operator", "cli")
def trip(target, **more):
    return operations.place(target, **{"mode": "forced_open", "reason": "a test", "ttl": 600, "who": me, **more})
print("up", flush=True)
sys.stdin.readline()
"""


def start(desk: Desk, name: str, program: str) -> subprocess.Popen[str]:
    """Start another program on the record; it waits for a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM + program, str(desk.directory.path), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout.readline() == "up\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    yield made
    made.close()


def test_two_processes_and_threads_change_the_record_at_once(desk):
    program = """
from threading import Thread
def work(target):
    for n in range(10):
        trip(target, percent=n + 1)
    operations.release(target, who=me)
    trip(target, mode="observe")
threads = [Thread(target=work, args=(target,)) for target in ("payments", "stock")]
for each in threads: each.start()
for each in threads: each.join()
"""
    before = desk.directory.epoch.word[0]
    several = [start(desk, name, program) for name in ("ann", "bob")]
    for each in several:
        go(each)
    for each in several:
        each.communicate(timeout=40)
        assert each.returncode == 0
    changes = 2 * 2 * 12
    assert desk.directory.revision() == changes
    assert desk.directory.epoch.word[0] == before + changes
    check = desk.operations.verify_audit()
    assert (check.ok, check.rows) == (True, changes)
    assert desk.actives() == {(target, who, "observe") for target in ("payments", "stock") for who in ("ann", "bob")}
    assert sorted(json.loads(row.after)["revision"] for row in desk.operations.audit()) == list(range(1, changes + 1))


def test_when_a_trip_has_returned_every_other_process_sees_it_at_its_next_look(desk):
    program = """
seen = directory.epoch.word[0]
print(seen, flush=True)
sys.stdin.readline()
assert directory.epoch.word[0] != seen
print(*(hold.target for hold in directory.load().holds), flush=True)
"""
    process = start(desk, "other", program)
    go(process)
    assert int(process.stdout.readline()) == desk.directory.epoch.word[0]
    desk.trip()
    assert process.communicate("\n", timeout=20)[0] == "payments\n"


def test_a_writer_killed_between_commit_and_bump_is_healed_by_the_next_one(desk):
    program = """
Directory.announce = lambda self: os.kill(os.getpid(), signal.SIGKILL)
trip("payments")
"""
    word = desk.directory.epoch.word[0]
    process = start(desk, "ann", program)
    go(process)
    assert process.wait(20) == -signal.SIGKILL
    process.communicate()
    assert desk.directory.epoch.word[0] == word, "nobody was told"
    assert desk.directory.revision() == 1, "who looks at the revision each second sees it"
    assert desk.actives() == {("payments", "ann", "forced_open")}
    desk.trip("stock")
    assert desk.directory.epoch.word[0] == word + 1
    assert desk.operations.verify_audit().ok


def test_writers_killed_at_any_moment_leave_a_sound_record(desk):
    """What a killed writer was told is there; what it was not told is there whole, or not at all."""
    program = """
for n in range(1_000_000):
    print(trip(f"t-{n % 5}", percent=n % 100 + 1, allow_unknown=True).audit_seq, flush=True)
"""
    chance = random.Random(5)
    told = 0
    for _ in range(4):
        process = start(desk, "ann", program)
        go(process)
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.08))
        process.kill()
        said = process.communicate(timeout=20)[0].split("\n")
        whole = [int(line) for line in said[:-1]]  # the last line may be half of one
        told = max([told, *whole])
        desk.trip("stock", who=BOB)
        check = desk.operations.verify_audit()
        assert check.ok, check.faults
        assert check.head_seq > told
        assert desk.directory.database.problems() == []
        assert desk.directory.revision() == check.rows
    assert told > 4


def test_one_that_waits_for_its_turn_gets_it_when_the_holder_is_killed(desk):
    program = "with directory.changing():\n print('in', flush=True)\n sys.stdin.readline()\n"
    process = start(desk, "ann", program)
    go(process)
    assert process.stdout.readline() == "in\n"
    other = start(desk, "bob", "print(trip('payments').status, flush=True)")
    go(other)
    process.kill()
    process.communicate()
    assert other.communicate(timeout=20)[0] == "active\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_parent_and_children_go_on_with_the_same_operations_after_forks(desk):
    desk.trip()
    children = []
    for n in range(3):
        pid = os.fork()
        if pid == 0:
            try:
                desk.operations.place(
                    f"t-{n}", "observe", reason="a test", ttl=60, who=BOB, allow_unknown=True
                )  # fmt: skip
                os._exit(0)
            except BaseException:
                os._exit(1)
        children.append(pid)
        desk.trip(f"p-{n}", allow_unknown=True, who=ANN)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    assert len(desk.actives()) == 7
    check = desk.operations.verify_audit()
    assert (check.ok, check.rows) == (True, 7)
    assert desk.directory.database.problems() == []
