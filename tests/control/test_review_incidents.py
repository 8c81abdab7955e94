"""Incidents at the very edges: what a planted fault of one second, or of another boot, would change."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from resilient import events
from resilient.control import retained, sweeping
from resilient.control.directory import Directory
from resilient.control.history import histories
from resilient.control.incidents import LONGEST, LOST, SETTLE
from resilient.control.intent import Hold, Intent
from resilient.control.looking import looks
from resilient.control.pages import PageView
from resilient.control.watching import Watching
from tests.control._rows import hold, put, row, window
from tests.control.test_incidents import DOWN, UP, Told


def test_the_longest_step_counts_and_a_longer_one_does_not():
    assert Told().look(UP).look(UP, 2, LONGEST).kept.take_times() == {("pay", "up", False): 2 * LONGEST}
    assert Told().look(UP).look(UP, 2, LONGEST + 0.001).kept.take_times() == {}


def test_a_second_in_which_it_was_not_seen_settles_nothing():
    told = Told().look(DOWN).look(UP, int(SETTLE)).look(None).look(UP)
    assert told.over == [], "59 s were seen"
    told.look(UP)
    assert len(told.over) == 1


def test_a_downstream_that_is_looked_for_in_vain_is_over_after_an_hour_to_the_second():
    told = Told().look(DOWN, 5).look(None, int(LOST) - 1)
    assert told.over == []
    told.look(None)
    assert told.lasted == [4.0], "it ended when it was seen last"


@pytest.mark.parametrize("later", [1.0, 1_000.0])
def test_another_start_of_the_host_is_noticed_though_its_clock_is_ahead_of_the_old_one(later):
    told = Told().look(UP, 5).look(DOWN)
    told.kept.take_times()
    told.boot = "another"
    told.look(DOWN, 1, later)
    assert told.kept.take_times() == {}, "nobody knows how long it was off"
    told.look(UP).look(UP, int(SETTLE))
    assert told.lasted == [pytest.approx(later + 1.0)]


def test_another_start_of_the_host_makes_what_was_closed_before_it_no_settled_time():
    told = Told().look(DOWN).look(UP, int(SETTLE))
    told.boot = "another"
    told.look(UP)
    assert told.over == []
    told.look(UP, int(SETTLE))
    assert len(told.over) == 1


def test_time_up_counts_be_it_planned_or_not(tmp_path):
    directory = Directory(tmp_path / "control", create=True)

    def write(db: sqlite3.Connection) -> None:
        db.execute(
            "INSERT INTO incidents (downstream, started_at, ended_at, planned, cause) VALUES ('pay', 1, 2, 0, '')"
        )
        db.executemany("INSERT INTO downstream_time VALUES ('pay', 'up', ?, ?)", [(0, 60.0), (1, 40.0)])

    directory.database.write(write)
    assert directory.database.read(histories, 100.0)["pay"].told()["mtbf_s"] == 100.0
    directory.close()


def test_names_that_come_and_go_leave_no_endless_table_of_times(tmp_path):
    directory = Directory(tmp_path / "control", create=True)

    def write(db: sqlite3.Connection) -> None:
        names = [f"tenant-{number}" for number in range(3 * retained.KNOWN)]
        db.executemany("INSERT INTO downstream_time VALUES (?, 'up', 0, 1.0)", [(name,) for name in names])
        retained.name_all(db, names, 1.0)
        sweeping.prune(db, (), 1.0)
        retained.name_all(db, ["one-more"], 1.0)
        (known,) = db.execute("SELECT count(*) FROM downstreams").fetchone()
        assert known == retained.KNOWN
        (left,) = db.execute("SELECT count(*) FROM downstream_time").fetchone()
        assert left == retained.KNOWN
        assert db.execute("SELECT 1 FROM downstream_time WHERE downstream = 'tenant-0'").fetchone()

    directory.database.write(write)
    directory.close()


@pytest.mark.parametrize("record", [hold("pay", "no_retries"), window("p*", mode="no_retries")])
def test_trouble_while_only_retries_are_off_was_not_planned(record):
    intent = Intent(holds=(record,)) if isinstance(record, Hold) else Intent(windows=(record,))
    page = PageView("one", True, {"downstreams": {"pay": row("open")}}, 0.0, Path("one.page"))
    assert not looks([page], intent, time.time())["pay"].covered


def pages(*rows):
    return [PageView(f"p{n}", True, {"downstreams": {"pay": each}}, 0.0, Path("x")) for n, each in enumerate(rows)]


@pytest.mark.parametrize(
    ("rows", "own"),
    [
        ([row("open"), row("open"), row("closed")], 2),
        ([row("forced_open", share=0.0), row("half_open"), row("closed", ramping=True)], 0),
        ([row("forced_open", share=0.0, breakers={"breaker": {"state": "open"}})], 0),
        ([row("open", share=0.5, holds=["h-1"])], 1),
    ],
)
def test_only_a_breaker_that_is_open_by_itself_is_a_failure_after_a_release(rows, own):
    assert looks(pages(*rows), Intent(), time.time())["pay"].own == own


def test_the_cause_of_a_failure_after_a_release_is_not_the_hold_that_a_page_still_shows():
    there = pages(row("forced_open", share=0.0, since=50.0, cause="hold"), row("open", since=60.0, cause="consecutive"))
    assert looks(there, Intent(), time.time())["pay"].cause == "consecutive"


def test_an_outage_right_after_a_release_is_told_and_kept_as_another_incident(tmp_path):
    directory = Directory(tmp_path / "control", create=True)
    put(directory, hold("pay"))
    watching = Watching(directory)
    watching.look(pages(row("forced_open", share=0.0)))
    told: list[str] = []
    stop = events.subscribe(lambda event: told.append(f"{event.name} {event.fields.get('planned')}"))
    directory.database.write(lambda db: db.execute("DELETE FROM holds"))
    watching.look(pages(row("closed")))
    watching.look(pages(row("open", cause="consecutive")))
    stop()
    assert told == ["resilient.incident.closed True", "resilient.incident.opened False"]
    kept = directory.database.read(lambda db: db.execute("SELECT planned, ended_at IS NULL FROM incidents").fetchall())
    assert kept == [(1, 0), (0, 1)]
    directory.close()
