"""What operators ask for is done, recorded and announced; and what they may not do is refused, with the reason."""

from __future__ import annotations

import json
import logging
import math
import pickle
import sqlite3
import time
from dataclasses import asdict

import pytest

from resilient.control.errors import ControlUnavailable, Refused
from resilient.control.ledger import Ledger
from resilient.control.receipts import Who
from resilient.errors import ConfigError
from resilient.testing import FakeClock, use
from tests.control._record import ANN, BOB, EVE, NAMES, ROOT, SHELL, Desk, plan, refused


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    yield made
    made.close()


def rows_of(desk: Desk) -> list[tuple[str, str, str, str]]:
    return [(row.actor, row.action, row.target, row.outcome) for row in desk.operations.audit()]


# -- placing ---------------------------------------------------------------------------------


def test_a_hold_is_recorded_audited_and_announced(desk):
    before = desk.directory.epoch.word[0]
    receipt = desk.trip(reason="  disk is full ", ticket="T-1", percent=30, disposition="reject")
    assert desk.directory.epoch.word[0] > before
    (hold,) = desk.directory.load().holds
    assert desk.directory.load().revision == hold.revision == receipt.revision == 1
    assert (hold.id, hold.target, hold.mode, hold.percent) == (receipt.id, "payments", "forced_open", 30)
    assert (hold.reason, hold.ticket, hold.disposition) == ("disk is full", "T-1", "reject")
    assert (hold.actor, hold.via, hold.status, hold.ttl) == ("ann", "api", "active", 600)
    assert hold.expires_at - hold.created_at == pytest.approx(600)
    assert hold.ends - time.monotonic() == pytest.approx(600, abs=5)
    assert (receipt.status, receipt.effective, receipt.masked_by) == ("active", "forced_open", [])
    assert receipt.expires_at == hold.expires_at
    assert receipt.impact == {"calls_per_s": 2.5, "in_flight": 3}
    (row,) = desk.operations.audit()
    assert (row.seq, row.hash) == (receipt.audit_seq, receipt.audit_hash) == desk.operations.audit_head()
    assert (row.actor, row.role, row.via, row.action, row.target) == ("ann", "operator", "api", "place", "payments")
    assert (row.outcome, row.reason, json.loads(row.before)) == ("done", "disk is full", None)
    assert json.loads(row.after) == asdict(hold) | {"notes": []}


def test_the_impact_is_that_of_all_processes(desk):
    desk.show("p-2", rate=10, in_flight=1)
    assert desk.trip().impact == {"calls_per_s": 12.5, "in_flight": 4}


def test_holds_of_several_actors_coexist_and_the_most_restrictive_counts(desk):
    first = desk.trip(who=ANN, mode="observe")
    second = desk.trip(who=BOB, mode="forced_open", percent=20)
    third = desk.trip(who=ROOT, mode="forced_closed")
    assert (second.effective, second.masked_by) == ("forced_open", [])
    assert (third.effective, set(third.masked_by)) == ("forced_open", {first.id, second.id})
    left = desk.operations.release("payments", who=BOB)
    assert (left.status, left.effective, left.expires_at) == ("released", "observe", None)
    assert desk.actives() == {("payments", "ann", "observe"), ("payments", "boss", "forced_closed")}


def test_a_larger_share_masks_a_smaller_one(desk):
    all_ = desk.trip(who=ANN)
    assert desk.trip(who=BOB, percent=30).masked_by == [all_.id]


def test_an_actor_has_one_hold_on_a_target_and_the_new_one_takes_its_place(desk):
    first = desk.trip(ttl=60)
    note = desk.operations.extend(first.id, note="seen by ops", who=ANN)
    second = desk.trip(mode="observe", reason="calmer now", ttl=300)
    assert (second.id, second.revision) == (first.id, note.revision + 1)
    (hold,) = desk.operations.holds()
    assert (hold.mode, hold.reason, hold.ttl, hold.notes) == ("observe", "calmer now", 300, ("seen by ops",))
    before, after = (json.loads(getattr(desk.operations.audit()[-1], name)) for name in ("before", "after"))
    assert (before["mode"], after["mode"]) == ("forced_open", "observe")


