"""What is done with holds: placed, released, extended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from resilient.control import rows, standing
from resilient.control.change import Change, close_matches, new_id, refuse
from resilient.control.checks import Checks
from resilient.control.intent import Hold
from resilient.control.receipts import Receipt
from resilient.control.rules import Proposal

__all__ = ["Placing", "extend", "place", "release"]

_NOTES = 50
"""Notes of a hold, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """The parameters of `Operations.place`, as they were given."""

    target: str
    mode: Any
    reason: Any
    ttl: Any
    percent: Any
    disposition: Any
    ticket: Any
    expect: str | None
    create_only: bool
    strict: bool
    allow_unknown: bool
    break_glass: Iterable[str]


def place(change: Change, asked: Placing) -> Receipt:
    """Place a hold, or put it in the place of the actor's own one."""
    change.operator()
    checks = Checks()
    checks.name("target", asked.target)
    checks.mode(asked.mode, asked.percent, asked.disposition)
    change.reason = checks.reason(asked.reason)
    ttl, ticket = checks.ttl(asked.ttl), checks.text("ticket", asked.ticket, 0, 200)
    checks.done()
    active = change.active(asked.target)
    if not asked.allow_unknown and not active:
        change.known(asked.target)
    retries = asked.mode == "no_retries"
    own = _own(change, active, retries=retries)
    _expected(change, asked, own)
    proposal = change.proposal(
        [asked.target],
        asked.mode,
        asked.percent,
        (change.moment.wall, change.moment.wall + ttl),
        ttl=ttl,
        since=change.since(asked.target),
        without=own.id if own else "",
    )
    change.obey(proposal, asked.break_glass)
    fresh = _made(change, asked, ttl, ticket, own)
    change.put(fresh, own)
    return receipt(change, fresh)


def release(  # noqa: PLR0913 -- those of the request
    change: Change, target: str, *, hold_id: str | None, reason: object, expect: str | None, retries: bool
) -> Receipt:
    """End a hold before its time."""
    change.operator()
    checks = Checks()
    checks.name("target", target)
    if hold_id is not None:
        checks.name("hold_id", hold_id)
    change.reason = checks.reason(reason, needed=False)
    checks.done()
    active = change.active(target)
    if hold_id is not None:
        hold = _active(change, hold_id)
        if hold.target != target:
            refuse("invalid", f"hold {hold_id} is on {hold.target}, not on {target}", parameter="hold_id")
    else:
        hold = _own(change, active, retries=retries) or _nothing(change, target, active)
    change.owns(hold)
    _fresh(change, target, expect)
    change.obey(Proposal(targets=frozenset([target]), since=change.since(target)))
    ended = replace(
        hold,
        status="released",
        ended_at=change.moment.wall,
        ended_by=change.who.actor,
        end_reason=change.reason,
        revision=change.revision,
    )
    change.put(ended, hold)
    return receipt(change, ended)


def extend(  # noqa: PLR0913 -- those of the request
    change: Change, hold_id: str, *, ttl: object, ticket: object, note: object, expect: str | None
) -> Receipt:
    """Give a hold another end, counted from now, another ticket or one more note."""
    change.operator()
    checks = Checks()
    checks.name("hold_id", hold_id)
    if ttl is None and ticket is None and note is None:
        checks.wrong("ttl", None, "given, or else ticket or note")
    seconds = None if ttl is None else checks.ttl(ttl)
    link = None if ticket is None else checks.text("ticket", ticket, 0, 200)
    added = None if note is None else checks.text("note", note, 1, 200)
    checks.done()
    hold = _active(change, hold_id)
    change.owns(hold)
    _fresh(change, hold.target, expect)
    if added is not None and len(hold.notes) >= _NOTES:
        refuse("conflict", f"hold {hold_id} has {_NOTES} notes already")
    wall, now, boot = change.moment.wall, change.moment.now, change.moment.boot
    changed = replace(
        hold,
        ticket=hold.ticket if link is None else link,
        notes=hold.notes if added is None else (*hold.notes, added),
        revision=change.revision,
    )
    if seconds is not None:
        span = wall, wall + seconds
        change.obey(change.proposal([hold.target], hold.mode, hold.percent, span, without=hold.id, ttl=seconds))
        changed = replace(changed, expires_at=wall + seconds, ends=now + seconds, boot=boot, ttl=seconds)
    change.put(changed, hold)
    return receipt(change, changed)


def receipt(change: Change, hold: Hold) -> Receipt:
    """Return what is told of a change of a hold."""
    entries = standing.in_force(change.intent(), hold.target, change.moment.wall)
    return Receipt(
        revision=change.revision,
        id=hold.id,
        status=hold.status,
        effective=standing.effective(entries),
        masked_by=standing.masked_by(hold, entries) if hold.status == "active" else [],
        expires_at=hold.expires_at if hold.status == "active" else None,
        impact=change.views.impact({hold.target}),
        overridden=change.overridden,
    )


def _made(change: Change, asked: Placing, ttl: float, ticket: str, own: Hold | None) -> Hold:
    """Return a hold, under the id of the one whose place it takes."""
    moment = change.moment
    return Hold(
        id=own.id if own else new_id("h"),
        target=asked.target,
        mode=asked.mode,
        percent=asked.percent,
        disposition=asked.disposition,
        reason=change.reason,
        ticket=ticket,
        actor=change.who.actor,
        via=change.who.via,
        created_at=own.created_at if own else moment.wall,
        expires_at=moment.wall + ttl,
        ends=moment.now + ttl,
        boot=moment.boot,
        ttl=ttl,
        revision=change.revision,
        notes=own.notes if own else (),
    )


def _own(change: Change, active: Iterable[Hold], *, retries: bool) -> Hold | None:
    """Return the actor's own hold on calls, or that on retries."""
    mine = (hold for hold in active if hold.actor == change.who.actor)
    return next((hold for hold in mine if (hold.mode == "no_retries") is retries), None)


def _nothing(change: Change, target: str, active: Iterable[Hold]) -> Hold:
    others = [f"{hold.actor} ({hold.mode}, {hold.id})" for hold in active]
    told = f"; there are those of {', '.join(others)}" if others else ""
    if not active and target not in change.names:
        close = " or ".join(close_matches(target, change.names))
        told = ", a name that nobody knows" + (f"; did you mean {close}?" if close else "")
    refuse("unknown", f"{change.who.actor} has no such hold on {target}{told}", holds=[hold.id for hold in active])


def _active(change: Change, hold_id: str) -> Hold:
    found = rows.holds(change.db, "id = ?", hold_id)
    if not found:
        refuse("unknown", f"there is no hold {hold_id}")
    (hold,) = found
    if hold.status != "active":
        refuse("conflict", f"hold {hold_id} is {hold.status} already", status=hold.status)
    return hold


def _expected(change: Change, asked: Placing, own: Hold | None) -> None:
    """Refuse to replace what was not said to be there."""
    _fresh(change, asked.target, asked.expect)
    if own and asked.create_only:
        refuse("stale", f"{change.who.actor} has a hold on {asked.target} already ({own.id})", holds=[own.id])
    if own and asked.strict and asked.expect is None:
        message = f"{change.who.actor} has a hold on {asked.target} ({own.id}); say which state of it is to be replaced"
        refuse("precondition", message, etag=standing.etag(change.db, asked.target, change.moment), holds=[own.id])


def _fresh(change: Change, target: str, expect: str | None) -> None:
    if expect is not None and expect != (now := standing.etag(change.db, target, change.moment)):
        refuse("stale", f"the holds of {target} have changed since they were looked at", etag=now)
