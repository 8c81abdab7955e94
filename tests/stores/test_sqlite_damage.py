"""Whatever happens to the file: no wrong value, no error to a call, nothing deleted that might be wanted."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from resilient import faults
from resilient.stores import Record, SqliteStore
from resilient.stores import sqlite_file as layout
from resilient.stores.front import Front
from tests.stores.contract import LIFE, bodies, put, together

KEYS = [f"key {number}" for number in range(30)]


def body(key):
    """What belongs to a key, and to no other."""
    return f"the body of {key}; ".encode() * (1 + 40 * (int(key.split()[1]) % 4))


def fill(store, keys=KEYS):
    for key in keys:
        store.put(key, Record("v", f"head of {key}".encode(), body(key)), lifetime=LIFE, tags=["tag", key])


def refill(store, keys=KEYS):
    """Fill a store; once more, if the damage came to light, and the file was moved aside, half-way."""
    for _ in range(3):
        before = store._database.moved
        fill(store, keys)
        if store._database.moved == before:
            return
    raise AssertionError("it is moved aside for ever")


def right(store, keys=KEYS):
    """Return how many keys are there; what is there must be right."""
    found = 0
    for key in keys:
        for each in store.get(key):
            assert (each.variant, each.head, each.body) == ("v", f"head of {key}".encode(), body(key))
            found += 1
    return found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture
def store(path):
    with closing(SqliteStore(path)) as store:
        fill(store)
        yield store


def aside(path):
    return sorted(each for each in path.parent.iterdir() if ".aside-" in each.name)


def flip(path, where, mask=0xFF):
    with path.open("r+b") as file:
        file.seek(where)
        (before,) = file.read(1)
        file.seek(where)
        file.write(bytes([before ^ mask]))


# -- one record --------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0xFF, 0x01, 0x80])
@pytest.mark.parametrize("what", [b"the body of key 7; ", b"head of key 7"])
def test_a_flipped_bit_in_a_record_makes_it_a_miss(what, mask, path, store):
    store.close()
    where = path.read_bytes().index(what)
    flip(path, where + len(what) // 2, mask)
    assert store.get("key 7") == []
    assert right(store) == len(KEYS) - 1
    stats = store.stats()
    assert (stats.entries, stats.corrupt) == (len(KEYS) - 1, 1)
    assert put(store, "key 7", b"new") is not None
    assert bodies(store, "key 7") == [b"new"]
    assert store.stats().corrupt == 1, "it was removed"
    assert aside(path) == []
    assert store.purge() == len(KEYS)


IS_7 = "WHERE key = CAST('key 7' AS BLOB)"
OF_7 = f"WHERE version = (SELECT version FROM records {IS_7})"
WRONG = [
    f"UPDATE records SET seal = seal + 1 {IS_7}",
    f"UPDATE records SET seal = 'text' {IS_7}",
    f"UPDATE records SET variant = x'77' {IS_7}",
    f"UPDATE records SET variant = x'ff' {IS_7}",
    f"UPDATE records SET variant = 7 {IS_7}",
    f"UPDATE records SET ends = ends + 1e9 {IS_7}",
    f"UPDATE records SET ends = ends + 1e9, written = written + 1e9, lifetime = 1e9 {IS_7}",
    f"UPDATE records SET lifetime = lifetime * 2 {IS_7}",
    f"UPDATE records SET written = written - 30 {IS_7}",
    f"UPDATE records SET written = 'never' {IS_7}",
    f"UPDATE records SET ends = x'00' {IS_7}",
    f"UPDATE records SET lifetime = x'ff', ends = 'x' {IS_7}",
    f"UPDATE bodies SET body = x'00' {OF_7}",
    f"UPDATE bodies SET body = CAST(body AS TEXT) || 'x' {OF_7}",
    f"UPDATE bodies SET body = 5 {OF_7}",
    f"UPDATE bodies SET head = body, body = head {OF_7}",
    f"UPDATE bodies SET head = CAST(head || substr(body, 1, 1) AS BLOB), body = substr(body, 2) {OF_7}",
    f"UPDATE records SET version = 1 {IS_7}",
    f"DELETE FROM bodies {OF_7}",
    f"UPDATE records SET version = 1 + (SELECT max(version) FROM records) {IS_7}",
    "UPDATE records SET key = CAST('key 7' AS BLOB), variant = x'78' WHERE key = CAST('key 8' AS BLOB)",
]


@pytest.mark.parametrize("statement", WRONG)
def test_a_record_that_does_not_fit_its_seal_is_a_miss(statement, path, store):
    with closing(sqlite3.connect(path)) as other:
        other.execute(statement)
        other.commit()
    before = right(store, ["key 7"])
    assert before == (1 if "key 8" in statement else 0)
    assert store.stats().corrupt == 1
    fill(store, ["key 7", "key 8"])
    assert right(store) == len(KEYS)
    assert store.stats().entries == len(KEYS)
    assert aside(path) == []


def test_a_record_under_another_key_is_a_miss(path, store):
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"UPDATE records SET key = CAST('key X' AS BLOB) {IS_7}")
        other.commit()
    assert store.get("key X") == []
    assert store.get("key 7") == []
    assert store.stats().corrupt == 1


UNSOUND = ["size = 'x'", "size = -5", "pinned = 'x'", "tags = x'00'", "used = 'x'", "ends = 'x'", "variant = 7"]


@pytest.mark.parametrize("change", UNSOUND)
def test_a_row_that_makes_no_sense_is_removed_by_whoever_comes_across_it(change, path, store):
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"UPDATE records SET {change} {IS_7}")
        other.commit()
    fill(store, ["key 7"])
    assert right(store) == len(KEYS)
    assert store.stats().entries == len(KEYS)
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"UPDATE records SET {change} WHERE key = CAST('key 9' AS BLOB)")
        other.commit()
    assert store.purge(tag="tag") >= len(KEYS) - 1
    assert store.stats() == (type(store.stats()))(0, 0, 0, store.stats().corrupt)
    assert store.stats().corrupt >= 1
    totals = store._database.run(lambda db: db.execute("SELECT entries, size FROM totals").fetchone(), role="read")
    assert totals == (0, 0)


# -- the whole file ----------------------------------------------------------------------------


def damage(path, random):
    """Flip some bytes somewhere in a file."""
    size = path.stat().st_size
    where = random.randrange(size)
    for offset in range(random.choice((1, 1, 4, 64, 600))):
        if where + offset < size:
            flip(path, where + offset, random.randrange(1, 256))


@pytest.mark.parametrize(
    "rounds", [40, pytest.param(1_500, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])], ids=["40", "1500"]
)
def test_bytes_flipped_anywhere_in_the_file_give_no_wrong_value_and_no_error(rounds, tmp_path):
    origin = tmp_path / "origin.db"
    with closing(SqliteStore(origin)) as store:
        fill(store)
    random = Random(1)
    whole = moved = noticed = 0
    for number in range(rounds):
        path = tmp_path / f"{number}.db"
        shutil.copy(origin, path)
        damage(path, random)
        with closing(SqliteStore(path)) as store:
            found = right(store)
            whole += found == len(KEYS)
            refill(store, KEYS[::2])
            assert right(store, KEYS[::2]) == len(KEYS[::2])
            store.delete("key 1")
            store.purge(tag="key 2")
            store.purge(prefix="key 3")
            right(store)
            moved += store._database.moved
            assert store.stats().entries == right(store), number
            noticed += store.stats().corrupt > 0
    assert 0 < whole < rounds
    assert moved > 0
    assert noticed > 0.5 * (rounds - whole), "an entry of an index may be lost without a trace, not more"


def test_bytes_flipped_in_the_log_give_no_wrong_value_and_no_error(tmp_path):
    origin = tmp_path / "origin.db"
    random = Random(2)
    with closing(SqliteStore(origin)) as store:
        fill(store)
        log = origin.with_name("origin.db-wal")
        assert log.stat().st_size > 10_000
        for number in range(50):
            path = tmp_path / f"{number}.db"
            shutil.copy(origin, path)
            shutil.copy(log, path.with_name(path.name + "-wal"))
            damage(path.with_name(path.name + "-wal"), random)
            with closing(SqliteStore(path)) as damaged:
                right(damaged)
                refill(damaged, KEYS[:3])
                assert right(damaged, KEYS[:3]) == 3


def test_a_file_cut_off_anywhere_gives_no_wrong_value_and_no_error(tmp_path):
    origin = tmp_path / "origin.db"
    with closing(SqliteStore(origin)) as store:
        fill(store)
    size = origin.stat().st_size
    random = Random(3)
    for number, left in enumerate([0, 1, 16, 99, 100, 512, 4_095, 4_096, 4_097, *random.sample(range(size), 20)]):
        path = tmp_path / f"{number}.db"
        path.write_bytes(origin.read_bytes()[:left])
        with closing(SqliteStore(path)) as store:
            right(store)
            refill(store)
            assert right(store) == len(KEYS), left


REPLACEMENTS = {
    "text": b"This is no database.\n" * 500,
    "zeros": bytes(50_000),
    "a header and nonsense": b"SQLite format 3\0" + bytes(range(256)) * 100,
}


@pytest.mark.parametrize("content", REPLACEMENTS.values(), ids=REPLACEMENTS)
def test_a_file_that_is_no_database_is_moved_aside_and_a_new_one_begun(content, path, caplog):
    path.write_bytes(content)
    with closing(SqliteStore(path)) as store:
        front = Front(store, name="x")
        assert front.run("default", "get", "key") == []
        fill(store)
        assert right(store) == len(KEYS)
        assert (store.stats().corrupt, front.failed) == (1, 0)
    (kept,) = aside(path)
    assert kept.read_bytes() == content
    assert caplog.text.count("was moved to") == 1
    assert str(kept) in caplog.text


def test_the_log_of_a_broken_file_is_not_read_into_the_new_one(path, tmp_path):
    broken = tmp_path / "broken.db"
    with closing(SqliteStore(path)) as store:
        fill(store)
        store.close()
        store._database.run(lambda db: db.execute("UPDATE records SET used = 1").rowcount, role="write")  # into the log
        log = path.with_name("store.db-wal").read_bytes()
        assert log
        broken.write_bytes(b"nonsense" * 512 + path.read_bytes()[4_096:])
    broken.with_name("broken.db-wal").write_bytes(log)
    with closing(SqliteStore(broken)) as store:
        assert right(store) == 0
        assert store._database.moved == 1
        put(store, "key", b"new")
    with closing(SqliteStore(broken)) as store:
        assert bodies(store, "key") == [b"new"]
        assert right(store) == 0


def overwrite(path, content):
    """Write into a file from another process: this one would drop SQLite's locks by closing it."""
    code = "import sys; open(sys.argv[1], 'r+b').write(sys.stdin.buffer.read())"
    subprocess.run([sys.executable, "-c", code, str(path)], input=content, check=True, timeout=30)


