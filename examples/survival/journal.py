"""A writer's journal: which orders it has begun, and how each one ended, so that a crash loses none.

An order is noted before it is sent. One that has no end in the journal may have been carried out
or not: only the shop knows, so it is sent again with the same key.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

__all__ = ["BEGUN", "DONE", "DOUBT", "Journal"]

BEGUN = "begun"
DONE = "done"
DOUBT = "in doubt"
"""The shop crashed while it carried the order out, and says that it does not know."""


class Journal:
    """The journal of one writer.

    Args:
        path: The file; made if it is not there.

    Attributes:
        states: The last state of each order, in the order in which they were begun.
        doubts: Orders in doubt, and how the shop calls their keys.

    """

    def __init__(self, path: Path) -> None:
        """Read what an earlier process of this writer has noted."""
        self.path = path
        self.states: dict[str, str] = {}
        self.doubts: dict[str, str] = {}
        path.touch()
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                entry = json.loads(line)
                self._learn(**entry)

    def note(self, order: str, state: str, key_id: str = "") -> None:
        """Write down the state of an order; it is on the disk when this returns.

        Args:
            order: Its name.
            state: `BEGUN`, `DONE` or `DOUBT`.
            key_id: For a doubt, how the shop calls the key.

        """
        self._learn(order, state, key_id)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"order": order, "state": state, "key_id": key_id}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def within(self, *states: str) -> list[str]:
        """Return the orders that are in one of these states, the oldest first."""
        return [order for order, state in self.states.items() if state in states]

    def _learn(self, order: str, state: str, key_id: str) -> None:
        self.states[order] = state
        self.doubts.pop(order, None)
        if state == DOUBT:
            self.doubts[order] = key_id
