"""Durations mean what they say, or are refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient.control.durations import format_duration, parse_duration
from resilient.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45m", 2700),
        ("1h30m", 5400),
        ("90s", 90),
        ("90", 90),
        ("1.5s", 1.5),
        ("1m1.5s", 61.5),
        ("500ms", 0.5),
        ("1s5ms", 1.005),
        ("1d", 86400),
        ("1d2h3m4s", 93784),
        (90, 90),
        (0.25, 0.25),
    ],
)
def test_a_duration_is_read(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "bad",
    [
        "", " ", "45 m", " 45m", "45m ", "m", "-5m", "+5m", "0", "0s", 0, -1, math.nan, math.inf, True, None, [], b"5m",
        "5M", "5min", "30m1h", "5m5m", "1.5h30m", "1e3", "nan", "inf", "1_000", "\u0664m", "1.s", ".5s", "9" * 400,
        10**400, "5m\n",
    ],
)  # fmt: skip
def test_what_is_no_duration_is_refused_by_name_with_what_is_allowed(bad):
    with pytest.raises(ConfigError, match=r'^--for must be a duration above 0 such as "45m"') as caught:
        parse_duration(bad, "--for")
    assert len(str(caught.value)) < 300


def test_zero_is_a_duration_where_it_is_allowed():
    assert parse_duration("0s", zero=True) == 0
    with pytest.raises(ConfigError, match="of 0 or more"):
        parse_duration(-1, zero=True)


@given(st.integers(1, 10**7))
def test_a_written_duration_reads_back(seconds):
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.25, "250ms"), (1.5, "1.5s"), (10.0, "10s"), (59.9996, "60s"), (61, "1m1s"), (5400, "1h30m")],
)
def test_a_duration_is_written_short(seconds, text):
    assert format_duration(seconds) == text
