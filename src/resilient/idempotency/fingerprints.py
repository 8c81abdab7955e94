"""The fingerprint of a body: equal for equal content, whoever computes it and in which order.

Bytes count as they are and text as its UTF-8. JSON values count as their canonical form (RFC 8785):
members sorted, no spaces, one way to write each number. What has no such form is refused: a
fingerprint that differs between two runs would make one order two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from resilient import _check

__all__ = ["canonical", "fingerprint"]

_EXACT = 2**53 - 1
"""Up to here every reader of JSON agrees about a whole number."""

_DEEPEST = 100
"""Levels of lists and mappings."""

_ALLOWED = "bytes, a string, or JSON values (None, True, False, numbers, strings, lists and mappings of them)"


def fingerprint(body: object) -> str:
    """Return the SHA-256 of a body, in hexadecimal digits.

    Args:
        body: Bytes, a string, or what JSON can express: None, booleans, numbers, strings, lists
            and tuples, and mappings with strings as keys. A whole number has at most 53 bits.

    Raises:
        TypeError: If it is something else: a generator, a file or another stream, which can be
            read only once; a date, a Decimal or an object, which JSON does not know. Turn it
            into text yourself. Also for a float without the package `rfc8785`.
        ConfigError: If a number is NaN, infinite or too large, a string is not Unicode, or lists
            and mappings are nested more than 100 deep.

    Example:
        >>> fingerprint({"cents": 1250, "currency": "EUR"}) == fingerprint(b'{"cents":1250,"currency":"EUR"}')
        True

    """
    import hashlib  # noqa: PLC0415 -- only few programs need it

    if isinstance(body, (bytes, bytearray, memoryview)):
        return hashlib.sha256(body).hexdigest()
    text = body if isinstance(body, str) else canonical(body)
    return hashlib.sha256(_utf8(text)).hexdigest()


def canonical(value: object) -> str:
    """Return JSON values in their canonical form (RFC 8785).

    Raises:
        TypeError: If JSON does not know a value, or for a float without the package `rfc8785`.
        ConfigError: If a value is out of the range that all readers of JSON agree about.

    """
    parts: list[str] = []
    _write(value, parts, 0)
    return "".join(parts)


def _write(value: object, parts: list[str], depth: int) -> None:
    if depth > _DEEPEST:
        _check.refuse("body", type(value), f"nested at most {_DEEPEST} deep, and no part of itself")
    if isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            parts.append("," if place else "[")
            _write(item, parts, depth + 1)
        parts.append("]" if value else "[]")
    elif isinstance(value, Mapping):
        _members(value, parts, depth)
    else:
        parts.append(_scalar(value))


def _scalar(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        if not -_EXACT <= value <= _EXACT:
            _check.refuse("body", value, "of whole numbers of at most 53 bits; write longer ones as strings")
        return int.__repr__(value)
    return _float(value) if isinstance(value, float) else _unknown(value)


def _members(value: Mapping[object, object], parts: list[str], depth: int) -> None:
    names: list[str] = []
    for name in value:
        if not isinstance(name, str):
            _check.refuse_type("body", value, "of mappings whose keys are strings")
        names.append(name)
    parts.append("{")
    # In the order of UTF-16's units, as the RFC asks: not that of code points.
    for place, name in enumerate(sorted(names, key=lambda each: each.encode("utf-16-be", "surrogatepass"))):
        if place:
            parts.append(",")
        parts += (_text(name), ":")
        _write(value[name], parts, depth + 1)
    parts.append("}")


def _text(value: str) -> str:
    from json.encoder import encode_basestring  # noqa: PLC0415 -- only few programs need it

    _utf8(value)
    return encode_basestring(value)


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        _check.refuse("body", text, "of text that UTF-8 can express, without lone surrogates")


def _float(value: float) -> str:
    if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 -- NaN
        _check.refuse("body", value, "of finite numbers: JSON knows neither NaN nor infinity")
    try:
        import rfc8785  # noqa: PLC0415 -- optional; knows how ECMAScript writes a number
    except ImportError:
        message = (
            f"a fingerprint of the float {value!r} needs the package rfc8785 (install the extra 'idempotency'), "
            "which knows the one way to write it; or use whole numbers or strings, which suit amounts of money better"
        )
        raise TypeError(message) from None
    return rfc8785.dumps(value).decode()


def _unknown(value: object) -> NoReturn:
    once = hasattr(value, "read") or hasattr(value, "__next__") or hasattr(value, "__aiter__")
    hint = "; a stream is read only once, so name what it is instead of fingerprinting it" if once else ""
    _check.refuse_type("body", value, _ALLOWED + hint)
