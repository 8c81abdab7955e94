"""How a request becomes a change: alone, in one transaction with its row in the audit, and then announced."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import replace

from resilient import faults
from resilient.control import audit, keys
from resilient.control.change import Change, Request
from resilient.control.checks import plain
from resilient.control.directory import Directory
from resilient.control.errors import ControlUnavailable, Refused
from resilient.control.moment import Moment
from resilient.control.receipts import Receipt
from resilient.control.sweep import due, sweep
from resilient.control.views import Views

__all__ = ["Ledger"]

_log = logging.getLogger("resilient.audit")


class Ledger:
    """Carries out requests on a control directory.

    Args:
        directory: The directory.

    """

    __slots__ = ("_directory",)

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def carry_out(self, request: Request, change: Callable[[Change], Receipt], key: str | None = None) -> Receipt:
        """Do what is asked, and return the receipt.

        Args:
            request: Who asks for what.
            change: Does it, or refuses.
            key: Tells a request that comes again.

        Raises:
            Refused: If it is refused; that is in the audit too.
            ControlUnavailable: If the record cannot be changed now.

        """
        directory, views = self._directory, Views(self._directory.path)
        with directory.changing():
            try:
                receipt, written = directory.database.write(
                    _within, request, change, key, views, durable=True, keep=not request.dry_run
                )
            except Refused as refusal:
                if not request.dry_run and refusal.kind != "audit":
                    self._refused(request, refusal)
                raise
            except BaseException:
                self._announce()  # the commit may have been done: to read the record once more does no harm
                raise
            if request.dry_run:
                return replace(receipt, audit_seq=0, audit_hash="", dry_run=True)
            self._announce()
        _tell(written)
        return receipt

    def sweep(self) -> int:
        """Write down what time has done, and return how much that was.

        Raises:
            ControlUnavailable: If the record cannot be read or changed now.

        """
        directory = self._directory
        if not directory.database.read(due, Moment.current()):
            return 0
        with directory.changing():
            written = directory.database.write(sweep, Moment.current(), durable=True)
            self._announce()
        _tell(written)
        return len(written)

    def denied(self, said: Mapping[str, object]) -> None:
        """Write down what was refused before it became a request, such as a login; nothing else changes.

        Args:
            said: `actor`, `role`, `via`, `action`, `target`, `request` and `reason` of the row.

        Raises:
            Refused: If it cannot be written.
            ControlUnavailable: If the record cannot be changed now.

        """
        with self._directory.changing():
            row = self._directory.database.write(_denial, said, durable=True)
        _tell([row])

    def _refused(self, request: Request, refusal: Refused) -> None:
        try:
            row = self._directory.database.write(_refusal, request, refusal, durable=True)
        except (Refused, ControlUnavailable) as fault:  # nothing was changed: the refusal stands
            refusal.details["audited"] = False
            faults.report(Ledger, fault)
        else:
            _tell([row])

    def _announce(self) -> None:
        try:
            self._directory.announce()
        except ControlUnavailable as fault:  # recorded, and found by those who look at the revision each second
            faults.report(Directory.announce, fault)


def _within(
    db: sqlite3.Connection, request: Request, function: Callable[[Change], Receipt], key: str | None, views: Views
) -> tuple[Receipt, list[audit.AuditRow]]:
    moment = Moment.current()
    written = sweep(db, moment)
    change = Change(db, request, moment, views)
    if (known := keys.again(change, key)) is not None:
        return known, written
    receipt = function(change)
    row = audit.append(
        db,
        **_who(request, moment),
        before=change.before,
        after=change.after,
        outcome="done, rules overridden" if change.overridden else "done",
        reason=change.reason,
    )
    receipt = replace(receipt, audit_seq=row.seq, audit_hash=row.hash)
    keys.remember(change, key, receipt)
    return receipt, [*written, row]


def _refusal(db: sqlite3.Connection, request: Request, refusal: Refused) -> audit.AuditRow:
    moment = Moment.current()
    told = _line(f"{refusal.kind}: {refusal.message}")
    return audit.append(db, **_who(request, moment), before=None, after=None, outcome="refused", reason=told)


def _denial(db: sqlite3.Connection, said: Mapping[str, object]) -> audit.AuditRow:
    row = {**said, "at": Moment.current().wall, "target": plain(said["target"]), "reason": _line(str(said["reason"]))}
    return audit.append(db, **row, before=None, after=None, outcome="refused")


def _line(text: str) -> str:
    """Return a text that repeats parts of a request as one printable line: it is logged."""
    shown = (each if each.isprintable() else each.encode("unicode_escape").decode() for each in str(plain(text)))
    return "".join(shown)


def _who(request: Request, moment: Moment) -> dict[str, object]:
    who = request.who
    return {
        "at": moment.wall,
        "actor": who.actor,
        "role": who.role,
        "via": who.via,
        "action": request.action,
        "target": plain(request.target),
        "request": request.given,
    }


def _tell(written: list[audit.AuditRow]) -> None:
    """Log each row with the chain's head: kept elsewhere, it shows whether the chain was cut or written anew."""
    for row in written:
        level = logging.ERROR if "overridden" in row.outcome else logging.INFO
        _log.log(
            level,
            "%s %r by %s via %s: %s (%s); audit head %d %s",
            row.action,
            row.target,
            row.actor,
            row.via,
            row.outcome,
            row.reason,
            row.seq,
            row.hash,
        )
