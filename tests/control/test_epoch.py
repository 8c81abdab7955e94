"""The epoch's word: seen by every process, whole at any moment, and found again when its file is replaced."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import time

import pytest

from resilient.control.epoch import SIZE, Epoch
from resilient.control.errors import ControlUnavailable, UnsafeDirectory


@pytest.fixture
def epoch(tmp_path):
    return Epoch(tmp_path / "epoch", os.geteuid())


def again(epoch: Epoch) -> Epoch:
    return Epoch(epoch.path, os.geteuid())


def test_the_word_is_one_item_and_rises_by_one(epoch):
    assert (len(epoch.word), epoch.word.format, epoch.word.itemsize) == (1, "Q", 8)
    before = epoch.word[0]
    assert before > 0
    epoch.bump()
    assert epoch.word[0] == before + 1


def test_the_word_begins_anew_after_the_greatest_one(epoch):
    epoch.word[0] = (1 << 64) - 1
    epoch.bump()
    assert epoch.word[0] == 0


def test_the_file_is_whole_and_private(epoch):
    found = epoch.path.stat()
    assert (found.st_size, found.st_mode & 0o777) == (SIZE, 0o600)
    assert found.st_blocks * 512 >= SIZE
    assert [each.name for each in epoch.path.parent.iterdir()] == ["epoch"]


def test_two_maps_of_a_file_share_the_word(epoch):
    other = again(epoch)
    epoch.bump()
    assert other.word[0] == epoch.word[0]
    assert other.intact()


def test_other_processes_see_a_bump(epoch):
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom resilient.control.epoch import Epoch\n"
        "epoch = Epoch(Path(sys.argv[1]), os.geteuid())\nprint(epoch.word[0], flush=True)\n"
        "sys.stdin.readline()\nprint(epoch.word[0], flush=True)\nepoch.bump()\n"
    )
    before = epoch.word[0]
    with subprocess.Popen(
        [sys.executable, "-c", program, str(epoch.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert int(other.stdout.readline()) == before
        epoch.bump()
        other.stdin.write("\n")
        other.stdin.flush()
        assert int(other.stdout.readline()) == before + 1
    assert epoch.word[0] == before + 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_shares_the_word(epoch):
    before = epoch.word[0]
    pid = os.fork()
    if pid == 0:
        epoch.bump()
        os._exit(0)
    os.waitpid(pid, 0)
    assert epoch.word[0] == before + 1


def test_a_replaced_file_is_noticed_and_mapped_again(epoch):
    old = epoch.word
    epoch.path.unlink()
    assert not epoch.intact()
    epoch.remap()
    assert epoch.intact()
    assert epoch.word is not old
    another = again(epoch)
    another.bump()
    assert epoch.word[0] == another.word[0] != old[0]
    assert old[0] > 0, "who still holds the old word can read it"


def test_a_file_that_took_its_place_is_noticed(epoch, tmp_path):
    newer = Epoch(tmp_path / "newer", os.geteuid())
    newer.path.replace(epoch.path)
    assert not epoch.intact()
    epoch.remap()
    assert epoch.word[0] == newer.word[0]


def test_a_shortened_file_is_noticed_by_its_size_and_not_mapped(epoch):
    word = epoch.word
    os.truncate(epoch.path, 100)
    assert not epoch.intact()
    with pytest.raises(ControlUnavailable, match="no epoch file of ours, or damaged"):
        epoch.remap()
    assert epoch.word is word


def test_a_directory_that_is_gone_is_said_so(epoch, tmp_path):
    epoch.path.unlink()
    tmp_path.rename(tmp_path.with_name("gone"))
    assert not epoch.intact()
    with pytest.raises(ControlUnavailable, match="No such file"):
        epoch.remap()
    tmp_path.with_name("gone").rename(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"RSLTEPOC", b"x" * SIZE, b"RSLTEPOC" + (2).to_bytes(8, sys.byteorder) + bytes(SIZE - 16)]
)
def test_what_is_no_epoch_file_of_ours_is_refused_and_left_alone(tmp_path, content):
    (tmp_path / "epoch").write_bytes(content)
    (tmp_path / "epoch").chmod(0o600)
    with pytest.raises(ControlUnavailable, match="remove it"):
        Epoch(tmp_path / "epoch", os.geteuid())
    assert (tmp_path / "epoch").read_bytes() == content


def test_a_link_is_refused(epoch, tmp_path):
    (tmp_path / "link").symlink_to(epoch.path)
    with pytest.raises(UnsafeDirectory, match="symbolic link"):
        Epoch(tmp_path / "link", os.geteuid())


def test_a_full_disk_is_said_when_the_file_is_made(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ControlUnavailable, match="No space left"):
        Epoch(tmp_path / "epoch", os.geteuid())
    assert list(tmp_path.iterdir()) == []


def test_without_hard_links_the_file_is_renamed(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(1, os.strerror(1))

    monkeypatch.setattr(os, "link", none)
    Epoch(tmp_path / "epoch", os.geteuid())
    assert [each.name for each in tmp_path.iterdir()] == ["epoch"]


def test_many_that_begin_at_once_share_one_file(tmp_path):
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom resilient.control.epoch import Epoch\n"
        "print('up', flush=True)\nsys.stdin.readline()\n"
        "epoch = Epoch(Path(sys.argv[1]), os.geteuid())\nprint(epoch.intact(), os.stat(sys.argv[1]).st_ino)\n"
    )
    all_ = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "epoch")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for each in all_:
        assert each.stdout.readline() == "up\n"
    answers = {each.communicate("\n", timeout=20)[0] for each in all_}
    assert len(answers) == 1
    assert answers.pop().startswith("True")


def test_a_reader_never_sees_half_of_a_store(epoch):
    """One process flips every bit of the word; another one may only ever see both values."""
    a, b = 0x0102030405060708, 0xFEFDFCFBFAF9F8F7
    epoch.word[0] = a
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom resilient.control.epoch import Epoch\n"
        f"word = Epoch(Path(sys.argv[1]), os.geteuid()).word\nprint('up', flush=True)\nwhile True:\n"
        f" word[0] = {b}\n word[0] = {a}\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(epoch.path)], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "up\n"
            word, end, seen = epoch.word, time.monotonic() + 0.5, set()
            while time.monotonic() < end:
                seen.update(word[0] for _ in range(1_000))
        finally:
            other.send_signal(signal.SIGKILL)
    assert seen <= {a, b}
    assert mmap.PAGESIZE % 8 == 0
