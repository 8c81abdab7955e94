"""Commands that show how things are: `status` and `show`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from resilient.cli import view
from resilient.cli.command import command
from resilient.cli.exits import REFUSED, USAGE, Stop
from resilient.cli.names import Downstream
from resilient.cli.paper import Output, styled
from resilient.cli.session import Session
from resilient.cli.words import clean
from resilient.clock import SYSTEM
from resilient.control.durations import parse_duration

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    command(app, "status")(status)
    command(app, "show")(show)


def status(
    session: Session,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again and again, until Ctrl-C.")] = False,
    every: Annotated[str, typer.Option("--every", metavar="DURATION", help="How often, with -w.")] = "1s",
) -> None:
    """Show every downstream in one table, with a sentence about what is wrong and who did what."""
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
    paper.say(clean(picture["verdict"]), "")
    if downstreams:
        paper.table(view.HEAD, [view.row(each, now) for each in downstreams], view.RIGHT)
        paper.say("")
    held = view.holds(downstreams)
    if held:
        paper.say(*held, "")
    paper.say(clean(view.footer(picture)))


def _live(session: Session, pause: float) -> None:
    """Show the table in place, on a screen of its own."""
    from rich.console import Group  # noqa: PLC0415 -- only a terminal needs it
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    def picture() -> Group:
        found, now = session.overview(), SYSTEM.wall()
        downstreams = view.worst_first(found["downstreams"])
        rows = [[clean(cell) for cell in view.row(each, now)] for each in downstreams]
        lines = [Text(line, "dim") for line in view.holds(downstreams)]
        head = Text(clean(found["verdict"]), "bold")
        foot = Text(f"{found['at']}  {clean(view.footer(found))}  Ctrl-C ends", "dim")
        return Group(head, Text(), styled(view.HEAD, rows, view.RIGHT), Text(), *lines, foot)

    with Live(picture(), console=session.paper.console(), screen=True, auto_refresh=False) as live:
        while True:
            SYSTEM.sleep(pause)
            live.update(picture(), refresh=True)


def _lines(session: Session, pause: float) -> None:
    """Print a line for each downstream, and again when its state, its holds or its processes are others."""
    if session.paper.output is Output.JSON:
        raise Stop(USAGE, "status -w prints one object per line; use --output ndjson.")
    before: dict[str, object] = {}
    for picture in _pictures(session, pause):
        if not session.paper.people:
            session.paper.data(picture)
            continue
        now = SYSTEM.wall()
        for each in picture["downstreams"]:
            key = each["state"], each["retries"], each["live"], [hold["id"] for hold in each["holds"]]
            if before.get(each["name"]) != key:
                before[each["name"]] = key
                cells = zip(view.HEAD[1:], view.row(each, now)[1:], strict=True)
                said = "  ".join(f"{name.lower()}={clean(cell)}" for name, cell in cells)
                session.paper.say(f"{picture['at']}  {clean(each['name'])}  {said}")


def _pictures(session: Session, pause: float) -> Iterator[dict[str, Any]]:
    while True:
        yield session.overview()
        SYSTEM.sleep(pause)


def show(session: Session, name: Downstream) -> None:
    """Show everything about one downstream: limits beside measured values, holds, and each process."""
    picture = session.overview()
    known = {each["name"]: each for each in picture["downstreams"]}
    if name not in known:
        raise Stop(REFUSED, f"No process knows {clean(name)}.", *_close(name, list(known)))
    rows = []
    for page in session.pages():
        found = page.data.get("downstreams", {}).get(name)
        if page.alive and found is not None:
            rows.append({"instance": page.instance, "pid": page.data.get("pid"), **found})
            rows[-1]["applied"] = page.data.get("applied")
    if session.paper.people:
        session.paper.say(*view.detail(known[name], rows, SYSTEM.wall()))
    else:
        session.paper.data({**known[name], "in_processes": rows})


def _close(name: str, known: list[str]) -> list[str]:
    from difflib import get_close_matches  # noqa: PLC0415 -- only who mistypes needs it

    close = get_close_matches(name, known, 3, 0.5)
    return [f"Did you mean {', '.join(map(clean, close))}?"] if close else []
