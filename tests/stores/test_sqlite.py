"""SqliteStore: the contract, and what it promises beyond."""

from __future__ import annotations

import contextlib
import gc
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
import timeit
import warnings
from contextlib import closing
from pathlib import Path

import pytest

from resilient import faults
from resilient.errors import ConfigError
from resilient.stores import Record, SqliteStore, StoreFull
from resilient.stores import sqlite_database as database
from resilient.stores import sqlite_room as room
from resilient.stores.front import Front
from resilient.testing import FakeClock, use
from tests.stores import contract
from tests.stores.contract import LIFE, bodies, put, together, variants


class TestContract(contract.Basics, contract.Bounds, contract.Threads, contract.Forks):
    def make(self, folder, **bounds):
        return SqliteStore(folder / "store.db", patience=10, **bounds)


class TestContractDurable(contract.Basics):
    def make(self, folder, **bounds):
        return SqliteStore(folder / "store.db", patience=10, durable=True, direct_reads=False, **bounds)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture
def store(path):
    with closing(SqliteStore(path)) as store:
        yield store


class Jumping(FakeClock):
    """Time whose wall clock can be set."""

    jump = 0.0

    def wall(self):
        return super().wall() + self.jump


@pytest.fixture
def clock():
    with use(Jumping(auto=False)) as clock:
        yield clock


def python(code, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        **options,
    )


# -- construction ------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [None, 7, b"store.db", object(), ["store.db"]], ids=lambda each: type(each).__name__)
def test_what_is_no_path_is_refused(wrong):
    with pytest.raises(TypeError, match="path must be"):
        SqliteStore(wrong)


@pytest.mark.parametrize("wrong", ["", ":memory:", "file:store.db?mode=ro", "a\0b", "no/such/directory/store.db", "."])
def test_a_path_that_cannot_be_a_stores_file_is_refused(wrong, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="path must be"):
        SqliteStore(wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [("patience", 0), ("patience", float("nan")), ("max_entries", 0), ("max_bytes", 1.5), ("durable", "yes")],
)
def test_a_setting_is_checked(setting, wrong, path):
    with pytest.raises((ConfigError, TypeError), match=setting):
        SqliteStore(path, **{setting: wrong})


def test_a_path_is_text_or_a_path_and_relative_to_the_directory_of_the_construction(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with closing(SqliteStore("store.db")) as store:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        put(store, "key")
        assert store.path == tmp_path / "store.db"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_link_leads_to_the_file_itself(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "data" / "store.db")
    with closing(SqliteStore(tmp_path / "link.db")) as store:
        put(store, "key")
        assert store.path == tmp_path / "data" / "store.db"
    with closing(SqliteStore(tmp_path / "data" / "store.db")) as store:
        assert bodies(store, "key") == [b"body"]


def test_nothing_is_made_before_it_is_needed(path):
    with closing(SqliteStore(path)) as store:
        assert not path.exists()
        assert store.get("key") == []
        assert path.exists()


def test_another_applications_database_is_refused_and_left_as_it_is(path):
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE orders (id)")
        other.commit()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="no other application's database"):
        SqliteStore(path)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["store.db"]


def test_another_applications_database_that_comes_later_is_left_as_it_is(path):
    with closing(SqliteStore(path)) as store:
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE orders (id)")
            other.commit()
        before = path.read_bytes()
        for _ in range(3):
            with pytest.raises(Exception, match="another application"):
                store.get("key")
        with pytest.raises(Exception, match="another application"):
            put(store, "key")
        assert Front(store, name="x").run("default", "get", "key") == "default"
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_stores_file(path):
    path.touch()
    with closing(SqliteStore(path)) as store:
        put(store, "key")
        assert bodies(store, "key") == [b"body"]


