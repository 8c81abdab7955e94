"""What a change came to: in how many processes it is in force, and which have not said so yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from resilient.cli.exits import APPLIED, PARTLY
from resilient.cli.session import Session
from resilient.cli.words import age, count, iso, left, per_second, second
from resilient.clock import SYSTEM

if TYPE_CHECKING:
    from resilient.control.receipts import Convergence, Receipt

__all__ = ["answer", "as_json"]


def answer(  # noqa: PLR0913 -- two of them for one caller each
    session: Session,
    what: str,
    receipts: Mapping[str, Receipt],
    wait: float,
    *,
    several: bool = False,
    length: float | None = None,
) -> int:
    """Print what was done, and wait until every live process has said that it is in force.

    Args:
        session: Where to print.
        what: Words for what was done, such as "forced open".
        receipts: What was done, by downstream.
        wait: Seconds to wait at most.
        several: Whether programs get a list, also of one.
        length: Seconds that it lasts, if it does not begin now.

    Returns:
        The exit code.

    """
    last = max(receipts.values(), key=lambda each: each.revision)
    dry = last.dry_run
    convergence = None if dry else session.operations.converge(last.revision, wait)
    shown = [as_json(name, receipt, convergence) for name, receipt in receipts.items()]
    if session.paper.people:
        for name, receipt in receipts.items():
            session.paper.say(*_lines(name, what, receipt, length))
    else:
        session.paper.data(shown if several else shown[0])
    if convergence is None:
        session.paper.note("Nothing was changed: this was a dry run.")
        return APPLIED
    if session.paper.people:
        session.paper.say(_reach(convergence))
    if convergence.complete:
        return APPLIED
    session.paper.note(*_pending(convergence.pending))
    return PARTLY


def as_json(target: str, receipt: Receipt, convergence: Convergence | None) -> dict[str, Any]:
    """Return a receipt as programs get it."""
    entry = {"target": target, **asdict(receipt)}
    entry["expires_at"] = None if receipt.expires_at is None else iso(receipt.expires_at)
    entry["convergence"] = None if convergence is None else asdict(convergence)
    return entry


def _lines(name: str, what: str, receipt: Receipt, length: float | None) -> list[str]:
    until = ""
    if receipt.expires_at is not None:
        told = left(receipt.expires_at - SYSTEM.wall()) if length is None else f"for {age(length)}"
        until = f" until {second(receipt.expires_at)} ({told})"
    lines = [f"{name}: {'would be ' if receipt.dry_run else ''}{what}{until}"]
    details = [f"id {receipt.id}"] if receipt.id else []
    details += [f"revision {receipt.revision}"] if not receipt.dry_run else []
    impact = receipt.impact or {}
    if impact.get("calls_per_s") is not None:
        details.append(f"{per_second(impact['calls_per_s'])} calls/s, {impact.get('in_flight', 0)} in flight")
    lines.append(f"  {'; '.join(details)}")
    if receipt.overridden:
        lines.append(f"  against the rules {', '.join(receipt.overridden)}, on purpose")
    if receipt.masked_by:
        lines.append(f"  masked by {', '.join(receipt.masked_by)}, which is stricter; in force: {receipt.effective}")
    return lines


def _reach(convergence: Convergence) -> str:
    if not convergence.required:
        return "No process is live now; those that start later begin with it."
    whole = count(convergence.required, "process", "processes")
    return f"In force in {convergence.applied} of {whole}, after {convergence.waited_s:.2f} s."


def _pending(pending: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"Not yet acknowledged by {count(len(pending), 'process', 'processes')}:",
        *(f"  {each['instance']}  (last heartbeat {age(each['heartbeat_age'])} ago)" for each in pending),
        "Each of them checks before its next call, so none admits a call that it should not.",
    ]