def test_a_file_overwritten_while_open_is_moved_aside(path, store):
    store.close()
    assert right(store) == len(KEYS)
    overwrite(path, b"nonsense" * 4_096)
    right(store)  # from memory, perhaps
    refill(store)
    assert right(store) == len(KEYS)
    assert len(aside(path)) == 1
    assert store.stats().corrupt == 1


def test_whoever_meets_the_damage_at_the_same_time_moves_the_file_once(path, store):
    others = [SqliteStore(path, patience=10) for _ in range(5)]
    assert [right(each) for each in others] == [len(KEYS)] * 5
    store.close()
    for each in others:
        each.close()
    overwrite(path, b"nonsense" * 4_096)

    def work(index):
        fill(others[index], [f"key {number}" for number in range(index * 20, index * 20 + 20)])

    together(5, work)
    for each in others:
        assert right(each, [f"key {number}" for number in range(100)]) == 100
        each.close()
    assert len(aside(path)) == 1
    assert sum(each.stats().corrupt for each in others) == 1
    for each in others:
        each.close()


def test_processes_that_meet_the_damage_at_the_same_time_move_the_file_once(path, store):
    store.close()
    overwrite(path, b"nonsense" * 4_096)
    code = """
import sys
from resilient.stores import SqliteStore
from tests.stores.test_sqlite_damage import fill, right
store = SqliteStore(sys.argv[1], patience=10)
mine = [f"key {number}" for number in range(int(sys.argv[2]), int(sys.argv[2]) + 20)]
print("ready", flush=True)
sys.stdin.readline()
fill(store, mine)
assert right(store, mine) == 20
store.close()
"""
    crowd = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path), str(number * 20)],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for each in crowd:
        assert each.stdout.readline() == "ready\n"
    for each in crowd:
        each.communicate("\n", timeout=40)
        assert each.returncode == 0
    assert right(store, [f"key {number}" for number in range(60)]) == 60
    assert len(aside(path)) == 1


