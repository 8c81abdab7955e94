"""Numbers, times and moments are read and written as people mean them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from resilient.cli import paper, words
from resilient.cli.moments import parse_moment, parse_past
from resilient.errors import ConfigError

NOON = datetime(2026, 11, 27, 12, 0, tzinfo=UTC).timestamp()


@pytest.fixture(autouse=True)
def _utc(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "after_noon"),
    [
        ("now", 0), ("2h", 7200), ("+2h", 7200), ("1h30m", 5400), ("13:30", 5400), ("11:59", 86_340), ("12:00", 86_400),
        ("2026-11-27T13:00", 3600), ("2026-11-27T13:00Z", 3600), ("2026-11-27T13:00+01:00", 0), ("2026-11-28", 43_200),
    ],
)  # fmt: skip
def test_a_moment_is_read(text, after_noon):
    assert parse_moment(text, "--until", NOON) == NOON + after_noon


def test_an_end_counts_from_the_start():
    assert parse_moment("30m", "--until", NOON, after=NOON + 3600) == NOON + 5400
    assert parse_moment("12:30", "--until", NOON, after=NOON + 3600) == NOON + 1800 + 86_400


@pytest.mark.parametrize(
    ("text", "before_noon"), [("90m", 5400), ("90", 90), ("11:00", 3600), ("13:00", 82_800), ("now", 0)]
)
def test_a_moment_that_is_past_is_read(text, before_noon):
    assert parse_past(text, "--since", NOON) == NOON - before_noon


@pytest.mark.parametrize("text", ["", "soon", "25:00", "7:00", "-2h", "2026-13-01", "90", "2 h", "++2h", "9" * 400])
def test_what_is_no_moment_is_refused_with_what_is_allowed(text):
    with pytest.raises(ConfigError, match=r"^--until must be ") as caught:
        parse_moment(text, "--until", NOON)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.4, "0s"), (45, "45s"), (192, "3m12s"), (3600, "1h"), (7530, "2h5m"), (90_000, "1d1h"), (-3, "0s")],
)
def test_a_span_is_written_by_its_two_largest_units(seconds, text):
    assert words.age(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (0.0004, "0.4ms"), (0.012, "12ms"), (1.3, "1.30s"), (61, "61s")]
)
def test_a_latency_is_short(seconds, text):
    assert words.latency(seconds) == text


@pytest.mark.parametrize(("share", "text"), [(None, "-"), (0, "0"), (0.021, "2.1"), (0.5, "50"), (1, "100")])
def test_a_share_is_in_hundredths(share, text):
    assert words.percent(share) == text


@pytest.mark.parametrize(("rate", "text"), [(None, "-"), (0, "0"), (0.25, "0.2"), (12.34, "12.3"), (118.4, "118")])
def test_a_rate_has_three_digits(rate, text):
    assert words.per_second(rate) == text


def test_what_a_terminal_would_obey_is_not_printed():
    assert words.clean("a\x1b[2Jb\nc\u202ed") == "a\\x1b[2Jb c\\x202ed"


def test_a_narrow_terminal_loses_spare_columns_first_come_first():
    head, rows = ("A", "BB", "CCC"), [("1", "2", "3")]
    assert paper.fitting(head, rows, ("BB", "A"), 10) == (["A", "BB", "CCC"], [["1", "2", "3"]])
    assert paper.fitting(head, rows, ("BB", "A"), 9) == (["A", "CCC"], [["1", "3"]])
    assert paper.fitting(head, rows, ("BB", "A"), 1) == (["CCC"], [["3"]])


def test_plain_tables_are_columns_without_trailing_blanks():
    assert paper.plain(("N", "RATE"), [("a", "7"), ("bcd", "")], ("RATE",)) == ["N    RATE", "a       7", "bcd"]


def test_whatever_is_said_to_people_is_cleaned(capsys):
    paper.Paper().say("one\ntwo \x1b]0;title\x07", "")
    paper.Paper().note("three\x1b[2J")
    out, err = capsys.readouterr()
    assert out == "one\ntwo \\x1b]0;title\\x07\n\n"
    assert err == "three\\x1b[2J\n"
