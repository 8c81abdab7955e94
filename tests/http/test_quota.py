"""Allowances: the pace that is safe by what each dialect says."""

from __future__ import annotations

import builtins
import math
from datetime import UTC, datetime

import httpx
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient import _http_times as times
from resilient import faults
from resilient._http import quota
from resilient._http.quota import Quota, exhausted, read

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EPOCH = round(NOW.timestamp())


@pytest.fixture(autouse=True)
def _wall(monkeypatch):
    monkeypatch.setattr(times, "wall", lambda: NOW)


def told(fields: dict[str, str]) -> Quota | None:
    raw = {name.encode(): value.encode() for name, value in fields.items()}
    said = read(httpx.Headers(raw))
    assert read(httpx2.Headers(raw)) == said
    return said


def ietf(limit: str, policy: str = "") -> Quota | None:
    return told({"RateLimit": limit, "RateLimit-Policy": policy})


STRUCTURED = [
    # P22
    ('"default";r=999;pk=:dHJpYWwxMjEzMjM=:', '"burst";q=100;w=60,"daily";q=1000;w=86400', Quota(None, 0.0, 999)),
    ('"somepolicy";r=10000;t=10', '"somepolicy";q=10000;w=1000', Quota(10.0, 10.0, 10000)),
    ("", '"burst";q=120;w=60,"daily";q=8640;w=86400', Quota(0.1, 60.0, None)),
    # the current draft
    ('"default";r=50;t=30', "", Quota(50 / 30, 30.0, 50)),
    ('"default";r=50;t=30', '"default";q=60;w=60', Quota(1.0, 30.0, 50)),
    ('"default";r=50', '"default";q=60;w=60', Quota(1.0, 60.0, 50)),
    ('"default";r=50;t=3600', "", Quota(50 / 3600, 60.0, 50)),
    ('"default";r=0;t=30', '"default";q=60;w=60', Quota(0.0, 30.0, 0)),
    ('"default";r=0', '"default";q=60;w=120', Quota(0.5, 2.0, 0)),
    ('"default";r=0', "", Quota(None, 0.0, 0)),
    ('"default";r=5;t=0', '"default";q=60;w=60', Quota(1.0, 60.0, 5)),
    ('"a";r=50;t=10, "b";r=5;t=10', "", Quota(0.5, 10.0, 5)),
    ('"a";r=5;t=10', '"b";q=1;w=1000', Quota(0.5, 10.0, 5)),
    ('"a";r=500;t=10;pk=:AAA=:', '"a";q=100;w=10;pk=:AAA=:, "a";q=10;w=10', Quota(1.0, 10.0, 500)),
    ('"a";r=9;t=10;pk=:AAA=:, "a";r=9;t=9;pk=:AQA=:', '"a";q=5;w=10', Quota(0.5, 10.0, 9)),
    ('"a";r=5;t=10;colour=red;x', "", Quota(0.5, 10.0, 5)),
    ("a;r=5;t=10", "a;q=1;w=10", Quota(0.1, 10.0, 5)),
    # other units
    ('"bytes";r=5;t=10', '"bytes";q=100;w=10;qu="content-bytes"', None),
    ('"slots";r=5', '"slots";q=100;w=10;qu="concurrent-requests"', None),
    ('"a";r=5;t=10', '"a";q=100;w=10;qu="requests"', Quota(0.5, 10.0, 5)),
    ('"a";r=5;t=10', '"a";q=100;w=10;qu=requests', Quota(0.5, 10.0, 5)),
    # what makes no sense
    ('"a";r=-5;t=10', "", None),
    ('"a";r=5.5;t=10', "", None),
    ('"a";r="5";t=10', "", None),
    ('"a";r;t=10', "", None),
    ('"a";r=5;t=-10', "", Quota(None, 0.0, 5)),
    ('"a";t=10', "", None),
    ('"a";r=5;t=10, ', "", None),
    ('"a;r=5;t=10', "", None),
    ("(1 2);r=5;t=10", "", None),
    ('"a";r=5;t=10', '"a";q=1', Quota(0.5, 10.0, 5)),
    ('"a";r=5;t=10', '"a";q=1;w=0', Quota(0.5, 10.0, 5)),
    ('"a";r=5;t=10', "garbage(", Quota(0.5, 10.0, 5)),
    ('"a";r=999999999999999;t=1', "", Quota(999999999999999.0, 1.0, 999999999999999)),
    ('"a";r=1000;t=999999999999999', "", Quota(1000 / (365 * 86400), 60.0, 1000)),
    ('"a";r=5;t=10' + ";x=1" * 2000, "", None),
    ('"ä";r=5;t=10', "", None),
    # draft 7
    ("limit=100, remaining=50, reset=5", "100;w=60", Quota(100 / 60, 5.0, 50)),
    ("limit=100, remaining=5, reset=10", "", Quota(0.5, 10.0, 5)),
    ("limit=100, remaining=oops, reset=10", "", None),
    ("limit=100, remaining=(1 2), reset=10", "", None),
]


