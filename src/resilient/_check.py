"""One-line validators: each names the parameter, the value and what is allowed."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, NoReturn, TypeVar, cast

from resilient import faults
from resilient.errors import ConfigError, Unguardable

T = TypeVar("T")

Duration = float | int | timedelta
"""Seconds, or a timedelta."""


def refuse(name: str, value: object, allowed: str) -> NoReturn:
    """Raise the one error that bad settings get."""
    message = f"{name} must be {allowed}, got {value!r}"
    raise ConfigError(message)


def refuse_type(name: str, value: object, allowed: str) -> NoReturn:
    """Raise the TypeError that settings of a wrong type get."""
    message = f"{name} must be {allowed}, got {value!r}"
    raise TypeError(message)


def number(name: str, value: object) -> float:
    """Return a finite float, refusing NaN, infinity, booleans and everything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        refuse_type(name, value, "a number")
    try:
        result = float(value)
    except OverflowError:
        refuse(name, value, "a finite number")
    if not math.isfinite(result):
        refuse(name, value, "a finite number")
    return result


def seconds(name: str, value: object, *, zero: bool = False) -> float:
    """Return a duration in seconds; above zero, or from zero on where `zero` is set."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    result = number(name, value)
    if result < 0 or (result == 0 and not zero):
        refuse(name, value, "a duration of 0 s or more" if zero else "a duration above 0 s")
    return result


def count(name: str, value: object, *, least: int = 1) -> int:
    """Return a whole number that is at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        refuse_type(name, value, "a whole number")
    if value < least:
        refuse(name, value, f"a whole number of {least} or more")
    return value


def flag(name: str, value: object) -> bool:
    """Return True or False, refusing what is merely taken for it."""
    if not isinstance(value, bool):
        refuse_type(name, value, "True or False")
    return value


def rate(name: str, value: object) -> float:
    """Return a share in (0, 1]."""
    result = number(name, value)
    if not 0 < result <= 1:
        refuse(name, value, "a share in (0, 1]")
    return result


def positive(name: str, value: object) -> float:
    """Return a number above zero."""
    result = number(name, value)
    if result <= 0:
        refuse(name, value, "a number above 0")
    return result


def identifier(name: str, value: object) -> str:
    """Return a non-empty, printable name."""
    if not isinstance(value, str):
        refuse_type(name, value, "a string")
    if not value or len(value) > 200 or not value.isprintable():  # noqa: PLR2004 -- a label, not a text
        refuse(name, value, "a printable name of 1 to 200 characters")
    return value


def kinds(name: str, value: object) -> None:
    """Refuse what is neither an exception type, a tuple of them, a predicate nor None."""
    if isinstance(value, tuple):
        if not value or not all(isinstance(each, type) and issubclass(each, Exception) for each in value):
            refuse_type(name, value, "exception types, at least one")
    elif isinstance(value, type):
        if not issubclass(value, Exception):
            refuse_type(name, value, "a subclass of Exception")
    elif value is not None:
        plain(name, value, "exception types or a predicate")


def plain(name: str, value: object, allowed: str) -> None:
    """Refuse what cannot be called, and async functions, whose answer nobody would await."""
    if not callable(value):
        refuse_type(name, value, allowed)
    if inspect.iscoroutinefunction(value):
        refuse_type(name, value, f"{allowed}; not an async function, which nobody would await")


def matches(on: object, error: Exception) -> bool:
    """Tell whether an error, or a leaf of a group, is of the kinds that `kinds` let pass.

    A predicate that raises is reported once and matches nothing.
    """
    if isinstance(error, ExceptionGroup):
        return any(matches(on, each) for each in error.exceptions)
    if isinstance(on, (type, tuple)):
        return isinstance(error, on)
    return ask(cast("Callable[[Exception], object]", on), error)


def listed(on: object, error: Exception, base: type[Exception]) -> bool:
    """Tell whether an error is of a listed type that is itself a `base`, not just of a wide type above it."""
    types = on if isinstance(on, tuple) else (on,)
    return any(isinstance(each, type) and issubclass(each, base) and isinstance(error, each) for each in types)


def ask(predicate: Callable[[T], object], subject: T) -> bool:
    """Return what a user's predicate says; one that raises is reported once and says no."""
    try:
        return bool(predicate(subject))
    except Exception as fault:  # noqa: BLE001 -- a predicate never replaces an error or a result
        faults.report(predicate, fault)
        return False


def awaited(answer: object) -> Awaitable[Any]:
    """Return what a function given to `acall` returned, if it can be awaited.

    Raises:
        Unguardable: If it cannot.

    """
    if isinstance(answer, Awaitable):
        return answer
    message = (
        f"acall() needs an async function, got one that returned {type(answer).__name__}; use call() for a plain one"
    )
    raise Unguardable(message)
