"""Interlocks: every one that would be broken is named at once with its arithmetic, and only an admin may break them."""

from __future__ import annotations

import json
import logging

import pytest

from resilient.control.errors import Refused
from resilient.control.intent import Rule
from resilient.control.rules import Proposal, violations
from resilient.testing import FakeClock, use
from tests.control._record import ANN, BOB, ROOT, SHELL, Desk, plan, refused

REASON = "the data centre is on fire"


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    yield made
    made.close()


def rule(desk: Desk, kind: str, **more) -> None:
    """Add a rule."""
    rules = [*desk.operations.rules(), Rule(id=more.pop("id", f"r-{kind}"), kind=kind, **more)]
    desk.operations.set_rules(rules, who=ROOT, reason="a test")


# -- each kind -------------------------------------------------------------------------------


def test_enough_of_a_group_stay_open_to_calls(desk):
    rule(desk, "min_available", group=("api-*",), n=2)
    desk.trip("api-1")
    desk.trip("payments")
    with refused("rules") as caught:
        desk.trip("api-2")
    (found,) = caught.value.details["violations"]
    assert found == {
        "rule": "r-min_available",
        "kind": "min_available",
        "group": ["api-*"],
        "message": "2 of 3 in api-* would be forced open, 1 left; 2 must stay",
        "forced_open": 2,
        "size": 3,
        "left": 1,
        "n": 2,
    }
    assert "rule r-min_available: 2 of 3" in str(caught.value)
    desk.trip("api-2", percent=50)
    desk.trip("api-2", mode="observe")
    desk.operations.release("api-1", who=ANN)
    desk.trip("api-2")


def test_a_hold_that_is_replaced_does_not_count(desk):
    rule(desk, "min_available", group=("api-*",), n=2)
    desk.trip("api-1")
    desk.trip("api-1", ttl=60)


def test_at_most_a_share_of_a_group_is_forced_open(desk):
    rule(desk, "max_forced_open_fraction", group=("api-*", "mail"), fraction=0.5)
    desk.trip("api-1")
    desk.trip("mail", who=BOB)
    with refused("rules", r"3 of 4 in api-\*, mail would be forced open, 0\.75; at most 0\.5 may be"):
        desk.trip("api-2")
    desk.trip("mail")


def test_some_names_are_never_forced_open(desk):
    rule(desk, "never", group=("pay*", "stock"))
    with refused("rules", "payments may never be forced open"):
        desk.trip("payments", percent=1)
    desk.trip("payments", mode="forced_closed")
    desk.trip("payments", mode="no_retries")
    desk.trip("mail")


def test_no_hold_lasts_longer_than_is_allowed(desk):
    rule(desk, "max_ttl", group=("pay*",), seconds=300)
    with refused("rules", r"a hold in pay\* may last 5m at most, not 10m"):
        desk.trip("payments")
    desk.trip("stock")
    hold = desk.trip("payments", ttl=300).id
    with refused("rules", "may last 5m at most, not 5m1s"):
        desk.operations.extend(hold, who=ANN, ttl=301)
    desk.operations.extend(hold, who=ANN, note="no longer than before")


def test_a_maintenance_that_begins_at_once_is_no_way_around_the_longest_time(tmp_path):
    with use(FakeClock()) as clock:
        desk = Desk(tmp_path)
        rule(desk, "max_ttl", group=("pay*",), seconds=300)
        now = clock.wall()

        def planned(start, seconds, selector="pay*"):
            return desk.operations.schedule(
                selector, "forced_open", starts_at=now + start, ends_at=now + start + seconds, reason="a test", who=ANN
            )

        for selector in ("pay*", "payments", "*"):
            with refused("rules", "may last 5m at most, not 1h"):
                planned(0, 3600, selector)
        with refused("rules", "may last 5m at most"):
            planned(-30, 3600)
        planned(0, 300)
        planned(0, 3600, "stock")
        planned(3600, 3600)  # ahead of its time, where everybody can see it
        desk.close()


def test_some_time_lies_between_two_changes_of_a_target(tmp_path):
    with use(FakeClock()) as clock:
        desk = Desk(tmp_path)
        rule(desk, "wait_period", seconds=5)
        desk.trip()
        desk.trip("stock")
        clock.advance(2)
        with refused("wait", "the last change was 2s ago; 5s must lie between two") as caught:
            desk.operations.release("payments", who=ANN)
        assert caught.value.retry_after == pytest.approx(3)
        with refused("wait"):
            desk.trip(who=BOB)
        clock.advance(3.001)
        desk.operations.release("payments", who=ANN)
        with refused("wait"):
            desk.trip()
        desk.close()


