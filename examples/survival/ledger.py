"""The shop's ledger: every order it carried out, in a file that knows nothing of keys.

One line per effect, on the disk before anybody is told. An order that stands there twice was
carried out twice.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

__all__ = ["Ledger"]


class Ledger:
    """Appends effects to a file and counts them.

    Args:
        path: The file; made if it is not there.

    """

    def __init__(self, path: Path) -> None:
        """Open the file, which other processes may read meanwhile."""
        self.path = path
        path.touch()

    def apply(self, order: str, cents: int) -> None:
        """Carry out an order: the customer is charged now."""
        line = json.dumps({"order": order, "cents": cents, "shop": os.getpid()}) + "\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, line.encode())  # one call, so that no line is torn
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def effects(self) -> Counter[str]:
        """Return how often each order was carried out."""
        with self.path.open(encoding="utf-8") as lines:
            return Counter(json.loads(line)["order"] for line in lines)
