"""Where answers and keys are kept: one small contract, in memory or in a SQLite file that processes share."""

from resilient.stores.contract import Record, Stats, Store, StoreFull
from resilient.stores.memory import MemoryStore

__all__ = ["MemoryStore", "Record", "Stats", "Store", "StoreFull"]
