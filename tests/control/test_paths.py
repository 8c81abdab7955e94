"""Where control directories are, and which of them are refused: nobody else has a hand in one that is used."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest

from resilient.control import filesystems, paths, private
from resilient.control.errors import ControlUnavailable, UnsafeDirectory
from resilient.errors import ConfigError
from tests.control._users import NOBODY, as_root, report_of


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch, tmp_path):
    """Look nowhere but in the test's own directory."""
    monkeypatch.delenv(paths.VARIABLE, raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    temporary.chmod(0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(paths, "_RUN", tmp_path / "run")
    monkeypatch.setattr(paths, "_TMP", temporary)


@pytest.fixture
def open_place():
    """A directory that other users can reach."""
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    place.chmod(0o711)
    yield place
    shutil.rmtree(place)


def made(path: Path, app: str = "") -> Path:
    target = path / app
    private.prepare(target)
    (target / paths.DATABASE).touch(0o600)
    return target


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("name", ["shop", "a", "shop.v2_x-1", "x" * 64, "..."])
def test_a_plain_name_is_an_applications(name):
    assert paths.app_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "ü", "x" * 65, "a b", "a\n", "../etc", "a\0"])
def test_a_name_that_could_lead_elsewhere_is_refused(name):
    with pytest.raises(ConfigError, match="app must be"):
        paths.app_name(name)


def test_what_is_no_string_is_no_name():
    with pytest.raises(TypeError, match="app must be a string"):
        paths.app_name(7)


def test_code_goes_before_the_environment_and_that_before_the_runtime_directory(monkeypatch, tmp_path):
    temporary = Path(tempfile.gettempdir())
    assert paths.location("shop") == temporary / f"resilient-{os.geteuid()}" / "shop"
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    assert paths.location("shop") == runtime / "resilient" / "shop"
    monkeypatch.setenv(paths.VARIABLE, str(tmp_path / "named"))
    assert paths.location("shop") == tmp_path / "named"
    assert paths.location("shop", tmp_path / "told") == tmp_path / "told"


def test_a_relative_directory_is_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert paths.location("shop", "here") == tmp_path / "here"


@pytest.mark.parametrize("value", ["", "relative", "/does/not/exist"])
def test_a_runtime_directory_that_is_none_is_passed_over(monkeypatch, value):
    monkeypatch.setenv("XDG_RUNTIME_DIR", value)
    assert paths.location("shop").parent.parent == Path(tempfile.gettempdir())


@as_root
def test_another_users_runtime_directory_is_passed_over(monkeypatch, tmp_path):
    other = tmp_path / "runtime"
    other.mkdir()
    os.chown(other, NOBODY, NOBODY)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(other))
    assert not paths.location("shop").is_relative_to(other)


def test_what_is_made_is_private_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        private.prepare(tmp_path / "a" / "b")
        fd = private.open_file(tmp_path / "a" / "b" / "file", os.O_RDWR | os.O_CREAT, os.geteuid())
        os.close(fd)
    finally:
        os.umask(before)
    assert mode(tmp_path / "a") == mode(tmp_path / "a" / "b") == 0o700
    assert mode(tmp_path / "a" / "b" / "file") == 0o600


def test_preparing_twice_is_no_harm(tmp_path):
    assert private.prepare(tmp_path / "a").st_ino == private.prepare(tmp_path / "a").st_ino


@pytest.mark.parametrize("open_to", [0o755, 0o770, 0o701, 0o710])
def test_a_directory_that_others_can_reach_is_refused(tmp_path, open_to):
    target = tmp_path / "a"
    target.mkdir()
    target.chmod(open_to)
    with pytest.raises(UnsafeDirectory, match=rf"open to others \(mode {open_to:04o}\); chmod 700 it"):
        private.prepare(target)


