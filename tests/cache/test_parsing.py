"""Fields to what they mean: directives, numbers, dates, lists; whatever is written there."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resilient.cache.dates import moment
from resilient.cache.directives import MOST, delta, names, parse, seconds
from resilient.cache.fields import index, joined, listed, merged, named, storable, tags
from resilient.cache.freshness import initial_age

NOW = 1_900_000_000.0


def cc(*values: str) -> dict[bytes, bytes | None]:
    return parse({b"cache-control": [value.encode() for value in values]})


# -- Cache-Control ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "max_age"),
    [
        ("max-age=60", 60),
        ("MaX-aGe=60", 60),
        ("public,max-age=60", 60),
        ("\tpublic ,\t max-age=60 , ", 60),
        (",,, max-age=60", 60),
        ("foobar, max-age=60, x=y", 60),
        ('max-age="60"', 60),
        ("max-age=0060", 60),
        ("max-age=0", 0),
        ('extension="max-age=3600", max-age=1', 1),
        ('max-age=1, extension="max-age=3600"', 1),
        ('extension="a\\"b, max-age=3600", max-age=1', 1),
        ("x-max-age=60", None),
        ("", None),
    ],
)
def test_a_directive_is_found_in_any_case_and_never_in_a_quoted_string(value: str, max_age: float | None) -> None:
    assert delta(cc(value), b"max-age") == max_age


@pytest.mark.parametrize(
    "value",
    [
        "max-age",
        "max-age=",
        "max-age=-60",
        "max-age=+60",
        "max-age=60.0",
        "max-age=60.5",
        "max-age=a60",
        "max-age=60a",
        "max-age='60'",
        "max-age =60",
        "max-age= 60",
        'max-age="60',
        "max-age=6 0",
        "max-age=\u0661",
        'max-age="6\\0"x',
    ],
)
def test_an_argument_that_makes_no_sense_counts_as_no_time_at_all(value: str) -> None:
    assert delta(cc(value), b"max-age") == 0


@pytest.mark.parametrize("digits", ["2147483648", "2147483649", "99999999999", "9" * 5000])
def test_more_seconds_than_2_to_the_31_are_that_many(digits: str) -> None:
    assert seconds(digits.encode()) == MOST
    assert seconds(b"2147483647") == MOST - 1
    assert seconds(b"0" * 5000 + b"5") == 5


def test_the_first_of_several_equal_directives_counts() -> None:
    assert delta(cc("max-age=1800, max-age=1"), b"max-age") == 1800
    assert delta(cc("max-age=1", "max-age=1800"), b"max-age") == 1


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ("public", None),
        ("no-cache", []),
        ('no-cache="set-cookie"', [b"set-cookie"]),
        ('No-Cache=" Set-Cookie ,, X-A"', [b"set-cookie", b"x-a"]),
        ("no-cache=set-cookie", []),
        ("no-cache=1", []),
        ('no-cache="1"', []),
        ('no-cache=""', []),
        ('no-cache="a b"', []),
        ('no-cache="a', []),
        ("no-cache =x", []),
    ],
)
def test_names_are_read_in_quotes_only_and_all_else_is_the_unqualified_form(
    value: str, fields: list[bytes] | None
) -> None:
    assert names(cc(value), b"no-cache") == fields


@given(st.lists(st.binary(max_size=60), max_size=4))
@example([b'"', b"\\", b'a="\\', b"=,=", b'"\\"'])
def test_whatever_is_written_there_is_read_without_a_fault(values: list[bytes]) -> None:
    directives = parse({b"cache-control": values})
    for name in directives:
        assert name == name.lower()
        assert delta(directives, name) is not None
        assert names(directives, name) is not None


@given(st.text(alphabet='",\\= \ta1', max_size=200))
def test_lists_of_any_shape_take_linear_time(text: str) -> None:
    value = text.encode() * 50
    assert all(member == member.strip(b" \t") and member for member in listed(value))
    tags(value)


# -- dates -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Thu, 18 Aug 2050 02:01:18 GMT",
        "THU, 18 Aug 2050 02:01:18 GMT",
        "Thu, 18 AUG 2050 02:01:18 GMT",
        "Thu, 18 Aug 2050 02:01:18 gMT",
        "Thursday, 18-Aug-50 02:01:18 GMT",
        "Thu Aug 18 02:01:18 2050",
        " Thu, 18 Aug 2050 02:01:18 GMT\t",
    ],
)
def test_a_date_is_read_in_its_three_forms_and_in_any_case(text: str) -> None:
    assert moment(text.encode()) == 2_544_400_878


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-1",
        "",
        "Thu, 18 Aug 2050 02:01:18 UTC",
        "Thu, 18 Aug 2050 02:01:18 AEST",
        "Thu, 18 Aug 2050 02:01:18 +0000",
        "Thu, 18 Aug 2050 02:01:18",
        "Thu, 18 Aug 50 02:01:18 GMT",
        "Thu 18 Aug 2050 02:01:18 GMT",
        "Thu, 18  Aug  2050 02:01:18 GMT",
        "Thu, 18-Aug-2050 02:01:18 GMT",
        "Thu, 18 Aug 2050 02.01.18 GMT",
        "Thu, 18 Aug 2050 2:01:18 GMT",
        "Thu, 8 Aug 2050 02:01:18 GMT",
        "Thu, 38 Aug 2050 02:01:18 GMT",
        "Thu, 18 Aug 2050 25:01:18 GMT",
        "Thu, 18 Aug 0000 02:01:18 GMT",
        "2050-08-18T02:01:18Z",
        "\xb9\xb2\xb3",
    ],
)
def test_what_is_no_date_of_http_is_none(text: str) -> None:
    assert moment(text.encode("latin-1")) is None


@given(st.binary(max_size=40))
def test_any_bytes_are_a_date_or_none(value: bytes) -> None:
    assert moment(value) is None or isinstance(moment(value), float)


# -- Age -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "age"),
    [
        ([], 0),
        (["30"], 30),
        (["0030"], 30),
        (["7200, 0"], 7200),
        (["0, 7200"], 0),
        (["7200", "0"], 7200),
        (["0", "7200"], 0),
        (["2147483649"], MOST),
        (["abc"], 0),
        (["-7200"], 0),
        (["7200.0"], 0),
        (["7200;foo=bar"], 0),
        ([""], 0),
        ([",30"], 30),
        (["abc", "30"], 0),
    ],
)
def test_the_first_member_of_age_counts_and_nonsense_does_not(values: list[str], age: float) -> None:
    fields = {b"age": [value.encode() for value in values]} if values else {}
    assert initial_age(fields, NOW, NOW) == age


# -- lists and fields ------------------------------------------------------------------------------------


def test_fields_are_found_by_name_in_any_case_and_joined_in_order() -> None:
    found = index([(b"Vary", b"A"), (b"vARY", b"b"), (b"X", b"1")])
    assert joined(found, b"vary") == b"A, b"
    assert joined(found, b"x") == b"1"
    assert joined(found, b"y") is None
    assert named(b"A, b,,a") == [b"a", b"b"]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ('"a"', ['"a"']),
        ('"a", W/"b" ,"c,d"', ['"a"', 'W/"b"', '"c,d"']),
        ("*", ["*"]),
        ("abc", ["abc"]),
        ('w/"a"', ['w/"a"']),
        (",,", []),
    ],
)
def test_entity_tags_are_read_as_they_are_written(value: str, found: list[str]) -> None:
    assert tags(value.encode()) == [tag.encode() for tag in found]


def test_what_belongs_to_a_connection_or_proxy_is_not_stored_and_all_else_is() -> None:
    kept = [(b"X-Unknown", b"1"), (b"Set-Cookie", b"a=b"), (b"Content-Type", b"x")]
    gone = [
        (name, b"1")
        for name in (
            b"Keep-Alive",
            b"Proxy-Authenticate",
            b"Proxy-Authentication-Info",
            b"Proxy-Authorization",
            b"Proxy-Connection",
            b"TE",
            b"Transfer-Encoding",
            b"Upgrade",
            b"Age",
            b"X-Hop",
            b"X-Secret",
        )
    ]
    fields = [(b"Connection", b"close, X-hop"), *gone, *kept]
    assert storable(fields, index(fields), [b"x-secret"]) == kept


def test_newer_fields_replace_stored_ones_but_not_those_that_the_bytes_depend_on() -> None:
    stored = [(b"A", b"1"), (b"a", b"2"), (b"B", b"3"), (b"Content-Length", b"5"), (b"Content-Encoding", b"gzip")]
    newer = [
        (b"a", b"4"),
        (b"C", b"6"),
        (b"content-length", b"0"),
        (b"Content-Range", b"x"),
        (b"content-encoding", b"br"),
    ]
    assert merged(stored, newer) == [
        (b"B", b"3"),
        (b"Content-Length", b"5"),
        (b"Content-Encoding", b"gzip"),
        (b"a", b"4"),
        (b"C", b"6"),
    ]
