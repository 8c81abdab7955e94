"""The audit: one row for each request, in a chain of hashes.

Each row's hash covers the row and the hash before it, so that a row that is edited, taken out or
moved does not fit any more. What a chain alone cannot show: that its end was cut off, or that
all of it was written anew, by somebody who may write to the file. Both show against a head that
was kept elsewhere: every head is logged, on the logger "resilient.audit", and given with receipts.
"""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass, field, fields
from typing import Any

from resilient.control.errors import Refused
from resilient.control.rows import canonical, meta, number, set_meta
from resilient.control.schema import GENESIS

__all__ = ["CAVEAT", "AuditCheck", "AuditRow", "append", "head", "rows", "verify"]

CAVEAT = (
    "A chain of hashes shows rows that were edited, removed or moved. It does not show that the newest rows were "
    "cut off, or that the whole chain was written anew by somebody who may write to the file: compare the head with "
    'one that was logged on "resilient.audit".'
)

_FAULTS = 20
"""What is wrong is told so many times, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One request, and what came of it.

    Attributes:
        seq: Number, from 1 on without a gap.
        at: Seconds since 1970.
        actor: Who asked.
        role: As what.
        via: Through what.
        action: What for: "place", "release", "extend", "command", "schedule", "end_window", "set_rules",
            "authenticate" and "authorize" (refused at the door of the API), and "expire", "start_window",
            "finish_window", which time does.
        target: Downstream, selector or id.
        request: What was asked, as JSON.
        before: What was there, as JSON.
        after: What is there now, as JSON.
        outcome: "done", "refused", or "done, rules overridden".
        reason: Why, in the words of who asked; of a refusal why it was refused.
        prev_hash: The hash of the row before.
        hash: SHA-256 over `prev_hash` and the other columns.

    """

    seq: int
    at: float
    actor: str
    role: str
    via: str
    action: str
    target: str
    request: str
    before: str
    after: str
    outcome: str
    reason: str
    prev_hash: str
    hash: str = ""

    def sealed(self) -> str:
        """Return the hash that belongs to the other columns.

        Raises:
            ValueError: If one of them holds what no row of ours does.

        """
        content = [getattr(self, name) for name in _NAMES if name not in {"prev_hash", "hash"}]
        try:
            return hashlib.sha256((self.prev_hash + canonical(content)).encode()).hexdigest()
        except TypeError as fault:  # a blob, in a row that somebody has edited
            raise ValueError(str(fault)) from fault

    @property
    def fits(self) -> bool:
        """Whether the row is as it was sealed."""
        try:
            return self.hash == self.sealed()
        except ValueError:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditCheck:
    """What an inspection of the chain has found.

    Attributes:
        ok: Whether every row fits.
        rows: How many there are.
        head_seq: Number of the newest row.
        head_hash: Its hash.
        faults: What does not fit: `seq`, and `problem` in words.
        compared: Whether a head from elsewhere was compared.
        caveat: What this cannot show.

    """

    ok: bool
    rows: int
    head_seq: int
    head_hash: str
    faults: list[dict[str, Any]] = field(default_factory=list)
    compared: bool = False
    caveat: str = CAVEAT


_NAMES = tuple(each.name for each in fields(AuditRow))
_COLUMNS = ", ".join(_NAMES)


def head(db: sqlite3.Connection) -> tuple[int, str]:
    """Return number and hash of the newest row."""
    return number(db, "audit_seq"), str(meta(db, "audit_hash"))


def append(db: sqlite3.Connection, **said: Any) -> AuditRow:  # noqa: ANN401 -- the columns but those of the chain
    """Write a row at the end of the chain, and return it.

    Raises:
        Refused: If it cannot be written.

    """
    try:
        seq, prev_hash = head(db)
        said |= {name: canonical(said[name]) for name in ("request", "before", "after")}
        bare = AuditRow(seq=seq + 1, prev_hash=prev_hash, **said)
        row = AuditRow(**{name: getattr(bare, name) for name in _NAMES} | {"hash": bare.sealed()})
        marks = ", ".join("?" * len(_NAMES))
        db.execute(f"INSERT INTO audit ({_COLUMNS}) VALUES ({marks})", [getattr(row, name) for name in _NAMES])  # noqa: S608
        set_meta(db, "audit_seq", row.seq)
        set_meta(db, "audit_hash", row.hash)
    except (sqlite3.Error, ValueError) as fault:
        message = f"nothing was changed, because the audit cannot be written: {fault}"
        raise Refused("audit", message) from fault
    return row


def rows(
    db: sqlite3.Connection,
    *,
    after: int = 0,
    limit: int = 100,
    latest: bool = False,
    filters: dict[str, str] | None = None,
) -> list[AuditRow]:
    """Return rows in their order.

    Args:
        db: A connection.
        after: Number of the last row that is not wanted.
        limit: Rows at most.
        latest: Whether the newest of them are wanted when there are more, else the oldest.
        filters: Values that `actor`, `action`, `target`, `outcome` or `via` must have.

    """
    wanted = {key: value for key, value in (filters or {}).items() if value}
    if unknown := wanted.keys() - {"actor", "action", "target", "outcome", "via"}:
        raise Refused("invalid", f"no such filter: {', '.join(sorted(unknown))}", {"parameter": min(unknown)})
    where = " AND ".join(["seq > ?", *(f"{key} = ?" for key in wanted)])
    order = "DESC" if latest else "ASC"
    found = db.execute(
        f"SELECT {_COLUMNS} FROM audit WHERE {where} ORDER BY seq {order} LIMIT ?",  # noqa: S608
        (after, *wanted.values(), limit),
    )
    several = [_row(each) for each in found]
    return several[::-1] if latest else several


def verify(db: sqlite3.Connection, known: tuple[int, str] | None = None) -> AuditCheck:
    """Inspect the whole chain.

    Args:
        db: A connection.
        known: Number and hash of a row, as they were logged or shown once.

    """
    faults: list[dict[str, Any]] = []
    prev_hash, expected = GENESIS, 1
    seen = known is None
    for each in db.execute(f"SELECT {_COLUMNS} FROM audit ORDER BY seq"):  # noqa: S608
        row = _row(each)
        if row.seq != expected:
            faults.append({"seq": row.seq, "problem": f"rows {expected} to {row.seq - 1} are missing"})
        elif row.prev_hash != prev_hash:
            faults.append(
                {"seq": row.seq, "problem": "it does not follow the row before it: rows were moved or replaced"}
            )
        if not row.fits:
            faults.append({"seq": row.seq, "problem": "it was edited"})
        seen = seen or known == (row.seq, row.hash)
        prev_hash, expected = row.hash, row.seq + 1
    last, newest = _kept_head(db)
    if (last, newest) != (expected - 1, prev_hash):
        faults.append({"seq": last, "problem": f"the newest row was number {last}; rows were cut off or added"})
    if not seen:
        faults.append({"seq": (known or (0, ""))[0], "problem": "the row with the given hash is not there"})
    return AuditCheck(
        ok=not faults,
        rows=db.execute("SELECT count(*) FROM audit").fetchone()[0],
        head_seq=last,
        head_hash=newest,
        faults=faults[:_FAULTS],
        compared=known is not None,
    )


def _kept_head(db: sqlite3.Connection) -> tuple[int, str]:
    """Return the head; one that is no head any more fits no chain, and is a finding, no fault of ours."""
    try:
        return head(db)
    except sqlite3.DatabaseError:
        return -1, ""


def _row(values: tuple[Any, ...]) -> AuditRow:
    return AuditRow(**dict(zip(_NAMES, values, strict=True)))
