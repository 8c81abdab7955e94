"""A page tells that its process lives, shows its last whole text, and outlives nobody."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from resilient import faults
from resilient.control import page, pages
from resilient.control.host import boot, new_instance
from resilient.control.page import OwnPage
from resilient.control.pages import PageView, read_pages
from resilient.errors import ConfigError

WRITER = """
import itertools, json, os, sys, time
from resilient.control.page import OwnPage
own = OwnPage(sys.argv[1], sys.argv[2])
print("ready", flush=True)
for n in itertools.count(1):
    own.write(json.dumps({{"v": 1, "n": n, "pad": "x" * {pad}, "m": n}}).encode())
    if {pause}:
        time.sleep({pause})
"""


def text(**data: object) -> bytes:
    return json.dumps({"v": 1, **data}).encode()


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.005)


@contextmanager
def writer(folder: Path, instance: str, *, pad: int = 10, pause: float = 0.0) -> Iterator[subprocess.Popen[str]]:
    program = textwrap.dedent(WRITER.format(pad=pad, pause=pause))
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder), instance], stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()


def only(folder: Path) -> PageView:
    (view,) = read_pages(folder)
    return view


def test_a_page_shows_what_was_written_last(tmp_path: Path) -> None:
    own = OwnPage(tmp_path, "one", first=text(n=0))
    assert only(tmp_path).data["n"] == 0
    for n in range(1, 5):
        assert own.write(text(n=n))
        view = only(tmp_path)
        assert (view.instance, view.alive, view.data["n"], view.file) == ("one", True, n, own.path)
    own.close()
    assert not only(tmp_path).alive
    assert only(tmp_path).data["n"] == 4


def test_a_page_belongs_to_its_user_alone_and_has_all_its_room_at_once(tmp_path: Path) -> None:
    own = OwnPage(tmp_path, "one")
    found = own.path.stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert stat.S_IMODE(own.path.parent.stat().st_mode) == 0o700
    assert found.st_size == page.SIZE
    assert found.st_blocks * 512 >= page.SIZE
    assert [each.name for each in own.path.parent.iterdir()] == ["one.page"]
    assert own.intact()
    own.close()


def test_a_page_keeps_its_size_from_its_first_to_its_last_moment(tmp_path: Path) -> None:
    """Whatever is written, and when its process is gone: a file that gets shorter kills who has it mapped."""
    with writer(tmp_path, "one", pad=300_000, pause=0.01) as child:
        (file,) = (tmp_path / "w").glob("*.page")
        size = file.stat().st_size
        assert size == 1 << 20
        assert file.stat().st_blocks * 512 >= size, "all of its room is there, so no write meets a full disk"
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            assert file.stat().st_size == size
        child.kill()
        child.wait()
    assert file.stat().st_size == size
    own = OwnPage(tmp_path, "two", first=text(pad="x" * 400_000))
    assert own.write(text(n=1))
    assert own.path.stat().st_size == size
    own.close()
    left = [each.stat().st_size for each in (tmp_path / "w").iterdir()]
    assert set(left) <= {size}


def test_no_page_shows_before_its_first_text(tmp_path: Path) -> None:
    own = OwnPage(tmp_path, "one")
    assert read_pages(tmp_path) == []
    assert read_pages(tmp_path / "nowhere") == []
    own.close()


def test_a_long_text_is_packed_and_one_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    own = OwnPage(tmp_path, "one")
    assert own.write(text(n=1, pad="x" * page.SIZE * 3))
    assert only(tmp_path).data["n"] == 1
    noise = os.urandom(page.SIZE).hex()
    assert not own.write(text(n=2, pad=noise))
    assert only(tmp_path).data["n"] == 1
    own.close()


@pytest.mark.parametrize("name", ["", ".hidden", "../up", "a/b", "-x", "x" * 129, "a b", "ä"])
def test_an_instance_must_be_the_name_of_a_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="instance must be"):
        OwnPage(tmp_path, name)


def test_new_instances_are_names_that_nobody_else_has() -> None:
    names = {new_instance() for _ in range(100)}
    assert len(names) == 100
    assert all(f"-{os.getpid()}-" in name for name in names)


def test_a_page_is_never_replaced(tmp_path: Path) -> None:
    own = OwnPage(tmp_path, "one", first=text(n=1))
    with pytest.raises(FileExistsError):
        OwnPage(tmp_path, "one")
    assert [each.name for each in own.path.parent.iterdir()] == ["one.page"]
    assert only(tmp_path).alive
    own.close()


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / page.FOLDER).mkdir(0o700)
    (tmp_path / page.FOLDER).chmod(0o770)
    with pytest.raises(PermissionError, match="mode 0770"):
        OwnPage(tmp_path, "one")


def test_a_folder_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(0o700)
    (tmp_path / page.FOLDER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="w"):
        OwnPage(tmp_path, "one")
    with pytest.raises(OSError, match="w"):
        read_pages(tmp_path)


def test_what_is_no_page_is_left_out_and_reported(tmp_path: Path) -> None:
    own = OwnPage(tmp_path, "good", first=text(n=1))
    folder = own.path.parent
    (folder / "link.page").symlink_to(own.path)
    os.mkfifo(folder / "pipe.page")
    (folder / "dir.page").mkdir()
    (folder / "short.page").write_bytes(b"RSLT")
    (folder / "cut.page").write_bytes(own.path.read_bytes()[:70])
    (folder / "other.page").write_bytes(b"x" * page.SIZE)
    assert [view.instance for view in read_pages(tmp_path)] == ["good"]
    assert faults.total() == 6
    own.close()


@pytest.mark.parametrize("bad", [b"no json", b"[]", b'{"v": 2}', b"\xff"])
def test_a_text_of_another_format_is_left_out_and_reported(tmp_path: Path, bad: bytes) -> None:
    own = OwnPage(tmp_path, "one", first=bad)
    assert read_pages(tmp_path) == []
    assert faults.total() == 1
    own.close()


def test_a_page_that_was_removed_or_cut_is_not_intact(tmp_path: Path) -> None:
    own, other = OwnPage(tmp_path, "one"), OwnPage(tmp_path, "two")
    own.path.unlink()
    os.truncate(other.path, 100)
    assert not own.intact()
    assert not other.intact()
    assert own.write(text(n=1))
    assert other.write(text(n=1)), "a file that somebody has cut must not kill its owner"
    own.close()
    other.close()
    assert not own.intact()


def test_a_closed_page_cannot_be_written(tmp_path: Path) -> None:
    own = OwnPage(tmp_path, "one")
    own.close()
    own.close()
    assert own.closed
    with pytest.raises(OSError, match="closed"):
        own.write(text(n=1))


def test_the_age_is_by_the_hosts_clock_unless_it_was_started_since(tmp_path: Path) -> None:
    now, wall = time.monotonic(), time.time()
    own = OwnPage(tmp_path, "one", first=text(beat=now - 5, heartbeat=wall - 1000, boot=boot()))
    assert 5 <= only(tmp_path).age < 8
    own.write(text(beat=now - 5, heartbeat=wall - 1000, boot="another"))
    assert 1000 <= only(tmp_path).age < 1003
    own.write(text(beat=now + 500, heartbeat=wall - 1000, boot=boot()))
    assert 1000 <= only(tmp_path).age < 1003
    own.write(text(heartbeat=wall + 1000))
    assert only(tmp_path).age == 0
    own.write(text())
    assert only(tmp_path).age == 0
    own.close()


# -- processes ---------------------------------------------------------------------------------


def test_a_killed_process_is_dead_at_once_and_its_last_text_stays(tmp_path: Path) -> None:
    with writer(tmp_path, "child", pause=0.001) as child:
        until(lambda: bool(read_pages(tmp_path)) and only(tmp_path).data["n"] > 20)
        assert only(tmp_path).alive
        child.send_signal(signal.SIGKILL)
        child.wait()
        view = only(tmp_path)
        assert not view.alive
        assert view.data["n"] == view.data["m"] > 20


def test_a_writer_that_hammers_tears_no_text_and_none_goes_back(tmp_path: Path) -> None:
    with writer(tmp_path, "fast", pad=100_000), writer(tmp_path, "packed", pad=2_000_000):
        last = {"fast": 0, "packed": 0}
        end = time.monotonic() + 1.5
        looks = 0
        while time.monotonic() < end:
            for view in read_pages(tmp_path):
                assert view.alive
                assert view.data["n"] == view.data["m"] >= last[view.instance]
                last[view.instance] = view.data["n"]
                looks += 1
        assert all(last.values())
        assert looks > 20
        assert faults.total() == 0, "no look was given up"


def test_whoever_dies_in_the_middle_of_a_write_leaves_the_text_before_it(tmp_path: Path) -> None:
    for number in range(8):
        folder = tmp_path / str(number)
        folder.mkdir(0o700)
        with writer(folder, "child", pad=400_000) as child:
            until(lambda: bool(read_pages(folder)))  # noqa: B023
            before = only(folder).data["n"]
            time.sleep(0.003 * number)
            child.kill()
            child.wait()
            view = only(folder)
            assert not view.alive
            assert view.data["n"] == view.data["m"] >= before


def test_a_stopped_process_still_lives_and_can_be_read(tmp_path: Path) -> None:
    with writer(tmp_path, "child", pad=400_000) as child:
        until(lambda: bool(read_pages(tmp_path)))
        child.send_signal(signal.SIGSTOP)
        view = only(tmp_path)
        assert view.alive
        assert view.data["n"] == view.data["m"]


def test_looking_does_not_keep_the_dead_alive_nor_take_a_lock_from_the_living(tmp_path: Path) -> None:
    own = OwnPage(tmp_path, "one", first=text(n=1))
    for _ in range(3):
        assert only(tmp_path).alive
    fd = os.open(own.path, os.O_RDONLY)
    own.close()
    fcntl.flock(fd, fcntl.LOCK_SH)  # another reader that is just looking
    assert not only(tmp_path).alive
    os.close(fd)


def test_a_forked_child_lets_go_of_the_page_and_the_parent_keeps_it(tmp_path: Path) -> None:
    own = OwnPage(tmp_path, "parent", first=text(n=1))
    pid = os.fork()
    if not pid:
        try:
            assert own.closed
            mine = OwnPage(tmp_path, "child", first=text(n=2))
            assert mine.write(text(n=3))
            try:
                own.write(text(n=4))
            except OSError:
                os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    views = {view.instance: view for view in read_pages(tmp_path)}
    assert views["parent"].alive
    assert views["parent"].data["n"] == 1
    assert not views["child"].alive
    assert own.write(text(n=5))
    own.close()
    assert not {view.instance: view for view in read_pages(tmp_path)}["parent"].alive


ORPHAN = """
import os, sys, time
from resilient.control.page import OwnPage
own = OwnPage(sys.argv[1], "parent", first=b'{"v": 1}')
if not os.fork():
    print(os.getpid(), flush=True)
    time.sleep(60)
time.sleep(60)
"""


def test_a_child_does_not_keep_a_killed_parent_alive(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ORPHAN, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            assert only(tmp_path).alive
            parent.kill()
            parent.wait()
            assert not only(tmp_path).alive
            os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_write_under_way_in_another_thread_at_the_fork_stops_nobody(tmp_path: Path) -> None:
    own = OwnPage(tmp_path, "one", first=text(n=1))
    with own._lock:
        pid = os.fork()
        if not pid:
            os._exit(0 if own.closed else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert pages.read_pages(tmp_path)[0].alive
    own.close()
