"""Directories with pages and intent in them, for tests of what reads them."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from resilient.control import rows
from resilient.control.directory import Directory
from resilient.control.host import Identity, boot
from resilient.control.intent import Hold, Window
from resilient.control.page import OwnPage

IDLE = {"in_flight": 0, "rate": 0.0, "error_share": 0.0, "rejected_rate": 0.0, "p50": None, "p90": None, "p99": None}


def row(state: str = "closed", **more: Any) -> dict[str, Any]:
    """Return what a process shows of one downstream."""
    live = {**IDLE, "history": [0] * 60, "errors": [0] * 60, **more.pop("live", {})}
    plain = {"since": 100.0, "cause": "", "ramping": False, "share": 1.0, "retries": "on", "holds": []}
    parts: dict[str, Any] = {"breakers": {}, "bulkheads": {}, "rate_limits": {}, "budget": None}
    return {"state": state, **plain, **parts, "live": live, **more}


class Shown:
    """Another process, as far as its page tells."""

    def __init__(self, path: Path, instance: str, **downstreams: dict[str, Any]) -> None:
        identity = Identity.own("shop")
        self.data: dict[str, Any] = {
            "v": 1,
            "instance": instance,
            "host": identity.host,
            "pid": 1,
            "app": "shop",
            "python": "3.13.0",
            "version": "0.1.0",
            "started": time.time() - 60,
            "boot": boot(),
            "applied": 0,
            "errors": {},
            "statistics": True,
            "names": 1,
            "totals": {},
        }
        self.own = OwnPage(path, instance)
        self.show(**downstreams)

    def show(self, *, age: float = 0.0, totals: Any = None, **downstreams: dict[str, Any]) -> None:
        self.data.update(
            heartbeat=time.time() - age, beat=time.monotonic() - age, downstreams=downstreams, names=len(downstreams)
        )
        if totals is not None:
            self.data["totals"] = totals
        assert self.own.write(json.dumps(self.data).encode())

    def die(self) -> None:
        self.own.close()


def hold(target: str, mode: Any = "forced_open", *, ttl: float = 1800, **more: Any) -> Hold:
    now, wall = time.monotonic(), time.time()
    first = Hold(
        id=f"{target}-{mode}-{more.get('actor', 'alice')}",
        target=target,
        mode=mode,
        reason="PSP maintenance",
        actor="alice",
        via="cli",
        created_at=wall,
        expires_at=wall + ttl,
        ends=now + ttl,
        boot=boot(),
        ttl=ttl,
        revision=1,
    )
    return replace(first, **more)


def window(selector: str, *, starts: float = -60, ends: float = 600, **more: Any) -> Window:
    wall = time.time()
    first = Window(
        id=f"w-{selector}",
        selector=selector,
        mode="forced_open",
        reason="upgrade",
        actor="bob",
        via="api",
        created_at=wall - 3600,
        starts_at=wall + starts,
        ends_at=wall + ends,
        revision=1,
    )
    return replace(first, **more)


def put(directory: Directory, *records: Hold | Window, revision: int = 1) -> None:
    def write(db: Any) -> None:
        for each in records:
            rows.put(db, each)
        rows.set_meta(db, "revision", revision)

    directory.database.write(write)
