"""One process tidies up after all: nobody's counts are lost or doubled, whoever dies when, and incidents are kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient import clock, events
from resilient.control import events_log, retained, sweeping, watching
from resilient.control.directory import Directory
from resilient.control.errors import ControlUnavailable
from resilient.control.keeper import Keeper
from resilient.control.overview import overview
from resilient.control.page import FOLDER, OwnPage
from resilient.control.pages import read_pages
from resilient.control.retained import TOLD_APART, host_totals
from resilient.telemetry.totals import Totals
from tests.control._rows import Shown, hold, put, row, window

REJECTED = "resilient_call_rejections_total"
TIMES = "resilient_downstream_state_time_seconds_total"


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    found = Directory(tmp_path / "resilient" / "shop", create=True, app="shop")
    yield found
    found.close()


@pytest.fixture
def keeper(directory: Directory) -> Iterator[Keeper]:
    found = Keeper(directory)
    yield found
    found.close()


class Time(clock.SystemClock):
    """The clock of the host, moved on by hand alone."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0
        now, wall = time.monotonic(), time.time()
        self.now = lambda: now + self.ahead
        self.wall = lambda: wall + self.ahead


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Time:
    moved = Time()
    monkeypatch.setattr(clock.SYSTEM, "now", moved.now)
    monkeypatch.setattr(clock.SYSTEM, "wall", moved.wall)
    return moved


def counted(number: float, name: str = "pay") -> dict[str, list[list[object]]]:
    totals = Totals()
    totals.add(REJECTED, (name, "circuit_breaker", "open"), number)
    return totals.encode()


def total(directory: Directory, name: str = "pay") -> float:
    found, _ = host_totals(directory)
    value = found.value(REJECTED, (name, "circuit_breaker", "open"))
    assert isinstance(value, float)
    return value


def files(directory: Directory) -> list[str]:
    return sorted(path.name for path in (directory.path / FOLDER).iterdir())


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.005)


# -- adding up -----------------------------------------------------------------------------------


def test_the_total_is_the_sum_of_all_who_live_and_all_who_are_gone(directory: Directory, keeper: Keeper) -> None:
    first, second = Shown(directory.path, "a"), Shown(directory.path, "b")
    first.show(totals=counted(3))
    second.show(totals=counted(4))
    assert total(directory) == 7
    first.die()
    assert total(directory) == 7, "dead, and not added up yet"
    assert keeper.tick()
    assert files(directory) == ["b.page"]
    assert total(directory) == 7
    second.show(totals=counted(5))
    assert total(directory) == 8
    _, pages = host_totals(directory)
    assert [page.instance for page in pages] == ["b"]


def test_whoever_is_cut_off_after_adding_up_counts_nobody_twice(directory: Directory, keeper: Keeper) -> None:
    shown = Shown(directory.path, "a")
    shown.show(totals=counted(3))
    shown.die()
    file = shown.own.path
    kept = file.read_bytes()
    assert keeper.tick()
    file.write_bytes(kept)
    file.chmod(0o600)
    assert total(directory) == 3, "its page is still there, and noted as added up"
    assert keeper.tick()
    assert not file.exists()
    assert total(directory) == 3


def test_that_somebody_was_added_up_is_remembered_while_its_page_is_there(directory: Directory) -> None:
    wall = time.time()

    def write(db: Any) -> set[str]:
        db.executemany(
            "INSERT INTO folded VALUES (?, ?)", [("old", wall - 90_000), ("there", wall - 90_000), ("new", wall)]
        )
        sweeping.prune(db, {"there"}, wall)
        return {name for (name,) in db.execute("SELECT instance FROM folded")}

    assert directory.database.write(write) == {"there", "new"}


def test_only_so_many_names_are_told_apart_and_which_ones_never_changes(directory: Directory, keeper: Keeper) -> None:
    highest: dict[tuple[str, ...], float] = {}
    for number in range(8):
        shown = Shown(directory.path, f"p{number}")
        totals = Totals()
        for name in range(number * 37, number * 37 + 60):
            totals.add(REJECTED, (f"d{name % 250}", "circuit_breaker", "open"))
        shown.show(totals=totals.encode())
        for step in range(2):
            found, _ = host_totals(directory)
            assert len(found.downstreams() - {"_other"}) <= TOLD_APART
            assert sum(found.series(REJECTED).values()) == 60 * (number + 1)  # type: ignore[arg-type]
            for labels, value in found.series(REJECTED).items():
                assert value >= highest.get(labels, 0)  # type: ignore[operator]
                highest[labels] = value  # type: ignore[assignment]
            if step == 0:
                shown.die()
                keeper.tick()


