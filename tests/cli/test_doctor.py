"""`doctor` finds what is wrong, and says what to do about it."""

from __future__ import annotations

import os
import secrets
import signal
import time
from pathlib import Path

import pytest

from resilient.cli import busy
from resilient.control.directory import Directory
from tests.cli._shell import here, member, resilient
from tests.control._rows import Shown, row


def found(done, status):
    return {each["check"]: each["finding"] for each in done.json if each["status"] == status}


def test_a_sound_directory_is_told_with_everything_that_was_looked_at(place):
    with member(place, "payments"):
        done = resilient("doctor", "--dir", str(place))
        assert (done.code, done.err) == (0, "")
        checks = {line[8:26].strip() for line in done.out.splitlines() if line.startswith("ok")}
        assert {"directory", "permissions", "file system", "database", "epoch", "audit", "revision"} <= checks
        assert "named by --dir" in done.out


def test_lag_and_versions_are_found(place):
    with member(place, "payments") as well, member(place, "payments", "--stuck", "--version", "0.0.1") as stuck:
        here("trip", "payments", "--reason", "why not", "--for", "1m", "--wait", "0", "--dir", str(place))
        done = here("doctor", "--dir", str(place), "-o", "json")
    warned = found(done, "warn")
    assert done.code == 0
    assert warned["revision"] == f"{stuck} has applied 0 of 1"
    assert f"0.0.1: {stuck}" in warned["versions"]
    assert well in found(done, "ok")["processes"]
    assert all(each["advice"] for each in done.json if each["status"] == "warn")


@pytest.mark.parametrize("where", ["lock", "write"])
def test_a_process_that_stopped_in_the_middle_of_a_change_is_named(place, where):
    with member(place, "payments", "--stops", where) as instance:
        pid = int(instance.split("-")[-2])
        try:
            wait_until_stopped(pid)
            assert here("trip", "payments", "--reason", "why not", "--for", "1m", "--dir", str(place)).code == 5
            done = here("doctor", "--dir", str(place), "-o", "json")
        finally:
            os.kill(pid, signal.SIGCONT)
    assert done.code == 1
    assert found(done, "fail") == {
        "writing": f"the record is locked by process {pid} (stopped, {instance}): no change can be made"
    }
    (advice,) = (each["advice"] for each in done.json if each["check"] == "writing")
    assert f"kill -CONT {pid}" in advice


def wait_until_stopped(pid):
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < end
        time.sleep(0.01)


def test_who_keeps_the_record_is_guessed_by_silence_where_the_kernel_does_not_tell(place, tmp_path, monkeypatch):
    monkeypatch.setattr(busy, "_LOCKS", tmp_path / "none")
    Directory(place, create=True).close()
    shown = Shown(place, "web-1-7-abc", payments=row())
    shown.show(age=40.0, payments=row())
    keeping = Directory(place)
    with keeping.changing():
        done = here("doctor", "--dir", str(place), "-o", "json")
    keeping.close()
    shown.die()
    assert "perhaps web-1-7-abc (last heard 40s ago)" in found(done, "fail")["writing"]


@pytest.mark.parametrize(
    ("line", "holder"),
    [
        ("3: FLOCK  ADVISORY  WRITE 41 {lock} 0 EOF", [41]),
        ("3: FLOCK  ADVISORY  READ 41 {lock} 0 EOF", []),
        ("4: POSIX  ADVISORY  WRITE 42 {shm} 120 120", [42]),
        ("4: POSIX  ADVISORY  WRITE 42 {shm} 123 123", []),
        ("4: POSIX  ADVISORY  WRITE 42 {shm} 100 EOF", [42]),
        ("4: -> POSIX  ADVISORY  WRITE 42 {shm} 120 120", []),
        ("5: POSIX  ADVISORY  WRITE 43 {database} 1073741824 1073742335", [43]),
        ("5: POSIX  ADVISORY  WRITE 0 {database} 1073741824 1073742335", []),
        ("5: POSIX  ADVISORY  WRITE 44 00:00:1 120 120", []),
        ("", []),
    ],
)
def test_the_table_of_locks_is_read(place, tmp_path, monkeypatch, line, holder):
    directory = Directory(place, create=True)
    names = {"lock": "lock", "shm": "control.sqlite3-shm", "database": "control.sqlite3"}
    directory.database.write(lambda _: None)
    (place / "lock").touch(0o600)
    at = {key: (place / name).stat() for key, name in names.items()}
    told = {key: f"{os.major(s.st_dev):02x}:{os.minor(s.st_dev):02x}:{s.st_ino}" for key, s in at.items()}
    (tmp_path / "locks").write_text(line.format(**told) + "\n")
    monkeypatch.setattr(busy, "_LOCKS", tmp_path / "locks")
    assert busy.holders(place) == holder
    directory.close()


def test_a_directory_without_processes_is_told(place):
    Directory(place, create=True).close()
    assert found(here("doctor", "--dir", str(place), "-o", "json"), "warn")["processes"] == "none is live"


@pytest.mark.parametrize("name", ["control.sqlite3", "epoch", "w/one.page"])
def test_a_file_that_others_may_read_is_found(place, name):
    Directory(place, create=True).close()
    (place / name).touch()
    (place / name).chmod(0o644)
    done = here("doctor", "--dir", str(place), "-o", "json")
    assert done.code in {1, 5}
    assert name in found(done, "fail")["permissions"]


def test_the_same_application_in_two_places_is_explained_by_the_environment(place, tmp_path):
    place = place.with_name(f"shop-{secrets.token_hex(6)}")  # the real places are looked through, too
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    Directory(place, create=True).close()
    Directory(runtime / "resilient" / place.name, create=True).close()
    done = here("doctor", "--dir", str(place), "-o", "json", XDG_RUNTIME_DIR=str(runtime))
    (advice,) = (
        each["advice"] for each in done.json if each["check"] == "other directories" and each["status"] == "warn"
    )
    assert "XDG_RUNTIME_DIR is set here, and was not where this one was made." in advice


def test_without_a_directory_it_says_where_none_was_found(tmp_path):
    done = here("doctor", "--dir", str(tmp_path / "nowhere"))
    assert done.code == 5
    assert done.out.count("fail") == 2  # the finding, and the sum
    assert f"{tmp_path / 'nowhere'} does not exist" in done.out


def test_a_process_that_was_killed_is_told_until_somebody_adds_it_up(place):
    with member(place, "payments") as instance:
        os.kill(int(instance.split("-")[-2]), 9)
    done = here("doctor", "--dir", str(place), "-o", "json")
    assert instance in found(done, "warn")["dead pages"]
