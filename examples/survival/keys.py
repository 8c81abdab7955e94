"""The shop's book of keys: the middleware that carries each order out once, and the end of doubts by hand."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from examples.survival.ledger import Ledger
from examples.survival.mischief import Application
from resilient.idempotency import IdempotencyMiddleware, KeyBook, recorded_response
from resilient.stores import SqliteStore

__all__ = ["accepted", "book", "guarded", "resolve"]

KEYS = "keys.sqlite"

LEASE = 1.0
"""Seconds that a shop may be silent before its orders are in doubt; short, because this demo is."""


def book(store: SqliteStore) -> KeyBook:
    """Return the shop's book, in whichever process."""
    return KeyBook(store, name="orders", lease=LEASE)


def guarded(shop: Application, folder: Path) -> IdempotencyMiddleware:
    """Return the shop behind the middleware: all that a service has to do."""
    return IdempotencyMiddleware(shop, book(SqliteStore(folder / KEYS)))


def accepted(order: str) -> bytes:
    """Return what the shop answers to an order that it carried out."""
    return json.dumps({"order": order, "accepted": True}).encode()


def resolve(folder: Path, doubts: Mapping[str, str]) -> dict[str, int]:
    """End doubts as an operator does, who looks at what was done: at the ledger.

    Args:
        folder: Where the ledger and the book are kept.
        doubts: Orders, and the ids of their keys as the refusals named them.

    """
    effects = Ledger(folder / "ledger.jsonl").effects()
    found: Counter[str] = Counter()
    with contextlib.closing(SqliteStore(folder / KEYS)) as store:
        keys = book(store)
        for order, key_id in doubts.items():
            if effects[order]:
                answer = recorded_response(201, [("content-type", "application/json")], accepted(order))
                found["had taken effect"] += keys.resolve(key_id, "done", **answer)
            else:
                found["had not"] += keys.resolve(key_id, "forget")
    return dict(found)
