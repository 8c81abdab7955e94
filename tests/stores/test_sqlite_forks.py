"""No connection is open across a fork: otherwise rows that a child has committed vanish."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from contextlib import closing
from pathlib import Path

import pytest

from resilient.stores import SqliteStore
from resilient.stores.front import Front
from tests.stores.contract import bodies, in_child, put

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")

# The parent has the file open, a child writes to it, the parent closes it, the child writes again.
# `open(path)` returns an object with `write(number)`, `close()`, and `read()`.
VANISHING = """
import os, sys
{open}
path = sys.argv[1]
mine = open(path)
mine.write(0)
tell, told = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    try:
        theirs = open(path)
        theirs.write(1)
        os.write(tell[1], b"1")
        os.read(told[0], 1)
        theirs.write(2)
        print("child", theirs.read(), flush=True)
    finally:
        os._exit(0)
os.read(tell[0], 1)
mine.close()
os.write(told[1], b"1")
os.waitpid(pid, 0)
print("then", open(path).read())
"""

PLAIN = """
import sqlite3
class open:
    def __init__(self, path):
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("CREATE TABLE IF NOT EXISTS rows (row)")
    def write(self, number):
        self.db.execute("INSERT INTO rows VALUES (?)", (number,))
    def read(self):
        return [row for (row,) in self.db.execute("SELECT row FROM rows ORDER BY row")]
    def close(self):
        self.db.close()
"""

OURS = """
from resilient.stores import Record, SqliteStore
class open:
    def __init__(self, path):
        self.store = SqliteStore(path)
    def write(self, number):
        assert self.store.put(str(number), Record("", b"", b"row"), lifetime=60)
    def read(self):
        return [number for number in range(3) if self.store.get(str(number))]
    def close(self):
        self.store.close()
