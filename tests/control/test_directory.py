"""A control directory is opened whole or refused clearly, and its record is never silently begun anew."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from resilient.control import locks, paths, private, rows
from resilient.control.directory import Directory
from resilient.control.errors import ControlUnavailable, UnsafeDirectory
from resilient.control.intent import DAY, Hold, Intent, Rule, Window
from tests.control._users import NOBODY, as_root, report_of


@pytest.fixture
def directory(tmp_path):
    made = Directory(tmp_path / "control", create=True)
    yield made
    made.close()


def hold(**changes) -> Hold:
    values = {
        "id": "h-1", "target": "payments", "mode": "forced_open", "reason": "a test", "actor": "ann", "via": "cli",
        "created_at": 1_000.0, "expires_at": 2_000.0, "ends": 500.0, "boot": "b", "ttl": 1_000.0, "revision": 1,
    }  # fmt: skip
    return Hold(**{**values, **changes})


# -- opening ---------------------------------------------------------------------------------


def test_what_is_made_is_private_and_whole(directory):
    for each in [directory.path, *directory.path.rglob("*")]:
        allowed = 0o700 if each.is_dir() else 0o600
        assert stat.S_IMODE(each.stat().st_mode) == allowed, each
    assert {"control.sqlite3", "epoch", "w"} <= {each.name for each in directory.path.iterdir()}
    assert directory.load() == Intent()
    assert directory.intact()


def test_opening_again_changes_nothing(directory):
    other = Directory(directory.path, create=True)
    assert other.load() == directory.load()
    assert other.epoch.word[0] == directory.epoch.word[0]
    other.close()
    Directory(directory.path).close()


def test_nothing_is_made_by_looking(tmp_path):
    with pytest.raises(ControlUnavailable, match="No such file"):
        Directory(tmp_path / "none")
    private.prepare(tmp_path / "empty")
    with pytest.raises(ControlUnavailable, match="no application has started"):
        Directory(tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == []


def test_the_application_is_written_down(tmp_path):
    directory = Directory(tmp_path / "control", create=True, app="shop")
    assert directory.database.read(rows.meta, "app") == "shop"
    directory.close()


def test_many_that_begin_at_once_share_one_record(tmp_path):
    program = (
        "import sys\nfrom resilient.control.directory import Directory\nprint('up', flush=True)\nsys.stdin.readline()\n"
        "d = Directory(sys.argv[1], create=True)\nprint(d.revision(), d.epoch.intact())\n"
    )
    several = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "control")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for each in several:
        assert each.stdout.readline() == "up\n"
    assert {each.communicate("\n", timeout=30)[0] for each in several} == {"0 True\n"}


@pytest.mark.parametrize("name", ["control.sqlite3", "control.sqlite3-wal", "control.sqlite3-shm", "epoch", "w"])
def test_a_planted_link_is_refused(tmp_path, name):
    target = tmp_path / "control"
    Directory(target, create=True).close()
    if (target / "w").is_dir() and name == "w":
        (target / "w").rmdir()
    (target / name).unlink(missing_ok=True)
    (tmp_path / "victim").mkdir(0o700) if name == "w" else (tmp_path / "victim").touch(0o600)
    (target / name).symlink_to(tmp_path / "victim")
    with pytest.raises(UnsafeDirectory, match="is a symbolic link"):
        Directory(target, create=True)
    assert not any((tmp_path / "victim").iterdir()) if name == "w" else (tmp_path / "victim").stat().st_size == 0


def test_a_linked_place_of_ours_is_refused(tmp_path):
    """`/tmp/resilient-1000` is a name that anybody may take first."""
    victim = tmp_path / "victim"
    victim.mkdir(0o700)
    (tmp_path / "resilient-1000").symlink_to(victim)
    with pytest.raises(UnsafeDirectory, match="is a symbolic link"):
        Directory(tmp_path / "resilient-1000" / "shop", create=True)
    assert list(victim.iterdir()) == []


def test_a_place_of_the_users_own_may_be_linked(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    made = Directory(tmp_path / "link" / "control", create=True)
    assert made.path == tmp_path / "real" / "control"
    made.close()


@as_root
def test_a_record_of_another_user_is_refused(tmp_path):
    Directory(tmp_path / "control", create=True).close()
    os.chown(tmp_path / "control" / paths.DATABASE, NOBODY, NOBODY)
    with pytest.raises(UnsafeDirectory, match="belongs to"):
        Directory(tmp_path / "control")


@as_root
def test_root_reads_and_changes_another_users_record_and_leaves_it_usable(tmp_path):
    place = Path("/tmp") / f"resilient-test-{os.getpid()}"
    try:
        private.prepare(place)
        place.chmod(0o711)
        os.chown(place, NOBODY, NOBODY)
        assert report_of(lambda: Directory(place / "shop", create=True).close()) == "None"
        theirs = Directory(place / "shop")
        assert theirs.owner == NOBODY
        theirs.database.write(rows.put, hold())
        with theirs.changing():
            theirs.announce()
        theirs.close()
        assert {each.stat().st_uid for each in (place / "shop").rglob("*")} == {NOBODY}
        assert report_of(lambda: Directory(place / "shop", create=True).database.read(count)) == "1"
    finally:
        shutil.rmtree(place)


# -- damage ----------------------------------------------------------------------------------


def test_another_applications_database_is_refused_and_left_alone(tmp_path):
    private.prepare(tmp_path / "control")
    file = tmp_path / "control" / paths.DATABASE
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    file.chmod(0o600)
    before = file.read_bytes()
    for create in (False, True):
        with pytest.raises(ControlUnavailable, match="of another application, and left alone"):
            Directory(tmp_path / "control", create=create)
    assert file.read_bytes() == before


def test_a_later_layout_is_refused(directory):
    directory.close()
    with sqlite3.connect(directory.path / paths.DATABASE) as db:
        db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(ControlUnavailable, match="it has layout 2, and this version of the library knows layout 1"):
        Directory(directory.path, create=True)


@pytest.mark.parametrize("create", [False, True])
def test_a_damaged_record_is_said_so_and_left_alone(directory, create):
    directory.close()
    file = directory.path / paths.DATABASE
    file.write_bytes(b"garbage" * 1_000)
    with pytest.raises(ControlUnavailable, match=r"it is damaged .*move it aside"):
        Directory(directory.path, create=create)
    assert file.read_bytes() == b"garbage" * 1_000


def test_damage_inside_is_said_when_it_is_met(directory):
    directory.database.write(lambda db: [rows.put(db, hold(id=f"h-{n}", target=f"t-{n}")) for n in range(200)])
    directory.close()
    file = directory.path / paths.DATABASE
    content = bytearray(file.read_bytes())
    content[4096 * 3 :] = os.urandom(len(content) - 4096 * 3)
    file.write_bytes(content)
    with pytest.raises(ControlUnavailable, match="damaged"):
        Directory(directory.path).load()


def test_a_value_that_is_no_json_is_damage(directory):
    directory.database.write(rows.put, hold(boot=""))
    directory.database.write(lambda db: db.execute("UPDATE holds SET notes = 'x'"))
    with pytest.raises(ControlUnavailable, match="damaged"):
        directory.load()


def test_a_sound_record_has_no_problems(directory):
    assert directory.database.problems() == []


# -- replaced --------------------------------------------------------------------------------


def test_a_removed_record_is_noticed_and_none_is_made_in_its_place(directory):
    directory.load()
    for each in directory.path.glob("control.sqlite3*"):
        each.unlink()
    assert not directory.intact()
    with pytest.raises(ControlUnavailable, match="No such file"):
        directory.load()
    assert list(directory.path.glob("control.sqlite3*")) == []


def test_a_replaced_directory_is_noticed(directory):
    directory.database.write(rows.put, hold(ends=1e12, boot=""))
    directory.path.rename(directory.path.with_name("old"))
    assert not directory.intact()
    Directory(directory.path, create=True).close()
    assert not directory.intact()
    assert directory.load().holds == ()


def test_who_announces_a_change_does_so_in_the_file_that_others_map(directory):
    (directory.path / paths.EPOCH).unlink()
    other = Directory(directory.path)
    before = other.epoch.word[0]
    with directory.changing():
        directory.announce()
    assert other.epoch.word[0] == before + 1
    other.close()


# -- the record ------------------------------------------------------------------------------


def count(db: sqlite3.Connection) -> int:
    return db.execute("SELECT count(*) FROM holds").fetchone()[0]


def test_records_are_read_as_they_were_written(directory):
    one = hold(notes=("first", "ünïcode"), percent=30, disposition="reject", ticket="T-1", ended_at=None)
    planned = Window(
        id="w-1", selector="pay*", mode="observe", reason="a test", actor="ann", via="api", created_at=1.0,
        starts_at=2.0, ends_at=1e12, revision=3,
    )  # fmt: skip
    limits = [
        Rule(id="a", kind="min_available", group=("a-*", "b"), n=2),
        Rule(id="b", kind="max_ttl", seconds=60.0),
        Rule(id="c", kind="max_forced_open_fraction", fraction=0.5),
    ]

    def fill(db):
        rows.put(db, one)
        rows.put(db, planned)
        rows.put_rules(db, limits)

    directory.database.write(fill, durable=True)
    assert directory.database.read(rows.holds, "id = ?", "h-1") == [one]
    loaded = directory.load()
    assert loaded.windows == (planned,)
    assert loaded.rules == tuple(limits)


def test_a_hold_whose_time_is_over_is_not_loaded(directory):
    wall, now = time.time(), time.monotonic()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    for n, (ends, expires) in enumerate([(now + 60, wall - 60), (now - 1, wall + 60)]):
        directory.database.write(
            rows.put, hold(id=f"h-{n}", target=f"t-{n}", ends=ends, expires_at=expires, boot=boot, ttl=100.0)
        )
    assert [each.id for each in directory.load().holds] == ["h-0"], (
        "the host's own clock counts, not the one people set"
    )


@pytest.mark.parametrize(
    ("wall", "now", "boot", "left"),
    [
        (1_000.0, 0.0, "b", 500.0),
        (-80_000.0, 200.0, "b", 300.0),  # the wall clock was set back by a day
        (90_000.0, 200.0, "b", 300.0),  # and forward
        (1_500.0, 600.0, "b", 0.0),
        (1_400.0, 10.0, "another start", 600.0),
        (1_400.0, 10.0, "", 600.0),
        (2_500.0, 10.0, "another start", 0.0),
        (1_400.0, -900.0, "b", 600.0),  # more than it was ever given: another clock
        (-80_000.0, -900.0, "b", 1_000.0),
    ],
)
def test_what_is_left_of_a_hold_is_measured_by_the_hosts_clock(wall, now, boot, left):
    assert hold().remaining(wall, now, boot) == left


def test_a_window_is_active_between_its_ends_only():
    window = Window(
        id="w", selector="pay*", mode="observe", reason="r", actor="a", via="cli", created_at=0, starts_at=10,
        ends_at=20, revision=1,
    )  # fmt: skip
    assert [window.active(at) for at in (9.9, 10, 19.9, 20)] == [False, True, True, False]
    assert window.covers("payments")
    assert not window.covers("Payments")


def test_what_a_function_changed_before_it_raised_is_undone(directory):
    def half(db):
        rows.put(db, hold())
        raise KeyError

    with pytest.raises(KeyError):
        directory.database.write(half)
    assert directory.database.read(count) == 0
    directory.database.write(rows.put, hold(), keep=False)
    assert directory.database.read(count) == 0


def test_a_read_waits_for_no_writer_and_a_second_writer_not_for_ever(directory):
    entered, leave = threading.Event(), threading.Event()
    other = Directory(directory.path)

    def slow(db):
        rows.put(db, hold())
        entered.set()
        leave.wait(20)

    thread = threading.Thread(target=other.database.write, args=(slow,))
    thread.start()
    try:
        assert entered.wait(10)
        begun = time.monotonic()
        assert directory.load() == Intent()
        assert time.monotonic() - begun < 0.25
        with pytest.raises(ControlUnavailable, match="busy for too long"):
            directory.database.write(count)
    finally:
        leave.set()
        thread.join()
        other.close()


# -- locks -----------------------------------------------------------------------------------


def test_one_at_a_time_changes_the_record_also_among_threads(directory):
    inside, most = [], []

    def work():
        for _ in range(20):
            with directory.changing():
                inside.append(None)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert set(most) == {1}


def test_who_waits_too_long_for_its_turn_is_told(directory):
    with (
        directory.changing(),
        pytest.raises(ControlUnavailable, match=r"held by another process for more than 0\.05 s"),
    ):
        directory.changing(0.05).__enter__()
    with directory.changing(0.05):
        pass


def test_a_lock_dies_with_its_holder(directory):
    program = (
        "import sys, time\nfrom resilient.control.directory import Directory\n"
        "with Directory(sys.argv[1]).changing():\n print('up', flush=True)\n time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(directory.path)], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"up\n"
        with pytest.raises(ControlUnavailable):
            directory.changing(0.02).__enter__()
        other.send_signal(signal.SIGKILL)
    with directory.changing(5):
        pass


def test_a_lock_whose_file_was_replaced_is_not_taken_for_the_new_one(directory, monkeypatch):
    lock = directory.path / paths.LOCK
    with directory.changing():
        lock.unlink()
        other = locks.take(lock, directory.owner)
        assert other is not None, "the one with the name is free"
        locks.release(other)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_child_forked_meanwhile_keeps_no_lock_alive(directory):
    with directory.changing():
        pid = os.fork()
        if pid == 0:
            time.sleep(30)
            os._exit(0)
    try:
        with directory.changing(1):
            pass
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_child_forked_by_the_holder_does_not_unlock(directory):
    with directory.changing():
        pid = os.fork()
        if pid == 0:
            os._exit(0 if not locks._mine else 1)
        assert os.waitpid(pid, 0)[1] == 0
        with pytest.raises(ControlUnavailable):
            directory.changing(0.02).__enter__()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_parent_and_child_go_on_with_the_record_after_a_fork(directory):
    directory.database.write(rows.put, hold())
    pid = os.fork()
    if pid == 0:
        try:
            directory.database.write(rows.put, hold(id="h-2", target="of the child"))
            with directory.changing():
                directory.announce()
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    directory.database.write(rows.put, hold(id="h-3", target="of the parent"))
    assert directory.database.read(count) == 3
    assert directory.database.problems() == []


def test_the_longest_hold_lasts_a_day():
    assert DAY == 86_400
