"""Where answers and keys are kept: one small contract, in memory or in a SQLite file that processes share."""

from typing import TYPE_CHECKING

from resilient.stores.contract import Record, Stats, Store, StoreFull
from resilient.stores.memory import MemoryStore

if TYPE_CHECKING:
    from resilient.stores.sqlite import SqliteStore

__all__ = ["MemoryStore", "Record", "SqliteStore", "Stats", "Store", "StoreFull"]


def __getattr__(name: str) -> object:
    """Import SqliteStore, and with it sqlite3, once somebody asks for it."""
    if name != "SqliteStore":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from resilient.stores.sqlite import SqliteStore  # noqa: PLC0415

    return SqliteStore
