"""Which directory is meant is never guessed, and root finds those of everybody."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from pathlib import Path

import pytest

from resilient.control.directory import Directory
from tests.cli._shell import here, member, resilient

NOBODY = 65_534


@pytest.fixture
def temp():
    """Return an empty folder for temporary files that everybody may use, as /tmp is."""
    folder = Path(tempfile.mkdtemp(prefix="cli-"))
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


def make(temp, app):
    directory = Directory(temp / f"resilient-{os.geteuid()}" / app, create=True, app=app)
    directory.close()
    return directory.path


@pytest.fixture
def look(temp, monkeypatch):
    """Run the command where only `temp` has control directories."""
    from resilient.control import paths

    monkeypatch.setattr(paths, "_RUN", temp / "run")
    monkeypatch.setattr(paths, "_TMP", temp)
    monkeypatch.setattr(tempfile, "tempdir", str(temp))
    return here


def test_the_only_one_is_taken(temp, look):
    path = make(temp, "checkout")
    done = look("status")
    assert done.code == 0
    assert done.out.splitlines()[-1] == f"no process on this host; revision 0; {path}"


def test_of_several_none_is_taken_until_one_is_named(temp, look):
    one, other = make(temp, "checkout"), make(temp, "search")
    done = look("processes")
    assert (done.code, done.out) == (2, "")
    assert f"--dir {one}  (" in done.err
    assert f"--dir {other}  (" in done.err
    assert "0 live processes" in done.err
    for words, more in (
        (("--app", "search"), {}),
        (("--dir", str(other)), {}),
        ((), {"RESILIENT_APP": "search"}),
        ((), {"RESILIENT_CONTROL_DIR": str(other)}),
        (("--dir", str(other)), {"RESILIENT_CONTROL_DIR": str(one), "RESILIENT_APP": "checkout"}),
        (("--app", "search"), {"RESILIENT_APP": "checkout"}),
    ):
        assert look("status", *words, **more).out.splitlines()[-1].endswith(str(other))


def test_where_there_is_none_it_says_how_one_is_made(temp, look):
    done = look("status")
    assert (done.code, done.out) == (5, "")
    assert "RESILIENT_APP" in done.err
    told = look("doctor", "-o", "json").json
    assert f"looked in {temp / f'resilient-{os.geteuid()}'}" in " ".join(each["finding"] for each in told)


def test_an_app_that_is_not_there_is_told_with_those_that_are(temp, look):
    path = make(temp, "checkout")
    done = look("status", "--app", "chekout")
    assert done.code == 5
    assert "no control directory of chekout" in done.err
    assert str(path) in done.err
    assert look("status", "--app", "a/b").code == 2


@pytest.mark.parametrize("kind", ["missing", "empty", "open", "link", "damaged"])
def test_a_directory_that_cannot_be_used_is_told(temp, look, kind):
    path = make(temp, "checkout")
    if kind == "missing":
        path = path.with_name("nowhere")
    elif kind == "empty":
        path = path.with_name("empty")
        path.mkdir(0o700)
    elif kind == "open":
        path.chmod(0o755)
    elif kind == "link":
        (path.parent / "link").symlink_to(path)
        path = path.parent / "link"
    else:
        (path / "control.sqlite3").write_bytes(b"no database" * 1000)
    for words in (("status",), ("trip", "x", "--reason", "why not", "--for", "1m"), ("doctor",)):
        done = look(*words, "--dir", str(path))
        assert done.code == 5, done
        assert str(path) in done.err + done.out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into the directories of others")
def test_root_finds_the_directories_of_other_users_and_acts_as_their_owner(temp):
    app = f"shop-{secrets.token_hex(6)}"  # the real places are looked through, too
    path = temp / f"resilient-{NOBODY}" / app
    more = {"TMPDIR": str(temp)}
    with member(path, "payments", "--uid", str(NOBODY)):
        found = resilient("processes", "--dir", str(path), "-o", "json", **more)
        assert (found.code, len(found.json)) == (0, 1)
        done = resilient("trip", "payments", "--reason", "INC-7: night", "--for", "5m", "--app", app, **more)
        assert done.code == 0, done.err
        assert f"Acting as nobody in {path}." in done.err
        assert "In force in 1 of 1 process" in done.out
        assert {each.stat().st_uid for each in [path, *path.rglob("*")]} == {NOBODY}
        entry = resilient("audit", "-o", "json", "--dir", str(path), **more).json[-1]
        assert entry["actor"] == "root"
        make(temp, app)
        done = resilient("release", "payments", "--app", app, **more)
        assert done.code == 2
        assert f"--dir {path}  (nobody, 1 live process)" in done.err
