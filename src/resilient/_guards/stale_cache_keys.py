"""What tells two calls of one pipeline apart: the function itself, its arguments, and their types.

A key is a tuple: the function, its arguments in the order of its parameters, defaults filled in,
then their types, for `1 == True == 1.0`. Woven code makes the same tuple in line where it can.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, partial
from types import CodeType, FunctionType, MethodType
from typing import Any

from resilient.errors import Unguardable

Key = tuple[Any, ...]
Maker = Callable[..., Key]

_MORE = object()
"""Stands before what was given by names that the function does not declare."""

_DEEP = object()
"""Stands before the types inside of tuples."""


_LONGEST_CHAIN = 50  # of functions that wrap each other


def maker_of(function: Callable[..., Any]) -> Maker:
    """Return what makes the key of a call: it takes the function's own parameters."""
    if isinstance(function, MethodType) and type(function.__func__) is FunctionType:
        return partial(_maker(function.__func__, function), function.__self__)
    if type(function) is FunctionType and not hasattr(function, "__signature__"):
        return _maker(function, function)
    return partial(_general, function)


def _maker(function: FunctionType, call: Callable[..., Any]) -> Maker:
    """Return a function with the parameters, defaults and name of another one, that returns the key."""
    code = function.__code__
    varied = bool(code.co_flags & inspect.CO_VARARGS), bool(code.co_flags & inspect.CO_VARKEYWORDS)
    made = _code(code.co_posonlyargcount, code.co_argcount, code.co_kwonlyargcount, *varied)
    names = code.co_varnames[: made.co_argcount + made.co_kwonlyargcount + sum(varied)]
    made = made.replace(co_varnames=names, co_name=code.co_name, co_qualname=code.co_qualname)
    maker = FunctionType(made, {"call": call, "MORE": _MORE, "pairs": _pairs}, function.__name__)
    maker.__defaults__ = function.__defaults__
    maker.__kwdefaults__ = function.__kwdefaults__
    maker.__qualname__ = function.__qualname__  # a TypeError of a call that does not fit names it
    return maker


@cache
def _code(positional_only: int, positional: int, named: int, rest: bool, more: bool) -> CodeType:  # noqa: FBT001
    """Return the code of a key maker for functions with so many parameters."""
    own = [f"a{number}" for number in range(positional)]
    keywords = [f"k{number}" for number in range(named)]
    head = [*own[:positional_only], *(["/"] if positional_only else []), *own[positional_only:]]
    head += ["*rest"] if rest else ["*"] if named else []
    head += [*keywords, *(["**more"] if more else [])]
    values = [*own, *(["*rest"] if rest else []), *keywords]
    types = [f"type({each})" for each in own] + (["*map(type, rest)"] if rest else [])
    types += [f"type({each})" for each in keywords]
    plain = ", ".join(["call", *values, *types])
    body = f"({plain},)"
    if more:
        body += f" if not more else ({plain}, MORE, *pairs(more))"
    source = f"def maker({', '.join(head)}):\n    return {body}\n"
    module = compile(source, "<resilient key>", "exec", dont_inherit=True)
    return next(const for const in module.co_consts if isinstance(const, CodeType))


def _general(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Key:  # noqa: ANN401
    """Make the key of a call of something whose parameters are not known."""
    key = (function, *args, *map(type, args))
    return (*key, _MORE, *_pairs(kwargs)) if kwargs else key


def _pairs(named: dict[str, Any]) -> list[Any]:
    """Return names, values and their types, in one order whatever that of the call."""
    return [part for name in sorted(named) for part in (name, named[name], type(named[name]))]


def deepened(key: Key) -> Key:
    """Return a key that also tells what is in tuples by its type, and 0.0 from -0.0; without them the very same key."""
    if any(isinstance(each, (tuple, frozenset)) or (type(each) is float and not each) for each in key):
        return (*key, _DEEP, *map(_types, key))
    return key


def _types(value: object) -> object:
    if type(value) is float and not value:
        return repr(value)
    if isinstance(value, tuple):
        return (type(value), *map(_types, value))
    if isinstance(value, frozenset):
        return (type(value), frozenset((each, _types(each)) for each in value))
    return type(value)


def complain(who: str, error: TypeError, function: Callable[..., Any], args: Any, kwargs: Any) -> None:  # noqa: ANN401
    """Say what about a call cannot be part of a key, if it is that which a look-up stumbled on.

    Raises:
        Unguardable: It names the parameter.
        TypeError: Where the call does not fit the function.

    """
    if not hashable(function):
        message = f"{who}: objects of {type(function).__name__} cannot be told apart, for they have no hash"
        raise Unguardable(message) from error
    maker_of(function)(*args, **kwargs)
    for name, value in _arguments(function, args, kwargs):
        if not hashable(value):
            called = getattr(function, "__qualname__", type(function).__name__)
            message = (
                f"{who}: argument {name!r} of {called} is a {type(value).__name__}, which cannot be part of a key; "
                "pass key=, a function of the call's arguments that returns the key"
            )
            raise Unguardable(message) from error


def _arguments(function: Callable[..., Any], args: Any, kwargs: Any) -> list[tuple[str, Any]]:  # noqa: ANN401
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return [*((str(place), value) for place, value in enumerate(args)), *kwargs.items()]
    bound.apply_defaults()
    found: list[tuple[str, Any]] = []
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            found.extend((f"{name}[{place}]", each) for place, each in enumerate(value))
        elif kind is inspect.Parameter.VAR_KEYWORD:
            found.extend(value.items())
        else:
            found.append((name, value))
    return found


def hashable(value: object) -> bool:
    """Tell whether something can be part of a key."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


def target_of(guard: object, function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Callable[..., Any], Any]:
    """Return the function whose calls a guard knows, and its arguments, for one that may be decorated by it."""
    found: Any = function
    given = args
    for _ in range(_LONGEST_CHAIN):
        if isinstance(found, MethodType):
            found, given = found.__func__, (found.__self__, *given)
        names = getattr(found, "__globals__", {})
        if guard in getattr(names.get("assembly"), "guards", ()):
            return names["call"], given
        found = getattr(found, "__wrapped__", None)
        if not callable(found):
            break
    return function, args
