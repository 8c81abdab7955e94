"""The record against those who edit it, and against requests that are made to mislead who reads of them."""

from __future__ import annotations

import logging
import sqlite3
import time

import pytest

from resilient.control import config, rows
from resilient.control.database import Database
from resilient.control.directory import Directory
from resilient.control.errors import ControlUnavailable, Refused
from resilient.control.moment import Moment
from resilient.control.overview import overview
from resilient.control.sweep import due
from resilient.errors import ConfigError
from resilient.testing import FakeClock, use
from tests.control._record import ANN, BOB, ROOT, Desk, refused
from tests.control._rows import Shown, hold, put, row, window
from tests.control.test_audit import change, faults

REASON = "the data centre is on fire"


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    yield made
    made.close()


# -- an edited record ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "edit",
    [
        "reason = x'ff00'",
        "at = 9e999",
        "at = x'00'",
        "request = CAST('{}' AS BLOB)",
        "hash = x'00'",
        "prev_hash = x'00', hash = x'00'",
    ],
)
def test_a_row_that_was_edited_to_what_no_row_holds_is_a_finding_like_any_other(desk, edit):
    desk.trip()
    desk.trip("stock")
    change(desk, f"UPDATE audit SET {edit} WHERE seq = 1")
    assert (1, "it was edited") in faults(desk)


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE meta SET value = 'abc' WHERE key = 'audit_seq'",
        "UPDATE meta SET value = x'02' WHERE key = 'audit_seq'",
        "DELETE FROM meta WHERE key = 'audit_seq'",
        "DELETE FROM meta WHERE key = 'audit_hash'",
        "UPDATE meta SET value = 1 WHERE key = 'audit_seq'",
        "UPDATE meta SET value = 'ab' WHERE key = 'audit_hash'",
    ],
)
def test_a_head_that_was_edited_shows(desk, edit):
    desk.trip()
    desk.trip("stock")
    change(desk, edit)
    ((_, problem),) = faults(desk)
    assert "rows were cut off or added" in problem


def test_rows_that_were_put_in_before_the_first_show(desk):
    desk.trip()
    change(desk, "INSERT INTO audit SELECT 0, " + "at, actor, role, via, action, target, request, before, after,"
           " outcome, reason, prev_hash, hash FROM audit WHERE seq = 1")  # fmt: skip
    assert not desk.operations.verify_audit().ok


def test_nothing_is_changed_when_the_head_of_the_audit_was_removed(desk):
    desk.trip()
    change(desk, "DELETE FROM meta WHERE key = 'audit_seq'")
    with refused("audit", "nothing was changed"):
        desk.trip("stock")
    assert desk.actives() == {("payments", "ann", "forced_open")}


@pytest.mark.parametrize("edit", ["DELETE FROM meta WHERE key = 'revision'", "UPDATE meta SET value = 'x'"])
def test_an_edited_revision_is_named(desk, edit):
    change(desk, edit)
    with pytest.raises(ControlUnavailable, match="somebody has edited its value of 'revision'"):
        desk.directory.load()
    with pytest.raises(ControlUnavailable, match="somebody has edited"):
        desk.trip()


# -- requests that mislead -------------------------------------------------------------------


@pytest.mark.parametrize(
    "ask",
    [
        lambda desk: desk.trip(who=ROOT, reason=REASON, break_glass=["x\nplace 'stock' by bob\x1b[2J"]),
        lambda desk: desk.operations.set_rules([{"id": "a", "kind": "never", "x\nplace": 1}], who=ROOT),
        lambda desk: desk.trip("x\nplace"),
        lambda desk: desk.operations.end_window("w\u202e\n", who=ANN, reason="a test"),
        lambda desk: desk.operations.extend("\x1b]0;x\x07", who=ANN, ttl=5),
    ],
)
def test_no_request_can_put_a_line_of_its_own_into_the_log(desk, caplog, ask):
    caplog.set_level(logging.INFO, "resilient.audit")
    with refused("invalid"):
        ask(desk)
    (said,) = caplog.messages
    assert said.isprintable()
    assert desk.operations.audit(latest=True, limit=1)[0].reason.isprintable()


@pytest.mark.parametrize("given", [[5], [["n-1"]], [None], [""], [{"a": 1}]])
def test_a_rule_to_override_that_is_no_name_is_refused(desk, given):
    with pytest.raises(Refused) as caught:
        desk.trip(who=ROOT, reason=REASON, break_glass=given)
    assert caught.value.kind == "invalid"
    assert caught.value.details["parameter"] == "break_glass"


