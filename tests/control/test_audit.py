"""The audit's chain: an edited, removed or moved row shows; a cut end shows against a head that was kept elsewhere."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import asdict

import pytest

from resilient.control import audit
from resilient.control.schema import GENESIS
from tests.control._record import ANN, BOB, ROOT, Desk, refused


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    for who in (ANN, BOB, ROOT):
        made.trip(who=who, reason=f"{who.actor} tests")
    with refused("unknown"):
        made.trip("nobody")
    made.operations.release("payments", who=BOB)
    yield made
    made.close()


def change(desk: Desk, *statements: str) -> None:
    """Do what somebody who may write to the file can do."""
    with sqlite3.connect(desk.directory.database.path) as db:
        for statement in statements:
            db.execute(statement)
    db.close()


def faults(desk: Desk, known: tuple[int, str] | None = None) -> list[tuple[int, str]]:
    found = desk.operations.verify_audit(known)
    assert found.ok == (not found.faults)
    return [(each["seq"], each["problem"]) for each in found.faults]


def test_a_chain_as_it_was_written_is_sound(desk):
    found = desk.operations.verify_audit()
    assert (found.ok, found.rows, found.faults, found.compared) == (True, 5, [], False)
    assert (found.head_seq, found.head_hash) == desk.operations.audit_head()
    assert "cut off" in found.caveat


def test_an_empty_chain_is_sound(tmp_path):
    desk = Desk(tmp_path)
    found = desk.operations.verify_audit()
    assert (found.ok, found.rows, found.head_seq, found.head_hash) == (True, 0, 0, GENESIS)
    desk.close()


def test_the_hash_is_the_one_that_is_written_down(desk):
    """As documented, so that others can check it: SHA-256 over the hash before, and the columns as JSON."""
    before = GENESIS
    for row in desk.operations.audit():
        columns = asdict(row)
        stored = columns.pop("hash")
        assert columns.pop("prev_hash") == before
        text = json.dumps(list(columns.values()), sort_keys=True, separators=(",", ":"))
        assert stored == hashlib.sha256((before + text).encode()).hexdigest()
        before = stored


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("at", "at + 1"),
        ("actor", "'mallory'"),
        ("role", "'viewer'"),
        ("via", "'code'"),
        ("action", "'release'"),
        ("target", "'stock'"),
        ("request", "'{}'"),
        ("before", "'{}'"),
        ("after", "'null'"),
        ("outcome", "'refused'"),
        ("reason", "reason || '.'"),
    ],
)
def test_an_edited_row_shows(desk, column, value):
    change(desk, f"UPDATE audit SET {column} = {value} WHERE seq = 3")
    assert faults(desk) == [(3, "it was edited")]


def test_an_edited_row_with_a_hash_that_fits_shows_at_the_next_one(desk):
    change(desk, "UPDATE audit SET actor = 'mallory' WHERE seq = 3")
    row = desk.operations.audit()[2]
    change(desk, f"UPDATE audit SET hash = '{row.sealed()}' WHERE seq = 3")
    assert faults(desk) == [(4, "it does not follow the row before it: rows were moved or replaced")]


def test_a_removed_row_shows(desk):
    change(desk, "DELETE FROM audit WHERE seq = 3")
    assert faults(desk) == [(4, "rows 3 to 3 are missing")]


def test_a_removed_row_shows_when_the_others_close_ranks(desk):
    change(desk, "DELETE FROM audit WHERE seq = 3", "UPDATE audit SET seq = seq - 1 WHERE seq > 3")
    assert (3, "it was edited") in faults(desk)


def test_a_removed_beginning_shows(desk):
    change(desk, "DELETE FROM audit WHERE seq < 3")
    assert faults(desk) == [(3, "rows 1 to 2 are missing")]


def test_moved_rows_show(desk):
    change(
        desk,
        "UPDATE audit SET seq = 99 WHERE seq = 2",
        "UPDATE audit SET seq = 2 WHERE seq = 3",
        "UPDATE audit SET seq = 3 WHERE seq = 99",
    )
    assert {seq for seq, _ in faults(desk)} == {2, 3, 4}


def test_an_end_that_was_cut_off_carelessly_shows(desk):
    change(desk, "DELETE FROM audit WHERE seq > 3")
    assert faults(desk) == [(5, "the newest row was number 5; rows were cut off or added")]
    desk.trip("stock")
    assert not desk.operations.verify_audit().ok


def test_an_end_that_was_cut_off_with_care_shows_only_against_a_head_from_elsewhere(desk):
    known = desk.operations.audit_head()
    change(
        desk,
        "DELETE FROM audit WHERE seq > 3",
        "UPDATE meta SET value = 3 WHERE key = 'audit_seq'",
        "UPDATE meta SET value = (SELECT hash FROM audit WHERE seq = 3) WHERE key = 'audit_hash'",
    )
    assert faults(desk) == [], "this is what a chain cannot show, and its caveat says so"
    assert faults(desk, known) == [(5, "the row with the given hash is not there")]


def test_a_chain_that_was_written_anew_shows_only_against_a_head_from_elsewhere(desk):
    known = desk.operations.audit_head()
    change(desk, "UPDATE audit SET actor = 'mallory' WHERE seq = 1")
    before = GENESIS
    for row in desk.operations.audit():
        change(desk, f"UPDATE audit SET prev_hash = '{before}' WHERE seq = {row.seq}")
        before = desk.operations.audit()[row.seq - 1].sealed()
        change(desk, f"UPDATE audit SET hash = '{before}' WHERE seq = {row.seq}")
    change(desk, f"UPDATE meta SET value = '{before}' WHERE key = 'audit_hash'")
    assert faults(desk) == []
    assert faults(desk, known) == [(5, "the row with the given hash is not there")]


def test_any_row_that_was_logged_once_can_be_compared(desk):
    for row in desk.operations.audit():
        found = desk.operations.verify_audit((row.seq, row.hash))
        assert (found.ok, found.compared) == (True, True)
    assert not desk.operations.verify_audit((1, "0" * 64)).ok


def test_what_is_wrong_is_told_twenty_times_at_most(tmp_path):
    desk = Desk(tmp_path)
    for _ in range(30):
        with refused("unknown"):
            desk.trip("nobody")
    change(desk, "UPDATE audit SET actor = 'mallory'")
    assert len(desk.operations.verify_audit().faults) == 20
    desk.close()


def test_a_dry_run_and_a_look_leave_no_row(desk):
    before = desk.operations.audit_head()
    desk.trip("stock", dry_run=True)
    desk.operations.holds(ended=True)
    desk.operations.verify_audit()
    assert desk.operations.audit_head() == before


def test_rows_are_found_by_what_they_say(desk):
    def numbers(**more):
        return [row.seq for row in desk.operations.audit(**more)]

    assert numbers() == [1, 2, 3, 4, 5]
    assert numbers(after=3) == [4, 5]
    assert numbers(limit=2) == [1, 2]
    assert numbers(limit=2, latest=True) == [4, 5]
    assert numbers(actor="bob") == [2, 5]
    assert numbers(action="release") == [5]
    assert numbers(outcome="refused") == [4]
    assert numbers(target="nobody", via="api") == [4]
    assert numbers(actor="") == numbers()
    with refused("invalid", "no such filter: colour"):
        numbers(colour="red")


def test_whatever_was_asked_can_be_written_down(desk):
    for junk in (object(), "\ud800", "x" * 10_000, 1 << 80, float("nan"), {"a": {1: b"\xff"}}, ["\0"]):
        with refused("invalid"):
            desk.trip(reason=junk, ttl=junk)
    assert desk.operations.verify_audit().ok
    assert max(len(row.request) for row in desk.operations.audit()) < 5_000
    assert audit.CAVEAT