def test_no_more_than_five_broken_files_are_kept(path):
    with closing(SqliteStore(path)) as store:
        for number in range(8):
            store.close()
            path.write_bytes(b"nonsense %d" % number * 500)
            os.utime(path, (number, number))
            assert store.get("key") == []
        assert store.stats().corrupt == 8
    assert sorted(each.read_bytes()[9:10] for each in aside(path)) == [b"3", b"4", b"5", b"6", b"7"]


def test_tables_that_are_gone_are_a_broken_file(path, store):
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE bodies")
        other.commit()
    assert right(store) == 0
    fill(store)
    assert right(store) == len(KEYS)
    (kept,) = aside(path)
    with closing(sqlite3.connect(kept)) as other:
        assert other.execute("SELECT count(*) FROM records").fetchone() == (len(KEYS),)


def test_an_index_that_does_not_fit_its_table_is_a_broken_file(path, store):
    store.close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA writable_schema = ON")
        other.execute("UPDATE sqlite_master SET sql = 'CREATE INDEX ending ON records (size)' WHERE name = 'ending'")
        other.commit()
    refill(store)
    assert right(store) == len(KEYS)


# -- other versions ----------------------------------------------------------------------------


def versioned(path, schema):
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version = {schema}")
        other.commit()


def test_a_file_of_a_later_version_is_left_alone(path, store):
    store.close()
    versioned(path, layout.SCHEMA + 1)
    before = path.read_bytes()
    with closing(SqliteStore(path)) as another:
        front = Front(another, name="x")
        for each in (store, another):
            with pytest.raises(layout.AnotherVersion, match=f"layout {layout.SCHEMA + 1}"):
                each.get("key 1")
            with pytest.raises(layout.AnotherVersion):
                put(each, "key")
        assert front.run("default", "get", "key 1") == "default"
        assert front.failed == 1
    assert path.read_bytes() == before
    assert aside(path) == []


