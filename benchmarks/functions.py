"""The functions under guard, and the empty decorators everything is a multiple of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Function = Callable[..., Any]


def steady(value: object) -> object:
    """Return what it is given."""
    return value


def failing(value: object) -> object:
    """Fail unless called with 0."""
    if value:
        raise ConnectionError(value)
    return value


def holding(value: object) -> object:
    """Call what it is given, so that the permit is held meanwhile; return anything else."""
    return value() if callable(value) else value


async def asteady(value: object) -> object:
    """Do as `steady`."""
    return value


async def asuspending(value: object) -> object:
    """Give the loop one turn, then return what it is given."""
    await asyncio.sleep(0)
    return value


async def afailing(value: object) -> object:
    """Do as `failing`."""
    if value:
        raise ConnectionError(value)
    return value


async def aholding(value: object) -> object:
    """Do as `holding`."""
    return await value() if callable(value) else value


def empty(function: Function) -> Function:
    """Wrap a function in a decorator that does nothing."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapped


def aempty(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Wrap a coroutine function in a decorator that does nothing."""

    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return wrapped
