"""Plain or async: find out before weaving, and refuse what cannot be guarded."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, Protocol, TypeVar

from resilient import _check
from resilient._policy import Colour
from resilient.errors import Unguardable

P = ParamSpec("P")
T = TypeVar("T")


class Through(Protocol):
    """Calls a plain function through the policies."""

    def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call it."""


class AsyncThrough(Protocol):
    """Calls an async function through the policies."""

    def __call__(
        self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]:
        """Call it."""


def _call_of(function: object) -> object:
    """Return the `__call__` of a callable object's class."""
    return getattr(type(function), "__call__", None)  # noqa: B004


def colour_of(function: object) -> Colour:
    """Return whether a callable is plain or async.

    Raises:
        TypeError: If it cannot be called.
        Unguardable: If it is a class, a generator function or an async generator function.

    """
    if not callable(function):
        _check.refuse_type("function", function, "callable")
    if isinstance(function, type):
        message = f"{function!r} is a class; guard its methods with Pipeline.methods()"
        raise Unguardable(message)
    inner: object = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    for each in (inner, _call_of(inner)):
        if inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each):
            message = (
                f"{function!r} is a generator function: it would be open long after the policies have "
                "judged it; guard the calls inside it, or use Pipeline.permit()"
            )
            raise Unguardable(message)
        if inspect.iscoroutinefunction(each):
            return "async"
    return "sync"
