"""What one request asks for itself, in `extensions={"resilient": {...}}`.

    client.post(url, json=order, extensions={"resilient": {"attempts": 2, "idempotency_key": order.id}})

Unknown keys and values out of range are refused, before anything is sent.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from resilient import _check
from resilient.idempotency.keys import checked_key

__all__ = ["EXTENSION", "CallOptions", "parse"]

EXTENSION = "resilient"
"""The extension's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """Options of one request; what is left out is as the pipeline says.

    Args:
        attempts: How often the request may be sent, 1 or more.
        timeout: Seconds that the whole call may take, above 0; or a timedelta. It only shortens.
        retry: False sends the request once.
        repeatable: True says that the request may be sent again although the server may have acted
            on it; False says that it may not, whatever its method.
        idempotency_key: The key itself, True for a new one, False for none.
        stream: True says that the response is an endless stream: it holds no place in a bulkhead
            and is no slow call. False says that it is none, whatever its headers look like.
        buffer: True reads the response inside the attempt, so that failing while its body is read
            can be retried; the first byte is seen when the last one is here.

    Raises:
        TypeError: If a value is of a wrong type.
        ConfigError: If it is out of range, or two options contradict each other.

    Example:
        >>> CallOptions(retry=False).most_attempts
        1

    """

    attempts: int | None = None
    timeout: float | None = None
    retry: bool = True
    repeatable: bool | None = None
    idempotency_key: str | bool | None = None
    stream: bool | None = None
    buffer: bool = False

    def __post_init__(self) -> None:
        """Check and normalise."""
        given = {name: getattr(self, name) for name in _CHECKS}
        given = {name: value for name, value in given.items() if value is not None or name in _NEVER_NONE}
        for name, value in _checked(given, str).items():
            object.__setattr__(self, name, value)

    @property
    def most_attempts(self) -> int | None:
        """How often the request may be sent, or None for what the pipeline says."""
        return self.attempts if self.retry else 1


def parse(value: object) -> CallOptions:
    """Return the options of a request, given the value of its extension; None stands for no extension.

    Raises:
        TypeError: If it is neither a mapping nor `CallOptions`, or a value is of a wrong type.
        ConfigError: If a key is unknown, a value is out of range, or two contradict each other.

    """
    if value is None:
        return DEFAULT
    if isinstance(value, CallOptions):
        return value
    if not isinstance(value, Mapping):
        _check.refuse_type(_place(), value, "a mapping of options, or CallOptions")
    for name in value:
        if name not in _CHECKS:
            _check.refuse(_place(), name, f"a mapping with the keys {', '.join(_CHECKS)}{_guess(name)}")
    return CallOptions(**_checked(value, _place))


def _checked(given: Mapping[str, object], place: Callable[[str], str]) -> dict[str, Any]:
    """Return what was given, checked and normalised; `place` says where an option stands."""
    options: dict[str, Any] = {name: _CHECKS[name](place(name), value) for name, value in given.items()}
    if options.get("retry") is False and options.get("attempts", 1) > 1:
        _check.refuse(place("attempts"), options["attempts"], "1 or left out where retry is False")
    if options.get("stream") and options.get("buffer"):
        _check.refuse(place("buffer"), True, "False or left out where stream is True: an endless body has no end")  # noqa: FBT003
    return options


def _place(*keys: str) -> str:
    return "extensions" + "".join(f'["{key}"]' for key in (EXTENSION, *keys))


def _guess(name: object) -> str:
    close = difflib.get_close_matches(str(name).lower().replace("-", "_"), _CHECKS, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        _check.refuse_type(name, value, "True or False")
    return value


def _key(name: str, value: object) -> str | bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        _check.refuse_type(name, value, "a key, True for a new one, or False for none")
    return checked_key(name, value)


_CHECKS: dict[Any, Callable[[str, object], object]] = {
    "attempts": _check.count,
    "timeout": _check.seconds,
    "retry": _flag,
    "repeatable": _flag,
    "idempotency_key": _key,
    "stream": _flag,
    "buffer": _flag,
}
_NEVER_NONE = frozenset(each.name for each in fields(CallOptions) if each.default is not None)

DEFAULT = CallOptions()
