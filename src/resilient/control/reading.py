"""What operators can look at: holds, windows, rules, the audit, events, and how far a change has got."""

from __future__ import annotations

import json
import sqlite3
from functools import partial
from typing import Any, cast

from resilient.control import audit as audits
from resilient.control import rows, standing
from resilient.control.audit import AuditCheck, AuditRow
from resilient.control.checks import plain
from resilient.control.directory import Directory
from resilient.control.errors import Refused
from resilient.control.intent import Hold, Rule, Window
from resilient.control.moment import Moment
from resilient.control.receipts import Convergence
from resilient.control.views import converge

__all__ = ["Reading"]


class Reading:
    """The part of `Operations` that changes nothing; all of it raises ControlUnavailable if the record cannot be read.

    Args:
        directory: The control directory.

    """

    __slots__ = ("directory",)

    def __init__(self, directory: Directory) -> None:
        self.directory = directory

    def hold(self, hold_id: str) -> Hold:
        """Return a hold, be it over.

        Raises:
            Refused: If there is none with this id.

        """
        return cast("Hold", _only(self._records(rows.holds, "id = ?", hold_id), "hold", hold_id))

    def holds(self, target: str | None = None, *, ended: bool = False, limit: int = 1_000) -> list[Hold]:
        """Return holds, the newest first.

        Args:
            target: The downstream, or None for all.
            ended: Whether those that are over are wanted too.
            limit: Holds at most.

        """
        where = "(? OR target = ?) AND (? OR status = 'active') ORDER BY created_at DESC, id LIMIT ?"
        found = cast("list[Hold]", self._records(rows.holds, where, target is None, target, ended, limit))
        return [hold for hold in found if ended or hold.status == "active"]

    def window(self, window_id: str) -> Window:
        """Return a window, be it over.

        Raises:
            Refused: If there is none with this id.

        """
        return cast("Window", _only(self._records(rows.windows, "id = ?", window_id), "window", window_id))

    def windows(self, *, ended: bool = False, limit: int = 1_000) -> list[Window]:
        """Return windows, in the order of their starts.

        Args:
            ended: Whether those that are over are wanted too.
            limit: Windows at most; the latest ones.

        """
        where = "(? OR status != 'ended') ORDER BY starts_at DESC, id LIMIT ?"
        found = cast("list[Window]", self._records(rows.windows, where, ended, limit))
        return [window for window in reversed(found) if ended or window.status != "ended"]

    def rules(self) -> list[Rule]:
        """Return all interlocks."""
        return self.directory.database.read(rows.rules)

    def audit(self, after: int = 0, *, limit: int = 100, latest: bool = False, **filters: str) -> list[AuditRow]:
        """Return rows of the audit, in their order.

        Args:
            after: Number of the last row that is not wanted.
            limit: Rows at most.
            latest: Whether the newest of them are wanted when there are more, else the oldest.
            filters: What `actor`, `action`, `target`, `outcome` or `via` must be.

        Raises:
            Refused: If there is no such filter.

        """
        wanted = partial(audits.rows, after=after, limit=limit, latest=latest, filters=filters)
        return self.directory.database.read(wanted)

    def audit_head(self) -> tuple[int, str]:
        """Return number and hash of the audit's newest row."""
        return self.directory.database.read(audits.head)

    def verify_audit(self, known: tuple[int, str] | None = None) -> AuditCheck:
        """Inspect the chain of the audit.

        Args:
            known: Number and hash of a row, as they were logged or shown once: only with them is it seen
                that the newest rows were cut off, or that all was written anew.

        """
        return self.directory.database.read(audits.verify, known)

    def events(
        self,
        after: int = 0,
        *,
        limit: int = 100,
        downstream: str | None = None,
        name: str | None = None,
        latest: bool = False,
    ) -> list[dict[str, Any]]:
        """Return events of processes, in order: `seq`, `at`, `instance`, `name`, `downstream`, `fields`.

        Args:
            after: Number of the last event that is not wanted.
            limit: Events at most.
            downstream: The downstream, or None for all.
            name: The event's name, or None for all.
            latest: Whether the newest of them are wanted when there are more, else the oldest.

        """
        filters = {"downstream": downstream, "name": name}
        return self.directory.database.read(_events, after, limit, filters, "DESC" if latest else "ASC")

    def etag(self, target: str) -> str:
        """Return what changes whenever the holds of a downstream do, also by time."""
        return self.directory.database.read(standing.etag, target, Moment.current())

    def rules_etag(self) -> str:
        """Return what changes whenever the rules do."""
        return self.directory.database.read(standing.rules_etag)

    def converge(self, revision: int, seconds: float) -> Convergence:
        """Wait until every process that lives has taken in a revision, or time is over.

        Args:
            revision: The record's revision, from a receipt.
            seconds: How long to wait at most; 0 looks once.

        """
        return converge(self.directory.path, revision, seconds)

    def _records(self, function: Any, where: str, *args: object) -> list[Hold | Window]:  # noqa: ANN401
        moment = Moment.current()
        return [standing.as_of(each, moment) for each in self.directory.database.read(function, where, *args)]


def _only(found: list[Hold | Window], what: str, name: str) -> Hold | Window:
    if not found:
        raise Refused("unknown", f"there is no {what} {plain(name)!r}")
    return found[0]


def _events(db: sqlite3.Connection, after: int, limit: int, filters: dict[str, str | None], order: str) -> list[Any]:
    wanted = {key: value for key, value in filters.items() if value is not None}
    where = " AND ".join(["seq > ?", *(f"{key} = ?" for key in wanted)])
    found = db.execute(
        f"SELECT seq, at, instance, name, downstream, fields FROM events WHERE {where} ORDER BY seq {order} LIMIT ?",  # noqa: S608
        (after, *wanted.values(), limit),
    )
    keys = ("seq", "at", "instance", "name", "downstream")
    several = [dict(zip(keys, row[:5], strict=True)) | {"fields": json.loads(row[5])} for row in found]
    return several[::-1] if order == "DESC" else several