def test_a_linked_directory_is_refused(tmp_path):
    private.prepare(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(UnsafeDirectory, match="is a symbolic link"):
        private.prepare(tmp_path / "link")
    with pytest.raises(UnsafeDirectory, match="is a symbolic link"):
        private.checked(tmp_path / "link")


def test_nothing_is_made_where_somebody_elses_link_leads(tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    base = Path(tempfile.gettempdir()) / f"resilient-{os.geteuid()}"
    base.symlink_to(victim)
    with pytest.raises(UnsafeDirectory, match="is a symbolic link"):
        private.prepare(paths.location("shop"))
    assert list(victim.iterdir()) == []


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ControlUnavailable, match="cannot be made: File exists"):
        private.prepare(tmp_path / "file")
    with pytest.raises(UnsafeDirectory, match="is no directory"):
        private.checked(tmp_path / "file")


def test_a_directory_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(ControlUnavailable, match="No such file"):
        private.checked(tmp_path / "none")


def test_a_place_where_everybody_may_rename_is_refused(tmp_path):
    (tmp_path / "all").mkdir()
    (tmp_path / "all").chmod(0o777)
    with pytest.raises(UnsafeDirectory, match="lets everybody replace"):
        private.prepare(tmp_path / "all" / "a")
    assert list((tmp_path / "all").iterdir()) == []


@as_root
def test_another_users_directory_is_refused_to_a_service_of_root_and_open_to_its_shell(tmp_path):
    target = tmp_path / "a"
    private.prepare(target)
    os.chown(target, NOBODY, NOBODY)
    with pytest.raises(UnsafeDirectory, match="belongs to"):
        private.prepare(target)
    assert private.checked(target, foreign=True).st_uid == NOBODY


@as_root
def test_a_base_that_another_user_made_first_is_refused(tmp_path):
    base = Path(tempfile.gettempdir()) / "resilient-0"
    base.mkdir(0o700)
    os.chown(base, NOBODY, NOBODY)
    with pytest.raises(UnsafeDirectory, match="belongs to"):
        private.prepare(paths.location("shop"))


@as_root
def test_who_is_not_root_gets_nothing_of_others(open_place):
    private.prepare(open_place / "a")
    said = report_of(lambda: private.checked(open_place / "a", foreign=True))
    assert said.startswith("UnsafeDirectory")
    assert "belongs to root" in said


@as_root
def test_a_directory_that_cannot_be_written_is_said_so(open_place):
    private.prepare(open_place / "a")
    os.chown(open_place / "a", NOBODY, NOBODY)
    (open_place / "a").chmod(0o500)
    said = report_of(lambda: private.prepare(open_place / "a"))
    assert said.startswith("ControlUnavailable")
    assert "cannot be written to" in said


@pytest.mark.parametrize("plant", ["link", "dangling", "directory", "fifo", "open"])
def test_only_plain_private_files_are_opened(tmp_path, plant):
    file = tmp_path / "file"
    (tmp_path / "other").touch(0o600)
    if plant == "link":
        file.symlink_to(tmp_path / "other")
    elif plant == "dangling":
        file.symlink_to(tmp_path / "none")
    elif plant == "directory":
        file.mkdir(0o700)
    elif plant == "fifo":
        os.mkfifo(file, 0o600)
    else:
        file.touch()
        file.chmod(0o644)
    with pytest.raises((UnsafeDirectory, IsADirectoryError)):
        private.open_file(file, os.O_RDWR | os.O_CREAT, os.geteuid())
    assert not (tmp_path / "none").exists()


@as_root
def test_a_file_of_another_user_is_refused(tmp_path):
    file = tmp_path / "file"
    file.touch(0o600)
    os.chown(file, NOBODY, NOBODY)
    with pytest.raises(UnsafeDirectory, match="belongs to"):
        private.open_file(file, os.O_RDWR, 0)


@as_root
def test_what_root_makes_in_another_users_directory_becomes_that_users(tmp_path):
    os.close(private.open_file(tmp_path / "file", os.O_RDWR | os.O_CREAT, NOBODY))
    assert (tmp_path / "file").stat().st_uid == NOBODY


@as_root
def test_root_can_act_as_the_owner(tmp_path):
    target = tmp_path / "a"
    private.prepare(target)
    os.chown(target, NOBODY, NOBODY)
    with private.as_owner_of(target):
        assert (os.geteuid(), os.getegid()) == (NOBODY, NOBODY)
    assert os.geteuid() == 0


MOUNTS = r"""22 27 0:21 / /proc rw - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 27 0:40 / {net} rw shared:1 - nfs4 server:/export rw
31 27 0:41 / {net}/local rw - tmpfs tmpfs rw
32 27 0:42 / {net}/two\040words rw - fuse.sshfs host: rw
nonsense
"""


@pytest.mark.parametrize(
    ("inside", "kind"), [("", "nfs4"), ("a", "nfs4"), ("two words", "fuse.sshfs"), ("local", None), ("local/a", None)]
)
def test_a_network_file_system_is_refused(tmp_path, monkeypatch, inside, kind):
    (tmp_path / "mounts").write_text(MOUNTS.format(net=tmp_path / "net"))
    monkeypatch.setattr(filesystems, "_MOUNTS", str(tmp_path / "mounts"))
    target = tmp_path / "net" / inside
    if kind is None:
        private.prepare(target)
    else:
        with pytest.raises(ControlUnavailable, match=rf"on a network file system \({kind}\)"):
            private.prepare(target)


def test_where_mounts_are_unknown_nothing_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(filesystems, "_MOUNTS", str(tmp_path / "none"))
    assert filesystems.remote(tmp_path) is None


def test_directories_of_all_places_are_found_once(monkeypatch, tmp_path):
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    there = made(runtime / "resilient", "shop")
    older = made(Path(tempfile.gettempdir()) / f"resilient-{os.geteuid()}", "shop")
    other = made(Path(tempfile.gettempdir()) / f"resilient-{os.geteuid()}", "desk")
    private.prepare(runtime / "resilient" / "empty")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv(paths.VARIABLE, str(there))
    assert {each.path for each in paths.found()} == {there, older, other}
    assert [each.path for each in paths.found("shop")] == [there, older]
    assert {(each.uid, each.problem) for each in paths.found()} == {(os.geteuid(), None)}


def test_one_that_cannot_be_used_is_found_with_its_problem():
    target = made(Path(tempfile.gettempdir()) / f"resilient-{os.geteuid()}", "shop")
    target.chmod(0o755)
    (found,) = paths.found("shop")
    assert "open to others" in found.problem


@as_root
def test_root_finds_the_directories_of_all_users(tmp_path):
    places = [Path(tempfile.gettempdir()) / f"resilient-{NOBODY}", paths._RUN / str(NOBODY) / "resilient"]
    for place in places:
        target = made(place, "shop")
        for each in (target, place):
            os.chown(each, NOBODY, NOBODY)
    mine = made(Path(tempfile.gettempdir()) / "resilient-0", "shop")
    found = paths.found()
    assert found[0].path == mine
    assert {(each.path.parent, each.uid, each.problem) for each in found[1:]} == {(p, NOBODY, None) for p in places}
