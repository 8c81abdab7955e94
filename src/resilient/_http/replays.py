"""How the content of a body goes back to where it began; what cannot is sent once.

A replay is a function that moves the content and tells whether that worked. It never raises.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

__all__ = ["Replay", "always", "declared", "never", "of_content", "of_form"]

Replay = Callable[[], bool]


def never() -> bool:
    """Say of a generator and of all that is unknown that it is sent once."""
    return False


def always() -> bool:
    """Say of a list that it is there again as it was."""
    return True


def declared() -> bool:
    """Say the same of what its author calls replayable."""
    return True


def of_content(content: Any, *, plain: bool) -> Replay:  # noqa: ANN401 -- what a user gave as a body
    """Return the replay of one content.

    Args:
        content: The content, or a stream of an unknown class.
        plain: Whether the client sends what its `read` returns, or else its items.

    """
    said = None
    with suppress(Exception):
        said = getattr(content, "replayable", None)
    if said is False:
        return never
    if plain and hasattr(content, "read"):
        return _of_file(content)
    if said is True:
        return declared
    return always if plain and isinstance(content, Collection) else never


def of_form(fields: list[Any]) -> Replay:
    """Return the replay of a multipart form, whose files are rendered from their beginning at the first time too."""
    files = [file for field in fields if not isinstance(file := getattr(field, "file", b""), (str, bytes))]
    if not all(map(_seekable, files)):
        return never
    return lambda: all(_sought(file, 0) for file in files)


def _of_file(file: Any) -> Replay:  # noqa: ANN401 -- whatever has a `read`
    try:
        start = file.tell() if _seekable(file) else None
    except Exception:  # noqa: BLE001 -- a pipe, or closed already
        return never
    return never if start is None else lambda: _sought(file, start)


def _seekable(file: Any) -> bool:  # noqa: ANN401
    with suppress(Exception):
        return bool(file.seekable()) if hasattr(file, "seekable") else hasattr(file, "seek")
    return False


def _sought(file: Any, offset: int) -> bool:  # noqa: ANN401
    try:
        file.seek(offset)
        return not hasattr(file, "tell") or bool(file.tell() == offset)
    except Exception:  # noqa: BLE001 -- then the body is sent once, and the first outcome stands
        return False