def test_a_total_that_cannot_be_told_is_refused_and_not_too_small(directory: Directory) -> None:
    Shown(directory.path, "a").show(totals=counted(3))
    assert total(directory) == 3
    (directory.path / "control.sqlite3").unlink()
    with pytest.raises(ControlUnavailable):
        host_totals(directory)


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["count", "count", "kill", "spawn", "tick", "half", "read", "stale"]), st.integers(0, 3)),
    max_size=30,
)


@settings(max_examples=25)
@given(ACTIONS)
def test_no_total_goes_back_whoever_dies_and_whenever_it_is_read(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int]]
) -> None:
    directory = Directory(tmp_path_factory.mktemp("totals") / "resilient" / "shop", create=True, app="shop")
    keeper, real = Keeper(directory), 0
    living: list[tuple[Shown, list[int]]] = []
    last, born = 0.0, 0
    stale: list[Any] = []
    try:
        for action, which in actions:
            if action == "spawn" and len(living) < 4:
                living.append((Shown(directory.path, f"p{born}"), [0]))
                born += 1
            elif action == "count" and living:
                shown, mine = living[which % len(living)]
                mine[0] += which + 1
                real += which + 1
                shown.show(totals=counted(mine[0]))
            elif action == "kill" and living:
                living.pop(which % len(living))[0].die()
            elif action == "tick":
                keeper.tick()
            elif action == "half":  # killed between the commit and the removal of pages
                dead = [page for page in read_pages(directory.path) if not page.alive]
                several = [(page.instance, "shop", Totals.decode(page.data["totals"])) for page in dead]
                directory.database.write(retained.fold, several, time.time())
            elif action == "stale":  # a reader that has read the pages and is slow to read the record
                stale = read_pages(directory.path)
            found = total(directory)
            assert found == real >= last
            last = found
            if stale:
                slow, folded, _ = directory.database.read(retained._kept)
                for page in stale:
                    if page.instance not in folded:
                        slow.merge(Totals.decode(page.data["totals"]))
                assert sum(slow.series(REJECTED).values()) <= real  # type: ignore[arg-type]
    finally:
        keeper.close()
        directory.close()
        for shown, _ in living:
            shown.die()


# -- who keeps -----------------------------------------------------------------------------------

PROCESS = """
import json, os, sys, time
from resilient.clock import SYSTEM
from resilient.control.directory import Directory
from resilient.control.keeper import Keeper
from resilient.control.page import OwnPage
from resilient.telemetry.totals import Totals
directory = Directory(sys.argv[1])
own = OwnPage(directory.path, sys.argv[2])
keeper, totals = Keeper(directory), Totals()
print("ready", flush=True)
while True:
    totals.add("{metric}", ("pay", "circuit_breaker", "open"))
    own.write(json.dumps({{
        "v": 1, "app": "shop", "beat": SYSTEM.now(), "heartbeat": SYSTEM.wall(), "totals": totals.encode(),
        "statistics": True, "downstreams": {{"pay": {{"state": "closed"}}}}, "keeping": keeper.tick(),
    }}).encode())
    time.sleep(0.01)
"""