@pytest.mark.parametrize(("limit", "policy", "said"), STRUCTURED)
def test_P22_structured_fields(limit, policy, said):
    assert ietf(limit, policy) == said


DIALECTS = [
    ("ratelimit-", ("100", "50", "10"), Quota(5.0, 10.0, 50)),
    ("ratelimit-", ("100;w=50", "50", "10"), Quota(2.0, 10.0, 50)),
    ("ratelimit-", ("100, 100;w=50", "50", "10"), Quota(2.0, 50.0, None)),
    ("ratelimit-", ("100;w=50", "", ""), Quota(2.0, 50.0, None)),
    ("ratelimit-", ("100", "0", "10"), Quota(0.0, 10.0, 0)),
    ("ratelimit-", ("3000", "50", str(EPOCH + 10)), Quota(5.0, 10.0, 50)),
    ("x-ratelimit-", ("60", "50", str(EPOCH + 10)), Quota(5.0, 10.0, 50)),
    ("x-ratelimit-", ("60", "50", str((EPOCH + 10) * 1000)), Quota(5.0, 10.0, 50)),
    ("X-RateLimit-", ("60", "50", "10"), Quota(5.0, 10.0, 50)),
    ("X-RateLimit-", ("60", "50", "10s"), Quota(5.0, 10.0, 50)),
    ("X-RateLimit-", ("60", "50.0", "3000"), Quota(50 / 3000, 60.0, 50)),
    ("X-RateLimit-", ("60", "50", "Thu, 01 Jan 2026 00:00:10 GMT"), Quota(5.0, 10.0, 50)),
    ("X-RateLimit-", ("60", "50", str(EPOCH - 10)), Quota(None, 0.0, 50)),
    ("X-RateLimit-", ("60, 100", "50, 5", "10, 10"), Quota(0.5, 10.0, 5)),
    ("X-RateLimit-", ("60", "many", "10"), None),
    ("X-RateLimit-", ("60", "-1", "10"), None),
    ("X-RateLimit-", ("60", "5", "later"), Quota(None, 0.0, 5)),
    ("x-rate-limit-", ("60", "50", str(EPOCH + 10)), Quota(5.0, 10.0, 50)),
]


@pytest.mark.parametrize(("prefix", "values", "said"), DIALECTS)
def test_older_drafts_and_vendors(prefix, values, said):
    names = (f"{prefix}{name}" for name in ("limit", "remaining", "reset"))
    assert told({name: value for name, value in zip(names, values, strict=True) if value}) == said


def test_the_exact_end_comes_before_the_rounded_one():
    fields = {"X-RateLimit-Limit": "5", "X-RateLimit-Remaining": "1", "X-RateLimit-Reset": f"{EPOCH + 1}.000"}
    assert told(fields | {"X-RateLimit-Reset-After": "0.250"}) == Quota(4.0, 0.25, 1)


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "said"),
    [
        ("5000", "4999", "12ms", Quota(pytest.approx(5000 / 0.012), 0.012, 4999)),
        ("60", "30", "30s", Quota(2.0, 30.0, 30)),
        ("60", "1", "6m0s", Quota(60 / 360, 60.0, 1)),
        ("60", "0", "6m0s", Quota(60 / 360, pytest.approx(6.0), 0)),
        ("", "0", "6m0s", Quota(0.0, 60.0, 0)),
    ],
)
def test_an_allowance_that_comes_back_bit_by_bit(limit, remaining, reset, said):
    fields = {"limit": limit, "remaining": remaining, "reset": reset}
    assert told({f"x-ratelimit-{name}-requests": value for name, value in fields.items() if value}) == said
    tokens = {f"x-ratelimit-{name}-tokens": "0" for name in fields}
    assert told(tokens) is None


