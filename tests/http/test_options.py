"""What one request asks for itself is understood, or refused with the place of the mistake."""

from __future__ import annotations

import dataclasses
import math
import re
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import httpx
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient import ConfigError
from resilient._http.options import DEFAULT, EXTENSION, CallOptions, parse


@pytest.mark.parametrize("module", [httpx, httpx2])
def test_without_an_extension_the_shared_default_is_used(module: Any) -> None:
    request = module.Request("GET", "http://x")
    assert parse(request.extensions.get(EXTENSION)) is DEFAULT
    assert CallOptions() == DEFAULT
    assert parse({}) == DEFAULT


@pytest.mark.parametrize("module", [httpx, httpx2])
def test_options_come_with_the_request(module: Any) -> None:
    seen = []

    def handler(request: Any) -> Any:
        seen.append(parse(request.extensions.get(EXTENSION)))
        return module.Response(200)

    with module.Client(transport=module.MockTransport(handler)) as client:
        client.get("http://x", extensions={"resilient": {"attempts": 2}})
    assert seen == [CallOptions(attempts=2)]


def test_every_option_is_read() -> None:
    given = {"attempts": 2, "timeout": 1.5, "retry": True, "repeatable": True}
    given |= {"idempotency_key": "mine", "stream": False, "buffer": True}
    options = parse(MappingProxyType(given))
    assert dataclasses.asdict(options) == given
    assert set(given) == {each.name for each in dataclasses.fields(CallOptions)}


def test_a_ready_instance_is_taken_as_it_is() -> None:
    options = CallOptions(attempts=2)
    assert parse(options) is options


def test_options_are_frozen_and_comparable() -> None:
    assert parse({"timeout": 1}) == CallOptions(timeout=timedelta(seconds=1))  # type: ignore[arg-type]
    assert isinstance(parse({"timeout": 1}).timeout, float)
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEFAULT.attempts = 2  # type: ignore[misc]
    hash(DEFAULT)


def test_the_default_changes_nothing() -> None:
    assert DEFAULT.most_attempts is None
    assert DEFAULT.timeout is None
    assert DEFAULT.idempotency_key is None
    assert DEFAULT.stream is None
    assert DEFAULT.buffer is False


@pytest.mark.parametrize(
    ("given", "most"),
    [
        ({}, None),
        ({"attempts": 5}, 5),
        ({"retry": False}, 1),
        ({"retry": False, "attempts": 1}, 1),
        ({"retry": True}, None),
    ],
)
def test_no_retry_is_one_attempt(given: dict[str, Any], most: int | None) -> None:
    assert parse(given).most_attempts == most


@pytest.mark.parametrize("key", ["mine", True, False])
def test_a_key_is_text_or_a_wish(key: str | bool) -> None:
    assert parse({"idempotency_key": key}).idempotency_key is key


BAD: list[tuple[str, Any, type[Exception], str]] = [
    ("attempts", 0, ConfigError, "a whole number of 1 or more"),
    ("attempts", -1, ConfigError, "a whole number of 1 or more"),
    ("attempts", 2.0, TypeError, "a whole number"),
    ("attempts", True, TypeError, "a whole number"),
    ("attempts", "2", TypeError, "a whole number"),
    ("timeout", 0, ConfigError, "a duration above 0 s"),
    ("timeout", -1.0, ConfigError, "a duration above 0 s"),
    ("timeout", math.nan, ConfigError, "a finite number"),
    ("timeout", math.inf, ConfigError, "a finite number"),
    ("timeout", "1", TypeError, "a number"),
    ("timeout", True, TypeError, "a number"),
    ("retry", 0, TypeError, "True or False"),
    ("retry", "no", TypeError, "True or False"),
    ("retry", None, TypeError, "True or False"),
    ("idempotency_key", "", ConfigError, "printable ASCII"),
    ("idempotency_key", "a\nb", ConfigError, "printable ASCII"),
    ("idempotency_key", "ключ", ConfigError, "printable ASCII"),
    ("idempotency_key", 7, TypeError, "a key, True for a new one, or False for none"),
    ("idempotency_key", b"key", TypeError, "a key, True for a new one, or False for none"),
    ("stream", 1, TypeError, "True or False"),
    ("buffer", "yes", TypeError, "True or False"),
    ("buffer", None, TypeError, "True or False"),
]


@pytest.mark.parametrize(("name", "value", "error", "allowed"), BAD)
def test_a_bad_value_is_refused_with_its_place(name: str, value: Any, error: type[Exception], allowed: str) -> None:
    with pytest.raises(error) as caught:
        parse({name: value})
    text = str(caught.value)
    assert text.startswith(f'extensions["resilient"]["{name}"] must be ')
    assert allowed in text
    assert text.endswith(f"got {value!r}")


@pytest.mark.parametrize(("name", "value", "error", "allowed"), BAD)
def test_a_ready_instance_is_checked_when_it_is_made(
    name: str, value: Any, error: type[Exception], allowed: str
) -> None:
    with pytest.raises(error, match=f"^{name} must be .*{allowed}"):
        CallOptions(**{name: value})


@pytest.mark.parametrize("name", ["attempts", "timeout", "idempotency_key", "stream"])
def test_none_in_a_mapping_is_no_way_to_say_nothing(name: str) -> None:
    """`{"timeout": None}` might mean "no timeout": it is refused, and not quietly taken for the default."""
    with pytest.raises(TypeError, match=re.escape(f'extensions["resilient"]["{name}"] must be')):
        parse({name: None})


@pytest.mark.parametrize("value", [2, "attempts=2", ["attempts"], [("attempts", 2)], True, False, object])
def test_what_is_no_mapping_is_a_type_error(value: Any) -> None:
    with pytest.raises(
        TypeError, match=re.escape('extensions["resilient"] must be a mapping of options, or CallOptions')
    ):
        parse(value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("attempt", "attempts"),
        ("Timeout", "timeout"),
        ("idempotency-key", "idempotency_key"),
        ("retries", "retry"),
        ("streaming", "stream"),
    ],
)
def test_an_unknown_key_gets_a_hint(name: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse({name: 1})
    text = str(caught.value)
    assert f"did you mean {meant!r}?" in text
    assert "attempts, timeout, retry, repeatable, idempotency_key, stream, buffer" in text
    assert repr(name) in text


@pytest.mark.parametrize("name", ["colour", 7, None, ("attempts",), b"attempts"])
def test_a_strange_key_is_refused_without_a_guess_or_a_crash(name: Any) -> None:
    with pytest.raises(ConfigError, match=re.escape(repr(name))):
        parse({name: 1})


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[\"attempts\"\] must be 1 or left out where retry is False, got 3"):
        parse({"retry": False, "attempts": 3})
    with pytest.raises(ConfigError, match=r"\[\"buffer\"\] must be False or left out where stream is True"):
        parse({"stream": True, "buffer": True})
    assert parse({"stream": False, "buffer": True}).buffer
    with pytest.raises(ConfigError, match=r"^attempts must be 1 or left out"):
        CallOptions(retry=False, attempts=2)


NAMES = st.sampled_from([each.name for each in dataclasses.fields(CallOptions)])
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()


@given(st.dictionaries(NAMES, VALUES) | st.dictionaries(st.text() | NAMES, VALUES))
def test_nothing_but_our_two_errors_comes_out(value: dict[str, Any]) -> None:
    try:
        options = parse(value)
    except (ConfigError, TypeError) as error:
        place = str(error)
    else:
        assert isinstance(options, CallOptions)
        return
    assert place.startswith('extensions["resilient"]')
