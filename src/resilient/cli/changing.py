"""Commands that change what processes do: `trip`, `release`, `retries`, `reset` and `probe`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resilient.cli.change import Change
from resilient.cli.command import command
from resilient.cli.exits import USAGE, Stop
from resilient.cli.names import Selector
from resilient.cli.parameters import (
    DONE,
    Disposition,
    DryRun,
    For,
    Glass,
    Mode,
    Percent,
    Perhaps,
    Reason,
    Ticket,
    Unknown,
    Wait,
    Where,
)
from resilient.cli.session import Session
from resilient.control.durations import parse_duration

if TYPE_CHECKING:
    from resilient.control.intent import Hold
    from resilient.control.receipts import Receipt

__all__ = ["register"]

ALL = 100
_FOR = "--for, such as --for 45m"
_REASON = '--reason, such as --reason "INC-7: they are overrun"'


class Switch(StrEnum):
    """Whether there are second attempts."""

    OFF = "off"
    ON = "on"


HoldMode = Annotated[Mode, typer.Option("--mode", help="What the hold does.")]
HoldId = Annotated[
    str | None, typer.Option("--id", metavar="ID", help="This hold, whoever placed it; without it, your own.")
]
OffOrOn = Annotated[Switch, typer.Argument(help="Whether there are to be second attempts.")]
Until = Annotated[str | None, typer.Option("--for", metavar="DURATION", help="How long, such as 45m; with `off`.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    command(app, "trip")(trip)
    command(app, "release")(release)
    command(app, "retries")(retries)
    command(app, "reset")(reset)
    command(app, "probe")(probe)


def trip(  # noqa: PLR0913 -- one for each option
    session: Session,
    name: Selector,
    *,
    reason: Reason,
    duration: For,
    percent: Percent = ALL,
    mode: HoldMode = Mode.FORCED_OPEN,
    disposition: Where = Disposition.FALLBACK,
    ticket: Ticket = "",
    allow_unknown: Unknown = False,
    break_glass: Glass = None,
    dry_run: DryRun = False,
    wait: Wait = "2s",
) -> None:
    """Hold a downstream: refuse its calls in every process, until the time is over or it is released."""
    ttl = parse_duration(duration, "--for")

    def place(target: str, dry: bool) -> Receipt:  # noqa: FBT001 -- called in one place
        return session.operations.place(
            target,
            mode.value,
            reason=reason,
            ttl=ttl,
            who=session.who("admin" if break_glass else "operator"),
            percent=percent,
            disposition=disposition.value,
            ticket=ticket,
            allow_unknown=allow_unknown,
            break_glass=break_glass or (),
            dry_run=dry,
        )

    done = DONE[mode.value] + (f" for {percent} % of its calls" if percent < ALL else "")
    Change(verb="trip", done=done, make=place, dry_run=dry_run, wait=wait).carry_out(session, name)


def release(  # noqa: PLR0913 -- one for each option
    session: Session,
    name: Selector,
    *,
    reason: Perhaps = "",
    hold: HoldId = None,
    dry_run: DryRun = False,
    wait: Wait = "2s",
) -> None:
    """End holds: calls come back in steps, over a minute. The holds of others stay, unless one is named by --id."""
    stepwise: list[str] = []

    def end(target: str, dry: bool) -> Receipt:  # noqa: FBT001 -- called in one place
        receipt = session.operations.release(target, who=session.who(), hold_id=hold, reason=reason, dry_run=dry)
        if not dry:
            session.paper.note(*_staying(_held(session, target)))
            stepwise.extend(_returning(session, receipt))
        return receipt

    def held(target: str) -> bool:
        found = session.operations.holds(target)
        return any(each.id == hold for each in found) if hold else bool(_mine(session, _held(session, target)))

    change = Change(verb="release", done="released", make=end, dry_run=dry_run, wait=wait, concerns=held)
    try:
        change.carry_out(session, name)
    finally:
        session.paper.note(*stepwise[:1])


def retries(  # noqa: PLR0913 -- one for each option
    session: Session,
    switch: OffOrOn,
    name: Selector,
    *,
    reason: Perhaps = "",
    duration: Until = None,
    ticket: Ticket = "",
    allow_unknown: Unknown = False,
    dry_run: DryRun = False,
    wait: Wait = "2s",
) -> None:
    """Switch second attempts off in every process, or on again. `off` needs --reason and --for."""
    if switch is Switch.ON:
        change = _retries_on(session, reason)
    elif missing := [flag for flag, given in ((_FOR, duration), (_REASON, reason.strip())) if not given]:
        raise Stop(USAGE, f"`retries off` needs {', and '.join(missing)}.")
    else:
        ttl = parse_duration(duration, "--for")
        change = _retries_off(session, reason=reason, ttl=ttl, ticket=ticket, allow_unknown=allow_unknown)
    replace(change, dry_run=dry_run, wait=wait).carry_out(session, name)


def _retries_off(session: Session, **asked: Any) -> Change:  # noqa: ANN401 -- those of `place`
    def off(target: str, dry: bool) -> Receipt:  # noqa: FBT001 -- called in one place
        return session.operations.place(target, "no_retries", who=session.who(), dry_run=dry, **asked)

    return Change(verb="switch retries off for", done=DONE["no_retries"], make=off)


def _retries_on(session: Session, reason: str) -> Change:
    def on(target: str, dry: bool) -> Receipt:  # noqa: FBT001 -- called in one place
        receipt = session.operations.release(target, who=session.who(), reason=reason, retries=True, dry_run=dry)
        if not dry:
            session.paper.note(*_staying(_held(session, target, retries=True)))
        return receipt

    def held(target: str) -> bool:
        return bool(_mine(session, _held(session, target, retries=True)))

    return Change(verb="switch retries on for", done="free to retry again", make=on, concerns=held)


def _held(session: Session, target: str, *, retries: bool = False) -> list[Hold]:
    """Return the holds on a downstream's calls, or those on its retries."""
    return [each for each in session.operations.holds(target) if (each.mode == "no_retries") is retries]


