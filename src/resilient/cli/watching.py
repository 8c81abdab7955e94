"""Commands that show how things are: `status` and `show`."""

from __future__ import annotations

from typing import Annotated

import typer

from resilient.cli import glance, view
from resilient.cli.command import command
from resilient.cli.exits import REFUSED, Stop
from resilient.cli.names import Downstream
from resilient.cli.session import Session
from resilient.clock import SYSTEM

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    command(app, "status")(status)
    command(app, "show")(show)


def status(
    session: Session,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again and again, until Ctrl-C.")] = False,
    every: Annotated[str, typer.Option("--every", metavar="DURATION", help="How often, with -w.")] = glance.EVERY,
) -> None:
    """Show every downstream in one table, with a sentence about what is wrong and who did what."""
    glance.status(session, watch=watch, every=every)


def show(session: Session, name: Downstream) -> None:
    """Show everything about one downstream: limits beside measured values, errors, events, holds, and each process."""
    from resilient.cli import trouble  # noqa: PLC0415 -- `--help` needs none of it
    from resilient.control.events_log import latest  # noqa: PLC0415

    picture = session.overview()
    known = {each["name"]: each for each in picture["downstreams"]}
    if name not in known:
        raise Stop(REFUSED, f"No process knows {name}.", *_close(name, list(known)))
    pages = [page for page in session.pages() if page.alive]
    rows = []
    for page in pages:
        found = (page.data.get("downstreams") or {}).get(name)
        if found is not None:
            rows.append({"instance": page.instance, "pid": page.data.get("pid"), **found})
            rows[-1]["applied"] = page.data.get("applied")
    errors, refused = trouble.error_types(pages, name), trouble.refusals(pages, name)
    events = latest(session.directory, name, trouble.READ)
    if session.paper.people:
        told = trouble.lines(errors, refused, events)
        session.paper.say(*view.detail(known[name], rows, SYSTEM.wall(), told))
    else:
        more = {"error_types": errors, "refusals": refused, "events": trouble.event_json(events)}
        session.paper.data({**known[name], **more, "in_processes": rows})


def _close(name: str, known: list[str]) -> list[str]:
    from difflib import get_close_matches  # noqa: PLC0415 -- only who mistypes needs it

    close = get_close_matches(name, known, 3, 0.5)
    return [f"Did you mean {', '.join(close)}?"] if close else []
