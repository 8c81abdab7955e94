"""Interlocks hold at every moment of what is planned, and for names that nobody has used yet."""

from __future__ import annotations

import pytest

from resilient.control.intent import Rule
from resilient.testing import FakeClock, use
from tests.control._record import ANN, BOB, ROOT, Desk, plan, refused


@pytest.fixture
def clock():
    with use(FakeClock()) as clock:
        yield clock


@pytest.fixture
def desk(tmp_path, clock):
    made = Desk(tmp_path)
    rule(made, "min_available", group=("api-*",), n=2)
    yield made
    made.close()


def rule(desk: Desk, kind: str, **more) -> None:
    desk.operations.set_rules([Rule(id="r", kind=kind, **more)], who=ROOT, reason="a test")


def window(desk: Desk, clock: FakeClock, selector: str, starts: float, ends: float, **more):
    return plan(desk, selector=selector, starts_at=clock.wall() + starts, ends_at=clock.wall() + ends, **more)


def test_two_windows_that_will_overlap_are_counted_together(desk, clock):
    window(desk, clock, "api-1", 60, 120)
    with refused("rules", "2 of 3"):
        window(desk, clock, "api-2", 119, 300)
    with refused("rules", "2 of 3"):
        window(desk, clock, "api-2", 0, 61)
    with refused("rules", "2 of 3"):
        window(desk, clock, "api-2", 0, 300)
    window(desk, clock, "api-2", 120, 300)
    window(desk, clock, "api-2", 0, 60)
    window(desk, clock, "api-2", 70, 80, percent=50)
    window(desk, clock, "api-2", 70, 80, mode="observe")


def test_a_hold_that_lasts_into_a_window_is_counted_with_it(desk, clock):
    window(desk, clock, "api-1", 60, 120)
    with refused("rules", "2 of 3"):
        desk.trip("api-2", ttl=61)
    desk.trip("api-2", ttl=60)
    hold = desk.trip("api-1", ttl=30, who=BOB, mode="observe").id
    desk.operations.extend(hold, who=BOB, ttl=600)


def test_a_hold_is_not_extended_into_a_window(desk, clock):
    window(desk, clock, "api-1", 60, 120)
    hold = desk.trip("api-2", ttl=60).id
    with refused("rules", "2 of 3"):
        desk.operations.extend(hold, who=ANN, ttl=61)
    desk.operations.extend(hold, who=ANN, ttl=59)


def test_a_window_is_not_planned_for_while_a_hold_lasts(desk, clock):
    desk.trip("api-2", ttl=100)
    with refused("rules", "2 of 3"):
        window(desk, clock, "api-1", 99, 200)
    window(desk, clock, "api-1", 100, 200)


def test_what_is_not_at_the_same_time_is_not_added_up(desk, clock):
    rule(desk, "min_available", group=("api-*",), n=1)
    window(desk, clock, "api-1", 60, 120)
    window(desk, clock, "api-2", 120, 180)
    desk.trip("api-3", ttl=600)
    with refused("rules", "3 of 3"):
        window(desk, clock, "api-1", 130, 140)


def test_a_share_is_looked_at_when_it_is_largest(desk, clock):
    rule(desk, "max_forced_open_fraction", group=("api-*", "mail"), fraction=0.5)
    window(desk, clock, "api-1", 60, 120)
    window(desk, clock, "api-2", 90, 100)
    with refused("rules", "3 of 4"):
        desk.trip("mail", ttl=91)
    desk.trip("mail", ttl=90)


def test_a_window_that_is_over_or_was_ended_is_not_counted(desk, clock):
    ended = window(desk, clock, "api-1", 60, 120).id
    desk.operations.end_window(ended, who=ANN, reason="a test")
    window(desk, clock, "api-1", 0, 10)
    clock.advance(10)
    desk.trip("api-2", ttl=600)


def test_a_window_over_names_that_nobody_has_used_yet_keeps_the_rules_for_them(desk, clock):
    rule(desk, "never", group=("ledger", "gold-*"))
    with refused("rules", "ledger may never be forced open"):
        window(desk, clock, "led*", 60, 120, allow_unknown=True)
    with refused("rules", "ledger may never"):
        window(desk, clock, "*", 60, 120)
    window(desk, clock, "led*", 60, 120, allow_unknown=True, mode="observe")
    window(desk, clock, "gold-*", 60, 120, allow_unknown=True, mode="observe")
    with refused("rules", r"gold-\* may never"):
        window(desk, clock, "gold-*", 60, 120, allow_unknown=True)
    window(desk, clock, "pay*", 60, 120)


@pytest.mark.parametrize(
    "more", [{"kind": "min_available", "n": 1}, {"kind": "max_forced_open_fraction", "fraction": 0.5}]
)
def test_a_name_that_nobody_has_used_yet_counts_as_a_member_of_its_group(desk, more):
    rule(desk, group=("new-*",), **more)
    with refused("rules", r"1 of 1 in new-\* would be forced open"):
        desk.trip("new-1", allow_unknown=True)


# -- planted faults that nothing else caught -------------------------------------------------


def test_holds_that_are_equally_strict_do_not_mask_each_other(desk):
    rule(desk, "max_ttl", seconds=86_400.0)
    desk.trip("mail", percent=50)
    assert desk.trip("mail", percent=50, who=BOB).masked_by == []
    first = desk.trip("mail")
    second = desk.trip("mail", who=BOB)
    assert (first.masked_by, second.masked_by) == ([], [])
    assert desk.trip("mail", percent=99).masked_by == [second.id]


def test_a_window_is_in_force_from_its_start_on_and_at_its_end_no_more(desk, clock):
    planned = desk.operations.window(window(desk, clock, "mail", 60, 120).id)
    assert [planned.active(planned.starts_at + after) for after in (-0.001, 0, 59.999, 60)] == [
        False,
        True,
        True,
        False,
    ]
