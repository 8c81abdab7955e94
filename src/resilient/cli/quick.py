"""The quick way to `status`: typer's own imports take longer than the rest of the command.

It understands the plainest way to ask, and leaves all else, and every mistake, to typer.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from resilient.cli.paper import Output

__all__ = ["FLAGS", "VALUES", "run"]

FLAGS = {"-w": "watch", "--watch": "watch", "-y": "yes", "--yes": "yes", "--no-color": "no_color"}
"""Options of `status` without a value, and what they are called here; a test compares them with typer's."""

VALUES = {"--dir": "dir", "--app": "app", "-o": "output", "--output": "output", "--every": "every"}
"""Options of `status` with a value."""

OWN = ("-w", "--watch", "--every")
"""Those of them that no other command has."""


def run(arguments: Sequence[str]) -> int | None:
    """Show the status and return the exit code; None if something else was asked, or typer is to answer.

    Args:
        arguments: What stands after the command's name.

    """
    said = _read(arguments)
    if said is None:
        return None
    from resilient.cli import endings, glance  # noqa: PLC0415 -- not needed to tell that it is something else
    from resilient.cli.session import Options, Session  # noqa: PLC0415

    directory = said.get("dir")
    session = Session(
        Options(
            Path(directory) if directory is not None else None,
            said.get("app"),
            Output(said["output"]) if "output" in said else None,
            "yes" in said or None,
            "no_color" in said or None,
        )
    )
    every = said.get("every", glance.EVERY)
    try:
        return endings.ended(session, lambda: glance.status(session, watch="watch" in said, every=every))
    except KeyboardInterrupt:
        return 1
    except BrokenPipeError:  # as in `resilient status | head -1`; nobody is left to be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1


def _read(arguments: Sequence[str]) -> dict[str, str] | None:
    """Return what was said, or None if it is not the plain question for the status."""
    said: dict[str, str] = {}
    asked = False
    left = list(arguments)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        if word == "status" and not asked:
            asked = True
        elif word in FLAGS:
            said[FLAGS[word]] = ""
        elif name in VALUES and (left if not equals else name.startswith("--")):
            said[VALUES[name]] = value if equals else left.pop(0)
        else:
            return None
    # What belongs to `status` alone may not stand before it; that is for typer to say.
    before = list(arguments).index("status") if asked else 0
    if not asked or any(word.partition("=")[0] in OWN for word in arguments[:before]):
        return None
    if said.get("output", "table") not in {each.value for each in Output} or "" in (said.get("dir"), said.get("app")):
        return None
    return said
