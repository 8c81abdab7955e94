"""Read the `Idempotency-Key` field of a request: a structured field's string, or the bare key of vendors.

`"8e03978e"` and `8e03978e` are the same key. Parameters after the string are ignored, as the
rules of structured fields (RFC 9651) have it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from typing import Any, Literal

from resilient import _check
from resilient.errors import ConfigError
from resilient.idempotency.keys import LONGEST, checked_key

__all__ = ["Form", "checked_forms", "key_of"]

Form = Literal["quoted", "bare"]

_LONGEST_FIELD = 2 * LONGEST + 256
"""Bytes of a field that are looked at: a key in which each character is escaped, and parameters."""


def checked_forms(forms: object) -> tuple[Form, ...]:
    """Return which forms of a key are accepted.

    Raises:
        TypeError: If they are no names.
        ConfigError: If there are none, one is unknown, or the quoted form is accepted without the
            package `http-sf`, which reads it.

    """
    if isinstance(forms, str) or not isinstance(forms, Iterable):
        _check.refuse_type("accept", forms, 'several of "quoted" and "bare"')
    names = tuple(forms)
    if not names or any(name not in ("quoted", "bare") for name in names):
        _check.refuse("accept", names, '"quoted", "bare" or both')
    if "quoted" in names and _parser() is None:
        _check.refuse(
            "accept",
            names,
            '("bare",) without the package http-sf, which the extra resilient-client[idempotency] brings',
        )
    return names


@cache
def _parser() -> Callable[..., Any] | None:
    try:
        from http_sf import parse  # noqa: PLC0415 -- only for servers that accept the quoted form
    except ImportError:
        return None
    return parse


def key_of(values: Sequence[bytes], forms: Collection[Form]) -> str | None:
    """Return the key of a request, given the values of its field; None if they make no sense.

    Args:
        values: One for each line of the field; two lines are no key.
        forms: Which forms are accepted.

    """
    if len(values) != 1 or len(values[0]) > _LONGEST_FIELD:
        return None
    value = values[0].strip(b" \t")
    key = _quoted(value) if value.startswith(b'"') else value.decode("latin-1")
    if key is None or len(key) > LONGEST or ("quoted" if value.startswith(b'"') else "bare") not in forms:
        return None
    try:
        return checked_key("key", key)
    except ConfigError:
        return None


def _quoted(value: bytes) -> str | None:
    parse = _parser()
    if parse is None:
        return None
    try:
        item = parse(value, tltype="item")
    except Exception:  # noqa: BLE001 -- malformed, however the parser puts it
        return None
    key = item[0] if isinstance(item, tuple) else item
    return key if type(key) is str else None