def test_retries_are_held_beside_calls(desk):
    desk.trip()
    off = desk.trip(mode="no_retries")
    assert (off.effective, off.masked_by) == ("forced_open", [])
    assert desk.actives() == {("payments", "ann", "forced_open"), ("payments", "ann", "no_retries")}
    on = desk.operations.release("payments", who=ANN, retries=True)
    assert on.id == off.id
    assert desk.actives() == {("payments", "ann", "forced_open")}
    with refused("unknown"):
        desk.operations.release("payments", who=ANN, retries=True)


def test_retries_alone_are_what_counts_if_nothing_else_is_held(desk):
    assert desk.trip(mode="no_retries").effective == "no_retries"
    assert desk.operations.release("payments", who=ANN, retries=True).effective == "auto"


@pytest.mark.parametrize(
    ("given", "parameter"),
    [
        ({"reason": ""}, "reason"),
        ({"reason": " ab "}, "reason"),
        ({"reason": "x" * 201}, "reason"),
        ({"reason": "two\nlines"}, "reason"),
        ({"reason": None}, "reason"),
        ({"ttl": 0.5}, "ttl"),
        ({"ttl": 86_401}, "ttl"),
        ({"ttl": math.nan}, "ttl"),
        ({"ttl": math.inf}, "ttl"),
        ({"ttl": "60"}, "ttl"),
        ({"ttl": True}, "ttl"),
        ({"ttl": None}, "ttl"),
        ({"mode": "open"}, "mode"),
        ({"mode": None}, "mode"),
        ({"mode": []}, "mode"),
        ({"percent": 0}, "percent"),
        ({"percent": 101}, "percent"),
        ({"percent": 10.0}, "percent"),
        ({"percent": True}, "percent"),
        ({"percent": 50, "mode": "observe"}, "percent"),
        ({"disposition": "defer"}, "disposition"),
        ({"disposition": "reject", "mode": "forced_closed"}, "disposition"),
        ({"ticket": "x" * 201}, "ticket"),
        ({"ticket": 7}, "ticket"),
        ({"target": ""}, "target"),
        ({"target": "a\0b"}, "target"),
        ({"target": "\ud800"}, "target"),
        ({"target": 7}, "target"),
    ],
)
def test_what_is_wrong_is_told_by_its_parameter(desk, given, parameter):
    with refused("invalid", parameter) as caught:
        desk.trip(**{"allow_unknown": True, **given})
    assert caught.value.details["parameter"] == parameter
    assert desk.directory.load().holds == ()
    (row,) = desk.operations.audit()
    assert (row.outcome, row.reason[:8]) == ("refused", "invalid:")
    assert desk.operations.verify_audit().ok


def test_all_that_is_wrong_is_told_at_once(desk):
    with refused("invalid") as caught:
        desk.trip(reason="", ttl=-1, percent=0)
    assert [each["parameter"] for each in caught.value.details["errors"]] == ["percent", "reason", "ttl"]


def test_reason_and_time_have_no_default(desk):
    with pytest.raises(TypeError, match="reason"):
        desk.operations.place("payments", "forced_open", ttl=60, who=ANN)
    with pytest.raises(TypeError, match="ttl"):
        desk.operations.place("payments", "forced_open", reason="a test", who=ANN)


@pytest.mark.parametrize(
    "parts", [("", "admin", "cli"), ("a\nb", "admin", "cli"), ("a", "root", "cli"), ("a", "admin", "")]
)
def test_nobody_asks_without_a_name_a_role_and_a_way(parts):
    with pytest.raises(ConfigError):
        Who(*parts)


# -- names -----------------------------------------------------------------------------------


def test_a_slip_of_the_pen_is_refused_with_what_was_meant(desk):
    with refused("unknown", "did you mean payments") as caught:
        desk.trip("paymnets")
    assert caught.value.details == {"close_matches": ["payments"]}
    assert desk.directory.load().holds == ()


def test_a_name_may_be_held_before_it_is_used(desk):
    desk.trip("later", allow_unknown=True)
    assert desk.actives() == {("later", "ann", "forced_open")}
    desk.trip("later", who=BOB)