def test_a_file_of_an_earlier_version_is_moved_aside(path, store, monkeypatch):
    store.close()
    monkeypatch.setattr(layout, "SCHEMA", layout.SCHEMA + 1)
    with closing(SqliteStore(path)) as later:
        assert later.get("key 1") == []
        put(later, "key")
        assert bodies(later, "key") != [], "written by the later version"
    assert len(aside(path)) == 1


# -- permissions -------------------------------------------------------------------------------

CHMOD = """
import logging, os, sys, traceback
from pathlib import Path
from resilient.stores import Record, SqliteStore
from resilient.stores.front import Front
from resilient.testing import FakeClock, use
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
folder = Path(sys.argv[1], "data")
folder.mkdir()
store = SqliteStore(folder / "store.db")
front = Front(store, name="x")
record = Record("", b"", b"body")
with use(FakeClock(auto=False)) as clock:
    def ask():
        clock.advance(60)
        got = bool(front.run([], "get", "key"))
        return got, front.run(None, "put", "key", record, lifetime=1e6) is not None, front.failed
    print(ask(), ask())
    store.close()
    (folder / "store.db").chmod(0o000)
    print(ask()[:2])
    (folder / "store.db").chmod(0o400)
    print(ask()[1])
    (folder / "store.db").chmod(0o600)
    store.close()
    print(ask()[:2])
    store.close()
    folder.chmod(0o500)
    print(ask()[1])
    folder.chmod(0o700)
    store.close()
    print(ask()[:2], store.stats().corrupt)
store.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="other permissions")
def test_permissions_that_change_are_failures_that_heal():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        done = subprocess.run(
            [sys.executable, "-c", CHMOD, folder], capture_output=True, text=True, timeout=50, check=False
        )
    assert done.stdout.splitlines() == [
        "(False, True, 0) (True, True, 0)",
        "(False, False)",
        "False",
        "(True, True)",
        "False",
        "(True, True) 0",
    ], done.stderr


def test_faults_are_told_once(path):
    for number in range(3):
        path.write_bytes(b"nonsense %d" % number * 500)
        with closing(SqliteStore(path)) as store, contextlib.suppress(sqlite3.Error):
            store.get("key")
    assert faults.total() == 3
