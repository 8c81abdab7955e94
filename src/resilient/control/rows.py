"""Records of intent as rows of the database, and back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

from resilient.control.intent import Command, Hold, Intent, Rule, Window

__all__ = [
    "HOUR",
    "canonical",
    "commands",
    "holds",
    "load",
    "meta",
    "number",
    "put",
    "put_rules",
    "rules",
    "set_meta",
    "windows",
]

HOUR = 3_600.0
"""Seconds for which a command is shown to processes."""

_EDITED = "somebody has edited its value of %r"

_HOLD = ", ".join(field.name for field in fields(Hold))
_NAMES = tuple(_HOLD.split(", "))
_WINDOW = ", ".join(field.name for field in fields(Window))
_COMMAND = ", ".join(field.name for field in fields(Command))


def canonical(value: object) -> str:
    """Return the one JSON text of a value: hashes are taken over it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def holds(db: sqlite3.Connection, where: str, *args: object) -> list[Hold]:
    """Return the holds that a condition selects."""
    return [_hold(row) for row in db.execute(f"SELECT {_HOLD} FROM holds WHERE {where}", args)]  # noqa: S608


def windows(db: sqlite3.Connection, where: str, *args: object) -> list[Window]:
    """Return the windows that a condition selects."""
    found = db.execute(f"SELECT {_WINDOW} FROM windows WHERE {where}", args)  # noqa: S608
    return [Window(**dict(zip(_WINDOW.split(", "), row, strict=True))) for row in found]


def commands(db: sqlite3.Connection, where: str, *args: object) -> list[Command]:
    """Return the commands that a condition selects, oldest first."""
    found = db.execute(f"SELECT {_COMMAND} FROM commands WHERE {where} ORDER BY generation", args)  # noqa: S608
    return [Command(**dict(zip(_COMMAND.split(", "), row, strict=True))) for row in found]


def rules(db: sqlite3.Connection) -> list[Rule]:
    """Return all rules, in the order of their ids."""
    return [
        Rule(id=rule, kind=kind, **{**(given := json.loads(text)), "group": tuple(given["group"])})
        for rule, kind, text in db.execute("SELECT id, kind, fields FROM rules ORDER BY id")
    ]


def put(db: sqlite3.Connection, record: Hold | Window) -> None:
    """Write a hold or a window, in the place of the one with its id."""
    table = "holds" if isinstance(record, Hold) else "windows"
    values = asdict(record)
    if "notes" in values:
        values["notes"] = json.dumps(values["notes"])
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    db.execute(f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))  # noqa: S608


def put_rules(db: sqlite3.Connection, given: Iterable[Rule]) -> None:
    """Write the rules in the place of those that were."""
    db.execute("DELETE FROM rules")
    for rule in given:
        values = asdict(rule)
        row = values.pop("id"), values.pop("kind")
        db.execute("INSERT INTO rules VALUES (?, ?, ?)", (*row, canonical(values)))


def meta(db: sqlite3.Connection, key: str) -> Any:  # noqa: ANN401 -- a text or a number
    """Return a value of the table of single values."""
    found = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    if found is None:
        raise sqlite3.DatabaseError(_EDITED % key)
    return found[0]


def number(db: sqlite3.Connection, key: str) -> int:
    """Return a whole number of the table of single values."""
    value = meta(db, key)
    if not isinstance(value, int):
        raise sqlite3.DatabaseError(_EDITED % key)
    return value


def set_meta(db: sqlite3.Connection, key: str, value: str | int) -> None:
    """Set a value of the table of single values."""
    db.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))


def load(db: sqlite3.Connection, wall: float, now: float, boot: str) -> Intent:
    """Return all that processes need to know.

    Args:
        db: A connection.
        wall: Seconds since 1970.
        now: The host's monotonic clock.
        boot: Which start of the host this is.

    """
    active = holds(db, "status = 'active' ORDER BY created_at, id")
    planned = windows(db, "status IN ('scheduled', 'active') AND ends_at > ? ORDER BY starts_at, id", wall)
    return Intent(
        revision=number(db, "revision"),
        holds=tuple(hold for hold in active if hold.remaining(wall, now, boot) > 0),
        windows=tuple(planned),
        commands=tuple(commands(db, "at > ?", wall - HOUR)),
        rules=tuple(rules(db)),
    )


def _hold(row: tuple[Any, ...]) -> Hold:
    values = dict(zip(_NAMES, row, strict=True))
    notes = values["notes"]
    values["notes"] = () if notes == "[]" else tuple(json.loads(notes))  # a thousand of them on a call's path
    return Hold(**values)
