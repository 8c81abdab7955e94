"""Two ways to apply a pipeline differently: to the methods of a class, and with other limits."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from resilient import _check
from resilient._guards.retry import RetryGuard
from resilient._guards.timeout import TimeoutGuard
from resilient._policy import Guard
from resilient.timeout import Timeout

C = TypeVar("C", bound=type)


def guarding(decorate: Callable[[Any], Any], names: Sequence[str]) -> Callable[[C], C]:
    """Return a decorator that guards methods of a class: those named, or all public ones it defines itself."""
    for name in names:
        if not isinstance(name, str):
            _check.refuse_type("names", name, "names of methods, or nothing as in @pipeline.methods()")
    return partial(_guard_methods, decorate, names)


def _guard_methods(decorate: Callable[[Any], Any], names: Sequence[str], owner: C) -> C:
    if not isinstance(owner, type):
        _check.refuse_type("owner", owner, "a class")
    chosen = names or [key for key, value in vars(owner).items() if is_method(key, value)]
    if not chosen:
        _check.refuse("owner", owner, "a class with public methods of its own")
    guarded = {}
    for name in chosen:
        try:
            guarded[name] = decorate(inspect.getattr_static(owner, name))
        except AttributeError:
            _check.refuse("names", name, f"methods of {owner.__qualname__}")
    for name, method in guarded.items():  # all of them or none
        setattr(owner, name, method)
    return owner


def is_method(name: str, value: object) -> bool:
    """Tell whether an entry of a class is a public method."""
    return not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, (classmethod, staticmethod)))


def with_limits(guards: Sequence[Guard], seconds: float | None, attempts: int | None) -> list[Guard]:
    """Return guards with another outermost timeout and number of attempts; all else is shared.

    Of several retries the outermost gets the number and the others one attempt: together they
    would make more.
    """
    changed = list(guards)
    if seconds is not None:
        _replace(changed, TimeoutGuard, ("timeout", seconds), lambda guard: _limited(guard, seconds))
    if attempts is not None:
        _replace(changed, RetryGuard, ("attempts", attempts), lambda guard: guard.with_attempts(attempts))
        inner = [each for each in changed if isinstance(each, RetryGuard)][1:]
        changed = [each.with_attempts(1) if each in inner else each for each in changed]
    return changed


def _limited(guard: TimeoutGuard, seconds: float) -> Guard:
    return Timeout(seconds, cooperative=guard.policy.cooperative).bind(guard.env, guard.label)


def _replace(guards: list[Guard], kind: type[Any], given: tuple[str, object], change: Callable[[Any], Guard]) -> None:
    for position, guard in enumerate(guards):
        if isinstance(guard, kind):
            guards[position] = change(guard)
            return
    _check.refuse(*given, "left out for a pipeline without such a policy")