def test_a_name_that_was_ever_used_is_known(desk):
    desk.directory.database.write(lambda db: db.execute("INSERT INTO downstreams VALUES ('former', 1.0)"))
    desk.trip("former")
    desk.pages["p-1"].close()
    with refused("unknown"):
        desk.trip("payments")


def test_a_broken_page_does_not_stop_a_trip(desk, monkeypatch):
    def broken(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("resilient.control.views.read_pages", broken)
    assert desk.trip(allow_unknown=True).impact == {"calls_per_s": 0, "in_flight": 0}


# -- who may ---------------------------------------------------------------------------------


def test_a_viewer_changes_nothing(desk):
    hold = desk.trip().id
    window = plan(desk).id
    for ask in (
        lambda: desk.trip(who=EVE),
        lambda: desk.operations.release("payments", who=EVE, hold_id=hold),
        lambda: desk.operations.extend(hold, who=EVE, ttl=5),
        lambda: desk.operations.command("payments", "reset", reason="a test", who=EVE),
        lambda: plan(desk, who=EVE),
        lambda: desk.operations.end_window(window, who=EVE, reason="a test"),
        lambda: desk.operations.set_rules([], who=EVE),
        lambda: desk.operations.set_rules([], who=ANN),
    ):
        with refused("forbidden", "role"):
            ask()
    assert [row[3] for row in rows_of(desk)] == ["done"] * 2 + ["refused"] * 8


def test_anothers_hold_needs_an_admin_or_a_shell(desk):
    for who in (ROOT, SHELL):
        hold = desk.trip(who=ANN).id
        with refused("forbidden", "is ann's"):
            desk.operations.release("payments", who=BOB, hold_id=hold)
        with refused("forbidden", "is ann's"):
            desk.operations.extend(hold, who=BOB, ttl=9)
        desk.operations.extend(hold, who=who, ttl=60)
        desk.operations.release("payments", who=who, hold_id=hold, reason="all is well")
        ended = desk.operations.hold(hold)
        assert (ended.status, ended.ended_by, ended.end_reason) == ("released", who.actor, "all is well")


def test_without_an_id_only_ones_own_hold_is_released(desk):
    hold = desk.trip(who=ANN).id
    for who in (BOB, ROOT, SHELL):
        with refused("unknown", r"has no such hold on payments; there are those of ann \(forced_open") as caught:
            desk.operations.release("payments", who=who)
        assert caught.value.details == {"holds": [hold]}
    with refused("invalid", "is on payments, not on stock"):
        desk.operations.release("stock", who=ANN, hold_id=hold)
    desk.operations.release("payments", who=ANN)
    with refused("conflict", "is released already"):
        desk.operations.release("payments", who=ANN, hold_id=hold)
    with refused("unknown", "no hold h-none"):
        desk.operations.release("payments", who=ANN, hold_id="h-none")


# -- preconditions ---------------------------------------------------------------------------


def test_the_etag_changes_with_each_change_and_only_then(desk):
    seen = [desk.operations.etag("payments")]

    def changed() -> None:
        seen.append(desk.operations.etag("payments"))

    desk.trip()
    changed()
    desk.trip(ttl=300)
    changed()
    desk.operations.extend(desk.operations.holds()[0].id, who=ANN, note="a note")
    changed()
    desk.operations.release("payments", who=ANN)
    changed()
    assert len(set(seen)) == len(seen)
    desk.trip("stock")
    with refused("unknown"):
        desk.trip("nobody")
    changed()
    assert seen[-1] == seen[-2]


def test_time_changes_the_etag(tmp_path):
    with use(FakeClock()) as clock:
        desk = Desk(tmp_path)
        desk.trip(ttl=60)
        before = desk.operations.etag("payments")
        clock.advance(61)
        assert desk.operations.etag("payments") != before
        desk.close()


def test_the_world_must_be_as_it_was_looked_at(desk):
    seen = desk.operations.etag("payments")
    hold = desk.trip(expect=seen).id
    for ask in (
        lambda: desk.trip(expect=seen),
        lambda: desk.trip(who=BOB, expect=seen),
        lambda: desk.operations.release("payments", who=ANN, expect=seen),
        lambda: desk.operations.extend(hold, who=ANN, ttl=60, expect=seen),
    ):
        with refused("stale", "have changed") as caught:
            ask()
        assert caught.value.details["etag"] == desk.operations.etag("payments")
    desk.trip(expect=desk.operations.etag("payments"))
    desk.operations.release("payments", who=ANN, expect=desk.operations.etag("payments"))


def test_who_is_strict_says_what_is_replaced(desk):
    hold = desk.trip(strict=True).id
    with refused("precondition") as caught:
        desk.trip(strict=True)
    assert caught.value.details == {"etag": desk.operations.etag("payments"), "holds": [hold]}
    desk.trip(who=BOB, strict=True)
    desk.trip(strict=True, expect=desk.operations.etag("payments"))


def test_who_only_creates_replaces_nothing(desk):
    desk.trip(create_only=True)
    with refused("stale", "has a hold on payments already"):
        desk.trip(create_only=True)
    desk.trip(who=BOB, create_only=True)


# -- dry runs --------------------------------------------------------------------------------


def test_a_dry_run_says_the_same_and_stores_nothing(desk):
    before = desk.directory.epoch.word[0]
    tried = desk.trip(dry_run=True)
    assert tried.dry_run
    assert (tried.audit_seq, tried.audit_hash) == (0, "")
    with refused("unknown"):
        desk.trip("paymnets", dry_run=True)
    assert desk.operations.audit() == []
    assert desk.directory.load().revision == 0
    assert desk.directory.epoch.word[0] == before
    done = desk.trip()
    for name in ("revision", "status", "effective", "masked_by", "impact"):
        assert getattr(done, name) == getattr(tried, name)
    for ask in (
        lambda: desk.operations.release("payments", who=ANN, dry_run=True),
        lambda: desk.operations.extend(done.id, who=ANN, ttl=5, dry_run=True),
        lambda: desk.operations.command("payments", "probe", reason="a test", who=ANN, key="k", dry_run=True),
        lambda: plan(desk, dry_run=True),
        lambda: desk.operations.set_rules([{"id": "a", "kind": "never"}], who=ROOT, dry_run=True),
    ):
        assert ask().dry_run
    assert desk.directory.load().revision == 1
    assert desk.operations.rules() == []


# -- extending -------------------------------------------------------------------------------


def test_a_hold_gets_another_end_from_now_on(desk):
    hold = desk.trip(ttl=60).id
    receipt = desk.operations.extend(hold, who=ANN, ttl=3_600, ticket="T-9", note=" still broken ")
    after = desk.operations.hold(hold)
    assert after.expires_at == receipt.expires_at == pytest.approx(time.time() + 3_600, abs=5)
    assert after.ends == pytest.approx(time.monotonic() + 3_600, abs=5)
    assert (after.ticket, after.notes, after.ttl, after.revision) == ("T-9", ("still broken",), 3_600, receipt.revision)
    assert desk.operations.extend(hold, who=ANN, ttl=5).expires_at < receipt.expires_at
    assert desk.operations.extend(hold, who=ANN, ticket="").status == "active"
    assert desk.operations.hold(hold).ticket == ""


def test_an_extension_says_something_about_a_hold_that_is_there(desk):
    hold = desk.trip().id
    with refused("invalid", "given, or else"):
        desk.operations.extend(hold, who=ANN)
    with refused("invalid", "note"):
        desk.operations.extend(hold, who=ANN, note="")
    with refused("unknown", "no hold h-none"):
        desk.operations.extend("h-none", who=ANN, ttl=5)
    for _ in range(50):
        desk.operations.extend(hold, who=ANN, note="again")
    with refused("conflict", "50 notes"):
        desk.operations.extend(hold, who=ANN, note="again")
    desk.operations.release("payments", who=ANN)
    with refused("conflict", "released already"):
        desk.operations.extend(hold, who=ANN, ttl=5)


# -- time ------------------------------------------------------------------------------------


def test_an_expired_hold_is_written_down_with_the_next_change(tmp_path):
    with use(FakeClock()) as clock:
        desk = Desk(tmp_path)
        hold = desk.trip(ttl=60).id
        clock.advance(59)
        assert desk.operations.sweep() == 0
        clock.advance(2)
        assert desk.directory.load().holds == ()
        assert desk.operations.holds() == []
        shown = desk.operations.hold(hold)
        assert (shown.status, shown.end_reason) == ("expired", "its time was over")
        with refused("conflict", "expired already"):
            desk.operations.extend(hold, who=ANN, ttl=60)
        desk.trip("stock")
        assert ("time", "expire", "payments", "done") in rows_of(desk)
        assert desk.operations.hold(hold).status == "expired"
        assert desk.operations.verify_audit().ok
        desk.close()


def test_what_time_does_is_swept_and_announced_once(tmp_path):
    with use(FakeClock()) as clock:
        desk = Desk(tmp_path)
        desk.trip(ttl=60)
        clock.advance(61)
        before = desk.directory.epoch.word[0], desk.directory.revision()
        assert desk.operations.sweep() == 1
        assert desk.directory.epoch.word[0] == before[0] + 1
        assert desk.directory.revision() == before[1] + 1
        assert desk.operations.sweep() == 0
        assert desk.directory.epoch.word[0] == before[0] + 1
        assert desk.trip().id != desk.operations.holds("payments", ended=True)[-1].id
        desk.close()


class Jumping:
    """The clock in force, on a host whose wall clock somebody sets."""

    def __init__(self, clock) -> None:
        self._clock = clock
        self.off = 0.0

    def wall(self) -> float:
        return self._clock.wall() + self.off

    def __getattr__(self, name):
        return getattr(self._clock, name)


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0, -1e9, 1e9])
def test_a_wall_clock_that_is_set_moves_no_end(tmp_path, jump):
    with use(FakeClock()) as fake, use(Jumping(fake)) as clock:
        desk = Desk(tmp_path)
        hold = desk.trip(ttl=600).id
        clock.off = jump
        fake.advance(500)
        assert [each.id for each in desk.directory.load().holds] == [hold]
        assert desk.operations.sweep() == 0
        desk.operations.extend(hold, who=ANN, ttl=1_000)
        clock.off = 0
        fake.advance(900)
        assert [each.id for each in desk.directory.load().holds] == [hold]
        fake.advance(101)
        assert desk.directory.load().holds == ()
        assert desk.operations.sweep() == 1
        assert desk.operations.verify_audit().ok
        desk.close()