AS_NOBODY = """
import os, sys
from resilient.errors import ConfigError
from resilient.stores import SqliteStore
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
for path in sys.argv[1:]:
    try:
        SqliteStore(path)
    except ConfigError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="other permissions")
def test_what_this_user_may_not_write_is_refused():
    with tempfile.TemporaryDirectory() as folder:  # nobody gets into the directories of pytest
        Path(folder).chmod(0o755)
        locked, shared = Path(folder, "locked"), Path(folder, "shared")
        locked.mkdir()
        locked.chmod(0o700 if os.getuid() == 0 else 0o500)
        shared.mkdir()
        shared.chmod(0o777)
        (shared / "store.db").touch()
        (shared / "store.db").chmod(0o444)
        done = python(AS_NOBODY, locked / "store.db", shared / "store.db")
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done
    assert "a directory that this process may write to" in lines[0]
    assert "this process may read and write" in lines[1]


# -- files -------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="other permissions")
def test_only_its_user_may_read_its_files(path, store):
    before = os.umask(0)
    try:
        put(store, "key")
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}


def test_closing_gives_back_all_files(path):
    store = SqliteStore(path)
    put(store, "key")
    assert together(6, lambda _: bodies(store, "key")) == [[b"body"]] * 6
    assert descriptors(path)
    store.close()
    assert descriptors(path) == []
    assert [each.name for each in path.parent.iterdir()] == ["store.db"], "the log was folded in"


def test_a_store_that_nobody_has_gives_back_its_files_and_warns_of_nothing(path):
    store = SqliteStore(path)
    put(store, "key")
    together(4, lambda _, store=store: bodies(store, "key"))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        del store
        gc.collect()
    assert warned == []
    assert descriptors(path) == []


def descriptors(path):
    """What is open of these files, where a system tells."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not tell")
    found = []
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(each.readlink()))
    return [target for target in found if target.startswith(str(path))]