def test_nothing_is_forbidden_without_rules(desk):
    desk.trip()
    desk.operations.release("payments", who=ANN)
    desk.trip(ttl=86_400)


def test_a_wall_clock_that_was_set_back_makes_nobody_wait():
    rule = Rule(id="w", kind="wait_period", seconds=5.0)
    assert violations([rule], Proposal(targets=frozenset("a"), since=-86_400.0)) == []
    assert violations([rule], Proposal(targets=frozenset("a"), since=5.0)) == []
    assert violations([rule], Proposal(targets=frozenset("a"), since=0.0))


# -- together --------------------------------------------------------------------------------


def test_every_broken_rule_is_named_at_once(tmp_path):
    with use(FakeClock()):
        desk = Desk(tmp_path)
        desk.trip("api-1")
        for more in (
            {"kind": "min_available", "group": ("api-*",), "n": 2},
            {"kind": "max_forced_open_fraction", "group": ("api-*",), "fraction": 0.5},
            {"kind": "never", "group": ("api-2",)},
            {"kind": "max_ttl", "seconds": 60.0},
            {"kind": "wait_period", "seconds": 5.0},
            {"kind": "never", "group": ("mail",), "id": "elsewhere"},
        ):
            rule(desk, **more)
        desk.directory.database.write(lambda db: db.execute("UPDATE audit SET target = 'api-2' WHERE target = 'api-1'"))
        with refused("rules") as caught:
            desk.trip("api-2")
        assert [each["rule"] for each in caught.value.details["violations"]] == [
            "r-max_forced_open_fraction",
            "r-max_ttl",
            "r-min_available",
            "r-never",
            "r-wait_period",
        ]
        assert caught.value.retry_after is None, "waiting alone would not help"
        assert desk.operations.audit(latest=True, limit=1)[0].reason.startswith("rules: rule r-max_forced")
        desk.close()


def test_a_window_counts_while_it_is_active(tmp_path):
    with use(FakeClock()) as clock:
        desk = Desk(tmp_path)
        rule(desk, "min_available", group=("api-*",), n=2)
        desk.operations.schedule(
            "api-1", "forced_open", starts_at=clock.wall() + 60, ends_at=clock.wall() + 120, reason="a test", who=ANN
        )
        desk.trip("api-2", ttl=30)
        clock.advance(61)
        with refused("rules", "2 of 3"):
            desk.trip("api-3")
        desk.close()


def test_a_window_must_keep_the_rules_for_all_that_it_covers(desk):
    rule(desk, "min_available", group=("api-*",), n=2)
    rule(desk, "never", group=("payments",))
    with refused("rules", "3 of 3"):
        plan(desk, selector="api-*")
    with refused("rules", "payments may never"):
        plan(desk, selector="*m*")
    plan(desk, selector="api-*", mode="observe")
    plan(desk, selector="api-1")


def test_an_admin_overrides_rules_by_their_names_with_a_longer_reason(desk, caplog):
    caplog.set_level(logging.INFO, "resilient.audit")
    rule(desk, "never", id="n-1")
    rule(desk, "max_ttl", id="t-1", seconds=60)
    for who in (ANN, SHELL):
        with refused("forbidden", "overriding rules needs the role admin"):
            desk.trip(who=who, reason=REASON, break_glass=["n-1", "t-1"])
    with refused("invalid", "at least 20 characters"):
        desk.trip(who=ROOT, reason="it burns", break_glass=["n-1", "t-1"])
    with refused("invalid", "no rule n-2"):
        desk.trip(who=ROOT, reason=REASON, break_glass=["n-1", "n-2"])
    with refused("rules", "t-1") as caught:
        desk.trip(who=ROOT, reason=REASON, break_glass=["n-1"])
    assert [each["rule"] for each in caught.value.details["violations"]] == ["t-1"]
    receipt = desk.trip(who=ROOT, reason=REASON, break_glass=["n-1", "t-1"])
    assert set(receipt.overridden) == {"n-1", "t-1"}
    row = desk.operations.audit(latest=True, limit=1)[0]
    assert row.outcome == "done, rules overridden"
    assert json.loads(row.request)["break_glass"] == ["n-1", "t-1"]
    assert [each.levelname for each in caplog.records][-1] == "ERROR"
    assert "ERROR" not in [each.levelname for each in caplog.records][:-1]


