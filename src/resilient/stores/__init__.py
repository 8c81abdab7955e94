"""Where answers and keys are kept: one small contract, in memory or in a SQLite file that processes share."""

from resilient.stores.contract import Record, Stats, Store, StoreFull

__all__ = ["Record", "Stats", "Store", "StoreFull"]