"""


def story(path, kind):
    code = VANISHING.replace("{open}", kind)
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_rows_of_a_child_vanish_where_a_connection_is_open_across_the_fork(tmp_path):
    assert story(tmp_path / "plain.db", PLAIN) == ["child [0, 1, 2]", "then [0, 1]"], "the danger is real"


def test_rows_of_a_child_do_not_vanish_with_ours(tmp_path):
    assert story(tmp_path / "ours.db", OURS) == ["child [0, 1, 2]", "then [0, 1, 2]"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


def open_files(path):
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not tell")
    found = []
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(each.readlink()))
    return sorted(target for target in found if target.startswith(str(path)))


def test_no_file_is_open_in_the_child_and_both_sides_open_it_again(path):
    with closing(SqliteStore(path)) as store:
        put(store, "key")
        assert open_files(path)

        def child():
            before = open_files(path)
            return before, bodies(store, "key"), bool(open_files(path))

        assert in_child(child) == ([], [b"body"], True)
        assert open_files(path) == []
        put(store, "key", b"parent")
        assert bodies(store, "key") == [b"parent"]


def test_what_is_in_flight_at_the_fork_is_waited_for(path):
    with closing(SqliteStore(path)) as store:
        put(store, "key")
        inside = threading.Event()

        def slowly(db):
            inside.set()
            time.sleep(0.2)
            return db.execute("SELECT count(*) FROM records").fetchone()

        for role in ("read", "write", "fold"):
            result = []
            worker = threading.Thread(
                target=lambda role=role, result=result: result.append(store._database.run(slowly, role=role))
            )
            worker.start()
            assert inside.wait(10)
            inside.clear()

            def child():
                return open_files(path), bodies(store, "key")

            assert in_child(child) == ([], [b"body"])
            worker.join(10)
            assert result == [(1,)], "it was not cut short"


def test_a_child_forked_while_a_connection_stays_in_flight_keeps_its_hands_off_the_file(path, monkeypatch):
    from resilient.stores import connections

    monkeypatch.setattr(connections, "_FORK_PATIENCE", 0.05)
    with closing(SqliteStore(path)) as store, closing(SqliteStore(path)) as second:
        put(store, "key")
        go, inside = threading.Event(), threading.Event()

        def hang(db):
            inside.set()
            go.wait(20)

        worker = threading.Thread(target=store._database.run, args=(hang,), kwargs={"role": "read"})
        worker.start()
        assert inside.wait(10)

        def child():
            told = []
            for each in (store, second, SqliteStore(path)):
                try:
                    each.get("key")
                except RuntimeError as refused:
                    told.append(str(refused))
            return told, Front(store, name="x").run("default", "get", "key")

        begun = time.monotonic()
        told, through = in_child(child)
        assert time.monotonic() - begun < 5
        assert len(told) == 3
        assert all("in use while this process was forked" in each for each in told)
        assert through == "default"
        go.set()
        worker.join(10)
        assert bodies(store, "key") == [b"body"], "the parent goes on"
        assert in_child(lambda: bodies(store, "key")) == [b"body"], "and so does the next child"


def test_threads_that_fork_at_the_same_time_do_not_stop_each_other(path):
    with closing(SqliteStore(path)) as store:
        put(store, "key")
        results = []

        def fork(index):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for number in range(3):

                    def child(index=index, number=number):
                        return put(store, f"{index} {number}", b"child") is not None

                    results.append(in_child(child))

        crowd = [threading.Thread(target=fork, args=(index,)) for index in range(3)]
        for each in crowd:
            each.start()
        for each in crowd:
            each.join(50)
        assert results == [True] * 9
        assert [bodies(store, f"{index} {number}") for index in range(3) for number in range(3)] == [[b"child"]] * 9


def test_a_grandchild_works_too(path):
    with closing(SqliteStore(path)) as store:
        put(store, "key")

        def child():
            put(store, "child")
            told = in_child(lambda: (bodies(store, "child"), put(store, "grandchild") is not None))
            return told, bodies(store, "grandchild")

        assert in_child(child) == (([b"body"], True), [b"body"])
        assert bodies(store, "grandchild") == [b"body"]


def test_a_fork_that_fails_gives_everything_back(path, monkeypatch):
    from resilient._runtime import live

    with closing(SqliteStore(path)) as store:
        put(store, "key")
        live._before_fork()
        with pytest.raises(TimeoutError):
            SqliteStore.get(store, "key")
        live._after_in_parent()
        assert bodies(store, "key") == [b"body"]
        put(store, "key", b"two")


def test_a_store_of_a_child_that_never_opened_it_needs_nothing(path):
    with closing(SqliteStore(path)) as store:
        assert in_child(lambda: put(store, "key") is not None) is True
        assert bodies(store, "key") == [b"body"]


def test_children_and_parent_write_at_once_and_lose_nothing(path):
    with closing(SqliteStore(path, patience=10)) as store:
        stop = threading.Event()
        written = []

        def busy(index):
            number = 0
            while not stop.wait(0.001):
                number += 1
                put(store, f"parent {index} {number}", b"%d" % number)
                written.append((f"parent {index} {number}", b"%d" % number))

        crowd = [threading.Thread(target=busy, args=(index,)) for index in range(2)]
        for each in crowd:
            each.start()
        try:
            for fork in range(10):

                def child(fork=fork):
                    return [put(store, f"child {fork} {number}", b"%d" % number) for number in range(20)]

                assert None not in in_child(child)
                written += [(f"child {fork} {number}", b"%d" % number) for number in range(20)]
        finally:
            stop.set()
            for each in crowd:
                each.join(20)
        assert [key for key, body in written if bodies(store, key) != [body]] == []
        assert len(written) > 200
        store.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("SELECT count(*) FROM records").fetchone() == (len(written),)


def test_a_child_folds_the_log_in_though_its_parent_was_about_to(path):
    with closing(SqliteStore(path)) as store:
        put(store, "key")
        store._database._folds.clear()  # as if a thread of the parent were at it

        def child():
            store._database.fold()
            end = time.monotonic() + 10
            while not store._database._folds and time.monotonic() < end:
                time.sleep(0.001)
            return len(store._database._folds)

        assert in_child(child) == 1


def test_multiprocessing_by_fork_works(path):
    import multiprocessing

    with closing(SqliteStore(path)) as store:
        put(store, "key")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context = multiprocessing.get_context("fork")
            children = [context.Process(target=put, args=(store, f"{number}")) for number in range(3)]
            for each in children:
                each.start()
        for each in children:
            each.join(20)
            assert each.exitcode == 0
        assert [bodies(store, f"{number}") for number in range(3)] == [[b"body"]] * 3
