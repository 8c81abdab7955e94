"""Wrap a coroutine function in `asyncio.timeout` and nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks import cases


def decorate(case: cases.Case) -> Any:
    """Return a decorator for the case; beside the five policies it stands for one timeout."""
    if case.colour == "sync" or case.policy not in {"timeout", "stack-five"}:
        raise cases.UnavailableError

    def wrap(function: Any) -> Any:
        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            async with asyncio.timeout(cases.SECONDS):
                return await function(*args, **kwargs)

        return wrapped

    return wrap
