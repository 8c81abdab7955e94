"""An overview as the API gives it, made up: every state, several holds, windows and a process that lags."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

PROCESSES = 4


def iso(seconds: float = 0.0) -> str:
    """Return the time that many seconds from now."""
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def hold(target: str, mode: str = "forced_open", *, left: float = 1471.0, **more: Any) -> dict[str, Any]:
    """Return a hold in force."""
    return {
        "id": f"hold-{target}-{mode}",
        "target": target,
        "mode": mode,
        "percent": 100,
        "disposition": "fallback",
        "reason": "PSP maintenance until they call back",
        "ticket": "CHG-4411",
        "actor": "alice",
        "via": "cli",
        "created_at": iso(-900),
        "expires_at": iso(left),
        "remaining": left,
        "revision": 41,
        "status": "active",
        "masked": False,
        **more,
    }


def downstream(name: str, calls: float = 40.0, bad: float = 0.002, speed: float = 0.02, **more: Any) -> dict[str, Any]:
    """Return one downstream: `calls` per second, of which the share `bad` fails, `speed` seconds at the median."""
    phase = sum(map(ord, name))
    history = [
        max(0, round(calls * 2 * (1 + 0.18 * math.sin((slot + phase) / 5) + 0.1 * math.sin(slot * 1.7 + phase))))
        for slot in range(60)
    ]
    errors = [round(each * bad * (1.4 if slot > 40 else 0.5)) for slot, each in enumerate(history)]
    return {
        "name": name,
        "state": "closed",
        "since": iso(-86_000),
        "cause": "",
        "states": {"closed": PROCESSES},
        "live": PROCESSES,
        "rate": calls,
        "error_share": bad,
        "rejected_rate": 0.0,
        "in_flight": round(calls * speed * 1.4),
        "p50": speed,
        "p90": speed * 2.6,
        "p99": speed * 7.1,
        "history": history,
        "errors": errors,
        "retries": "on",
        "share": 1.0,
        "ramping": False,
        "holds": [],
        "windows": [],
        "breakers": {"breaker": {"state": "closed", "failure_rate": bad, "calls": round(calls * 10), "threshold": 0.5}},
        "bulkheads": {"bulkhead": {"limit": 100, "active": round(calls * speed * 1.4), "queued": 0}},
        "incidents": {"open": False, "count_24h": 0, "mttr_s": None, "mtbf_s": None, "availability": 1.0},
        "etag": f"{name}-1",
        **more,
    }


def window(selector: str, starts: float, ends: float, **more: Any) -> dict[str, Any]:
    """Return a maintenance window."""
    return {
        "id": f"window-{selector}",
        "selector": selector,
        "mode": "forced_open",
        "percent": 100,
        "disposition": "fallback",
        "reason": "Storage array is moved",
        "ticket": "CHG-4502",
        "actor": "bob",
        "via": "cli",
        "starts_at": iso(starts),
        "ends_at": iso(ends),
        "status": "scheduled",
        **more,
    }


def overview() -> dict[str, Any]:
    """Return the whole: what `GET v1/snapshot` answers."""
    dead = [0] * 22
    failing = downstream("search", 64, 0.62, 0.31)
    ledger = windows()[0]
    masked = hold("payments", "observe", left=5000, actor="bob", reason="comparing thresholds", ticket="", masked=True)
    downstreams = [
        downstream(
            "payments",
            0.0,
            0.0,
            0.048,
            state="forced_open",
            since=iso(-900),
            cause="hold",
            states={"forced_open": PROCESSES},
            share=0.0,
            rejected_rate=118.4,
            in_flight=0,
            holds=[hold("payments"), masked],
            history=[*downstream("payments", 118)["history"][:38], *dead],
            errors=[*downstream("payments", 118, 0.12)["errors"][:38], *dead],
            incidents={"open": True, "count_24h": 2},
        ),
        {
            **failing,
            "state": "open",
            "since": iso(-134),
            "cause": "failure_ratio",
            "states": {"open": 1, "closed": 3},
            "rejected_rate": 21.3,
        },
        downstream(
            "recommendations",
            12,
            0.04,
            0.11,
            state="half_open",
            since=iso(-4),
            cause="wait_elapsed",
            states={"half_open": 2, "open": 2},
            rejected_rate=9.0,
        ),
        downstream(
            "fraud-score",
            31,
            0.09,
            0.2,
            retries="off",
            holds=[
                hold("fraud-score", "no_retries", left=244, actor="carol", reason="They ask for less load", ticket="")
            ],
        ),
        downstream(
            "tax",
            22,
            0.0,
            0.035,
            state="observe",
            cause="hold",
            since=iso(-5000),
            states={"observe": 4},
            holds=[hold("tax", "observe", left=7000, actor="bob", reason="Is the new threshold too tight?")],
        ),
        downstream("inventory", 210, 0.001, 0.009),
        downstream("cart", 331, 0.0004, 0.004, bulkheads={"bulkhead": {"limit": 20, "active": 19, "queued": 6}}),
        downstream("ledger-eu", 18, 0.0, 0.06, windows=[ledger], ramping=True, share=0.25),
        downstream("ledger-us", 25, 0.0, 0.055, windows=[ledger]),
        downstream("mail", 3.4, 0.0, 0.4),
        downstream("https://images.internal.example:8443", 96, 0.0, 0.018),
        downstream(
            "audit-log",
            0.0,
            0.0,
            0.0,
            in_flight=0,
            p50=None,
            p90=None,
            p99=None,
            since=None,
            incidents=None,
            bulkheads={},
        ),
    ]
    processes = [
        {
            "instance": f"web-1-{4411 + at}",
            "host": "web-1",
            "pid": 4411 + at,
            "version": "0.1.0",
            "python": "3.13.1",
            "started_at": iso(-90_000 - at),
            "heartbeat_age": 0.2 + at / 5,
            "applied": 42 if at < 3 else 41,
            "stale": False,
            "errors": {"reload": 1} if at == 3 else {},
        }
        for at in range(PROCESSES)
    ]
    return {
        "at": iso(),
        "app": "checkout",
        "path": "resilient/checkout",
        "revision": 42,
        "reach": "4 processes on this host",
        "verdict": (
            "2 of 12 downstreams open, 1 coming back; payments held open by alice until 03:40 UTC "
            "(PSP maintenance until they call back); 3 of 4 processes in sync"
        ),
        "audit_head": {"seq": 97, "hash": "9c1f0b7e5a2244d1c0de9c1f0b7e5a2244d1c0de9c1f0b7e5a2244d1c0de0042"},
        "processes": processes,
        "downstreams": downstreams,
    }


def windows() -> list[dict[str, Any]]:
    """Return the maintenance windows that have not ended."""
    return [window("ledger-*", 3 * 3600, 5 * 3600)]


def audit() -> list[dict[str, Any]]:
    """Return the end of an audit trail, newest first."""
    rows = [
        ("alice", "cli", "hold.place", "payments", "done", "PSP maintenance until they call back"),
        ("dora", "dashboard", "hold.place", "inventory", "refused", "make it stop"),
        ("carol", "api", "hold.place", "fraud-score", "done", "They ask for less load"),
        ("bob", "cli", "window.schedule", "ledger-*", "done", "Storage array is moved"),
        ("bob", "cli", "hold.place", "tax", "done", "Is the new threshold too tight?"),
    ]
    return [
        {
            "seq": 97 - at,
            "at": iso(-900 * (at + 1)),
            "actor": actor,
            "via": via,
            "role": "operator",
            "action": action,
            "target": target,
            "outcome": outcome,
            "reason": reason,
            "hash": "00",
        }
        for at, (actor, via, action, target, outcome, reason) in enumerate(rows)
    ]
