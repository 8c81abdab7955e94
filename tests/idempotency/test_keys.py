"""Keys and fingerprints: the same for the same operation, in every process, and never for two."""

from __future__ import annotations

import base64
import decimal
import hashlib
import hmac
import io
import json
import math
import subprocess
import sys
import uuid
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from resilient import ConfigError
from resilient.idempotency import derived_key, fingerprint, random_key
from resilient.idempotency.fingerprints import canonical

SECRET = b"sixteen or more."
ORDER = {"tenant": "acme", "operation": "charge", "intent": "order-4567"}


def test_random_keys_are_uuids_and_differ() -> None:
    keys = {random_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(uuid.UUID(key).version == 4 for key in keys)


# Derived keys


def test_a_derived_key_is_signed_over_its_parts() -> None:
    text = b"\x01" + b"".join(len(part).to_bytes(4, "big") + part for part in (b"acme", b"charge", b"order-4567", b""))
    expected = base64.b32encode(hmac.new(SECRET, text, hashlib.sha256).digest())[:26].decode()
    assert derived_key(SECRET, **ORDER) == expected
    assert len(expected) == 26


def test_a_derived_key_is_the_same_in_another_process() -> None:
    code = "from resilient.idempotency import derived_key as d; "
    code += f"print(d({SECRET!r}, **{ORDER!r}, body={{'b': [1, None], 'a': 'é'}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == derived_key(SECRET, **ORDER, body=OrderedDict(a="é", b=(1, None)))


@pytest.mark.parametrize(
    "other",
    [
        {"tenant": "acm"},
        {"tenant": ""},
        {"operation": "refund"},
        {"intent": "order-4568"},
        {"tenant": "acmec", "operation": "harge"},
        {"body": None},
        {"body": b""},
        {"body": {"cents": 1250}},
    ],
    ids=str,
)
def test_another_operation_has_another_key(other: dict[str, Any]) -> None:
    assert derived_key(SECRET, **{**ORDER, **other}) != derived_key(SECRET, **ORDER)


PART = st.text(min_size=1, max_size=6)


@given(st.tuples(PART, PART, PART), st.tuples(PART, PART, PART))
def test_different_identities_never_share_a_key(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    names = ("tenant", "operation", "intent")
    try:
        keys = [derived_key(SECRET, **dict(zip(names, parts, strict=True))) for parts in (one, other)]
    except ConfigError:  # a lone surrogate
        return
    assert (keys[0] == keys[1]) == (one == other)


def test_another_secret_makes_other_keys() -> None:
    assert derived_key(b"another secret, so", **ORDER) != derived_key(SECRET, **ORDER)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"secret": "sixteen or more."}, TypeError, "secret must be bytes"),
        ({"secret": b"short"}, ConfigError, "at least 16 random bytes, got '5 bytes'"),
        ({"intent": ""}, ConfigError, "intent must be a string of one or more"),
        ({"operation": ""}, ConfigError, "operation must be"),
        ({"intent": 7}, TypeError, "intent must be a string, got 7"),
        ({"tenant": None}, TypeError, "tenant must be a string"),
        ({"tenant": "\ud800"}, ConfigError, "tenant must be text that UTF-8 can express"),
        ({"body": iter(())}, TypeError, "body must be bytes"),
    ],
)
def test_bad_parts_of_a_key_are_refused(wrong: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments = {"secret": SECRET, **ORDER, **wrong}
    with pytest.raises(error, match=message) as caught:
        derived_key(arguments.pop("secret"), **arguments)
    assert "sixteen" not in str(caught.value), "a secret never shows"


def test_the_intent_is_no_option() -> None:
    with pytest.raises(TypeError, match="intent"):
        derived_key(SECRET, tenant="acme", operation="charge")  # type: ignore[call-arg]


# Fingerprints


def test_bytes_text_and_json_are_alike_where_they_are_the_same_bytes() -> None:
    assert (
        fingerprint(b"abc") == fingerprint("abc") == fingerprint(bytearray(b"abc")) == fingerprint(memoryview(b"abc"))
    )
    assert fingerprint(b"abc") == hashlib.sha256(b"abc").hexdigest()
    assert fingerprint({"b": 1, "a": [True, None]}) == fingerprint('{"a":[true,null],"b":1}')
    assert fingerprint("é") == fingerprint("é".encode())


def test_the_order_of_members_and_the_kind_of_containers_do_not_matter() -> None:
    one = {"a": 1, "b": {"c": (1, 2), "d": ()}}
    other = MappingProxyType({"b": OrderedDict(d=[], c=[1, 2]), "a": 1})
    assert fingerprint(one) == fingerprint(other)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_the_canonical_form_is_that_of_rfc_8785(value: Any) -> None:
    try:
        expected = rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeError):
        with pytest.raises(ConfigError):
            canonical(value)
        return
    assert canonical(value).encode() == expected
    assert fingerprint(expected) == (
        fingerprint(value) if not isinstance(value, str) else fingerprint(canonical(value))
    )


def test_the_canonical_form_of_the_rfcs_own_example() -> None:
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"\u002f",
        "literals": [None, True, False],
    }
    assert canonical(value) == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    names = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "ö": 7}
    assert list(json.loads(canonical(names)).values()) == [2, 4, 6, 7, 1, 5, 3]


async def agenerator() -> Any:
    yield b""


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        (math.nan, ConfigError, "finite numbers"),
        ([math.inf], ConfigError, "finite numbers"),
        (2**53, ConfigError, "at most 53 bits"),
        ({"a": {1: 2}}, TypeError, "keys are strings"),
        ({"a": b"x"}, TypeError, "body must be bytes, a string, or JSON values"),
        (decimal.Decimal(1), TypeError, "body must be"),
        ({1, 2}, TypeError, "body must be"),
        (object(), TypeError, "body must be"),
        ((each for each in "ab"), TypeError, "a stream is read only once"),
        (io.BytesIO(b"x"), TypeError, "a stream is read only once"),
        (agenerator(), TypeError, "a stream is read only once"),
        ("\ud800", ConfigError, "lone surrogates"),
        (["\udfff"], ConfigError, "lone surrogates"),
        ({"\ud800": 1}, ConfigError, "lone surrogates"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_has_no_fingerprint_is_refused(body: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fingerprint(body)


def test_a_list_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ConfigError, match="at most 100 deep"):
        fingerprint(endless)


def test_a_float_needs_the_library_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rfc8785", None)
    assert fingerprint({"cents": 1250, "to": "é", "on": [True, None]})
    with pytest.raises(TypeError, match=r"the float 12\.5 needs the package rfc8785 .* 'idempotency'"):
        fingerprint({"euros": 12.5})
