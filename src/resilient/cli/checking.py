"""The command `doctor`: everything that may be wrong, each with what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import typer

from resilient.cli import busy, checks, places
from resilient.cli.checks import Finding
from resilient.cli.command import command
from resilient.cli.exits import FOUND, UNREACHABLE, Stop
from resilient.cli.session import Session
from resilient.cli.words import count
from resilient.control.errors import ControlUnavailable, Refused

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this command."""
    command(app, "doctor")(doctor)


def doctor(session: Session) -> None:
    """Look for everything that may be wrong with the control directory, and say what to do."""
    path: Path | None = None
    findings: list[Finding] = []
    try:
        path = session.path
        reason = places.why(session.options.dir, session.options.app)
        findings.append(Finding("ok", "directory", f"{path}, {reason}"))
    except Stop as stop:
        findings.append(Finding("fail", "directory", stop.message, "; ".join(each.strip() for each in stop.hints)))
    unreachable = path is None
    findings += _safely("other directories", lambda: checks.elsewhere(path))
    if path is not None and not path.exists():
        findings += checks.grounds(path)
        unreachable = True
    elif path is not None:
        findings += _safely("permissions", lambda: checks.grounds(path))
        try:
            session.directory  # noqa: B018 -- opened here, so that what is wrong with it is one finding
        except (ControlUnavailable, OSError) as error:
            findings.append(Finding("fail", "record", str(error), "Without it processes go on by themselves."))
            unreachable = True
        else:
            findings += _inside(session)
    _print(session, findings)
    if unreachable:
        raise Stop(UNREACHABLE)
    if any(each.status == "fail" for each in findings):
        raise Stop(FOUND)


def _inside(session: Session) -> Iterator[Finding]:
    for check in checks.OF_RECORD:
        yield from _safely(check.__name__, lambda check=check: check(session))  # type: ignore[misc]
    pages = session.pages()
    for look in (*checks.OF_PROCESSES, busy.writing):
        yield from _safely(look.__name__, lambda look=look: look(session, pages))  # type: ignore[misc]


def _safely(name: str, check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Return what a check finds; that it could not look is a finding as well."""
    findings: list[Finding] = []
    try:
        for each in check():
            findings.append(each)  # noqa: PERF402 -- what was found before it failed counts too
    except (ControlUnavailable, Refused, OSError) as error:
        findings.append(Finding("fail", name, f"could not look: {error}"))
    return findings


def _print(session: Session, findings: list[Finding]) -> None:
    paper = session.paper
    if not paper.people:
        paper.data([asdict(each) for each in findings])
        return
    rows = []
    for each in findings:
        rows.append([each.status, each.check, each.finding])
        if each.advice and each.status != "ok":
            rows.append(["", "", f"-> {each.advice}"])
    paper.table(("STATUS", "CHECK", "FINDING"), rows)
    bad = sum(each.status == "fail" for each in findings)
    doubtful = sum(each.status == "warn" for each in findings)
    paper.say("", f"{count(bad, 'failure')}, {count(doubtful, 'warning')}." if bad or doubtful else "All is well.")
