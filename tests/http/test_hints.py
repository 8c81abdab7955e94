"""Hints of error responses: what servers really send, and what nobody should."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import httpx2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resilient import _http_times as times
from resilient._http import hints
from resilient._http.hints import NONE, Hints, read

NOW = datetime(1999, 12, 31, 23, 59, 0, tzinfo=UTC)
DATE = "Fri, 31 Dec 1999 23:59:00 GMT"
YEAR = 365 * 86400.0


@pytest.fixture(autouse=True)
def _wall(monkeypatch):
    monkeypatch.setattr(times, "wall", lambda: NOW)


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def headers(request):
    return lambda *fields, **named: request.param.Headers(
        [*fields, *((name.replace("_", "-"), value) for name, value in named.items())]
    )


RETRY_AFTER = [
    # P22
    ("120", 120.0),
    ("Fri, 31 Dec 1999 23:59:59 GMT", 59.0),
    ("Friday, 31-Dec-99 23:59:59 GMT", 59.0),
    ("Fri Dec 31 23:59:59 1999", 59.0),
    ("-1", None),
    ("1e3", None),
    ("", None),
    ("0.5", 0.5),
    # numbers
    ("0", 0.0),
    (" 7\t", 7.0),
    ("1792152901", YEAR),
    ("999999999999999", YEAR),
    ("9" * 16, None),
    (str(10**400), None),
    ("+5", None),
    ("5.", None),
    (".5", None),
    ("1_000", None),
    ("0x10", None),
    ("inf", None),
    ("nan", None),
    ("\u0663", None),
    ("\uff15", None),
    ("5s", None),
    ("5 seconds", None),
    ("soon", None),
    # lists: the longest wait that makes sense
    ("5, 10", 10.0),
    ("10,5", 10.0),
    ("garbage, 5", 5.0),
    ("-1, 1e3", None),
    ("5, Fri, 31 Dec 1999 23:59:59 GMT", 59.0),
    ("Fri, 31 Dec 1999 23:59:59 GMT, 90", 90.0),
    # dates
    ("Fri, 31 Dec 1999 23:58:00 GMT", 0.0),
    ("Sat, 1 Jan 2000 00:00:00 GMT", 60.0),
    ("Sat Jan  1 00:00:00 2000", 60.0),
    ("Fri, 31 Dec 1999 23:59:59 +0000", 59.0),
    ("Sat, 01 Jan 2000 01:00:00 +0100", 60.0),
    ("Fri, 31 Dec 9999 23:59:59 GMT", YEAR),
    ("Fri, 31 Dec 1999 23:59:59", None),
    ("Fri, 31 Dec 1999 23:59:59 PST", None),
    ("Mon, 31 Dec 1999 23:59:59 GMT", None),
    ("Fri, 31 Dec 0000 23:59:59 GMT", None),
    ("Fri, 31 Dec 10000 23:59:59 GMT", None),
    ("Fri, 31 Dec 99 23:59:59 GMT", None),
    ("Fri, 32 Dec 1999 23:59:59 GMT", None),
    ("Fri, 31 Xyz 1999 23:59:59 GMT", None),
    ("Fri, 31 Dec 1999 25:59:59 GMT", None),
    ("Fri, 31 Dec 1999 23:59:59 +9999", None),
    ("1999-12-31T23:59:59Z", None),
]


@pytest.mark.parametrize(("text", "seconds"), RETRY_AFTER)
def test_C13_P22_retry_after(headers, text, seconds):
    assert read(headers(("Retry-After", text.encode())), 503) == Hints(seconds)


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"\x00", b"5\x00", b"\xd9\xa3", b"Fri, 31 Dec \xff 23:59:59 GMT"])
def test_C13_bytes_that_are_no_text_are_ignored(headers, raw):
    assert read(headers((b"Retry-After", raw)), 429) == NONE


def test_of_a_field_that_comes_twice_the_longest_wait_counts(headers):
    assert read(headers(("retry-after", "5"), ("Retry-After", "30")), 503).retry_after == 30.0
    date = "Fri, 31 Dec 1999 23:59:59 GMT"
    assert read(headers(("retry-after", date), ("Retry-After", "30")), 503).retry_after == 59.0


def test_a_date_is_compared_with_the_servers_own_clock(headers):
    fields = {"retry_after": "Sat, 01 Jan 2000 12:00:30 GMT", "date": "Sat, 01 Jan 2000 12:00:00 GMT"}
    assert read(headers(**fields), 503).retry_after == 30.0
    assert read(headers(**fields | {"date": "now"}), 503).retry_after == 12 * 3600 + 90


@pytest.mark.parametrize("status", [200, 204, 301, 302, 307, 308, 399])
def test_C13_only_errors_carry_hints(headers, status):
    everything = headers(retry_after="5", retry_after_ms="5", x_should_retry="true", grpc_retry_pushback_ms="-1")
    assert read(everything, status) == NONE


@pytest.mark.parametrize("status", [400, 403, 408, 413, 429, 500, 503, 599])
def test_every_error_may_carry_one(headers, status):
    assert read(headers(retry_after="5"), status) == Hints(5.0)


@pytest.mark.parametrize("name", ["retry-after-ms", "x-ms-retry-after-ms", "X-Amz-Retry-After"])
@pytest.mark.parametrize(
    ("text", "seconds"), [("1500", 1.5), ("0.5", 0.0005), ("0", 0.0), ("5, 10", 0.01), ("-1", 7.0), ("soon", 7.0)]
)
def test_milliseconds_come_before_retry_after(headers, name, text, seconds):
    assert read(headers((name, text), ("Retry-After", "7")), 429) == Hints(seconds)


@pytest.mark.parametrize(
    ("text", "hinted"),
    [
        ("250", Hints(0.25)),
        ("0", Hints(0.0)),
        ("2147483647", Hints(2147483.647)),
        ("2147483648", Hints(7.0, should_retry=False)),
        ("-1", Hints(7.0, should_retry=False)),
        ("", Hints(7.0, should_retry=False)),
        ("-", Hints(7.0, should_retry=False)),
        ("1.5", Hints(7.0, should_retry=False)),
        ("5, 10", Hints(7.0, should_retry=False)),
        ("9" * 500, Hints(7.0, should_retry=False)),
    ],
)
def test_grpc_pushback_comes_first_and_nonsense_in_it_means_never(headers, text, hinted):
    fields = {"grpc_retry_pushback_ms": text, "retry_after": "7", "x_should_retry": "true"}
    told = read(headers(**fields), 503)
    assert told == (hinted if hinted.should_retry is False else hinted._replace(should_retry=True))


@pytest.mark.parametrize("name", ["x-should-retry", "Stripe-Should-Retry"])
@pytest.mark.parametrize(
    ("text", "said"),
    [("true", True), ("false", False), (" False ", False), ("TRUE", True), ("yes", None), ("", None), ("1", None)],
)
def test_the_servers_word_on_whether(headers, name, text, said):
    assert read(headers((name, text)), 500) == Hints(should_retry=said)


def test_a_no_outweighs_a_yes(headers):
    assert read(headers(x_should_retry="true", stripe_should_retry="false"), 500).should_retry is False
    assert read(headers(("x-should-retry", "false"), ("x-should-retry", "true")), 500).should_retry is False


@pytest.mark.parametrize("name", ["x-envoy-overloaded", "x-envoy-ratelimited"])
def test_a_proxy_that_is_overloaded_says_so_by_presence(headers, name):
    assert read(headers((name, "true")), 503) == Hints(overloaded=True)
    assert read(headers((name, "")), 429) == Hints(overloaded=True)


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("1000000001", YEAR),
        ("30", 30.0),
        ("6m0s", 360.0),
        ("120ms", 0.12),
        ("1h1m1.5s", 3661.5),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 59.0),
        ("1999-12-31T23:59:59Z", 59.0),
        ("1999-12-31T23:59:59", None),
        ("soon", None),
        ("", None),
    ],
)
def test_a_used_up_allowance_tells_when_there_is_more(headers, status, reset, seconds):
    fields = {"x_ratelimit_limit": "60", "x_ratelimit_remaining": "0", "x_ratelimit_reset": reset}
    assert read(headers(**fields), status).retry_after == seconds
    assert read(headers(**fields, retry_after="3"), status).retry_after == 3.0
    assert read(headers(**fields | {"x_ratelimit_remaining": "1"}), status).retry_after is None
    assert read(headers(**fields), 404).retry_after is None
    assert read(headers(**fields, age="5"), status).retry_after is None


@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (1000, 0), (1, 0.25)])
def test_a_reset_may_be_a_time_since_1970(headers, monkeypatch, scale, offset):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    monkeypatch.setattr(times, "wall", lambda: now)
    reset = (now + timedelta(seconds=30 + offset)).timestamp() * scale
    fields = {"x_ratelimit_remaining": "0", "x_ratelimit_reset": f"{reset:.2f}".removesuffix(".00")}
    assert read(headers(**fields), 429).retry_after == pytest.approx(30 + offset)
    skewed = "Thu, 01 Jan 2026 00:00:10 GMT"
    assert read(headers(**fields, date=skewed), 429).retry_after == pytest.approx(20 + offset)
    long_ago = fields | {"x_ratelimit_reset": "1500000000"}
    assert read(headers(**long_ago), 429).retry_after is None, "what is over says nothing"


NAMES = [
    "retry-after", "retry-after-ms", "x-ms-retry-after-ms", "x-amz-retry-after", "grpc-retry-pushback-ms",
    "x-should-retry", "stripe-should-retry", "date", "age", "ratelimit", "ratelimit-policy",
    "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-ratelimit-reset-after",
    "x-ratelimit-remaining-requests", "x-ratelimit-limit-requests", "x-ratelimit-reset-requests",
]  # fmt: skip
NUMBERS = st.integers().map(str) | st.floats().map(str) | st.from_regex(r"[0-9]{1,20}(\.[0-9]+)?(ms|s|m)?")
DATES = st.datetimes().map(lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT")) | st.datetimes().map(str)
LIKELY = st.sampled_from([text for text, _ in RETRY_AFTER] + ["true", "false", "0"])
TEXTS = (st.text() | NUMBERS | DATES | LIKELY | st.lists(NUMBERS | DATES | LIKELY).map(", ".join)).map(
    lambda text: text.encode("utf-8", "replace")
)


@given(st.lists(st.tuples(st.sampled_from(NAMES), TEXTS | st.binary()), max_size=12), st.integers(100, 599))
@example([("retry-after", b"Fri, 31 Dec 9999 23:59:59 -2359")], 503)
@example([("retry-after", b"Mon, 1 Jan 1000 00:00:00 +2359")], 503)
@example([("x-ratelimit-remaining", b"0"), ("x-ratelimit-reset", b"0001-01-01T00:00:00+23:59")], 429)
@example([("retry-after", b",".join([b"5"] * 10_000))], 503)
def test_T35_no_header_raises_or_yields_what_cannot_be_waited_for(fields, status):
    told = read(httpx2.Headers([(name.encode(), value) for name, value in fields]), status)
    assert told.retry_after is None or 0 <= told.retry_after <= YEAR
    assert told.should_retry in {None, True, False}
    assert told == read(httpx.Headers([(name.encode(), value) for name, value in fields]), status)
    if status < 400:
        assert told is hints.NONE
