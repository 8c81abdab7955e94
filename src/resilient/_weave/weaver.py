"""Compile a shape once, then make functions of it at little more cost than an object.

The source is registered with `linecache`, so tracebacks and debuggers show it, the way
`dataclasses` and `attrs` do. Injected names are globals of the function: a namespace of its
own, in which a pipeline may exchange them while calls are in flight.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import linecache
from collections.abc import Callable, Mapping
from threading import Lock
from types import CodeType, FunctionType
from typing import Any, cast

from resilient._weave.template import Shape, render

_codes: dict[Shape, CodeType] = {}
_lock = Lock()

THROUGH = ("call, /, *args, **kwargs", "*args, **kwargs")
"""Parameters and arguments of the form that gets the function with each call."""

EXCHANGE = ("exchange", "exchange.request")
"""Parameters and arguments of the form whose call may outlast it: an `Exchange` makes the attempts."""

ANYTHING = ("*args, **kwargs", "*args, **kwargs")
"""Parameters and arguments that fit every function."""

_MOST_PARAMETERS = 12


def code_of(shape: Shape) -> CodeType:
    """Return the compiled code of a shape; each shape is compiled once per process."""
    code = _codes.get(shape)
    if code is None:
        with _lock:
            code = _codes.get(shape)
            if code is None:
                code = _codes[shape] = _compile(shape)
    return code


def _compile(shape: Shape) -> CodeType:
    source = render(shape)
    file = f"<resilient shape {len(_codes) + 1}>"
    module = compile(source, file, "exec", dont_inherit=True)
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    return next(const for const in module.co_consts if isinstance(const, CodeType))


def parameters_of(function: object) -> tuple[str, str]:
    """Return the parameter list and arguments for a function's own signature, in neutral names.

    A plain function with only positional parameters gets a woven function with as many of its
    own: nothing is packed and unpacked on the way. Everything else gets `*args, **kwargs`.
    """
    names = _own_parameters(function)
    if names is None:
        return ANYTHING
    assert isinstance(function, FunctionType)  # noqa: S101 -- narrows the type
    neutral = [f"a{index}" for index in range(len(names))]
    only = function.__code__.co_posonlyargcount
    head = [*neutral[:only], *(["/"] if only else []), *neutral[only:]]
    return ", ".join(head), ", ".join(neutral)


def key_of(form: tuple[str, str]) -> str:
    """Return the expression that tells calls apart: the function, its arguments, their types; "" where it varies."""
    if form in (THROUGH, EXCHANGE, ANYTHING):
        return ""
    names = form[1].split(", ") if form[1] else []
    return f"({', '.join(['call', *names, *(f'type({each})' for each in names)])},)"


def _own_parameters(function: object) -> tuple[str, ...] | None:
    if type(function) is not FunctionType or hasattr(function, "__signature__"):
        return None
    code = function.__code__
    varied = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    if varied or code.co_kwonlyargcount or code.co_argcount > _MOST_PARAMETERS:
        return None
    names = code.co_varnames[: code.co_argcount]
    # Ours end in a digit or are these few; a clash would only confuse a debugger, but still.
    reserved = {"result", "error", "began", "left", "loop", "task", "timer", "key", "token", "cancelling"}
    if reserved.intersection(names) or any(name[-1:].isdigit() and "_" in name for name in names):
        return None
    return names


def make(shape: Shape, names: Mapping[str, object], like: Callable[..., Any] | None) -> FunctionType:
    """Return a function of a shape, with its injected names, dressed as the function it guards."""
    # C code that imports, such as `time.strptime`, looks for them in its caller's globals.
    namespace = {"__builtins__": builtins, **names}
    if like is None:
        return FunctionType(code_of(shape), namespace, "guarded")
    namespace["call"] = like
    name = getattr(like, "__name__", "guarded")
    if isinstance(name, str):
        function = FunctionType(fitted(shape, like), namespace, name)
        functools.update_wrapper(function, like)
    else:  # a proxy that makes up whatever it is asked for, such as a method of `xmlrpc.client`
        function = FunctionType(fitted(shape, like), namespace, "guarded")
        function.__wrapped__ = like  # type: ignore[attr-defined]
    if shape.parameters != ANYTHING[0]:
        function.__defaults__ = cast("FunctionType", like).__defaults__
    return function


def fitted(shape: Shape, like: Callable[..., Any]) -> CodeType:
    """Return a shape's code with the parameters named as those of the function it guards.

    The names are set on the code object, so that no name of the user's is part of the source.
    """
    code = code_of(shape)
    if shape.parameters in (ANYTHING[0], THROUGH[0]):
        return code
    names = _own_parameters(like)
    assert names is not None  # noqa: S101 -- the shape came from `parameters_of`
    return code.replace(co_varnames=names + code.co_varnames[len(names) :])


def renew() -> None:
    """Replace the lock, in a forked child."""
    global _lock  # noqa: PLW0603 -- the parent's may be held by a thread that is not here
    _lock = Lock()