# -- a long record ---------------------------------------------------------------------------


def test_a_downstream_with_a_long_past_is_tripped_as_fast(desk, monkeypatch):
    desk.trip()

    def age(db: sqlite3.Connection) -> None:
        columns = "role, via, action, target, request, before, after, outcome, reason, prev_hash, hash"
        db.execute(
            "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)"
            f" INSERT INTO audit (seq, at, actor, {columns}) SELECT i, 1.0, 'ann', {columns}"
            " FROM n, (SELECT * FROM audit WHERE seq = 1)"
        )
        db.execute("UPDATE meta SET value = 60000 WHERE key = 'audit_seq'")

    desk.directory.database.write(age)
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    def watched(db: sqlite3.Connection, function, *args):
        db.set_progress_handler(count, 100)
        try:
            return function(db, *args)
        finally:
            db.set_progress_handler(None, 0)

    write = Database.write
    monkeypatch.setattr(Database, "write", lambda self, *args, **more: write(self, watched, *args, **more))
    desk.trip(who=BOB)
    assert 0 < steps < 600


def test_a_thousand_holds_are_read_within_the_time_of_a_call(desk):
    put(desk.directory, *(hold(f"n{number}", id=f"h{number}") for number in range(1_000)))
    put(desk.directory, *(window(f"n{number}*", starts=60, id=f"w{number}") for number in range(200)))
    begun = time.perf_counter()
    intent = desk.directory.load()
    assert time.perf_counter() - begun < 1.0, "about 20 ms"
    assert (len(intent.holds), len(intent.windows)) == (1_000, 200)


def test_what_is_over_is_not_looked_through_for_what_is_in_force(desk):
    """Neither by processes, whose calls may wait for it, nor each second by the keeper."""
    for table in ("holds", "windows"):
        seen: list[str] = []

        def plans(db: sqlite3.Connection, table: str = table, seen: list[str] = seen) -> None:
            statements: list[str] = []
            db.set_trace_callback(statements.append)
            rows.load(db, 1.0, 1.0, "")
            due(db, Moment.current())
            db.set_trace_callback(None)
            for each in statements:
                if f"FROM {table}" in each:
                    seen.extend(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {each}"))

        desk.directory.database.read(plans)
        found = [each for each in seen if "B-TREE" not in each]
        assert len(found) == 2
        assert all("one_each" in each or "windows_left" in each for each in found), found


@pytest.mark.parametrize("kind", [[], [1], {}, 5, True, None, 1.5])
def test_a_rule_of_a_kind_that_is_no_word_is_a_problem_of_the_file_and_no_crash(kind):
    with pytest.raises(ConfigError, match="kind"):
        config.parse_rules({"rules": [{"id": "a", "kind": kind, "n": 1}]})


# -- planted faults that nothing else caught -------------------------------------------------


def test_a_change_and_a_refusal_wait_for_the_disk(desk, monkeypatch):
    """What an operator was told must survive a loss of power."""
    how = []
    write = Database.write
    monkeypatch.setattr(
        Database, "write", lambda self, *args, **more: how.append(more["durable"]) or write(self, *args, **more)
    )
    hold_id = desk.trip().id
    desk.operations.extend(hold_id, who=ANN, note="as before")
    desk.operations.release("payments", who=ANN)
    with refused("unknown"):
        desk.trip("nobody")
    assert how == [True] * 5


def test_a_hold_that_takes_the_place_of_ones_own_has_been_there_since_then(tmp_path):
    with use(FakeClock()) as clock:
        desk = Desk(tmp_path)
        first = desk.operations.hold(desk.trip().id)
        clock.advance(30)
        second = desk.operations.hold(desk.trip(percent=50).id)
        assert (second.id, second.created_at) == (first.id, first.created_at)
        assert second.expires_at == first.expires_at + 30
        desk.close()


def test_a_share_that_calls_come_back_with_is_not_hidden_by_a_hold_that_lets_more_pass(tmp_path):
    directory = Directory(tmp_path / "control", create=True)
    process = Shown(directory.path, "one", pay=row("half_open", share=0.2), stock=row("closed", share=0.9))
    put(directory, hold("pay", percent=50), hold("stock", percent=50))
    shares = {each["name"]: each["share"] for each in overview(directory, now=time.time())["downstreams"]}
    assert shares == {"pay": 0.2, "stock": 0.5}
    process.die()
    directory.close()