def test_after_a_restart_of_the_host_the_wall_clock_counts(tmp_path, monkeypatch):
    with use(FakeClock()) as clock:
        desk = Desk(tmp_path)
        hold = desk.trip(ttl=600).id
        for module in ("directory", "moment"):
            monkeypatch.setattr(f"resilient.control.{module}.boot", lambda: "another start")
        clock.advance(599)
        assert [each.id for each in desk.directory.load().holds] == [hold]
        clock.advance(2)
        assert desk.directory.load().holds == ()
        desk.close()


# -- commands --------------------------------------------------------------------------------


def test_commands_carry_rising_generations(desk):
    first = desk.operations.command("payments", "reset", reason="a test", who=ANN)
    second = desk.operations.command("stock", "probe", reason="a test", who=BOB)
    assert [first.status, int(second.id) - int(first.id)] == ["issued", 1]
    given = desk.directory.load().commands
    assert [(each.generation, each.target, each.command, each.actor) for each in given] == [
        (int(first.id), "payments", "reset", "ann"),
        (int(second.id), "stock", "probe", "bob"),
    ]


def test_a_generation_is_never_given_twice(tmp_path):
    with use(FakeClock()) as clock:
        desk = Desk(tmp_path)
        first = desk.operations.command("payments", "reset", reason="a test", who=ANN)
        clock.advance(3_601)
        assert desk.directory.load().commands == ()
        clock.advance(8 * 86_400)
        assert int(desk.operations.command("payments", "reset", reason="a test", who=ANN).id) == int(first.id) + 1
        desk.close()