def test_what_breaks_no_rule_is_no_override(desk, caplog):
    caplog.set_level(logging.INFO, "resilient.audit")
    rule(desk, "never", id="n-1", group=("stock",))
    assert desk.trip(who=ROOT, reason=REASON, break_glass=["n-1"]).overridden == []
    assert caplog.records[-1].levelname == "INFO"


def test_a_window_may_break_rules_likewise(desk):
    rule(desk, "never", id="n-1")
    with refused("rules"):
        plan(desk, who=ROOT)
    assert plan(desk, who=ROOT, reason=REASON, break_glass=["n-1"]).overridden == ["n-1"]


# -- setting ---------------------------------------------------------------------------------


def test_rules_are_replaced_as_a_whole(desk):
    first = desk.operations.rules_etag()
    receipt = desk.operations.set_rules(
        [{"id": "b", "kind": "max_ttl", "seconds": 60}, Rule(id="a", kind="min_available", group=("x", "y-*"), n=1)],
        who=ROOT,
        reason="a test",
    )
    assert receipt.status == "set"
    assert desk.operations.rules() == [
        Rule(id="a", kind="min_available", group=("x", "y-*"), n=1),
        Rule(id="b", kind="max_ttl", seconds=60),
    ]
    assert desk.directory.load().rules == tuple(desk.operations.rules())
    second = desk.operations.rules_etag()
    assert first != second
    with refused("stale", "the rules have changed") as caught:
        desk.operations.set_rules([], who=ROOT, expect=first)
    assert caught.value.details == {"etag": second}
    desk.operations.set_rules([], who=ROOT, expect=second)
    assert desk.operations.rules() == []
    assert desk.operations.rules_etag() == first
    row = desk.operations.audit(latest=True, limit=1)[0]
    assert [each["id"] for each in json.loads(row.before)] == ["a", "b"]
    assert json.loads(row.after) == []


@pytest.mark.parametrize(
    ("given", "parameter"),
    [
        ({"id": "", "kind": "never"}, "rules[0].id"),
        ({"kind": "never"}, "rules[0].id"),
        ({"id": "a", "kind": "sometimes"}, "rules[0].kind"),
        ({"id": "a"}, "rules[0].kind"),
        ({"id": "a", "kind": "never", "group": []}, "rules[0].group"),
        ({"id": "a", "kind": "never", "group": "api"}, "rules[0].group"),
        ({"id": "a", "kind": "never", "group": [7]}, "rules[0].group"),
        ({"id": "a", "kind": "never", "n": 1}, "rules[0].n"),
        ({"id": "a", "kind": "never", "color": "red"}, "rules[0].color"),
        ({"id": "a", "kind": "min_available"}, "rules[0].n"),
        ({"id": "a", "kind": "min_available", "n": 0}, "rules[0].n"),
        ({"id": "a", "kind": "min_available", "n": 1.5}, "rules[0].n"),
        ({"id": "a", "kind": "min_available", "n": True}, "rules[0].n"),
        ({"id": "a", "kind": "max_forced_open_fraction", "fraction": 1.1}, "rules[0].fraction"),
        ({"id": "a", "kind": "max_forced_open_fraction"}, "rules[0].fraction"),
        ({"id": "a", "kind": "max_ttl", "seconds": 0}, "rules[0].seconds"),
        ({"id": "a", "kind": "max_ttl", "seconds": 86_401}, "rules[0].seconds"),
        ({"id": "a", "kind": "wait_period", "seconds": float("nan")}, "rules[0].seconds"),
        ("never", "rules[0]"),
        (None, "rules[0]"),
    ],
)
def test_a_rule_that_is_none_is_refused(desk, given, parameter):
    rule(desk, "never", group=("stock",))
    with pytest.raises(Refused) as caught:
        desk.operations.set_rules([given], who=ROOT)
    assert caught.value.kind == "invalid"
    assert caught.value.details["parameter"] == parameter
    assert len(desk.operations.rules()) == 1


def test_no_two_rules_have_one_id(desk):
    with refused("invalid", "another one for each rule"):
        desk.operations.set_rules([{"id": "a", "kind": "never"}, {"id": "a", "kind": "never"}], who=ROOT)
    with refused("invalid", "at most 200 rules"):
        desk.operations.set_rules([{"id": str(n), "kind": "never"} for n in range(201)], who=ROOT)
