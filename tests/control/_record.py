"""A control directory with a few processes on it, and people who ask for things."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from resilient.control.directory import Directory
from resilient.control.errors import Refused
from resilient.control.operations import Operations
from resilient.control.page import OwnPage
from resilient.control.receipts import Who

ANN = Who("ann", "operator", "api")
BOB = Who("bob", "operator", "api")
EVE = Who("eve", "viewer", "api")
ROOT = Who("boss", "admin", "api")
SHELL = Who("sue", "operator", "cli")

NAMES = ("payments", "stock", "mail", "api-1", "api-2", "api-3")


class Desk:
    """Operations on a new directory, with one process that uses some downstreams."""

    def __init__(self, path: Path, names: tuple[str, ...] = NAMES) -> None:
        self.directory = Directory(path / "control", create=True)
        self.operations = Operations(self.directory)
        self.pages: dict[str, OwnPage] = {}
        self.names = names
        self.show("p-1")

    def show(self, instance: str, applied: int = 0, **live: float) -> None:
        """Have a process show that it lives."""
        downstreams = {name: {"live": {"rate": 2.5, "in_flight": 3} | live} for name in self.names}
        page = {"v": 1, "instance": instance, "host": "h", "pid": 1, "applied": applied, "heartbeat": time.time()}
        if instance not in self.pages:
            self.pages[instance] = OwnPage(self.directory.path, instance)
        assert self.pages[instance].write(json.dumps(page | {"downstreams": downstreams}).encode())

    def trip(self, target: str = "payments", who: Who = ANN, **more):
        """Place a hold with usual parameters."""
        return self.operations.place(
            target, **{"mode": "forced_open", "reason": "a test", "ttl": 600, "who": who, **more}
        )

    def actives(self, target: str | None = None) -> set[tuple[str, str, str]]:
        """Return who holds what how."""
        return {(hold.target, hold.actor, hold.mode) for hold in self.operations.holds(target)}

    def close(self) -> None:
        """Let go of everything."""
        for page in self.pages.values():
            page.close()
        self.directory.close()


def plan(desk: Desk, **more):
    """Plan a window with usual parameters."""
    now = time.time()
    return desk.operations.schedule(
        **{
            "selector": "pay*", "mode": "forced_open", "starts_at": now + 60, "ends_at": now + 120,
            "reason": "a test", "who": ANN, **more,
        }
    )  # fmt: skip


def refused(kind: str, match: str | None = None) -> pytest.RaisesExc:
    """Expect a refusal of a kind."""
    return pytest.raises(Refused, match=match, check=lambda refusal: refusal.kind == kind)