def test_a_command_is_one_of_those_there_are(desk):
    with refused("invalid", "one of reset, probe"):
        desk.operations.command("payments", "explode", reason="a test", who=ANN)
    with refused("invalid", "reason"):
        desk.operations.command("payments", "reset", reason="", who=ANN)
    with refused("unknown"):
        desk.operations.command("paymnets", "reset", reason="a test", who=ANN)
    with refused("invalid", "key"):
        desk.operations.command("payments", "reset", reason="a test", who=ANN, key="")


def test_the_same_request_with_the_same_key_is_done_once_a_day(tmp_path):
    with use(FakeClock()) as clock:
        desk = Desk(tmp_path)

        def ask(**more):
            return desk.operations.command(
                **{"target": "payments", "command": "reset", "reason": "a test", "who": ANN, "key": "k-1", **more}
            )

        first = ask()
        assert ask() == first
        assert len(desk.directory.load().commands) == 1
        with refused("conflict", "another request came with this key"):
            ask(command="probe")
        with refused("conflict"):
            ask(target="stock")
        assert ask(who=BOB).id != first.id
        clock.advance(86_401)
        assert ask().id != first.id
        desk.close()


# -- convergence -----------------------------------------------------------------------------


def test_it_is_told_who_has_taken_in_a_change(desk):
    desk.show("p-2", applied=1)
    revision = desk.trip().revision
    seen = desk.operations.converge(revision, 0.05)
    assert (seen.required, seen.applied, seen.complete) == (2, 1, False)
    (left,) = seen.pending
    assert (left["instance"], left["applied"], left["host"], left["pid"]) == ("p-1", 0, "h", 1)
    assert 0.05 <= seen.waited_s < 5
    desk.show("p-1", applied=revision)
    seen = desk.operations.converge(revision, 5)
    assert (seen.required, seen.applied, seen.complete, seen.pending) == (2, 2, True, [])
    assert seen.waited_s < 1


