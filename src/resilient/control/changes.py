"""What is done with windows, commands and rules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from resilient.control import rows, standing
from resilient.control.change import Change, new_id, refuse
from resilient.control.checks import Checks
from resilient.control.intent import DAY, Command, Window
from resilient.control.receipts import Receipt
from resilient.control.rules import parsed

__all__ = ["Planning", "command", "end_window", "schedule", "set_rules"]

_COMMANDS = ("reset", "probe")
_KEPT = 7 * DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """The parameters of `Operations.schedule`, as they were given."""

    selector: str
    mode: Any
    starts_at: Any
    ends_at: Any
    reason: Any
    percent: Any
    disposition: Any
    ticket: Any
    allow_unknown: bool
    break_glass: Iterable[str]


def schedule(change: Change, asked: Planning) -> Receipt:
    """Plan a window."""
    change.operator()
    window = _window(change, asked)
    hit = {name for name in change.names if window.covers(name)}
    if not hit and not asked.allow_unknown:
        change.known(asked.selector)
    # A window will also hit names that no process has used yet: those that may never be forced open are known.
    rules = [rule for rule in rows.rules(change.db) if rule.kind == "never"]
    named = {name for rule in rules for name in rule.group if window.covers(name) and not set("*?[") & set(name)}
    span = max(window.starts_at, change.moment.wall), window.ends_at
    # What begins at once is a hold by another name, and no way around `max_ttl`; what is planned may last longer.
    ttl = window.ends_at - change.moment.wall if window.status == "active" else None
    proposal = change.proposal(hit | named or {asked.selector}, asked.mode, asked.percent, span, ttl=ttl)
    change.obey(proposal, asked.break_glass)
    window = replace(window, revision=change.revision)
    change.put(window)
    return Receipt(
        revision=change.revision,
        id=window.id,
        status=window.status,
        effective=window.mode if window.status == "active" else "auto",
        expires_at=window.ends_at,
        impact=change.views.impact(hit),
        overridden=change.overridden,
    )


def _window(change: Change, asked: Planning) -> Window:
    """Return the window that was asked for, if that is possible."""
    checks = Checks()
    checks.name("selector", asked.selector)
    checks.mode(asked.mode, asked.percent, asked.disposition)
    change.reason = checks.reason(asked.reason)
    ticket = checks.text("ticket", asked.ticket, 0, 200)
    starts_at, ends_at = checks.span(asked.starts_at, asked.ends_at, change.moment.wall)
    checks.done()
    return Window(
        id=new_id("w"),
        selector=asked.selector,
        mode=asked.mode,
        percent=asked.percent,
        disposition=asked.disposition,
        reason=change.reason,
        ticket=ticket,
        actor=change.who.actor,
        via=change.who.via,
        created_at=change.moment.wall,
        starts_at=starts_at,
        ends_at=ends_at,
        revision=0,
        status="scheduled" if starts_at > change.moment.wall else "active",
    )


def end_window(change: Change, window_id: str, reason: object) -> Receipt:
    """End a window before its time, or before it began."""
    change.operator()
    checks = Checks()
    checks.name("window_id", window_id)
    change.reason = checks.reason(reason)
    checks.done()
    found = rows.windows(change.db, "id = ?", window_id)
    if not found:
        refuse("unknown", f"there is no window {window_id}")
    (window,) = found
    if window.status == "ended":
        refuse("conflict", f"window {window_id} has ended already", status="ended")
    wall = change.moment.wall
    ended = replace(
        window,
        status="ended",
        ended_at=wall,
        ended_by=change.who.actor,
        end_reason=change.reason,
        revision=change.revision,
    )
    change.put(ended, window)
    hit = {name for name in change.names if window.covers(name)}
    return Receipt(revision=change.revision, id=window.id, status="ended", impact=change.views.impact(hit))


def command(  # noqa: PLR0913 -- those of the request
    change: Change,
    target: str,
    word: Any,  # noqa: ANN401 -- checked here
    *,
    reason: object,
    key: str | None,
    allow_unknown: bool,
) -> Receipt:
    """Have every process do something once."""
    change.operator()
    checks = Checks()
    checks.name("target", target)
    checks.one_of("command", word, _COMMANDS)
    change.reason = checks.reason(reason)
    if key is not None:
        checks.text("key", key, 1, 200)
    checks.done()
    if not allow_unknown:
        change.known(target)
    given = _given(change, target, word)
    change.after = asdict(given)
    return Receipt(
        revision=change.revision,
        id=str(given.generation),
        status="issued",
        effective=standing.effective(standing.in_force(change.intent(), target, given.at)),
        impact=change.views.impact({target}),
    )


def _given(change: Change, target: str, word: Any) -> Command:  # noqa: ANN401 -- was checked
    """Write a command down under the next generation, and return it."""
    wall, who = change.moment.wall, change.who
    change.db.execute("DELETE FROM commands WHERE at < ?", (wall - _KEPT,))
    generation = change.db.execute(
        "INSERT INTO commands (target, command, reason, actor, via, at) VALUES (?, ?, ?, ?, ?, ?)",
        (target, word, change.reason, who.actor, who.via, wall),
    ).lastrowid
    return Command(
        generation=int(generation or 0),
        target=target,
        command=word,
        reason=change.reason,
        actor=who.actor,
        via=who.via,
        at=wall,
    )


def set_rules(change: Change, given: object, reason: object, expect: str | None) -> Receipt:
    """Put rules in the place of those that are."""
    change.admin("setting rules")
    checks = Checks()
    change.reason = checks.reason(reason, needed=False)
    checks.done()
    fresh = parsed(given)
    if expect is not None and expect != (now := standing.rules_etag(change.db)):
        refuse("stale", "the rules have changed since they were looked at", etag=now)
    change.before = [asdict(rule) for rule in rows.rules(change.db)]
    rows.put_rules(change.db, fresh)
    change.after = [asdict(rule) for rule in rows.rules(change.db)]
    return Receipt(revision=change.revision, id="rules", status="set")
