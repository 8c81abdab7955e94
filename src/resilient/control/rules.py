"""Interlocks: what operators may not do, found all at once, with the arithmetic that shows why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from resilient.control.checks import Checks, plain
from resilient.control.durations import said
from resilient.control.intent import Rule, RuleKind

__all__ = ["Proposal", "parsed", "violations"]

_OWN_FIELD = {
    "min_available": "n",
    "max_forced_open_fraction": "fraction",
    "max_ttl": "seconds",
    "wait_period": "seconds",
}
"""What a rule of a kind sets beside its group; "never" sets nothing."""

_MOST = 200
"""Rules, and patterns of a group, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What somebody wants to do, and what it is measured against.

    Attributes:
        targets: The downstreams that it is about.
        mode: The mode they are to get, or "" when one is taken away.
        percent: Share of calls that is refused.
        ttl: Seconds that a hold is to last, or None.
        known: Names of all downstreams.
        forced_open: Those that others hold forced open, all calls of them: at each moment while it lasts.
        since: Seconds since the last change of the target, or None.

    """

    targets: frozenset[str]
    mode: str = ""
    percent: int = 100
    ttl: float | None = None
    known: frozenset[str] = frozenset()
    forced_open: tuple[frozenset[str], ...] = ()
    since: float | None = None


def violations(rules: Iterable[Rule], proposal: Proposal) -> list[dict[str, Any]]:
    """Return every rule that a proposal breaks: `rule`, `kind`, `message`, and the numbers."""
    return [
        {"rule": rule.id, "kind": rule.kind, "group": list(rule.group), **found}
        for rule in rules
        if any(rule.covers(target) for target in proposal.targets) and (found := _CHECKS[rule.kind](rule, proposal))
    ]


def _available(rule: Rule, proposal: Proposal) -> dict[str, Any] | None:
    if not _opens(proposal):
        return None
    group, opened = _after(rule, proposal)
    left, needed = len(group) - len(opened), rule.n or 0
    if left >= needed:
        return None
    message = f"{len(opened)} of {len(group)} in {_named(rule)} would be forced open, {left} left; {needed} must stay"
    return {"message": message, "forced_open": len(opened), "size": len(group), "left": left, "n": needed}


def _fraction(rule: Rule, proposal: Proposal) -> dict[str, Any] | None:
    if not _opens(proposal):
        return None
    group, opened = _after(rule, proposal)
    most = rule.fraction or 0.0
    share = len(opened) / len(group)
    if share <= most:
        return None
    message = (
        f"{len(opened)} of {len(group)} in {_named(rule)} would be forced open, {share:.3g}; at most {most:g} may be"
    )
    return {"message": message, "forced_open": len(opened), "size": len(group), "share": share, "fraction": most}


def _never(rule: Rule, proposal: Proposal) -> dict[str, Any] | None:
    hit = sorted(target for target in proposal.targets if rule.covers(target))
    if proposal.mode != "forced_open":
        return None
    return {"message": f"{', '.join(hit)} may never be forced open", "names": hit}


def _ttl(rule: Rule, proposal: Proposal) -> dict[str, Any] | None:
    most = rule.seconds or 0.0
    if proposal.ttl is None or proposal.ttl <= most:
        return None
    message = f"a hold in {_named(rule)} may last {said(most)} at most, not {said(proposal.ttl)}"
    return {"message": message, "ttl": proposal.ttl, "seconds": most}


def _wait(rule: Rule, proposal: Proposal) -> dict[str, Any] | None:
    period = rule.seconds or 0.0
    if proposal.since is None or not 0 <= proposal.since < period:  # below 0: the wall clock was set back
        return None
    message = f"the last change was {said(round(proposal.since, 1))} ago; {said(period)} must lie between two"
    return {"message": message, "since": proposal.since, "seconds": period, "retry_after": period - proposal.since}


_CHECKS = {
    "min_available": _available,
    "max_forced_open_fraction": _fraction,
    "never": _never,
    "max_ttl": _ttl,
    "wait_period": _wait,
}


def _opens(proposal: Proposal) -> bool:
    return proposal.mode == "forced_open" and proposal.percent == 100  # noqa: PLR2004 -- all calls


def _after(rule: Rule, proposal: Proposal) -> tuple[set[str], set[str]]:
    """Return the members of a rule's group, and those of them that would be forced open at the worst moment."""
    group = {name for name in proposal.known | proposal.targets if rule.covers(name)}
    opened = [group & (others | proposal.targets) for others in proposal.forced_open or (frozenset(),)]
    return group, max(opened, key=len)


def _named(rule: Rule) -> str:
    return ", ".join(rule.group)


# -- rules from outside ----------------------------------------------------------------------


def parsed(given: object) -> list[Rule]:
    """Return rules that were given as mappings.

    Raises:
        Refused: If one of them is not possible; all that is wrong is told.

    """
    checks = Checks()
    if not isinstance(given, (list, tuple)) or len(given) > _MOST:
        checks.wrong("rules", given, f"a list of at most {_MOST} rules")
        checks.done()
    several = [
        _parse(checks, index, each) for index, each in enumerate(given if isinstance(given, (list, tuple)) else ())
    ]
    checks.done()
    ids = [rule.id for rule in several]
    for twice in sorted({each for each in ids if ids.count(each) > 1}):
        checks.wrong("id", twice, "another one for each rule")
    checks.done()
    return several


def _parse(checks: Checks, index: int, given: object) -> Rule:
    where = f"rules[{index}]"
    if not isinstance(given, Mapping):
        checks.wrong(where, given, "a rule, as an object")
        return _NOTHING
    values = {name: value for name, value in given.items() if value is not None}
    before = len(checks.errors)
    kind = values.get("kind")
    checks.name(f"{where}.id", values.get("id"))
    checks.one_of(f"{where}.kind", kind, get_args(RuleKind))
    group = values.get("group", ["*"])
    if not isinstance(group, (list, tuple)) or not 1 <= len(group) <= _MOST:
        checks.wrong(f"{where}.group", group, f"a list of 1 to {_MOST} patterns")
    else:
        for pattern in group:
            checks.name(f"{where}.group", pattern)
    own = _OWN_FIELD.get(str(kind))
    for name in values.keys() - {"id", "kind", "group", own}:
        checks.wrong(f"{where}.{plain(name)}", values[name], f"left out of a rule of kind {plain(kind)}")
    if len(checks.errors) == before and own:
        _check_own(checks, f"{where}.{own}", own, values.get(own))
    if len(checks.errors) > before:
        return _NOTHING
    return Rule(**{**values, "group": tuple(group)})


def _check_own(checks: Checks, where: str, own: str, value: object) -> None:
    if own == "n" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        checks.wrong(where, value, "a whole number of 1 or more")
    elif own == "fraction":
        checks.number(where, value, 0, 1, "as a share")
    elif own == "seconds":
        checks.duration(where, value)


_NOTHING = Rule(id="-", kind="never")
