"""Requests that carry a key: the same one again, within a day, gets the same receipt and does nothing."""

from __future__ import annotations

import json
from dataclasses import asdict

from resilient.control import rows
from resilient.control.change import Change, refuse
from resilient.control.intent import DAY
from resilient.control.receipts import Receipt

__all__ = ["again", "remember"]


def again(change: Change, key: object) -> Receipt | None:
    """Return the receipt of the request that came with this key before, or None.

    Raises:
        Refused: If another request came with it.

    """
    if not isinstance(key, str) or not key.isprintable():  # it will be refused
        return None
    wall = change.moment.wall
    change.db.execute("DELETE FROM keys WHERE at < ?", (wall - DAY,))
    found = change.db.execute(
        "SELECT request, receipt FROM keys WHERE actor = ? AND key = ?", (change.who.actor, key)
    ).fetchone()
    if found is None:
        return None
    request, receipt = found
    if request != _said(change):
        refuse("conflict", "another request came with this key within the last day", parameter="key")
    return Receipt(**json.loads(receipt))


def remember(change: Change, key: object, receipt: Receipt) -> None:
    """Keep a receipt for when the request comes again."""
    if isinstance(key, str):
        row = change.who.actor, key, change.moment.wall, _said(change), rows.canonical(asdict(receipt))
        change.db.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?)", row)


def _said(change: Change) -> str:
    return rows.canonical([change.request.action, change.request.target, change.request.given])
