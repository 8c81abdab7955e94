"""What processes that are gone have counted, and the sum over all processes that ever were: it never goes back.

A dead process's totals are added here and its name is noted in one transaction; its page is removed after
that. Who adds everything up reads the pages first and this after them, and leaves out the pages of those
that are noted: so nobody is counted twice or not at all, whenever somebody dies.

Only so many downstreams are told apart, over all processes: the first that were ever seen. Which they are
stands in the record and is never taken back, since a counter that moved to another name would go back.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from resilient.clock import SYSTEM
from resilient.control.directory import Directory
from resilient.control.pages import PageView, read_pages
from resilient.telemetry.catalogue import OTHER
from resilient.telemetry.totals import Totals

__all__ = ["KNOWN", "TOLD_APART", "add", "fold", "host_totals", "name_all"]

TOLD_APART: Final = 200
"""Downstreams that totals tell apart on one host; the rest are `_other`."""

KNOWN: Final = 10_000
"""Names of downstreams that are remembered."""

Counted = tuple[str, str, Totals]
"""Name of a process, its application, and what it has counted."""


def host_totals(directory: Directory) -> tuple[Totals, list[PageView]]:
    """Return what all processes of an application have ever counted, and the pages of those that are not added up yet.

    Args:
        directory: The control directory.

    Raises:
        ControlUnavailable: If the record cannot be used now: no answer, rather than one that is too small.
        OSError: If the pages cannot be read.

    """
    pages = read_pages(directory.path)  # before the record: who is added up in between is then noted there
    total, folded, names = directory.database.read(_kept)
    pages = [page for page in pages if page.instance not in folded]
    for page in pages:
        total.merge(Totals.decode(page.data.get("totals")))
    unknown = total.downstreams() - {OTHER, *names}
    if unknown and len(names) < TOLD_APART:
        names = directory.database.write(name_all, sorted(unknown), SYSTEM.wall())
    return total.capped(names), pages


def fold(db: sqlite3.Connection, counted: Iterable[Counted], wall: float) -> None:
    """Add what processes have counted that are gone, each one once and for all.

    Args:
        db: A connection, in a transaction that writes.
        counted: What each of them has counted.
        wall: Seconds since 1970.

    """
    new: dict[str, Totals] = {}
    for instance, app, totals in counted:
        if db.execute("INSERT OR IGNORE INTO folded VALUES (?, ?)", (instance, wall)).rowcount:
            new.setdefault(app, Totals()).merge(totals)
    for app, totals in new.items():
        add(db, app, totals, wall)


def add(db: sqlite3.Connection, key: str, totals: Totals, wall: float) -> None:
    """Add to what is retained under a key.

    Args:
        db: A connection, in a transaction that writes.
        key: The application, or a part of it.
        totals: What is added.
        wall: Seconds since 1970.

    """
    row = db.execute("SELECT payload FROM retained WHERE app = ?", (key,)).fetchone()
    total = Totals.decode(json.loads(row[0])) if row else Totals()
    total.merge(totals)
    names = name_all(db, sorted(total.downstreams() - {OTHER}), wall)
    text = json.dumps(total.capped(names).encode(), separators=(",", ":"))
    db.execute("INSERT OR REPLACE INTO retained VALUES (?, ?)", (key, text))


def name_all(db: sqlite3.Connection, names: Sequence[str], wall: float) -> set[str]:
    """Remember names of downstreams, as long as there is room; return those that totals tell apart.

    Args:
        db: A connection, in a transaction that writes.
        names: The names, known ones included.
        wall: Seconds since 1970.

    """
    (there,) = db.execute("SELECT count(*) FROM downstreams").fetchone()
    if there < KNOWN:
        db.executemany("INSERT OR IGNORE INTO downstreams VALUES (?, ?)", [(name, wall) for name in names[:KNOWN]])
    return _told_apart(db)


def _told_apart(db: sqlite3.Connection) -> set[str]:
    # In the order in which they were added, not by a clock that can be set.
    found = db.execute("SELECT name FROM downstreams ORDER BY rowid LIMIT ?", (TOLD_APART,))
    return {name for (name,) in found}


def _kept(db: sqlite3.Connection) -> tuple[Totals, set[str], set[str]]:
    total = Totals()
    for (text,) in db.execute("SELECT payload FROM retained"):
        total.merge(Totals.decode(json.loads(text)))
    folded = {instance for (instance,) in db.execute("SELECT instance FROM folded")}
    return total, folded, _told_apart(db)
