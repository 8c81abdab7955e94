"""Commands that read what was done and what happened: `audit`, `incident report` and `processes`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from resilient.cli.command import command
from resilient.cli.exits import FOUND, USAGE, Stop
from resilient.cli.moments import parse_past
from resilient.cli.names import Downstream
from resilient.cli.paper import Output
from resilient.cli.session import Session
from resilient.cli.words import ago, count, iso, second
from resilient.clock import SYSTEM

if TYPE_CHECKING:
    from resilient.control.audit import AuditRow

__all__ = ["register"]

AUDIT = ("SEQ", "AT", "ACTOR", "VIA", "ACTION", "TARGET", "OUTCOME", "REASON")
PROCESSES = ("INSTANCE", "PID", "VERSION", "PYTHON", "STARTED", "HEARTBEAT", "APPLIED", "ERRORS", "CONDITION")
PAGE = 500
PAUSE = 0.5
HEAD = re.compile(r"([0-9]{1,15}):([0-9a-f]{64})")

Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, metavar="N", help="The last N entries.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    command(app, "audit")(audit)
    group = typer.Typer(name="incident", help="What happened, for those who were asleep.", no_args_is_help=True)
    command(group, "report")(report)
    app.add_typer(group)
    command(app, "processes")(processes)


def audit(  # noqa: PLR0913 -- one for each option
    session: Session,
    *,
    limit: Limit = 50,
    target: Annotated[str | None, typer.Option("--target", metavar="NAME", help="Only about this downstream.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Check the chain of hashes instead.")] = False,
    head: Annotated[
        str | None, typer.Option("--head", metavar="SEQ:HASH", help="With --verify: an entry as it was logged once.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is done from now on.")] = False,
) -> None:
    """Show who did what, and what was refused, the newest last."""
    if verify:
        _verify(session, head)
        return
    if follow and session.paper.output is Output.JSON:
        raise Stop(USAGE, "audit --follow prints one object per line; use --output ndjson.")
    rows = session.operations.audit(limit=limit, latest=True, target=target or "")
    _print(session, rows, head=True)
    if follow:
        with suppress(KeyboardInterrupt):
            _follow(session, rows[-1].seq if rows else 0, target or "")


def _follow(session: Session, last: int, target: str) -> NoReturn:
    """Print what is done from now on."""
    while True:
        rows = session.operations.audit(last, limit=PAGE, target=target)
        if rows:
            last = rows[-1].seq
            _print(session, rows, head=False)
        SYSTEM.sleep(PAUSE)


def _verify(session: Session, head: str | None) -> None:
    found = session.operations.verify_audit(None if head is None else _known(head))
    if not session.paper.people:
        session.paper.data(asdict(found))
    else:
        session.paper.say(f"{count(found.rows, 'entry', 'entries')}; head {found.head_seq}:{found.head_hash}")
    if not found.ok:
        faults = (f"  {each['seq']}: {each['problem']}" for each in found.faults)
        raise Stop(FOUND, "The record was changed by other means:", *faults, "Secure a copy of it.")
    session.paper.note("The chain is whole." if found.compared else f"The chain is whole. {found.caveat}")


def _known(text: str) -> tuple[int, str]:
    match = HEAD.fullmatch(text)
    if match is None:
        message = f"--head must be a number and a hash as in 12:ab34..., got {text[:80]!r}"
        raise Stop(USAGE, message)
    return int(match[1]), match[2]


def _print(session: Session, rows: list[AuditRow], *, head: bool) -> None:
    paper = session.paper
    if not paper.people:
        paper.data([_as_json(each) for each in rows])
    elif head:
        paper.table(AUDIT, [_cells(each) for each in rows])
    else:
        paper.say(*("  ".join(_cells(each)) for each in rows))


def _as_json(row: AuditRow) -> dict[str, Any]:
    """Return an entry with the JSON in it as JSON; its hash covers what is stored, not this."""
    texts = {key: json.loads(getattr(row, key)) for key in ("request", "before", "after")}
    return {**asdict(row), **texts, "at": iso(row.at)}


def _cells(row: AuditRow) -> list[str]:
    words = (row.actor, row.via, row.action, row.target, row.outcome, row.reason)
    return [str(row.seq), second(row.at), *(each or "-" for each in words)]


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
    applied = entry.get("applied") or 0  # None of one that has just begun
    condition = "stale" if entry.get("stale") else "behind" if applied < revision else "ok"
    return [
        entry["instance"],
        str(entry["pid"]),
        str(entry["version"]),
        str(entry["python"]),
        f"{ago(entry['started_at'], now)} ago",
        f"{entry['heartbeat_age']:.1f} s ago",
        f"{applied} of {revision}",
        str(errors),
        condition,
    ]