def test_the_end_of_a_process_closes_the_file_and_warns_of_nothing(path):
    code = """
import sys
from resilient.stores import Record, SqliteStore
store = SqliteStore(sys.argv[1])
store.put("key", Record("", b"head", b"body"), lifetime=60)
store.get("key")
"""
    done = python(code, path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [each.name for each in path.parent.iterdir()] == ["store.db"]
    with closing(SqliteStore(path)) as store:
        assert bodies(store, "key") == [b"body"]


def test_only_who_asks_for_it_imports_sqlite():
    code = """
import sys
import resilient, resilient.stores
from resilient.stores import MemoryStore
assert "sqlite3" not in sys.modules
from resilient.stores import SqliteStore
assert "sqlite3" in sys.modules
assert "fcntl" not in sys.modules or sys.platform != "win32"
try:
    resilient.stores.Nothing
except AttributeError as error:
    print(error)
"""
    done = python(code)
    assert done.stdout == "module 'resilient.stores' has no attribute 'Nothing'\n", done.stderr


def test_two_stores_on_one_file_are_one(path, store):
    with closing(SqliteStore(path)) as other:
        version = put(store, "key", tags=["tag"])
        assert bodies(other, "key") == [b"body"]
        assert put(other, "key", b"two", expected=version) > version
        assert bodies(store, "key") == [b"two"]
        assert put(store, "key", expected=version) is None
        assert other.purge(tag="tag") == 0
        assert other.delete("key") == 1
        assert bodies(store, "key") == []


def test_what_is_durable_waits_for_the_disk(path, tmp_path):
    for durable, level in ((False, 1), (True, 2)):
        with closing(SqliteStore(tmp_path / f"{durable}.db", durable=durable)) as store:
            for role in ("read", "write", "fold"):
                run = store._database.run
                assert run(lambda db: db.execute("PRAGMA synchronous").fetchone(), role=role) == (level,)
                assert run(lambda db: db.execute("PRAGMA journal_mode").fetchone(), role=role) == (b"wal",)


# -- reading -----------------------------------------------------------------------------------


def test_reading_writes_nothing(path, store):
    for number in range(20):
        put(store, f"{number}")
    log = path.with_name("store.db-wal")
    before = log.read_bytes()
    for _ in range(5):
        for number in range(25):
            store.get(f"{number}")
    assert log.read_bytes() == before


def test_what_was_read_is_noted_with_the_next_changes(store):
    for number in range(40):
        put(store, f"{number}")
    for number in range(0, 40, 2):
        store.get(f"{number}")
    put(store, "a")
    put(store, "b")
    used = store._database.run(lambda db: db.execute("SELECT key FROM records WHERE used").fetchall(), role="read")
    assert sorted(int(key) for (key,) in used) == list(range(0, 40, 2))
    assert not store._marks


def test_what_has_its_mark_is_not_marked_again(store):
    put(store, "key")
    store.get("key")
    put(store, "other")
    store.get("key")
    assert not store._marks


def test_nothing_is_left_of_what_was_removed(path, clock):
    with closing(SqliteStore(path, max_entries=5)) as store:
        for number in range(20):
            put(store, f"{number}", tags=["a", "b"], lifetime=1 if number == 19 else LIFE)
        put(store, "18", tags=["a"])
        store.delete("17")
        clock.advance(1)
        put(store, "new", tags=["c"])
        kept = store.stats().entries

        def rows(table):
            found = store._database.run(lambda db: db.execute(f"SELECT count(*) FROM {table}").fetchone(), role="read")
            return found[0]

        assert (rows("records"), rows("bodies")) == (kept, kept)
        assert rows("tags") == 2 * (kept - 2) + 2
        store.purge()
        assert [rows(table) for table in ("records", "bodies", "tags")] == [0, 0, 0]


def test_marks_of_what_is_read_are_bounded(store):
    for number in range(400):
        put(store, f"{number}")
    for number in range(400):
        store.get(f"{number}")
    assert len(store._marks) <= 256


def test_a_record_is_new_at_each_look(store):
    store.put("key", Record("", b"", b"", memo=object()), lifetime=LIFE)
    (first,) = store.get("key")
    first.memo = "decoded"
    assert store.get("key")[0].memo is None


def test_the_log_is_folded_in_beside_the_changes(path):
    with closing(SqliteStore(path)) as store:
        log = path.with_name("store.db-wal")
        largest = 0
        for number in range(1_200):
            put(store, f"{number % 20}", bytes(60_000))
            largest = max(largest, log.stat().st_size)
        assert largest < 50 * 1024 * 1024, "72 MB were written"
        assert path.stat().st_size > 1_000_000


def test_a_change_does_not_wait_for_the_folding(path, monkeypatch):
    inside, go = threading.Event(), threading.Event()

    def slow(db):
        inside.set()
        assert go.wait(20)

    monkeypatch.setattr(database, "fold", slow)
    with closing(SqliteStore(path)) as store:
        for number in range(400):
            put(store, f"{number}", bytes(20_000))
        assert inside.wait(10)
        assert bodies(store, "399") == [bytes(20_000)]
        go.set()


def test_a_log_that_cannot_be_folded_is_reported_and_stops_nothing(path, monkeypatch, caplog):
    def broken(db):
        raise sqlite3.OperationalError

    monkeypatch.setattr(database, "fold", broken)
    with closing(SqliteStore(path)) as store:
        for number in range(600):
            put(store, f"{number}", bytes(20_000))
        end = time.monotonic() + 10
        while not caplog.records and time.monotonic() < end:
            time.sleep(0.01)
    assert "Database.fold raised OperationalError" in caplog.text


# -- room --------------------------------------------------------------------------------------


def test_room_for_a_large_record_is_made_in_small_steps(path):
    with closing(SqliteStore(path, max_bytes=100_000, max_record_bytes=100_000)) as store:
        for number in range(1_000):
            put(store, f"{number}", bytes(80))
        counts = [store.stats().entries]
        for _ in range(20):
            with contextlib.suppress(StoreFull):
                put(store, "large", bytes(90_000))
                break
            counts.append(store.stats().entries)
            assert counts[-2] - counts[-1] <= room._MOST_EVICTED
        assert bodies(store, "large") == [bytes(90_000)]
        assert len(counts) >= 3


def test_marked_records_are_passed_but_not_for_ever(path):
    with closing(SqliteStore(path, max_entries=300)) as store:
        for number in range(300):
            put(store, f"{number}")
        for _ in range(30):
            for number in range(300):
                store.get(f"{number}")
            put(store, "0")
        begun = time.perf_counter()
        put(store, "one more")
        assert time.perf_counter() - begun < 0.5
        assert store.stats().entries == 300


def test_many_pinned_records_are_in_nobodys_way(path):
    with closing(SqliteStore(path, max_entries=2_000)) as store:
        for number in range(1_990):
            put(store, f"pinned {number}", pinned=True)
        for number in range(100):
            put(store, f"{number}")
        assert store.stats().entries == 2_000
        assert sum(bool(store.get(f"{number}")) for number in range(100)) == 10


def test_wrong_totals_are_counted_again(store):
    for number in range(5):
        put(store, f"{number}", pinned=number == 0)
    right = store.stats()
    for wrong in ("-1", "'text'", "NULL", "x'00'"):
        with contextlib.suppress(sqlite3.IntegrityError):
            store._database.run(
                lambda db, wrong=wrong: db.execute(f"UPDATE OR IGNORE totals SET entries = {wrong}"), role="write"
            )
        put(store, "0", pinned=True)
        found = store._database.run(
            lambda db: db.execute("SELECT entries, size, pinned_entries, pinned_size FROM totals").fetchone(),
            role="read",
        )
        assert found == (5, right.size, 1, right.size // 5)
    store._database.run(lambda db: db.execute("DELETE FROM totals").rowcount, role="write")
    version = store.get("0")[0].version
    assert put(store, "5") > version


def test_a_version_is_not_given_again_though_the_totals_are_lost(store):
    version = put(store, "key")
    store.delete("key")
    store._database.run(lambda db: db.execute("DELETE FROM totals").rowcount, role="write")
    assert put(store, "key") > version


def test_totals_that_promise_too_much_are_counted_again(path):
    with closing(SqliteStore(path, max_entries=5)) as store:
        put(store, "a")
        store._database.run(lambda db: db.execute("UPDATE totals SET entries = 1000").rowcount, role="write")
        with pytest.raises(StoreFull):
            put(store, "b")
        assert put(store, "b") is not None, "now they are right"


# -- the wall clock ----------------------------------------------------------------------------

YEAR = 365 * 86_400.0


def test_a_record_of_a_wrong_future_lives_once_more_for_its_lifetime_and_no_longer(clock, path):
    for pinned in (False, True):
        with closing(SqliteStore(path)) as store:
            clock.jump = 10 * YEAR
            version = put(store, "key", lifetime=60, pinned=pinned)
            clock.jump = 0
            assert bodies(store, "key") == [b"body"], "it was not lost with the wrong time"
            clock.advance(59)
            assert bodies(store, "key") == [b"body"]
            assert put(store, "key", expected=0) is None
            clock.advance(1)
            assert bodies(store, "key") == []
            assert put(store, "key", expected=0) > version
            assert store.purge() == 1


def test_a_record_of_a_wrong_future_that_nobody_reads_makes_room_in_time(clock, path):
    with closing(SqliteStore(path, max_entries=10)) as store:
        clock.jump = 10 * YEAR
        for number in range(10):
            put(store, f"{number}", lifetime=60, pinned=True)
        store.close()
    clock.jump = 0
    with closing(SqliteStore(path, max_entries=10)) as store:
        with pytest.raises(StoreFull):
            put(store, "new")
        clock.advance(60)
        put(store, "new")
        assert store.stats().entries == 1


def test_all_records_of_a_wrong_future_are_dated_anew_in_steps(clock, path):
    with closing(SqliteStore(path)) as store:
        clock.jump = YEAR
        for number in range(600):
            put(store, f"{number}", lifetime=60)
        clock.jump = 0
        for _ in range(4):
            put(store, "new", lifetime=1)
        clock.advance(60)
        assert store.stats().entries == 0


def test_a_wall_clock_that_goes_back_a_little_changes_little(clock, store):
    put(store, "key", lifetime=100)
    clock.jump = -50
    assert bodies(store, "key") == [b"body"]
    clock.jump = -50 - 99
    assert bodies(store, "key") == [b"body"]
    put(store, "other")
    clock.advance(100)
    assert bodies(store, "key") == []


def test_a_wall_clock_that_goes_ahead_ends_lifetimes(clock, store):
    put(store, "key", lifetime=100)
    clock.jump = 100
    assert bodies(store, "key") == []
    assert store.stats().entries == 0


def test_time_before_1970_is_time_too(clock, store):
    clock.jump = -80 * YEAR
    put(store, "key", lifetime=100)
    assert bodies(store, "key") == [b"body"]
    clock.advance(100)
    assert bodies(store, "key") == []


# -- threads and connections -------------------------------------------------------------------


def test_no_two_threads_are_ever_at_one_connection(store):
    busy, seen = {}, set()

    def use_it(db):
        assert busy.setdefault(id(db), threading.get_ident()) == threading.get_ident()
        seen.add(id(db))
        time.sleep(0.0005)
        del busy[id(db)]

    together(12, lambda index: [store._database.run(use_it, role="read" if index % 3 else "write") for _ in range(15)])
    assert len(seen) <= 5


def test_a_thread_waits_for_a_connection_no_longer_than_the_patience(path):
    with closing(SqliteStore(path, patience=0.05)) as store:
        put(store, "key")
        inside, go = threading.Event(), threading.Event()

        def hold(db):
            inside.set()
            go.wait(10)

        holder = threading.Thread(target=store._database.run, args=(hold,), kwargs={"role": "write"})
        holder.start()
        assert inside.wait(10)
        begun = time.monotonic()
        with pytest.raises(TimeoutError, match=r"in use for 0\.05 s"):
            put(store, "other")
        assert 0.04 < time.monotonic() - begun < 1
        assert bodies(store, "key") == [b"body"], "who reads does not wait for who writes"
        go.set()
        holder.join(10)
        put(store, "other")


def test_a_disk_that_does_not_answer_holds_four_readers_and_no_more(path, monkeypatch):
    from resilient.stores import sqlite

    with closing(SqliteStore(path, patience=0.1)) as store:
        put(store, "key")
        front = Front(store, name="x", patience=5)
        go, inside = threading.Event(), []

        def hang(db, key, now):
            inside.append(threading.get_ident())
            go.wait(20)
            raise OSError

        monkeypatch.setattr(sqlite, "read", hang)
        results = []
        readers = [threading.Thread(target=lambda: results.append(front.run("gone", "get", "key"))) for _ in range(12)]
        for each in readers:
            each.start()
        for each in readers[4:]:
            each.join(0.5)
        begun = time.monotonic()
        assert front.run("gone", "get", "key") == "gone"
        assert time.monotonic() - begun < 0.5
        assert len(inside) == 4
        go.set()
        for each in readers:
            each.join(10)
        assert results == ["gone"] * 12


def test_a_connection_lost_to_a_signal_is_replaced(store):
    class Cut(BaseException):
        pass

    put(store, "key")
    lines = store._database._connections._lines
    for line in lines.values():
        for _ in range(20):
            slot = line.get(timeout=5)
            del slot  # as if an exception from outside had come between two steps
    gc.collect()
    assert bodies(store, "key") == [b"body"]
    put(store, "other")
    assert [line.qsize() for line in lines.values()] == [1, 4, 1]

    def cut(db):
        db.execute("BEGIN IMMEDIATE")
        db.execute("DELETE FROM records")
        raise Cut

    with pytest.raises(Cut):
        store._database.run(cut, role="write")
    put(store, "third")
    assert [bodies(store, key) for key in ("key", "other", "third")] == [[b"body"]] * 3
    assert store.stats().corrupt == 0


def test_a_connection_in_a_wrong_state_is_no_broken_file(store):
    put(store, "key")
    store._database._connections.run(lambda db: db.execute("BEGIN IMMEDIATE"), role="write")
    with contextlib.suppress(sqlite3.OperationalError):
        put(store, "other")
    put(store, "third")
    assert bodies(store, "key") == [b"body"]
    assert store.stats().corrupt == 0


def test_a_connection_that_is_in_use_while_the_store_is_closed_is_closed_afterwards(path):
    store = SqliteStore(path)
    put(store, "key")
    inside, go = threading.Event(), threading.Event()

    def slowly(db):
        inside.set()
        go.wait(10)
        return db.execute("SELECT count(*) FROM records").fetchone()

    result = []
    worker = threading.Thread(target=lambda: result.append(store._database.run(slowly, role="read")))
    worker.start()
    assert inside.wait(10)
    store.close()
    assert descriptors(path)
    go.set()
    worker.join(10)
    assert result == [(1,)]
    assert descriptors(path) == []


def test_a_store_closed_by_one_thread_is_opened_again_by_the_others(store):
    def work(index):
        for number in range(60):
            if index == 0:
                store.close()
            else:
                put(store, f"{index} {number}", b"%d" % number)
                assert bodies(store, f"{index} {number}") == [b"%d" % number]

    together(4, work)
    assert store.stats().entries == 180


def test_who_makes_a_file_at_the_same_time_makes_one(tmp_path):
    for race in range(10):
        stores = [SqliteStore(tmp_path / f"{race}.db", patience=10) for _ in range(6)]
        won = together(6, lambda index, stores=stores: put(stores[index], "key", expected=0))
        assert sum(version is not None for version in won) == 1
        for store in stores:
            store.close()
    assert len(list(tmp_path.iterdir())) == 10, "nothing is left beside them"


def test_a_key_with_many_variants_is_sorted(store):
    for number in range(60):
        put(store, "key", variant=f"{number}")
    assert variants(store, "key") == [f"{number}" for number in reversed(range(60))]


def test_a_connection_that_fails_as_it_opens_is_closed(path, monkeypatch):
    opened = []
    connect = database.connect
    monkeypatch.setattr(
        database, "connect", lambda *args, **kwargs: opened.append(connect(*args, **kwargs)) or opened[-1]
    )

    def broken(db):
        raise sqlite3.OperationalError

    with closing(SqliteStore(path)) as store:
        monkeypatch.setattr(database, "newest", broken)
        with pytest.raises(sqlite3.OperationalError):
            store.get("key")
        assert opened
        for each in opened:
            with pytest.raises(sqlite3.ProgrammingError, match="closed"):
                each.execute("SELECT 1")


# -- what others do ----------------------------------------------------------------------------


def locking(path, statement):
    """Another process' connection that is in the way."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for each in statement.split(";"):
        other.execute(each).fetchall()
    return other


def test_a_process_that_writes_for_long_delays_a_put_by_the_patience_and_no_get(path):
    with closing(SqliteStore(path, patience=0.05)) as store:
        put(store, "key")
        with closing(locking(path, "BEGIN IMMEDIATE")):
            begun = time.monotonic()
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                put(store, "other")
            assert time.monotonic() - begun < 1
            assert bodies(store, "key") == [b"body"]
            assert Front(store, name="x").run("default", "put", "k", Record("", b"", b""), lifetime=9) == "default"
        put(store, "other")
        assert store.stats().corrupt == 0


def test_a_process_that_locks_everything_delays_a_call_by_the_patience(path):
    with closing(SqliteStore(path, patience=0.05)) as store:
        put(store, "key")
        store.close()
        with closing(locking(path, "PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; DELETE FROM tags; COMMIT")):
            begun = time.monotonic()
            for act in (lambda: store.get("key"), lambda: put(store, "other"), store.stats):
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    act()
            assert time.monotonic() - begun < 3
            assert Front(store, name="x").run("default", "get", "key") == "default"
        assert bodies(store, "key") == [b"body"]
        assert store.stats().corrupt == 0


def test_a_full_disk_keeps_what_is_there(path, monkeypatch):
    connect = database.connect

    def small(*args, **kwargs):
        db = connect(*args, **kwargs)
        db.execute("PRAGMA max_page_count = 60")
        return db

    monkeypatch.setattr(database, "connect", small)
    with closing(SqliteStore(path)) as store:
        put(store, "first", bytes(1_000))
        with pytest.raises(StoreFull, match="disk"):
            for number in range(100):
                put(store, f"{number}", bytes(10_000), tags=["tag"])
        with pytest.raises(StoreFull, match="disk"):
            put(store, "first", bytes(200_000))
        assert faults.total() == 2
        assert bodies(store, "first") == [bytes(1_000)]
        kept = store.stats().entries
        assert kept >= 10
        assert store.purge(tag="tag") == kept - 1
        put(store, "again", bytes(10_000))
        assert store.stats().corrupt == 0


def test_a_file_removed_while_open_is_begun_anew(path, store):
    put(store, "key")
    for each in path.parent.iterdir():
        each.unlink()
    version = put(store, "other", b"new")
    assert path.exists()
    with closing(SqliteStore(path)) as second:
        assert [each.version for each in second.get("other")] == [version]
    assert bodies(store, "key") == []


def test_a_file_removed_while_open_is_missed_by_readers_soon(path, clock, store):
    put(store, "key")
    assert [bodies(store, "key") for _ in range(8)] == [[b"body"]] * 8, "each connection is open"
    path.unlink()
    assert [bodies(store, "key") for _ in range(8)] == [[b"body"]] * 8, "nobody looks at each read"
    clock.advance(1)
    assert [bodies(store, "key") for _ in range(8)] == [[]] * 8


def test_a_file_replaced_by_another_store_is_read(path, tmp_path, clock, store):
    put(store, "key", b"old")
    store.get("key")
    with closing(SqliteStore(tmp_path / "new.db")) as other:
        put(other, "key", b"new")
    for suffix in ("-wal", "-shm"):  # a log that stays would be read into the new file
        path.with_name(path.name + suffix).unlink()
    (tmp_path / "new.db").replace(path)
    clock.advance(1)
    assert bodies(store, "key") == [b"new"]


def test_a_version_is_not_given_again_by_a_file_that_takes_anothers_place(path, store):
    version = put(store, "key")
    for each in path.parent.iterdir():
        each.unlink()
    assert put(store, "key") > version


def test_a_directory_that_is_gone_fails_and_its_return_heals(path, store):
    put(store, "key")
    store.close()
    path.parent.rename(path.parent.with_name("away"))
    for act in (lambda: store.get("key"), lambda: put(store, "key")):
        with pytest.raises(OSError, match=r"store\.db"):
            act()
    path.parent.with_name("away").rename(path.parent)
    assert bodies(store, "key") == [b"body"]


@pytest.mark.alone
def test_a_look_up_and_a_change_cost_little_more_than_sqlite_itself(store, tmp_path):
    record = Record("", bytes(150), bytes(2_048))
    for number in range(2_000):
        store.put(f"GET https://example.internal/{number}", record, lifetime=60)
    key = "GET https://example.internal/1000"
    with closing(sqlite3.connect(tmp_path / "plain.db", isolation_level=None)) as plain:
        plain.execute("PRAGMA journal_mode = WAL")
        plain.execute("PRAGMA synchronous = NORMAL")
        plain.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, key TEXT UNIQUE, head BLOB, body BLOB)")
        numbers = iter(range(10**9))

        def write(number):
            plain.execute("BEGIN IMMEDIATE")
            plain.execute("INSERT INTO rows VALUES (NULL, ?, ?, ?)", (f"{number}", record.head, record.body))
            plain.execute("COMMIT")

        for _ in range(2_000):
            write(next(numbers))

        def read():
            return plain.execute("SELECT * FROM rows WHERE key = ?", ("1000",)).fetchall()

        def put_one(number):
            store.put(f"{number}", record, lifetime=60)

        looks, reads, puts, writes = [], [], [], []
        for _ in range(9):
            looks.append(timeit.timeit(lambda: store.get(key), number=500))
            reads.append(timeit.timeit(read, number=500))
        for _ in range(500):
            puts.append(timeit.timeit(lambda: put_one(next(numbers)), number=1))
            writes.append(timeit.timeit(lambda: write(next(numbers)), number=1))
    assert min(looks) < 8 * min(reads), "12 µs and 4"
    assert sorted(puts)[100] < 16 * sorted(writes)[100], "75 µs and 25; waits for the disk are left out"