def _mine(session: Session, holds: list[Hold]) -> list[Hold]:
    who = session.who()
    return [each for each in holds if each.actor == who.actor]


def _returning(session: Session, receipt: Receipt) -> list[str]:
    """Return how the calls come back after a hold that refused all of them, if nothing else refuses them still."""
    ended = session.operations.hold(receipt.id)
    if (ended.mode, ended.percent, receipt.effective) != ("forced_open", ALL, "auto"):
        return []
    return ["Calls come back in steps: 5 %, 25 %, 50 %, 20 s each, then all. `resilient status -w` shows it."]


def _staying(holds: list[Hold]) -> list[str]:
    """Return the holds that stay, each with the command that ends it."""
    return [
        f"Still held by {each.actor} ({each.mode}): {each.reason}; "
        f"to end that: resilient release {each.target} --id {each.id}"
        for each in holds
    ]


def reset(session: Session, name: Selector, *, reason: Reason, dry_run: DryRun = False, wait: Wait = "2s") -> None:
    """Close a breaker in every process and forget its history; holds stay in force."""
    make = _once(session, "reset", reason)
    Change(verb="reset", done="reset", make=make, dry_run=dry_run, wait=wait).carry_out(session, name)


def probe(session: Session, name: Selector, *, reason: Reason, dry_run: DryRun = False, wait: Wait = "2s") -> None:
    """Let an open breaker try a few calls now, in every process."""
    make = _once(session, "probe", reason)
    Change(verb="probe", done="told to try again now", make=make, dry_run=dry_run, wait=wait).carry_out(session, name)


def _once(session: Session, what: str, reason: str) -> Callable[[str, bool], Receipt]:
    def give(target: str, dry: bool) -> Receipt:  # noqa: FBT001 -- called in one place
        return session.operations.command(target, what, reason=reason, who=session.who(), dry_run=dry)

    return give
