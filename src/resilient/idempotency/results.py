"""Results of functions as they are recorded: JSON, unless the user has a form of his own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from resilient import _check

__all__ = ["recorded_failure", "recorded_result", "to_json"]

_LONGEST_TEXT = 1000
"""Characters of an exception's message that are recorded."""


def to_json(result: object) -> bytes:
    """Return a result as JSON, if that is the same again when it is read."""
    text = json.dumps(result, allow_nan=False)
    if not _same(json.loads(text), result):
        _check.refuse_type("result", result, "what JSON can express; else give once() an encode= and a decode=")
    return text.encode()


def _same(read: object, result: object) -> bool:
    """Tell whether two values are equal, and of the same kinds: an enumeration's member equals its plain value."""
    if type(read) is not type(result):
        return False
    if isinstance(read, dict) and isinstance(result, dict):
        return len(read) == len(result) and all(
            type(name) is str and name in read and _same(read[name], value) for name, value in result.items()
        )
    if isinstance(read, list) and isinstance(result, list):
        return len(read) == len(result) and all(map(_same, read, result))
    return read == result


def recorded_result(result: object, encode: Callable[[Any], bytes] | None = None) -> dict[str, Any]:
    """Return the arguments of `KeyBook.resolve` that say what a function has returned.

    Args:
        result: The result.
        encode: That of `once`, if it was given one.

    Example:
        >>> recorded_result({"receipt": 7})["body"]
        b'{"receipt": 7}'

    """
    return {"answer": {"result": True}, "body": (encode or to_json)(result)}


def recorded_failure(error: Exception) -> dict[str, Any]:
    """Return what is recorded of an exception."""
    try:
        text = str(error)[:_LONGEST_TEXT]
    except Exception:  # noqa: BLE001 -- one that cannot be shown
        text = ""
    return {"error": [type(error).__qualname__, text]}
