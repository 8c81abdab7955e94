"""Deadline headers: what is written can be read, is never too little and never 0; nothing raises."""

from __future__ import annotations

import math
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resilient import ConfigError, _deadline_header
from resilient._deadline_header import DeadlineHeader

NANOSECONDS = {"n": 1, "u": 10**3, "m": 10**6, "S": 10**9, "M": 60 * 10**9, "H": 3600 * 10**9}
LONGEST_NS = 99_999_999 * NANOSECONDS["H"]
NOW = 1_700_000_000.25

GRPC = DeadlineHeader("grpc-timeout", reserve=0)
MILLISECONDS = DeadlineHeader(reserve=0)
SECONDS = DeadlineHeader("X-Timeout", format="seconds", reserve=0)
UNIX = DeadlineHeader(format="unix", reserve=0)
RFC3339 = DeadlineHeader(format="rfc3339", reserve=0)
ALL = [GRPC, MILLISECONDS, SECONDS, UNIX, RFC3339]
every_format = pytest.mark.parametrize("header", ALL, ids=lambda each: each.format)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the wall clock."""
    monkeypatch.setattr(_deadline_header, "_wall", lambda: NOW)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1S", 1.0),
        ("1000m", 1.0),
        ("99999999H", 99_999_999 * 3600.0),
        ("1n", 1e-9),
        ("007M", 420.0),
        ("100000000n", None),
        ("0m", None),
        ("00000000H", None),
        ("-1S", None),
        ("+1S", None),
        ("1.5S", None),
        ("1s", None),
        ("1h", None),
        ("1 S", None),
        (" 1S", None),
        ("1S\n", None),
        ("S", None),
        ("1", None),
    ],
)
def test_P22_grpc_timeout(value: str, seconds: float | None) -> None:
    assert GRPC.decode(value) == seconds


@given(st.integers(1, LONGEST_NS))
@example(1)
@example(99_999_999)
@example(100_000_000)
@example(LONGEST_NS)
def test_grpc_reads_no_less_than_was_written_and_less_than_a_unit_more(nanoseconds: int) -> None:
    left = nanoseconds / 10**9
    text = GRPC.encode(left)
    read = GRPC.decode(text)
    unit = NANOSECONDS[text[-1]]
    assert read is not None
    assert left <= read
    assert Fraction(read) < Fraction(left) + Fraction(unit, 10**9)


@given(st.floats(1e-9, 99_999_999 * 3600.0))
@example(math.nextafter(0.1, 0))
@example(math.nextafter(0.1, 1))
def test_grpc_writes_the_finest_unit_and_the_fewest_of_it(left: float) -> None:
    text = GRPC.encode(left)
    count, unit = int(text[:-1]), NANOSECONDS[text[-1]]
    assert 1 <= count <= 99_999_999
    assert (count - 1) * unit / 10**9 < left <= count * unit / 10**9
    finer = [each for each in NANOSECONDS.values() if each < unit]
    assert all(99_999_999 * each / 10**9 < left for each in finer)


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (0.0, "1n"),
        (-3.0, "1n"),
        (0.05, "50000000n"),
        (0.1, "100000u"),
        (2, "2000000u"),
        (99.999999, "99999999u"),
        (100, "100000m"),
        (1e12, "99999999H"),
        (1e300, "99999999H"),
    ],
)
def test_grpc_examples(left: float, text: str) -> None:
    assert GRPC.encode(left) == text


@pytest.mark.parametrize(
    ("left", "milliseconds", "seconds"),
    [
        (0.0, "1", "0.000001"),
        (-1.0, "1", "0.000001"),
        (1e-9, "1", "0.000001"),
        (0.0011, "2", "0.0011"),
        (1.5, "1500", "1.5"),
        (10, "10000", "10"),
        (0.1, "100", "0.1"),
        (1e300, "9999999999", "999999999999999"),
    ],
)
def test_relative_examples(left: float, milliseconds: str, seconds: str) -> None:
    assert MILLISECONDS.encode(left) == milliseconds
    assert SECONDS.encode(left) == seconds


@every_format
@given(left=st.floats(1e-6, 9e4))
def test_what_is_written_is_read_as_no_less_and_hardly_more(header: DeadlineHeader, left: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_deadline_header, "_wall", lambda: NOW)
        read = header.decode(header.encode(left))
    assert read is not None
    slack = 3e-7 if header.format in ("unix", "rfc3339") else 0  # a float holds so much of a date
    assert left - slack <= read <= left + 1e-3 + slack


@every_format
@given(left=st.floats(allow_nan=False, allow_infinity=False))
def test_whatever_is_written_can_be_read(header: DeadlineHeader, left: float) -> None:
    text = header.encode(left)
    assert text.isascii()
    assert header.decode(text) is not None


@pytest.mark.usefixtures("wall")
def test_absolute_examples() -> None:
    assert UNIX.encode(1.5) == "1700000001.750"
    assert UNIX.decode("1700000001.75") == 1.5
    assert UNIX.decode("1700000002") == 1.75
    assert UNIX.decode("1600000000") == 0.0
    assert RFC3339.encode(1.5) == "2023-11-14T22:13:21.750Z"
    assert RFC3339.decode("2023-11-14T22:13:21.75Z") == 1.5
    assert RFC3339.decode("2023-11-14t23:13:21.750+01:00") == 1.5
    assert RFC3339.decode("2020-02-29T00:00:00Z") == 0.0


@pytest.mark.usefixtures("wall")
@pytest.mark.parametrize("value", ["5", "1500", "1700000001750", "0", "99999999999"])
def test_a_number_that_is_no_date_of_ours_is_no_end(value: str) -> None:
    assert UNIX.decode(value) is None


@pytest.mark.parametrize(
    "value",
    [
        "2023-11-14T22:13:21",
        "2023-11-14 22:13:21Z",
        "2023-02-30T00:00:00Z",
        "2023-11-14T25:00:00Z",
        "2023-11-14T22:13:60Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "20231114T221321Z",
        "2023-11-14",
        "2023-11-14T22:13:21+99:99",
    ],
)
def test_a_date_without_zone_or_of_no_calendar_is_no_end(value: str) -> None:
    assert RFC3339.decode(value) is None


@every_format
@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "-1",
        "+1",
        "-0.5",
        "nan",
        "NaN",
        "inf",
        "Infinity",
        "1e3",
        "1E3",
        "0x10",
        "1_000",
        "9" * 400,
        "9" * 400 + "H",
        "1." + "9" * 400,
        "١٢٣",
        "１００",  # noqa: RUF001 -- digits, but not ours
        "²",
        "1\x00",
        "1\n",
        "1,2",
        ".5",
        "5.",
        "\udcff",
        "None",
    ],
)
def test_hostile_values_say_nothing(header: DeadlineHeader, value: str) -> None:
    assert header.decode(value) is None


@every_format
@given(value=st.text() | st.from_regex(r"[0-9+.eTZ:HMSmun-]{1,30}", fullmatch=True))
def test_no_text_raises(header: DeadlineHeader, value: str) -> None:
    read = header.decode(value)
    assert read is None or (math.isfinite(read) and read >= 0)


def test_milliseconds_may_be_zero_and_are_whole() -> None:
    assert MILLISECONDS.decode("0") == 0.0
    assert MILLISECONDS.decode("250") == 0.25
    assert MILLISECONDS.decode("250.5") is None
    assert SECONDS.decode("250.5") == 250.5
    assert SECONDS.decode("0") == 0.0


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("grpc-timeout", "grpc"),
        ("Grpc-Timeout", "grpc"),
        ("X-Request-Deadline", "milliseconds"),
        ("connect-timeout-ms", "milliseconds"),
        ("x-envoy-expected-rq-timeout-ms", "milliseconds"),
    ],
)
def test_the_format_follows_from_the_name(name: str, format: str) -> None:  # noqa: A002
    assert DeadlineHeader(name).format == format


def test_equal_headers_are_interchangeable() -> None:
    assert DeadlineHeader() == DeadlineHeader("X-Request-Deadline", format="milliseconds")
    assert len({DeadlineHeader(), DeadlineHeader()}) == 1


@pytest.mark.parametrize(
    ("reserve", "left", "text"),
    [
        ("auto", 2.0, "1900"),
        ("auto", 0.1, "95"),
        ("auto", 0.08, "75"),
        ("auto", 0.006, "1"),
        ("auto", 0.004, "1"),
        (0, 2.0, "2000"),
        (0.5, 2.0, "1500"),
        (timedelta(milliseconds=500), 2.0, "1500"),
        (3, 2.0, "1"),
    ],
)
def test_the_reserve_is_kept_back(reserve: object, left: float, text: str) -> None:
    assert DeadlineHeader(reserve=reserve).encode(left) == text  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "X Deadline", "X-Frist-für", "a:b", "a\r\nb", "a\n", "(x)"])
def test_bad_names(name: str) -> None:
    with pytest.raises(ConfigError, match="name must be"):
        DeadlineHeader(name)


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"name": b"x"}, TypeError, "name must be a string"),
        ({"format": "minutes"}, ConfigError, r'format must be one of "auto", "grpc", .*got \'minutes\''),
        ({"format": None}, TypeError, "format must be"),
        ({"name": "grpc-timeout", "format": "seconds"}, ConfigError, 'format must be "grpc"'),
        ({"reserve": -1}, ConfigError, "reserve must be"),
        ({"reserve": math.nan}, ConfigError, "reserve must be"),
        ({"reserve": "some"}, TypeError, "reserve must be"),
        ({"reserve": None}, TypeError, "reserve must be"),
    ],
)
def test_bad_settings(settings: dict[str, object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        DeadlineHeader(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("left", [math.nan, math.inf, -math.inf, "1", None])
def test_what_is_no_deadline_is_not_written(left: object) -> None:
    with pytest.raises((ConfigError, TypeError), match="remaining"):
        MILLISECONDS.encode(left)  # type: ignore[arg-type]