def test_who_dies_is_not_waited_for(desk):
    desk.show("p-2")
    desk.show("p-1", applied=1)
    desk.pages["p-2"].close()
    assert desk.operations.converge(1, 0).complete


# -- the audit comes first -------------------------------------------------------------------


def test_what_cannot_be_audited_is_not_done(desk):
    desk.directory.database.write(lambda db: db.execute("DROP TABLE audit"))
    with pytest.raises((Refused, ControlUnavailable)):
        desk.trip()
    assert desk.directory.load().holds == ()


def test_a_full_audit_refuses_the_change(desk, monkeypatch):
    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("resilient.control.audit.set_meta", full)
    with refused("audit", "nothing was changed, because the audit cannot be written"):
        desk.trip()
    monkeypatch.undo()
    assert desk.directory.load().holds == ()
    assert desk.operations.audit() == []


def test_a_refusal_that_cannot_be_audited_is_still_one(desk, monkeypatch):
    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("resilient.control.audit.set_meta", full)
    with refused("unknown") as caught:
        desk.trip("paymnets")
    assert caught.value.details["audited"] is False


def test_each_head_is_logged(desk, caplog):
    caplog.set_level(logging.INFO, "resilient.audit")
    receipt = desk.trip(reason="disk is full")
    with refused("unknown"):
        desk.trip("paymnets")
    first, second = caplog.records
    assert first.name == "resilient.audit"
    assert f"audit head {receipt.audit_seq} {receipt.audit_hash}" in first.getMessage()
    assert "place 'payments' by ann via api: done (disk is full)" in first.getMessage()
    assert "refused" in second.getMessage()
    assert f"audit head 2 {desk.operations.audit_head()[1]}" in second.getMessage()


def test_a_change_that_cannot_be_announced_is_still_recorded(desk, monkeypatch, caplog):
    def lost(_):
        raise ControlUnavailable("no epoch")

    monkeypatch.setattr("resilient.control.directory.Directory.announce", lost)
    assert desk.trip().status == "active"
    assert "no epoch" in caplog.text
    assert len(desk.directory.load().holds) == 1


