"""Names of downstreams: completed from what runs, and chosen by patterns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from resilient.cli.exits import REFUSED, Stop
from resilient.cli.session import Options, Session
from resilient.control.intent import matches

__all__ = ["Downstream", "Selector", "chosen", "is_pattern"]


def complete(context: typer.Context, incomplete: str) -> Iterator[str]:
    """Yield the names that begin so; a shell that asks gets no errors."""
    try:
        yield from (name for name in _known(context) if name.startswith(incomplete))
    except Exception:  # noqa: BLE001 -- nothing is completed then
        return


def _known(context: typer.Context) -> list[str]:
    options = Options()
    place: Any = context
    while place is not None:  # what is on the line so far, the nearest word first
        said = place.params
        found = Options(Path(said["directory"]) if said.get("directory") else None, said.get("app"))
        options, place = options.over(found), place.parent
    session = Session(options)
    try:
        return sorted({name for page in session.pages() for name in (page.data.get("downstreams") or {})})
    finally:
        session.close()


Downstream = Annotated[str, typer.Argument(metavar="NAME", help="The downstream.", autocompletion=complete)]
Selector = Annotated[
    str,
    typer.Argument(metavar="NAME", help="The downstream, or a pattern such as 'payments-*'.", autocompletion=complete),
]


def is_pattern(text: str) -> bool:
    """Tell whether a text is a pattern and no name."""
    return any(each in text for each in "*?[")


def chosen(session: Session, text: str) -> list[str]:
    """Return the downstreams that a name or a pattern means.

    Args:
        session: Where to look for what a pattern matches; a name is taken as it is.
        text: The name or the pattern.

    Raises:
        Stop: If a pattern matches none.

    """
    if not is_pattern(text):
        return [text]
    known = [each["name"] for each in session.overview()["downstreams"]]
    if text in known:  # a name with such a sign in it
        return [text]
    found = [name for name in known if matches(text, name)]
    if not found:
        raise Stop(REFUSED, f"No downstream matches {text}.", f"There are {len(known)}; see `resilient status`.")
    return found