@contextmanager
def process(directory: Directory, instance: str) -> Iterator[subprocess.Popen[str]]:
    program = textwrap.dedent(PROCESS.format(metric=REJECTED))
    with subprocess.Popen(
        [sys.executable, "-c", program, str(directory.path), instance], stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()


def keepers(directory: Directory) -> list[str]:
    return [page.instance for page in read_pages(directory.path) if page.alive and page.data["keeping"]]


def test_when_the_keeper_is_killed_another_takes_over_and_counts_it_once(directory: Directory) -> None:
    with process(directory, "a") as first, process(directory, "b") as second, process(directory, "c") as third:
        until(lambda: len(read_pages(directory.path)) == 3 and len(keepers(directory)) == 1)
        children = {"a": first, "b": second, "c": third}
        last = total(directory)
        for _ in range(2):
            (kept,) = keepers(directory)
            children[kept].send_signal(signal.SIGKILL)
            children[kept].wait()
            assert kept not in {page.instance for page in read_pages(directory.path) if page.alive}
            until(lambda gone=kept: f"{gone}.page" not in files(directory))
            for _ in range(20):
                found = total(directory)
                assert found >= last
                last = found
            until(lambda: len(keepers(directory)) == 1)
        pages = read_pages(directory.path)
        assert len(pages) == 1


def test_a_forked_child_does_not_keep_the_office_of_a_killed_parent(directory: Directory) -> None:
    program = """
    import os, sys, time
    from resilient.control.directory import Directory
    from resilient.control.keeper import Keeper
    directory = Directory(sys.argv[1])
    keeper = Keeper(directory)
    assert keeper.tick() and keeper.keeping
    if not os.fork():
        assert not keeper.keeping
        assert not keeper.tick()
        print(os.getpid(), flush=True)
        time.sleep(60)
    time.sleep(60)
    """
    mine = Keeper(directory)
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(directory.path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            assert not mine.tick()
            parent.kill()
            parent.wait()
            assert mine.tick()
        finally:
            os.kill(child, signal.SIGKILL)
            mine.close()


def test_a_keeper_whose_lock_was_removed_takes_the_new_one_or_none(directory: Directory, keeper: Keeper) -> None:
    assert keeper.tick()
    (directory.path / "keeper.lock").unlink()
    other = Keeper(directory)
    assert other.tick()
    assert not keeper.tick()
    other.close()
    assert keeper.tick()


def test_a_keeper_that_gives_up_its_office_leaves_it_to_another(directory: Directory, keeper: Keeper) -> None:
    other = Keeper(directory)
    assert keeper.tick()
    assert not other.tick()
    keeper.close()
    assert not keeper.keeping
    assert other.tick()
    other.close()


# -- tidying up ----------------------------------------------------------------------------------


def test_names_are_remembered_while_no_process_shows_them(directory: Directory, keeper: Keeper) -> None:
    shown = Shown(directory.path, "a", pay=row(), _other=row())
    keeper.tick()
    shown.show(search=row())
    keeper.tick()
    shown.die()
    keeper.tick()
    found = directory.database.read(lambda db: [name for (name,) in db.execute("SELECT name FROM downstreams")])
    assert found == ["pay", "search"]


def test_abandoned_files_are_removed_and_those_of_the_living_are_not(directory: Directory, keeper: Keeper) -> None:
    folder = directory.path / FOLDER
    own = OwnPage(directory.path, "newborn")
    OwnPage(directory.path, "stillborn").close()
    other = OwnPage(directory.path, "another", first=b'{"v": 2}')
    other.close()
    (folder / ".cut.new").write_bytes(b"")
    (folder / "note.txt").write_text("not ours")
    keeper.tick()
    everything = ["another.page", "newborn.page", "note.txt", "stillborn.page", ".cut.new"]
    assert files(directory) == sorted(everything), "all of them are young"
    for path in folder.iterdir():
        os.utime(path, (time.time() - 700, time.time() - 700))
    sweeping.sweep(directory.path, set())
    assert files(directory) == ["another.page", "newborn.page", "note.txt"]
    for path in folder.iterdir():
        os.utime(path, (time.time() - 90_000, time.time() - 90_000))
    sweeping.sweep(directory.path, set())
    assert files(directory) == ["newborn.page", "note.txt"]
    own.close()


def test_events_are_read_on_from_a_cursor_and_the_oldest_make_room(directory: Directory) -> None:
    class Awkward:
        def __str__(self) -> str:
            raise RuntimeError

    assert events_log.append(directory, "a", []) == 0
    assert events_log.newest(directory) == 0
    odd = {"n": 1, "none": None, "nan": float("nan"), "long": "x" * 9_000, "odd": Awkward(), "rate": 0.5}
    batch = [
        (100.0 + n, events.Event("resilient.call.rejected", f"d{n % 2}", odd if n == 0 else {"n": n})) for n in range(6)
    ]
    assert events_log.append(directory, "a", batch) == 6
    first = events_log.read(directory, limit=4)
    assert [each.fields["n"] for each in first] == [1, 1, 2, 3]
    assert (first[0].instance, first[0].at, first[0].downstream) == ("a", 100.0, "d0")
    assert first[0].fields == {**odd, "nan": "nan", "long": "x" * 500, "odd": "<Awkward>"}
    rest = events_log.read(directory, after=first[-1].seq)
    assert [each.fields["n"] for each in rest] == [4, 5]
    assert [each.fields["n"] for each in events_log.read(directory, downstream="d1", since=102)] == [3, 5]
    assert events_log.read(directory, name="resilient.other") == []
    directory.database.write(events_log.prune, 2)
    assert [each.fields["n"] for each in events_log.read(directory)] == [4, 5]
    assert events_log.newest(directory) == rest[-1].seq


# -- incidents -----------------------------------------------------------------------------------


def ticks(keeper: Keeper, host: Time, seconds: int, *shown: tuple[Shown, dict[str, Any]], step: float = 1.0) -> None:
    for _ in range(int(seconds / step)):
        host.ahead += step
        for each, downstreams in shown:
            each.show(**downstreams)
        keeper.tick()


def settle(keeper: Keeper, host: Time, *shown: tuple[Shown, dict[str, Any]]) -> None:
    ticks(keeper, host, 1, *shown)
    ticks(keeper, host, 65, *shown, step=5.0)


def rows_of(directory: Directory, columns: str, table: str) -> list[tuple[Any, ...]]:
    return directory.database.read(lambda db: list(db.execute(f"SELECT {columns} FROM {table} ORDER BY 1")))


def test_an_incident_is_recorded_told_and_counted(directory: Directory, keeper: Keeper, host: Time) -> None:
    heard: list[events.Event] = []
    stop = events.subscribe(heard.append)
    shown = Shown(directory.path, "a")
    try:
        ticks(keeper, host, 5, (shown, {"pay": row()}))
        ticks(keeper, host, 20, (shown, {"pay": row("open", cause="consecutive")}))
        (told,) = overview(directory, now=time.time())["downstreams"]
        assert told["incidents"]["open"] is True
        settle(keeper, host, (shown, {"pay": row()}))
    finally:
        stop()
    ((name, planned, cause, started, ended),) = rows_of(
        directory, "downstream, planned, cause, started_at, ended_at", "incidents"
    )
    assert (name, planned, cause) == ("pay", 0, "consecutive")
    assert ended - started == pytest.approx(20, abs=0.5)
    named = [(event.name, event.downstream) for event in heard if "incident" in event.name]
    assert named == [("resilient.incident.opened", "pay"), ("resilient.incident.closed", "pay")]
    keeper.close()
    found, _ = host_totals(directory)
    assert found.value("resilient_incidents_total", ("pay", "false")) == 1
    lasted = found.value("resilient_incident_duration_seconds", ("pay", "false"))
    assert isinstance(lasted, list)
    assert lasted[0] == pytest.approx(20, abs=0.5)
    times = {labels[1:]: value for labels, value in found.series(TIMES).items()}
    assert times["down", "false"] == pytest.approx(20, abs=0.5)
    assert times["up", "false"] == pytest.approx(70, abs=0.5)
    recorded = rows_of(directory, "state, seconds", "downstream_time")
    assert recorded == [(state, pytest.approx(times[state, "false"], abs=0.01)) for state in ("down", "up")]


@pytest.mark.parametrize("kind", ["hold", "window"])
def test_trouble_under_a_hold_or_in_a_window_is_planned(
    directory: Directory, keeper: Keeper, host: Time, kind: str
) -> None:
    put(directory, hold("pay") if kind == "hold" else window("p*"))
    shown = Shown(directory.path, "a")
    ticks(keeper, host, 5, (shown, {"pay": row("forced_open", share=0.0), "part": row("forced_open", share=0.5)}))
    assert rows_of(directory, "downstream, planned, cause", "incidents") == [("pay", 1, "hold")]


def test_another_keeper_goes_on_with_the_incidents(directory: Directory, host: Time) -> None:
    shown = Shown(directory.path, "a")
    for number in range(4):
        keeper = Keeper(directory)
        if number < 3:
            ticks(keeper, host, 10, (shown, {"pay": row("open")}))
        else:
            settle(keeper, host, (shown, {"pay": row()}))
        keeper.close()
    ((started, ended),) = rows_of(directory, "started_at, ended_at", "incidents")
    assert ended - started == pytest.approx(30, abs=1)


def test_a_killed_keeper_loses_no_incident_and_a_few_seconds_at_most(directory: Directory, host: Time) -> None:
    shown = Shown(directory.path, "a")
    killed = Keeper(directory)
    ticks(killed, host, 3, (shown, {"pay": row("open")}))
    from resilient.control import locks

    assert killed._fd is not None
    locks.release(killed._fd)  # as the kernel does, and nothing else happens
    killed._fd = None
    keeper = Keeper(directory)
    ticks(keeper, host, 10, (shown, {"pay": row("open")}))
    settle(keeper, host, (shown, {"pay": row()}))
    keeper.close()
    ((started, ended),) = rows_of(directory, "started_at, ended_at", "incidents")
    assert ended - started == pytest.approx(13, abs=1)
    found = dict(rows_of(directory, "state, seconds", "downstream_time"))
    assert found["down"] == pytest.approx(13, abs=6)


def test_what_is_not_recorded_now_is_recorded_another_time(
    directory: Directory, keeper: Keeper, host: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = Shown(directory.path, "a")
    ticks(keeper, host, 2, (shown, {"pay": row()}))

    def fail(*_: object) -> None:
        message = "the disk is full"
        raise ControlUnavailable(message)

    with monkeypatch.context() as patch:
        patch.setattr(watching.retained, "add", fail)
        for state in ("open", "closed"):
            for _ in range(14):
                with suppress(ControlUnavailable):
                    ticks(keeper, host, 5, (shown, {"pay": row(state)}), step=5.0)
    assert rows_of(directory, "id", "incidents") == []
    ticks(keeper, host, 6, (shown, {"pay": row()}))
    ((started, ended),) = rows_of(directory, "started_at, ended_at", "incidents")
    assert ended - started == pytest.approx(70, abs=1)
    keeper.close()
    assert sum(seconds for (seconds,) in rows_of(directory, "seconds", "downstream_time")) == pytest.approx(147, abs=1)
    assert host_totals(directory)[0].value("resilient_incidents_total", ("pay", "false")) == 1


def test_a_state_that_was_lost_loses_no_incident_under_way(directory: Directory, host: Time) -> None:
    shown = Shown(directory.path, "a")
    keeper = Keeper(directory)
    ticks(keeper, host, 5, (shown, {"pay": row("open")}))
    keeper.close()
    directory.database.write(lambda db: db.execute("UPDATE meta SET value = 'no JSON' WHERE key = 'incidents'"))
    keeper = Keeper(directory)
    ticks(keeper, host, 5, (shown, {"pay": row("open")}))
    settle(keeper, host, (shown, {"pay": row()}))
    keeper.close()
    ((started, ended),) = rows_of(directory, "started_at, ended_at", "incidents")
    assert ended - started == pytest.approx(10, abs=1)


def test_where_not_all_downstreams_have_room_those_not_shown_are_closed(
    directory: Directory, keeper: Keeper, host: Time
) -> None:
    shown = Shown(directory.path, "a")
    ticks(keeper, host, 5, (shown, {"pay": row("open")}))
    settle(keeper, host, (shown, {"_other": row()}))
    ((ended,),) = rows_of(directory, "ended_at", "incidents")
    assert ended is not None


def test_holds_whose_time_is_over_are_written_down(directory: Directory, keeper: Keeper, host: Time) -> None:
    put(directory, hold("pay", ttl=30))
    Shown(directory.path, "a")
    keeper.tick()
    assert rows_of(directory, "status", "holds") == [("active",)]
    host.ahead += 31
    clock_before = clock.install(clock.SYSTEM)
    try:
        keeper.tick()
    finally:
        clock.install(clock_before)
    assert rows_of(directory, "status", "holds") == [("expired",)]


def test_what_stands_in_the_record_is_plain_json(directory: Directory, keeper: Keeper, host: Time) -> None:
    ticks(keeper, host, 7, (Shown(directory.path, "a"), {"pay": row("open")}))
    for (text,) in rows_of(directory, "payload", "retained"):
        assert json.loads(text)
