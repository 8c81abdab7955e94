"""The call itself, and what a plain function must not return: something that nobody would see the end of."""

from __future__ import annotations

from collections.abc import Callable
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, NoReturn

from resilient._weave.colour import colour_of
from resilient.errors import Unguardable

PLAIN = """
result = AWAIT CALL
"""

# A plain function may turn out to return a coroutine: nobody would await it inside the policies.
CHECKED = """
if type(result) is coroutine:
    refuse(result)
if type(result) in generators:             #: through
    checked(result, call)                  #: through
"""

GENERATORS = frozenset({GeneratorType, AsyncGeneratorType})


def refuse(coroutine: CoroutineType[Any, Any, Any]) -> NoReturn:
    coroutine.close()
    name = coroutine.__qualname__
    message = (
        f"a plain function returned the coroutine of {name!r}, which no policy would see the end of: "
        "guard the async function itself, or use acall()"
    )
    raise Unguardable(message)


def checked(result: GeneratorType[Any, Any, Any] | AsyncGeneratorType[Any, Any], function: Callable[..., Any]) -> None:
    """Refuse a generator made by a generator function; one that a plain function hands on is its answer."""
    try:
        colour_of(function)
    except Unguardable:
        if isinstance(result, GeneratorType):
            result.close()
        raise
