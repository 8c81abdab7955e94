"""The key's header field: what our clients write is what our servers read, and nothing else passes for a key."""

from __future__ import annotations

import string
import subprocess
import sys
from typing import Literal

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient.idempotency.field import key_of
from resilient.idempotency.keys import LONGEST, written

BOTH = ("quoted", "bare")
PRINTABLE = st.text(st.sampled_from(string.printable[:95]), min_size=1, max_size=LONGEST).filter(
    lambda t: t == t.strip()
)
STYLES: tuple[Literal["raw", "quoted"], ...] = ("raw", "quoted")


@given(PRINTABLE)
def test_any_key_makes_the_round_trip_in_quotes(key: str) -> None:
    value = written(key, "quoted").encode()
    assert key_of([value], BOTH) == key
    assert http_sf.parse(value, tltype="item")[0] == key


@given(PRINTABLE)
def test_a_bare_key_makes_the_round_trip_unless_it_begins_like_a_quoted_one(key: str) -> None:
    found = key_of([written(key, "raw").encode()], BOTH)
    assert found == key if not key.startswith('"') else found != key


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda text: b'"' + text + b'"'))
def test_whatever_comes_is_a_printable_key_or_none(value: bytes) -> None:
    key = key_of([value], BOTH)
    if key is not None:
        assert 1 <= len(key) <= LONGEST
        assert key.isascii()
        assert key.isprintable()
        for style in STYLES[key.startswith('"') :]:
            assert key_of([written(key, style).encode()], BOTH) == key


@pytest.mark.parametrize("character", [chr(code) for code in (*range(0x20), 0x7F, 0x80, 0xE9, 0xFF)])
@pytest.mark.parametrize("form", ["a{}b", '"a{}b"'])
def test_control_characters_are_refused(character: str, form: str) -> None:
    assert key_of([form.format(character).encode("latin-1")], BOTH) is None


@pytest.mark.parametrize("value", [b"1", b"?1", b":YQ==:", b"@1659578233", b'%"a"'])
def test_other_items_of_structured_fields_are_bare_keys_as_they_stand(value: bytes) -> None:
    assert key_of([value], BOTH) == value.decode()
    assert key_of([value], ("quoted",)) is None


def test_no_field_and_several_are_no_key() -> None:
    assert key_of([], BOTH) is None
    assert key_of([b"a", b"a"], BOTH) is None


def test_the_library_alone_does_not_load_it() -> None:
    code = "import resilient, sys; print([n for n in sys.modules if n.startswith('resilient.idempotency')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


def test_the_door_loads_neither_asyncio_nor_what_is_optional() -> None:
    others = {"asyncio", "trio", "http_sf", "rfc8785", "sqlite3", "httpx"}
    code = f"import resilient.idempotency, sys; print({others} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "set()"
