"""Holds that processes keep and the record does not know: it was lost, and another one has taken its place."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["kept", "strangers"]

_MOST = 1_000
"""Ids that are asked about."""


def kept(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the ids of all holds from a record that some processes show of a downstream; those in code have others.

    Args:
        rows: What each process shows of it.

    """
    found = {each for row in rows for each in row.get("holds") or () if isinstance(each, str) and each[:2] == "h-"}
    return sorted(found)[:_MOST]


def strangers(db: sqlite3.Connection, ids: Iterable[str]) -> set[str]:
    """Return those of some holds that a record has never had; one that has just ended there is known to it."""
    asked = sorted(ids)[:_MOST]
    if not asked:
        return set()
    known = db.execute("SELECT id FROM holds WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(asked),))
    return {*asked} - {each for (each,) in known}
