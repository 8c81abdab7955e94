"""Commands that read what was done and what happened: `audit`, `incident report` and `processes`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer

from resilient.cli.command import command
from resilient.cli.exits import FOUND, USAGE, Stop
from resilient.cli.moments import parse_past
from resilient.cli.names import Downstream
from resilient.cli.paper import Output
from resilient.cli.session import Session
from resilient.cli.words import ago, clean, count, iso
from resilient.clock import SYSTEM

__all__ = ["register"]

AUDIT = ("SEQ", "AT", "ACTOR", "VIA", "ACTION", "TARGET", "OUTCOME", "REASON")
PROCESSES = ("INSTANCE", "PID", "VERSION", "PYTHON", "STARTED", "HEARTBEAT", "APPLIED", "ERRORS", "CONDITION")
PAGE = 500
PAUSE = 0.5

Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, metavar="N", help="The last N entries.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    command(app, "audit")(audit)
    group = typer.Typer(name="incident", help="What happened, for those who were asleep.", no_args_is_help=True)
    command(group, "report")(report)
    app.add_typer(group)
    command(app, "processes")(processes)


def audit(
    session: Session,
    *,
    limit: Limit = 50,
    target: Annotated[str | None, typer.Option("--target", metavar="NAME", help="Only about this downstream.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Check the chain of hashes instead.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is done from now on.")] = False,
) -> None:
    """Show who did what, and what was refused, the newest last."""
    if verify:
        _verify(session)
        return
    if follow and session.paper.output is Output.JSON:
        raise Stop(USAGE, "audit --follow prints one object per line; use --output ndjson.")
    rows = _entries(session, target)[-limit:]
    _print(session, rows, head=True)
    if not follow:
        return
    last = _entries(session, None)[-1]["seq"] if _entries(session, None) else 0
    try:
        while True:
            SYSTEM.sleep(PAUSE)
            fresh = _entries(session, target, after=last)
            if fresh:
                last = fresh[-1]["seq"]
                _print(session, fresh, head=False)
    except KeyboardInterrupt:
        return


def _entries(session: Session, target: str | None, after: int = 0) -> list[Mapping[str, Any]]:
    """Return the record from an entry on."""
    found: list[Mapping[str, Any]] = []
    while True:
        more = [dict(each) for each in session.operations.audit(after=after, limit=PAGE)]
        found += [each for each in more if target is None or each["target"] == target]
        if len(more) < PAGE:
            return found
        after = more[-1]["seq"]


def _verify(session: Session) -> None:
    found = session.operations.verify_audit()
    if not session.paper.people:
        session.paper.data(asdict(found))
    else:
        session.paper.say(f"{count(found.rows, 'entry', 'entries')}; head {found.seq} {found.hash}")
    if not found.intact:
        raise Stop(FOUND, f"The record was changed: {clean(found.problem)}", "Secure a copy of it.")
    session.paper.note(
        "The chain is whole: no entry was edited, removed or moved. That the newest were cut off cannot be seen here:",
        "compare the head with the last one in the log of the processes, or on the dashboard.",
    )


def _print(session: Session, rows: list[Mapping[str, Any]], *, head: bool) -> None:
    paper = session.paper
    if not paper.people:
        paper.data(rows)
    elif head:
        paper.table(AUDIT, [_cells(each) for each in rows])
    else:
        paper.say(*("  ".join(map(clean, _cells(each))) for each in rows))


def _cells(row: Mapping[str, Any]) -> list[str]:
    at = row["at"]
    words = ("actor", "via", "action", "target", "outcome", "reason")
    return [str(row["seq"]), at if isinstance(at, str) else iso(at), *(str(row[key]) or "-" for key in words)]


def report(
    session: Session,
    name: Downstream,
    *,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help="From here on: 02:00, 90m (ago), 2026-11-28T02:00Z.")
    ] = None,
) -> None:
    """Print a timeline for the post-mortem, as Markdown: changes of state, holds, peaks, and the time to repair."""
    from resilient.control.incident_report import incident_report  # noqa: PLC0415 -- only this command needs it

    now = SYSTEM.wall()
    start = None if since is None else parse_past(since, "--since", now)
    text = incident_report(session.directory, name, since=start, now=now)
    if session.paper.people:
        session.paper.say(text.rstrip("\n"))
    else:
        session.paper.data({"downstream": name, "markdown": text})


def processes(session: Session) -> None:
    """Show the processes of this host: since when they live, and what each of them has applied."""
    picture = session.overview()
    found = picture["processes"]
    if not session.paper.people:
        session.paper.data(found)
        return
    if not found:
        session.paper.note("No process is live.")
        return
    now = SYSTEM.wall()
    session.paper.table(PROCESSES, [_process(each, picture["revision"], now) for each in found])


def _process(entry: Mapping[str, Any], revision: int, now: float) -> list[str]:
    errors = sum((entry.get("errors") or {}).values())
    condition = "stale" if entry.get("stale") else "behind" if entry.get("applied", 0) < revision else "ok"
    return [
        entry["instance"],
        str(entry["pid"]),
        str(entry["version"]),
        str(entry["python"]),
        f"{ago(entry['started_at'], now)} ago",
        f"{entry['heartbeat_age']:.1f} s ago",
        f"{entry.get('applied', 0)} of {revision}",
        str(errors),
        condition,
    ]
