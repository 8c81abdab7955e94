"""What is wrong with times and durations is said as people write them, and not as the record keeps them."""

from __future__ import annotations

import pytest

from resilient.control.checks import Checks
from resilient.control.durations import parse_duration, said

WALL = 1_800_000_000.0


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("25h", "25h"),
        ("24h", "24h"),
        ("48h", "2d"),
        ("36h30m", "36h30m"),
        ("2d", "2d"),
        ("31d", "31d"),
        ("90s", "1m30s"),
        ("1.5s", "1.5s"),
        ("500ms", "500ms"),
    ],
)
def test_a_duration_is_said_in_hours_or_in_whole_days(written: str, told: str) -> None:
    assert said(parse_duration(written)) == told


@pytest.mark.parametrize(("seconds", "told"), [(0.0, "0s"), (-5.0, "-5s"), (1e300, "1e+300s"), (float("nan"), "nans")])
def test_what_is_no_duration_is_said_all_the_same(seconds: float, told: str) -> None:
    assert said(seconds) == told


@pytest.mark.parametrize(
    ("ttl", "message"),
    [
        (90_000.0, "ttl must be 1s to 24h, got 25h"),
        (0.25, "ttl must be 1s to 24h, got 250ms"),
        (-1, "ttl must be 1s to 24h, got -1s"),
        ("45m", "ttl must be a number of seconds, 1 to 86400, got '45m'"),
        (True, "ttl must be a number of seconds, 1 to 86400, got True"),
        (float("nan"), "ttl must be a number of seconds, 1 to 86400, got 'nan'"),
    ],
)
def test_a_hold_that_lasts_too_long_is_told_how_long_it_may(ttl: object, message: str) -> None:
    checks = Checks()
    checks.ttl(ttl)
    assert [error["message"] for error in checks.errors] == [message]


@pytest.mark.parametrize(
    ("span", "message"),
    [
        (
            (WALL + 60, WALL + 60),
            "ends_at must be after starts_at, 2027-01-15T08:01:00.000Z, got 2027-01-15T08:01:00.000Z",
        ),
        ((WALL, WALL + 32 * 86_400), "ends_at must be at most 31 days after starts_at, got 2027-02-16T08:00:00.000Z"),
        (
            (WALL - 61, WALL + 60),
            "starts_at must be now or later; a window cannot be in the past, got 2027-01-15T07:58:59.000Z",
        ),
        (
            (WALL - 30, WALL - 10),
            "ends_at must be later than now; a window cannot be in the past, got 2027-01-15T07:59:50.000Z",
        ),
        ((WALL + 367 * 86_400, WALL), "starts_at must be a time at most a year ahead, got 2028-01-17T08:00:00.000Z"),
        ((WALL, 1e300), "ends_at must be a time at most two years ahead, got 1e+300"),
        ((WALL, "soon"), "ends_at must be a time at most two years ahead, in seconds since 1970, got 'soon'"),
    ],
)
def test_a_window_that_cannot_be_is_told_with_its_times(span: tuple[object, object], message: str) -> None:
    checks = Checks()
    checks.span(*span, WALL)
    assert [error["message"] for error in checks.errors] == [message]
