"""What may be stored: no answer that is spent after one reading, under no key that is huge."""

from __future__ import annotations

from collections.abc import Coroutine, Generator

from resilient.errors import Unguardable

LARGEST = 65_536
"""Characters or bytes of a single text in a key; what is larger is not kept."""


def refuse_spent(downstream: str, label: str, result: object) -> None:
    """Refuse an answer that only the first of its readers could read.

    Raises:
        Unguardable: If it is an iterator, an open file, or something to be awaited.

    """
    kind = type(result)
    if not (hasattr(kind, "__next__") or hasattr(kind, "__anext__") or hasattr(kind, "__await__")):
        return
    if isinstance(result, (Generator, Coroutine)):
        result.close()
    message = (
        f"{downstream}: {label} got a {kind.__name__}, which only the first of its readers could read; "
        "return what is in it, such as a list"
    )
    raise Unguardable(message)


def oversized(parts: tuple[object, ...]) -> bool:
    """Tell whether a key holds a text that is too large to be kept."""
    return any(isinstance(each, (str, bytes)) and len(each) > LARGEST for each in parts)
