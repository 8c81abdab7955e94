"""MemoryStore: the contract, and what it promises beyond."""

from __future__ import annotations

from resilient.stores import MemoryStore
from tests.stores import contract


class TestContract(contract.Basics, contract.Bounds, contract.Threads, contract.Forks):
    keeps = shared = False

    def make(self, folder, **bounds):
        return MemoryStore(**bounds)
