"""Pages: what a process told is told once, whatever it does; a fork at the wrong moment leaves no ghost."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from resilient.control import births, retained
from resilient.control import page as pages_made
from resilient.control.directory import Directory
from resilient.control.keeper import Keeper
from resilient.control.operations import Operations
from resilient.control.overview import overview
from resilient.control.page import OwnPage
from resilient.control.pages import PageView, read_pages
from resilient.control.retained import host_totals
from resilient.telemetry.totals import Totals
from tests.control._record import ANN
from tests.control._rows import Shown, row

AGAIN = """
import sys
from resilient import Pipeline, control
from resilient.control.directory import Directory
from resilient.control.keeper import Keeper
from resilient.control.retained import host_totals

def counted():
    totals, _ = host_totals(directory)
    return totals.value("resilient_call_duration_seconds", ("orders", "success", ""))[1]

path = sys.argv[1]
directory = Directory(path, create=True)
orders = Pipeline("orders")
told = []
for turn in range(3):
    agent = control.configure("shop", directory=path)
    for _ in range(5):
        orders.call(len, "x")
    assert agent.show()
    told.append(counted())
    control.stop()
    told.append(counted())
    if turn == 1:
        Keeper(directory).tick()
        told.append(counted())
print(told)
"""


def test_what_a_process_counted_is_told_once_however_often_control_begins_in_it(tmp_path):
    said = subprocess.run(
        [sys.executable, "-c", AGAIN, str(tmp_path / "control")],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert said.stdout.strip() == str([5, 5, 10, 10, 10, 15, 15]), said.stderr


def test_totals_less_an_earlier_state_are_what_was_added_since():
    before = Totals()
    before.add("resilient_call_fallbacks_total", ("orders", "fallback"), 2)
    before.add("resilient_faults_total", (), 1)
    before.observe("resilient_retry_delay_seconds", ("orders",), 0.3)
    after = before.copy()
    since = Totals()
    for totals in (after, since):
        totals.add("resilient_call_fallbacks_total", ("orders", "fallback"), 3)
        totals.add("resilient_call_fallbacks_total", ("stock", "fallback"), 1)
        totals.observe("resilient_retry_delay_seconds", ("orders",), 0.1)
        totals.observe("resilient_retry_delay_seconds", ("stock",), 7.0)
    assert after.less(before) == since
    assert after.less(Totals()) == after
    assert after.less(after) == Totals()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_forked_while_another_thread_makes_the_page_keeps_no_dead_process_alive(tmp_path, monkeypatch):
    begun, made = threading.Event(), []
    allocate = pages_made._allocate

    def slow(fd: int) -> None:
        begun.set()
        time.sleep(0.2)
        allocate(fd)

    monkeypatch.setattr(pages_made, "_allocate", slow)
    thread = threading.Thread(target=lambda: made.append(OwnPage(tmp_path, "me", first=b'{"v":1}')))
    thread.start()
    assert begun.wait(5)
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    try:
        thread.join(5)
        assert [view.alive for view in read_pages(tmp_path)] == [True]
        made[0].close()
        assert [view.alive for view in read_pages(tmp_path)] == [False]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_fork_waits_for_no_thread_for_ever(tmp_path, monkeypatch):
    begun, go = threading.Event(), threading.Event()
    monkeypatch.setattr(pages_made, "_allocate", lambda _: (begun.set(), go.wait(10)))
    monkeypatch.setattr(births, "_PATIENCE", 0.05)
    thread = threading.Thread(target=lambda: OwnPage(tmp_path, "me").close())
    thread.start()
    try:
        assert begun.wait(5)
        births.births.before_fork()
        births.births.after_fork()
    finally:
        go.set()
        thread.join(5)
    OwnPage(tmp_path, "another").close()


def test_a_damaged_page_of_a_dead_process_costs_no_reader_time(tmp_path, monkeypatch):
    page = OwnPage(tmp_path, "me", first=b'{"v":1}')
    page.write(b'{"v":1}')
    page.close()
    damaged = bytearray(page.path.read_bytes())
    for slot in pages_made.SLOTS:
        damaged[slot + pages_made.SLOT.size] ^= 0xFF
    page.path.write_bytes(damaged)
    slept = []
    monkeypatch.setattr("resilient.control.pages.SYSTEM.sleep", slept.append, raising=False)
    assert read_pages(tmp_path) == []
    assert slept == []


ODD = (
    {"downstreams": None},
    {"downstreams": [1]},
    {"downstreams": {"x": None}},
    {"downstreams": {"x": {}}},
    {"downstreams": {"x": {"state": ["open"], "holds": 5, "share": "all", "budget": {}}}},
    {
        "downstreams": {
            "x": row(
                "open",
                since="noon",
                live={"rate": "z", "in_flight": [], "p50": {}, "history": ["a"], "errors": 7, "p90": [1]},
            )
        }
    },
    {"downstreams": {"x": {"state": "open", "breakers": 5, "bulkheads": {"b": 1}, "rate_limits": [], "live": 7}}},
    {"downstreams": {"a\n\x1b[2J": row("open"), "\ud800": row("open"), "": row("open"), "x" * 201: row("open")}},
    {"applied": "x", "errors": 5, "app": 5, "totals": [1]},
    {"started": "x", "heartbeat": "x", "beat": "y"},
    {"started": 1e300, "totals": {"resilient_faults_total": 5}},
)


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_a_page_that_says_odd_things_keeps_nobody_from_anything(tmp_path, odd):
    directory = Directory(tmp_path / "control", create=True)
    sane = Shown(directory.path, "sane", mail=row("open"))
    other = Shown(directory.path, "odd")
    other.data.update(odd)
    assert other.own.write(json.dumps(other.data).encode())
    operations = Operations(directory)
    keeper = Keeper(directory)
    receipt = operations.place("mail", "forced_open", reason="a test", ttl=60, who=ANN)
    assert operations.converge(receipt.revision, 0).required == 2
    seen = overview(directory, now=time.time())
    assert {each["name"] for each in seen["downstreams"]} <= {"mail", "x"}
    assert len(seen["processes"]) == 2
    host_totals(directory)
    assert keeper.tick()
    other.die()
    assert keeper.tick()
    assert [view.instance for view in read_pages(directory.path)] == ["sane"]
    sane.die()
    keeper.close()
    directory.close()


@pytest.mark.parametrize("first", [True, False])
def test_who_is_added_up_while_somebody_reads_is_counted_once(tmp_path, monkeypatch, first):
    directory = Directory(tmp_path / "control", create=True)
    counted = Totals()
    counted.add("resilient_faults_total", (), 5)
    process = Shown(directory.path, "gone")
    process.show(totals=counted.encode())
    process.die()
    keeper = Keeper(directory)

    def read(path: Path) -> list[PageView]:
        if first:
            keeper.tick()
        views = read_pages(path)
        if not first:
            keeper.tick()
        return views

    monkeypatch.setattr(retained, "read_pages", read)
    totals, _ = host_totals(directory)
    assert totals.value("resilient_faults_total", ()) == 5
    keeper.close()
    directory.close()


def test_names_are_told_apart_in_the_order_in_which_they_came_and_not_by_the_alphabet(tmp_path):
    directory = Directory(tmp_path / "control", create=True)

    def write(db: sqlite3.Connection) -> None:
        first = {f"z-{number}" for number in range(retained.TOLD_APART)}
        assert retained.name_all(db, sorted(first), 2.0) == first
        assert retained.name_all(db, ["a", *sorted(first)], 1.0) == first

    directory.database.write(write)
    directory.close()


@pytest.mark.parametrize("step", [1, 2, 3])
def test_who_is_killed_at_any_step_of_a_write_leaves_the_text_before(tmp_path, step):
    child = os.fork()
    if child == 0:
        page = OwnPage(tmp_path, "killed", first=b'{"v":1,"n":1}')
        for number in (2, 3):
            page.write(b'{"v":1,"n":%d}' % number)
        real, done = os.pwrite, []

        def pwrite(fd: int, data: bytes, offset: int) -> int:
            done.append(offset)
            if len(done) == step:
                real(fd, bytes(data)[: len(data) // 2], offset)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(fd, data, offset)

        os.pwrite = pwrite
        page.write(b'{"v":1,"n":4}')
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    (view,) = read_pages(tmp_path)
    assert (view.alive, view.data["n"]) == (False, 3)


def test_a_child_keeps_no_killed_parent_alive(tmp_path):
    parent = os.fork()
    if parent == 0:
        page = OwnPage(tmp_path, "parent", first=b'{"v":1}')
        child = os.fork()
        if child == 0:
            (tmp_path / "child").write_text(str(os.getpid()))
            signal.pause()
        while not (tmp_path / "child").exists():
            time.sleep(0.005)
        assert not page.closed
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(parent, 0)
    try:
        assert [view.alive for view in read_pages(tmp_path)] == [False]
    finally:
        os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)
