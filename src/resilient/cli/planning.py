"""Commands for planned maintenance: `maint schedule`, `maint list` and `maint end`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from resilient.cli import receipts, view
from resilient.cli.command import command
from resilient.cli.exits import USAGE, Stop
from resilient.cli.moments import parse_moment
from resilient.cli.names import Selector
from resilient.cli.parameters import DONE, Disposition, DryRun, Mode, Percent, Reason, Ticket, Unknown, Wait, Where
from resilient.cli.session import Session
from resilient.cli.words import age, iso, minute, second
from resilient.clock import SYSTEM
from resilient.control.durations import parse_duration
from resilient.control.spoken import window_json

if TYPE_CHECKING:
    from resilient.control.intent import Window

__all__ = ["register"]

HEAD = ("ID", "STATUS", "SELECTOR", "MODE", "FROM", "UNTIL", "BY", "REASON")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(
        name="maint", help="Planned maintenance: scheduled, listed, ended; never deleted.", no_args_is_help=True
    )
    command(group, "schedule")(schedule)
    command(group, "list")(listing)
    command(group, "end")(end)
    app.add_typer(group)


def schedule(  # noqa: PLR0913 -- one for each option
    session: Session,
    selector: Selector,
    *,
    until: Annotated[str, typer.Option("--until", "--for", metavar="WHEN", help="End: 30m, 23:30, 2026-11-28T23:30Z.")],
    reason: Reason,
    start: Annotated[
        str, typer.Option("--from", "--in", metavar="WHEN", help="Start: 1h, 22:00, 2026-11-28T22:00Z.")
    ] = "now",
    mode: Annotated[Mode, typer.Option("--mode", help="What happens to calls.")] = Mode.FORCED_OPEN,
    percent: Percent = 100,
    disposition: Where = Disposition.FALLBACK,
    ticket: Ticket = "",
    allow_unknown: Unknown = False,
    dry_run: DryRun = False,
    wait: Wait = "2s",
) -> None:
    """Plan a hold on every downstream that a pattern matches, also on those that come later."""
    patience = parse_duration(wait, "--wait", zero=True)
    now = SYSTEM.wall()
    starts_at = parse_moment(start, "--from", now)
    ends_at = parse_moment(until, "--until", now, after=starts_at)
    if ends_at <= starts_at:
        raise Stop(USAGE, f"--until must be after --from, got {iso(starts_at)} to {iso(ends_at)}.")
    receipt = session.operations.schedule(
        selector,
        mode.value,
        starts_at=starts_at,
        ends_at=ends_at,
        reason=reason,
        who=session.who(),
        percent=percent,
        disposition=disposition.value,
        ticket=ticket,
        allow_unknown=allow_unknown,
        dry_run=dry_run,
    )
    what = f"{DONE[mode.value]} from {second(starts_at)}" + (f" (in {age(starts_at - now)})" if starts_at > now else "")
    _end(receipts.answer(session, what, {selector: receipt}, patience, length=ends_at - starts_at))


def listing(
    session: Session, *, ended: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False
) -> None:
    """List what is planned."""
    windows = session.operations.windows(ended=ended)
    if not session.paper.people:
        session.paper.data([window_json(each) for each in windows])
    elif windows:
        session.paper.table(HEAD, [_row(each) for each in windows])
    else:
        session.paper.note("Nothing is planned.")


def end(
    session: Session,
    window: Annotated[str, typer.Argument(metavar="ID", help="As `maint list` shows it.")],
    *,
    reason: Reason,
    wait: Wait = "2s",
) -> None:
    """End a window now, before its time or before it has begun."""
    patience = parse_duration(wait, "--wait", zero=True)
    receipt = session.operations.end_window(window, who=session.who(), reason=reason)
    _end(receipts.answer(session, "ended", {window: receipt}, patience))


def _end(code: int) -> None:
    if code:
        raise Stop(code)


def _row(window: Window) -> list[str]:
    entry = window_json(window)
    mode = view.mode(entry)
    return [
        window.id,
        window.status,
        window.selector,
        mode,
        minute(window.starts_at),
        minute(window.ends_at),
        window.actor,
        window.reason,
    ]