def test_an_end_in_iso_8601():
    fields = {"limit": "50", "remaining": "49", "reset": "2026-01-01T00:00:10Z"}
    assert told({f"anthropic-ratelimit-requests-{name}": each for name, each in fields.items()}) == Quota(5.0, 10.0, 49)


def test_the_tightest_of_all_counts():
    fields = {"RateLimit": '"a";r=50;t=10', "X-RateLimit-Remaining": "5", "X-RateLimit-Reset": "10"}
    assert told(fields) == Quota(0.5, 10.0, 5)
    assert told(fields | {"X-RateLimit-Reset": "later"}) == Quota(5.0, 10.0, 50)


@pytest.mark.parametrize(("age", "counts"), [("0", True), ("", True), ("old", True), ("1", False), (" 60", False)])
def test_what_comes_out_of_a_cache_was_said_to_somebody_else(age, counts):
    fields = {"RateLimit": '"a";r=50;t=10', "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "10", "Age": age}
    assert (told(fields) is not None) == counts
    assert (exhausted(httpx2.Headers(fields)) is not None) == counts


def test_used_up_is_over_when_the_last_of_them_is():
    fields = {"RateLimit": '"a";r=0;t=100, "b";r=0;t=3600, "c";r=5;t=9999'}
    assert exhausted(httpx2.Headers(fields)) == 3600.0
    assert exhausted(httpx2.Headers({"RateLimit": '"a";r=1;t=100'})) is None
    assert exhausted(httpx2.Headers({"RateLimit": '"a";r=0'})) is None


@pytest.mark.parametrize("fields", [{}, {"content-type": "a/b"}, {"x-limit": "5"}, {"x-rate": "1", "limit": "5"}])
def test_without_such_fields_there_is_nothing(fields):
    assert told(fields) is None


def test_without_such_fields_nothing_is_asked_for():
    class Silent:
        raw = (b"Content-Type", b"a/b"), (b"Date", b"x")

    assert read(Silent()) is None


def test_without_the_library_structured_fields_are_ignored_and_that_is_reported_once(monkeypatch):
    real = builtins.__import__
    tried = []

    def refuse(name, *args, **kwargs):
        if name == "http_sf":
            tried.append(name)
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    quota._parser.cache_clear()
    try:
        for _ in range(3):
            assert ietf('"a";r=5;t=10') is None
        assert told({"RateLimit": '"a";r=5;t=10', "X-RateLimit-Remaining": "5", "X-RateLimit-Reset": "5"}) is not None
        assert faults.total() == len(tried) == 1
    finally:
        quota._parser.cache_clear()


WORDS = st.sampled_from(
    ['"a"', ";", "r=", "t=", "q=", "w=", "qu=", "pk=", ",", " ", "5", "0", "-1", "1.5", "(", ")", ":AA==:", "?1", "@1",
     "remaining=", "reset=", "limit=", "%", '"', "999999999999999", "m", "s", "ms", "2026-01-01T00:00:10Z", "nan"]
)  # fmt: skip
FIELD = st.lists(WORDS, max_size=20).map("".join).map(str.encode) | st.text().map(str.encode) | st.binary()
NAMES = st.sampled_from(
    ["ratelimit", "ratelimit-policy", "age", "date", *(name for each in quota._DIALECTS for name in each[:2])]
    + [name for each in quota._DIALECTS for name in each.resets]
)


@given(st.dictionaries(NAMES, FIELD, max_size=8))
def test_no_field_raises_or_yields_what_makes_no_sense(fields):
    headers = httpx2.Headers([(name.encode(), value) for name, value in fields.items()])
    said = read(headers)
    if said is not None:
        assert said.pace is None or (said.pace >= 0 and math.isfinite(said.pace))
        assert 0 <= said.seconds <= quota.LONGEST
        assert said.remaining is None or said.remaining >= 0
    wait = exhausted(headers)
    assert wait is None or 0 <= wait <= times.LONGEST
