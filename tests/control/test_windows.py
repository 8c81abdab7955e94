"""Windows of maintenance: planned ahead, in force between their ends, ended and never deleted."""

from __future__ import annotations

import math

import pytest

from resilient.control.intent import DAY
from resilient.testing import FakeClock, use
from tests.control._record import ANN, BOB, EVE, Desk, refused


@pytest.fixture
def clock():
    with use(FakeClock()) as clock:
        yield clock


@pytest.fixture
def desk(tmp_path, clock):
    made = Desk(tmp_path)
    yield made
    made.close()


@pytest.fixture
def plan(desk, clock):
    def ask(selector="api-*", mode="forced_open", *, start=60.0, length=60.0, **more):
        begin = clock.wall() + start
        return desk.operations.schedule(
            selector, mode, **{"starts_at": begin, "ends_at": begin + length, "reason": "a test", "who": ANN, **more}
        )

    return ask


def test_a_window_is_scheduled_then_active_then_ended_and_stays(desk, clock, plan):
    receipt = plan(ticket="T-1", disposition="reject")
    assert (receipt.status, receipt.effective) == ("scheduled", "auto")
    assert receipt.expires_at == pytest.approx(clock.wall() + 120)
    assert receipt.impact == {"calls_per_s": 7.5, "in_flight": 9}
    (window,) = desk.directory.load().windows
    assert (window.id, window.status, window.ticket, window.disposition) == (receipt.id, "scheduled", "T-1", "reject")
    clock.advance(60)
    assert desk.operations.window(receipt.id).status == "active"
    assert desk.operations.sweep() == 1
    assert desk.directory.load().windows[0].status == "active"
    clock.advance(60)
    assert desk.operations.windows() == []
    assert desk.directory.load().windows == ()
    assert desk.operations.sweep() == 1
    (ended,) = desk.operations.windows(ended=True)
    assert (ended.status, ended.end_reason, ended.ended_by) == ("ended", "its time was over", "")
    assert [(row.actor, row.action) for row in desk.operations.audit()] == [
        ("ann", "schedule"),
        ("time", "start_window"),
        ("time", "finish_window"),
    ]
    assert desk.operations.verify_audit().ok


def test_a_window_that_was_missed_altogether_ends(desk, clock, plan):
    window = plan().id
    clock.advance(1_000)
    assert desk.operations.sweep() == 1
    assert desk.operations.window(window).status == "ended"


def test_a_window_may_begin_now(desk, clock, plan):
    receipt = plan(start=-1)
    assert (receipt.status, receipt.effective) == ("active", "forced_open")


@pytest.mark.parametrize(
    ("start", "length", "parameter"),
    [
        (60, 0, "ends_at"),
        (60, -1, "ends_at"),
        (60, 31 * DAY + 1, "ends_at"),
        (-120, 60, "starts_at"),
        (-120, 600, "starts_at"),
        (367 * DAY, 60, "starts_at"),
        (1.7e12, 60, "starts_at"),
        (math.nan, 60, "starts_at"),
        (60, math.inf, "ends_at"),
    ],
)
def test_a_window_lies_ahead_and_is_no_longer_than_a_month(desk, plan, start, length, parameter):
    with refused("invalid", parameter) as caught:
        plan(start=start, length=length)
    assert caught.value.details["parameter"] == parameter
    assert desk.operations.windows(ended=True) == []


def test_a_month_is_allowed(plan):
    assert plan(length=31 * DAY - 1).status == "scheduled"


@pytest.mark.parametrize(
    ("more", "parameter"),
    [
        ({"reason": ""}, "reason"),
        ({"mode": "closed"}, "mode"),
        ({"percent": 101}, "percent"),
        ({"selector": ""}, "selector"),
        ({"starts_at": "now"}, "starts_at"),
    ],
)
def test_what_is_wrong_is_told_by_its_parameter(plan, more, parameter):
    with refused("invalid", parameter) as caught:
        plan(**more)
    assert caught.value.details["parameter"] == parameter


def test_a_selector_that_matches_nothing_is_refused(plan):
    with refused("unknown", "did you mean api-") as caught:
        plan("api_*")
    assert caught.value.details["close_matches"]
    assert plan("api_*", allow_unknown=True).status == "scheduled"


def test_a_window_is_ended_before_its_time_once(desk, clock, plan):
    window = plan().id
    with refused("invalid", "reason"):
        desk.operations.end_window(window, who=BOB, reason="")
    with refused("forbidden"):
        desk.operations.end_window(window, who=EVE, reason="a test")
    receipt = desk.operations.end_window(window, who=BOB, reason="called off")
    assert receipt.status == "ended"
    ended = desk.operations.window(window)
    assert (ended.ended_by, ended.end_reason, ended.ended_at) == ("bob", "called off", pytest.approx(clock.wall()))
    with refused("conflict", "has ended already"):
        desk.operations.end_window(window, who=BOB, reason="called off")
    with refused("unknown", "no window w-none"):
        desk.operations.end_window("w-none", who=BOB, reason="called off")
    clock.advance(90)
    assert desk.operations.sweep() == 0
    assert desk.directory.load().windows == ()


def test_a_window_masks_and_is_masked_as_holds_are(desk, clock, plan):
    window = plan().id
    clock.advance(61)
    hold = desk.trip("api-1", mode="observe")
    assert (hold.effective, hold.masked_by) == ("forced_open", [window])
    assert desk.trip("payments", mode="observe").masked_by == []
    desk.operations.end_window(window, who=ANN, reason="called off")
    assert desk.trip("api-1", mode="observe").masked_by == []


def test_windows_are_listed_in_the_order_of_their_starts(desk, plan):
    for start in (300, 100, 200):
        plan(start=start)
    starts = [window.starts_at for window in desk.operations.windows()]
    assert starts == sorted(starts)
    assert [window.starts_at for window in desk.operations.windows(limit=1)] == starts[-1:]
