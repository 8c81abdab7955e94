"""SqliteStore: the contract, and what it promises beyond."""

from __future__ import annotations

from resilient.stores import SqliteStore
from tests.stores import contract


class TestContract(contract.Basics, contract.Bounds, contract.Threads, contract.Forks):
    def make(self, folder, **bounds):
        return SqliteStore(folder / "store.db", patience=10, **bounds)
