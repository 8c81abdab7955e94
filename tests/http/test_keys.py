"""Idempotency keys: made once, written as the downstream wants them, and never for a method that needs none."""

from __future__ import annotations

import dataclasses
import re
import uuid
from typing import Any

import httpx
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient import ConfigError, faults
from resilient._http.keys import IdempotencyKey, same_origin
from resilient.idempotency.keys import LONGEST, random_key

RAW = IdempotencyKey()
QUOTED = IdempotencyKey(style="quoted")


def unquoted(value: str) -> str:
    """Read a structured field's string, as RFC 8941 section 4.2.5 says."""
    assert value[0] == value[-1] == '"'
    result, escaped = "", False
    for character in value[1:-1]:
        if escaped:
            assert character in '"\\'
            result, escaped = result + character, False
        elif character == "\\":
            escaped = True
        else:
            assert character != '"'
            assert "\x20" <= character <= "\x7e"
            result += character
    assert not escaped
    return result


# On the wire


def test_P22_a_quoted_key_has_its_quotes() -> None:
    assert QUOTED.wire("8e03978e-40d5-43e8-bc93-6894a57f9324") == '"8e03978e-40d5-43e8-bc93-6894a57f9324"'
    assert RAW.wire("8e03978e-40d5-43e8-bc93-6894a57f9324") == "8e03978e-40d5-43e8-bc93-6894a57f9324"


def test_quotes_and_backslashes_are_escaped() -> None:
    assert QUOTED.wire('a"b\\c') == r'"a\"b\\c"'
    assert RAW.wire('a"b\\c') == 'a"b\\c'


PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1).filter(lambda t: t == t.strip())


@given(PRINTABLE)
def test_any_printable_key_comes_back_from_its_quotes(key: str) -> None:
    assert unquoted(QUOTED.wire(key)) == key


@given(st.text(min_size=1))
def test_what_is_written_is_always_a_header(key: str) -> None:
    for style in (RAW, QUOTED):
        try:
            value = style.wire(key)
        except ConfigError:
            continue
        assert re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", value)


@pytest.mark.parametrize("style", [RAW, QUOTED])
@pytest.mark.parametrize(
    "key", ["", " ", "a\r\nHost: b", "a\nb", "a\0", "a\x7f", "a\tb", "ключ", "é", " a", "a ", "\x1f"]
)
def test_a_key_that_no_header_can_carry_is_refused(style: IdempotencyKey, key: str) -> None:
    with pytest.raises(
        ConfigError, match=re.escape("idempotency key must be one or more printable ASCII characters, ")
    ):
        style.wire(key)


@pytest.mark.parametrize("key", [None, 7, b"a", uuid.uuid4()])
def test_a_key_that_is_no_text_is_a_type_error(key: Any) -> None:
    with pytest.raises(TypeError, match="idempotency key must be a string"):
        RAW.wire(key)


def test_a_bare_key_has_a_longest_length() -> None:
    assert RAW.wire("k" * LONGEST) == "k" * 255
    with pytest.raises(ConfigError, match="at most 255 characters"):
        RAW.wire("k" * 256)
    assert len(QUOTED.wire("k" * 256)) == 258


# Making keys


def test_a_random_key_is_a_uuid() -> None:
    keys = {random_key() for _ in range(1000)}
    assert len(keys) == 1000
    for key in keys:
        parsed = uuid.UUID(key)
        assert str(parsed) == key
        assert parsed.version == 4
        assert parsed.variant == uuid.RFC_4122


def test_keys_are_made_by_the_users_function() -> None:
    numbers = iter(range(7, 9))
    style = IdempotencyKey(style="quoted", make=lambda: f"order-{next(numbers)}")
    assert [style.fresh(), style.fresh()] == ['"order-7"', '"order-8"']
    assert faults.total() == 0


def broken() -> str:
    raise LookupError("no more keys")


