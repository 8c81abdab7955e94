"""Hand the key of a call to a function that wants one, in a parameter or in its headers.

The key is chosen once per call, outside of all policies, so that all attempts of a pipeline
below share it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, ParamSpec, TypeVar, cast

from resilient import _check
from resilient.errors import Unguardable
from resilient.idempotency.context import current_key
from resilient.idempotency.keys import random_key, written

__all__ = ["inject_key"]

P = ParamSpec("P")
T = TypeVar("T")
Kind = inspect.Parameter


def inject_key(
    parameter: str, *, header: str | None = None, style: Literal["raw", "quoted"] = "raw"
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator that fills a parameter with the idempotency key of the call.

    The key is that of the block (`with idempotency_key(...)`), or else a new random one for each
    call. A caller who passes something other than None has chosen for itself. Put it above the
    pipeline: `@inject_key("key")`, then `@payments`.

    Args:
        parameter: The function's parameter that takes the key.
        header: Where the parameter is a mapping of headers, or pairs of them: the name of the
            header to add to a copy of it, unless it is there, in whatever case.
        style: How the header carries the key: "raw", or "quoted" as the IETF draft asks.

    Raises:
        TypeError: If the name of the parameter or header is no string.
        ConfigError: If the style is unknown.
        Unguardable: When decorating, if the function has no such parameter.

    Example:
        >>> from resilient import Pipeline, Retry
        >>> from resilient.idempotency import idempotency_key
        >>> @inject_key("key")
        ... @Pipeline("doc-inject", Retry())
        ... def charge(cents: int, key: str | None = None) -> str:
        ...     return f"{cents} under {key}"
        >>> with idempotency_key("order-4567"):
        ...     charge(1250)
        '1250 under order-4567'

    """
    _check.identifier("parameter", parameter)
    if header is not None:
        _check.identifier("header", header)
    if style not in ("raw", "quoted"):
        _check.refuse("style", style, '"raw" or "quoted"')

    def filled(given: object) -> object:
        if header is None:
            return _key() if given is None else given
        return _with_header(given, header, style)

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        if isinstance(function, (classmethod, staticmethod)):
            return cast("Callable[P, T]", type(function)(decorate(function.__func__)))
        return _decorated(function, parameter, filled)

    return decorate


def _key() -> str:
    return current_key() or random_key()


def _decorated(function: Callable[P, T], parameter: str, filled: Callable[[object], object]) -> Callable[P, T]:
    if not callable(function):
        _check.refuse_type("function", function, "callable")
    place, by_name = _place(function, parameter)

    def arranged(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if place is not None and len(args) > place:
            return (*args[:place], filled(args[place]), *args[place + 1 :]), kwargs
        if not by_name:
            if place == len(args):
                return (*args, filled(None)), kwargs
            return args, kwargs  # the function itself says what is missing
        return args, {**kwargs, parameter: filled(kwargs.get(parameter))}

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- as of the function
            args, kwargs = arranged(args, kwargs)
            return await cast("Any", function)(*args, **kwargs)

        return cast("Callable[P, T]", awaited)

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        args, kwargs = arranged(args, kwargs)
        return cast("Any", function)(*args, **kwargs)

    return cast("Callable[P, T]", called)


def _place(function: Callable[..., object], parameter: str) -> tuple[int | None, bool]:
    """Return where among the positional arguments a parameter stands, if it does, and whether it goes by name."""
    parameters = inspect.signature(function).parameters
    names = [
        each.name for each in parameters.values() if each.kind in (Kind.POSITIONAL_ONLY, Kind.POSITIONAL_OR_KEYWORD)
    ]
    found = parameters.get(parameter)
    if found is not None and found.kind not in (Kind.VAR_POSITIONAL, Kind.VAR_KEYWORD):
        place = names.index(parameter) if parameter in names else None
        return place, found.kind is not Kind.POSITIONAL_ONLY
    if any(each.kind is Kind.VAR_KEYWORD for each in parameters.values()):
        return None, True
    name = getattr(function, "__qualname__", repr(function))
    message = f"{name}{inspect.signature(function)} has no parameter {parameter!r} that could take the idempotency key"
    raise Unguardable(message)


def _with_header(given: object, header: str, style: Literal["raw", "quoted"]) -> object:
    """Return headers with the key, in a new object of a plain kind, unless they have one."""
    pairs: Iterable[Any]
    if given is None or isinstance(given, Mapping):
        pairs = [] if given is None else [(name, given[name]) for name in given]
    elif isinstance(given, (list, tuple)):
        pairs = given
    else:
        _check.refuse_type("headers", given, "a mapping, a list of pairs, or None")
    if any(_text(name).lower() == header.lower() for name, _ in pairs):
        return given
    value = written(_key(), style)
    if isinstance(given, (list, tuple)):
        as_bytes = bool(given) and isinstance(given[0][0], bytes)
        return [*given, (header.encode(), value.encode()) if as_bytes else (header, value)]
    return {**dict(pairs), header: value}


def _text(name: object) -> str:
    return name.decode("latin-1") if isinstance(name, bytes) else str(name)