def test_an_interrupt_after_the_commit_is_announced(desk, monkeypatch):
    before, real = desk.directory.epoch.word[0], desk.directory.database.write.__func__

    def interrupted(self, *args, **more):
        real(self, *args, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr("resilient.control.database.Database.write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        desk.trip()
    assert desk.directory.epoch.word[0] == before + 1
    assert len(desk.directory.load().holds) == 1
    assert Ledger(desk.directory)


# -- looking ---------------------------------------------------------------------------------


def test_holds_are_listed_the_newest_first(tmp_path):
    with use(FakeClock()) as clock:
        desk = Desk(tmp_path)
        for name in NAMES[:3]:
            desk.trip(name)
            clock.advance(1)
        desk.operations.release("stock", who=ANN)
        assert [hold.target for hold in desk.operations.holds()] == ["mail", "payments"]
        assert [hold.target for hold in desk.operations.holds(ended=True)] == ["mail", "stock", "payments"]
        assert [hold.target for hold in desk.operations.holds(ended=True, limit=1)] == ["mail"]
        assert [hold.status for hold in desk.operations.holds("stock", ended=True)] == ["released"]
        with refused("unknown"):
            desk.operations.hold("h-none")
        desk.close()


def test_events_are_listed_by_number(desk):
    def report(db):
        for n, name in enumerate(["a", "b", "a"]):
            db.execute(
                "INSERT INTO events (at, instance, name, downstream, fields) VALUES (?, 'p', ?, 'payments', ?)",
                (float(n), name, json.dumps({"n": n})),
            )

    desk.directory.database.write(report)
    assert [each["fields"]["n"] for each in desk.operations.events()] == [0, 1, 2]
    assert [each["fields"]["n"] for each in desk.operations.events(latest=True, limit=2)] == [1, 2]
    assert [each["fields"]["n"] for each in desk.operations.events(name="a", after=1)] == [2]
    assert desk.operations.events(downstream="stock") == []


@pytest.mark.parametrize("name", ["\ud800", "two\nlines", "", "x" * 300, "\0", 7, None])
def test_what_can_be_no_name_is_refused_wherever_it_comes(desk, name):
    """A refusal each time, and one line in the log."""
    for ask in (
        lambda: desk.operations.release("payments", who=ANN, hold_id=name or "\n"),
        lambda: desk.operations.extend(name, who=ANN, ttl=5),
        lambda: desk.operations.end_window(name, who=ANN, reason="a test"),
        lambda: desk.operations.command(name, "reset", reason="a test", who=ANN),
        lambda: desk.operations.command("payments", "reset", reason="a test", who=ANN, key=name or "\n"),
        lambda: desk.operations.schedule(name, "observe", starts_at=0, ends_at=0, reason="a test", who=ANN),
    ):
        with refused("invalid"):
            ask()
    for look in (desk.operations.hold, desk.operations.window):
        with pytest.raises(Refused) as caught:
            look(name)
        assert "\n" not in str(caught.value)
    assert all(row.reason.isprintable() for row in desk.operations.audit())
    assert desk.operations.verify_audit().ok


def test_a_number_that_is_too_large_is_refused(desk):
    with refused("invalid"):
        desk.operations.audit(after=1 << 70)


def test_ten_thousand_names_are_compared_in_no_time(desk):
    names = [(f"tenant-{n:05d}.payments.internal", 1.0) for n in range(10_000)]
    desk.directory.database.write(lambda db: db.executemany("INSERT INTO downstreams VALUES (?, ?)", names))
    with refused("unknown", "did you mean tenant-00017.payments.internal") as caught:
        begun = time.monotonic()
        desk.trip("tenant-00017.paymants.internal")
    assert time.monotonic() - begun < 2
    assert len(caught.value.details["close_matches"]) == 5
    with refused("unknown", "did you mean payments"):
        desk.trip("aymants")


def test_a_refusal_is_pickled_whole():
    refusal = Refused("wait", "too soon", {"rule": "w"}, 3.5)
    again = pickle.loads(pickle.dumps(refusal))
    assert (again.kind, again.message, again.details, again.retry_after) == ("wait", "too soon", {"rule": "w"}, 3.5)
    assert str(again) == "too soon"