@pytest.mark.parametrize(
    "make", [broken, lambda: None, lambda: 7, lambda: "", lambda: "a\nb", lambda: "ключ", lambda: "k" * 256]
)
def test_C36_a_make_that_fails_is_reported_once_and_a_random_key_is_used(
    make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    style = IdempotencyKey(make=make)
    first, second = style.fresh(), style.fresh()
    assert uuid.UUID(first) != uuid.UUID(second)
    assert faults.total() == 2
    assert len(caplog.records) == 1


def test_a_make_that_fails_gives_a_quoted_random_key() -> None:
    uuid.UUID(unquoted(IdempotencyKey(style="quoted", make=broken).fresh()))


def test_what_ends_a_thread_passes_through_make() -> None:
    def interrupted() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        IdempotencyKey(make=interrupted).fresh()


# Which requests get one


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_T49_unsafe_methods_get_a_key(method: str) -> None:
    value = RAW.value(method)
    assert value is not None
    uuid.UUID(value)
    assert RAW.value(method) != value
    assert RAW.value(method, wanted=False) is None
    assert RAW.value(method, wanted="mine") == "mine"
    assert QUOTED.value(method, wanted="mine") == '"mine"'
    assert RAW.value(method, wanted=True) is not None


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("wanted", [None, True, False, "mine"])
def test_T49_safe_methods_never_get_one(method: str, wanted: Any) -> None:
    assert RAW.value(method, wanted=wanted) is None


@pytest.mark.parametrize("method", ["PUT", "DELETE", "LOCK"])
def test_other_methods_get_one_when_asked(method: str) -> None:
    assert RAW.value(method) is None
    assert RAW.value(method, wanted=False) is None
    assert RAW.value(method, wanted="mine") == "mine"
    assert RAW.value(method, wanted=True) is not None


def test_the_listed_methods_decide() -> None:
    style = IdempotencyKey(methods=("get", "PUT"))
    assert style.methods == ("GET", "PUT")
    assert style.value("GET") is not None
    assert style.value("PUT") is not None
    assert style.value("POST") is None
    assert style.value("POST", wanted="mine") == "mine"
    assert IdempotencyKey(methods=()).value("POST") is None


# Settings


def test_settings_are_frozen_and_comparable() -> None:
    assert IdempotencyKey() == RAW
    assert IdempotencyKey(methods=["POST", "patch"]) == RAW  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        RAW.header = "X"  # type: ignore[misc]
    hash(RAW)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"header": ""}, ConfigError, "header must be the name of a header"),
        ({"header": "Idempotency Key"}, ConfigError, "header must be the name of a header"),
        ({"header": "X:"}, ConfigError, "header must be the name of a header"),
        ({"header": "X\r\nY"}, ConfigError, "header must be the name of a header"),
        ({"header": "X\n"}, ConfigError, "header must be the name of a header"),
        ({"header": "Schlüssel"}, ConfigError, "header must be the name of a header"),
        ({"header": b"X"}, TypeError, "header must be the name of a header"),
        ({"header": None}, TypeError, "header must be the name of a header"),
        ({"style": "sf"}, ConfigError, 'style must be "raw" or "quoted", got \'sf\''),
        ({"style": None}, ConfigError, 'style must be "raw" or "quoted"'),
        ({"style": ["raw"]}, ConfigError, 'style must be "raw" or "quoted"'),
        ({"methods": "POST"}, TypeError, "methods must be several names of methods"),
        ({"methods": None}, TypeError, "methods must be several names of methods"),
        ({"methods": ("POST", 7)}, TypeError, "methods must be names of methods, got 7"),
        ({"methods": ("POST", "")}, ConfigError, "methods must be names of methods, got ''"),
        ({"methods": ("PO ST",)}, ConfigError, "methods must be names of methods, got 'PO ST'"),
        ({"make": None}, TypeError, "make must be a function that returns a new key"),
        ({"make": "key"}, TypeError, "make must be a function that returns a new key"),
    ],
)
def test_bad_settings_are_refused_loudly(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        IdempotencyKey(**settings)


def test_an_async_make_is_refused() -> None:
    async def make() -> str:
        return "key"

    with pytest.raises(TypeError, match="not an async function"):
        IdempotencyKey(make=make)  # type: ignore[arg-type]


# Origins


@pytest.mark.parametrize("module", [httpx, httpx2])
@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://a/x", "http://a/y?z#w", True),
        ("http://a", "http://a:80", True),
        ("https://a:443", "https://a", True),
        ("http://A.example", "http://a.EXAMPLE", True),
        ("http://user:secret@a", "http://a", True),
        ("http://a:8080", "http://a:8080/x", True),
        ("http://xn--mnchen-3ya.example", "http://münchen.example", True),
        ("http://[::1]/", "http://[::1]:80/", True),
        ("http://a", "https://a", False),
        ("http://a:443", "https://a", False),
        ("http://a", "http://b", False),
        ("http://a", "http://a.b", False),
        ("http://a", "http://a:8080", False),
        ("http://a:8080", "http://a:8081", False),
        ("/x", "/x", False),
        ("http://a", "/x", False),
    ],
)
def test_C12_an_origin_is_scheme_host_and_port(module: Any, one: str, other: str, same: bool) -> None:
    assert same_origin(module.URL(one), module.URL(other)) is same
    assert same_origin(module.URL(other), module.URL(one)) is same
