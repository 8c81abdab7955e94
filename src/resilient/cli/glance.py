"""What `status` does; it needs neither typer nor, off a terminal, rich: at three in the morning it has to be quick."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from resilient.cli import view
from resilient.cli.exits import USAGE, Stop
from resilient.cli.paper import Output, fitting, styled
from resilient.cli.session import Session
from resilient.cli.words import clean
from resilient.clock import SYSTEM
from resilient.control.durations import parse_duration
from resilient.control.errors import ControlUnavailable

__all__ = ["EVERY", "status"]

EVERY = "1s"
"""How often a watched picture is taken, unless it is said."""


def status(session: Session, *, watch: bool, every: str) -> None:
    """Show every downstream in one table.

    Args:
        session: Where to look and to print.
        watch: Whether to show it again and again.
        every: How often then, as it was written.

    """
    pause = parse_duration(every, "--every")
    if not watch:
        _once(session)
        return
    try:
        if session.paper.people and session.paper.terminal:
            _live(session, pause)
        else:
            _lines(session, pause)
    except KeyboardInterrupt:
        return


def _once(session: Session) -> None:
    paper, picture = session.paper, session.overview()
    if not paper.people:
        paper.data(picture)
        return
    now, downstreams = SYSTEM.wall(), view.worst_first(picture["downstreams"])
    paper.say(picture["verdict"], "")
    if downstreams:
        paper.table(view.HEAD, [view.row(each, now) for each in downstreams], view.RIGHT, view.SPARE)
        paper.say("")
    held = view.holds(downstreams)
    if held:
        paper.say(*held, "")
    paper.say(view.footer(picture))


def _live(session: Session, pause: float) -> None:
    """Show the table in place, on a screen of its own."""
    from rich.console import Group  # noqa: PLC0415 -- only a terminal needs it
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    def picture(found: dict[str, Any], trouble: str) -> Group:
        now = SYSTEM.wall()
        downstreams = view.worst_first(found["downstreams"])
        rows = [[clean(cell) for cell in view.row(each, now)] for each in downstreams]
        lines = [Text(clean(line), "dim") for line in view.holds(downstreams)]
        head = Text(clean(trouble or found["verdict"]), "bold red" if trouble else "bold")
        foot = Text(f"{found['at']}  {clean(view.footer(found))}  Ctrl-C ends", "dim")
        columns = fitting(view.HEAD, rows, view.SPARE, console.width)
        return Group(head, Text(), styled(*columns, view.RIGHT), Text(), *lines, foot)

    console = session.paper.console()
    pictures = _pictures(session, pause)
    with Live(picture(*next(pictures)), console=console, screen=True, auto_refresh=False) as live:
        for found, trouble in pictures:
            live.update(picture(found, trouble), refresh=True)


def _lines(session: Session, pause: float) -> None:
    """Print a line for each downstream, and again when its state, its holds or its processes are others."""
    if session.paper.output is Output.JSON:
        raise Stop(USAGE, "status -w prints one object per line; use --output ndjson.")
    before: dict[str, object] = {}
    for picture, trouble in _pictures(session, pause):
        if trouble:
            session.paper.note(trouble)
            continue
        if not session.paper.people:
            session.paper.data(picture)
            continue
        now = SYSTEM.wall()
        for each in picture["downstreams"]:
            key = each["state"], each["retries"], each["live"], [hold["id"] for hold in each["holds"]], each["kept"]
            if before.get(each["name"]) != key:
                before[each["name"]] = key
                cells = zip(view.HEAD[1:], view.row(each, now)[1:], strict=True)
                said = "  ".join(f"{name.lower()}={cell}" for name, cell in cells)
                session.paper.say(f"{picture['at']}  {each['name']}  {said}")


def _pictures(session: Session, pause: float) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the picture again and again; in trouble the last one, and what the trouble is.

    Who watches wants to see the end of the trouble, so only the first look may fail.
    """
    picture = session.overview()
    yield picture, ""
    while True:
        SYSTEM.sleep(pause)
        trouble = ""
        try:
            picture = session.overview()
        except (ControlUnavailable, OSError) as error:
            trouble = f"cannot be read now: {error}"
        yield picture, trouble
