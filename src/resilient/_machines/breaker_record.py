"""A circuit as plain data: written for people and metrics, read back in another process.

Times are relative seconds, because a monotonic clock means nothing elsewhere. Holds are told
but not read back: what operators want travels on its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from resilient import _check
from resilient._machines.circuit import Circuit
from resilient._machines.holds import Entry
from resilient._machines.probes import ProbeRound
from resilient._machines.recovery import Ramp
from resilient._machines.states import CLOSED, HALF_OPEN, OPEN, Settings
from resilient._machines.tally import SLOW_FAILED, Row


def dump(circuit: Circuit, now: float) -> dict[str, object]:
    """Return the state of a circuit, times relative to `now`."""
    totals = circuit.record.totals(now)
    return {
        "automatic": circuit.state,
        "mode": circuit.mode,
        "era": circuit.era,
        "calls": totals.calls,
        "failures": totals.failures,
        "slow_calls": totals.slow,
        "failure_rate": totals.failure_rate,
        "slow_rate": totals.slow_rate,
        "consecutive": circuit.record.run,
        "open_remaining": max(0.0, circuit.until - now) if circuit.state == OPEN else None,
        "level": circuit.level,
        "healthy_for": now - circuit.healthy_from if circuit.state == CLOSED else None,
        "ramping": circuit.ramp is not None,
        "share": circuit.share(now),
        "ramp": _dump_ramp(circuit.ramp, now),
        "probes": _dump_round(circuit.round, now),
        "in_flight": len(circuit.running or ()),
        "window": [list(row) for row in circuit.record.rows(now)],
    }


def dump_hold(entry: Entry, now: float) -> dict[str, object]:
    """Return a hold as plain data."""
    remaining = None if entry.until == math.inf else entry.until - now
    return {
        "id": entry.id,
        "mode": entry.mode,
        "reason": entry.reason,
        "actor": entry.actor,
        "remaining": remaining,
    }


def _dump_ramp(ramp: Ramp | None, now: float) -> dict[str, object] | None:
    return None if ramp is None else {"elapsed": now - ramp.began, "operator": ramp.operator}


def _dump_round(current: ProbeRound | None, now: float) -> dict[str, object] | None:
    if current is None:
        return None
    return {
        "passed": current.passed,
        "failed": current.failed,
        "in_flight": len(current.live),
        "remaining": current.end - now,
        "operator": current.operator,
    }


def load(data: Mapping[str, Any], settings: Settings, now: float, age: float) -> Circuit:
    """Return the circuit that `dump` described, without its calls in flight.

    Args:
        data: What `dump` returned.
        settings: The configuration it goes on with.
        now: The current time.
        age: Seconds since the dump.

    Raises:
        ConfigError: If the data are not what `dump` returns.

    """
    try:
        return _load(data, settings, now, age)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        fault = f"{type(error).__name__}: {error}"
        _check.refuse("snapshot", data, f"what snapshot() returned ({fault})")


def _load(data: Mapping[str, Any], settings: Settings, now: float, age: float) -> Circuit:
    circuit = Circuit(settings, now, 0.0)
    circuit.state = data["automatic"]
    circuit.level = _check.count("level", data["level"], least=0)
    circuit.record.load([_row(row, age) for row in data["window"]])
    circuit.record.run = _check.count("consecutive", data["consecutive"], least=0)
    if circuit.state == OPEN:
        remaining = _seconds(data, "open_remaining")
        circuit.until = now + min(remaining, settings.max_open_for) - age
    elif circuit.state == HALF_OPEN and data["probes"] is None:
        circuit.state, circuit.until = OPEN, now  # held open in mid-round: a new round is due
    elif circuit.state == HALF_OPEN:
        circuit.round = _load_round(data["probes"], now - age)
    elif circuit.state == CLOSED:
        circuit.healthy_from = now - _seconds(data, "healthy_for") - age
        if (ramp := data["ramp"]) is not None:
            began = now - _seconds(ramp, "elapsed") - age
            circuit.ramp = Ramp(began, operator=bool(ramp["operator"]))
    else:
        _check.refuse("automatic", circuit.state, f"one of {CLOSED}, {OPEN}, {HALF_OPEN}")
    return circuit


def _load_round(data: Mapping[str, Any], taken: float) -> ProbeRound:
    current = ProbeRound(taken + _seconds(data, "remaining"), operator=bool(data["operator"]))
    current.passed = _check.count("passed", data["passed"], least=0)
    current.failed = _check.count("failed", data["failed"], least=0)
    return current


def _row(row: tuple[float, int, int], age: float) -> Row:
    seconds, kind, number = row
    if _check.count("kind", kind, least=0) > SLOW_FAILED:
        _check.refuse("kind", kind, f"at most {SLOW_FAILED}")
    since = _check.seconds("age", seconds, zero=True) + age
    return since, kind, _check.count("number", number, least=0)


def _seconds(data: Mapping[str, Any], name: str) -> float:
    return _check.seconds(name, data[name], zero=True)
