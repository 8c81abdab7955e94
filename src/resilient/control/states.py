"""One downstream of this process as plain data: the state of its pipeline, in the words of operators."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from resilient._guards.breaker import BreakerGuard
from resilient._guards.bulkhead import BulkheadGuard
from resilient._guards.rate_limit import RateLimitGuard
from resilient._guards.retry import RetryGuard
from resilient._policy import Guard
from resilient.pipeline import Pipeline

__all__ = ["STATES", "row", "worst"]

STATES = ("forced_open", "open", "half_open", "observe", "forced_closed", "closed")
"""The worst first."""

_RANK = {state: rank for rank, state in enumerate(STATES)}
_DIGITS = 4


def worst(states: Iterable[str]) -> str:
    """Return the worst of several states, "closed" if there is none."""
    return min(states, key=lambda state: _RANK.get(state, len(_RANK)), default="closed")


def row(pipeline: Pipeline, parts: Iterable[Guard]) -> dict[str, Any]:
    """Return the state of a downstream in this process, as plain data.

    Args:
        pipeline: The downstream's.
        parts: Its `guards`.

    """
    data = pipeline.snapshot()
    held: Mapping[str, Any] = data.get("gate") or {}  # type: ignore[assignment]
    holds = [entry["id"] for entry in held.get("holds", ())]
    breakers: dict[str, dict[str, Any]] = {}
    bulkheads: dict[str, dict[str, Any]] = {}
    limits: dict[str, dict[str, Any]] = {}
    budget: float | None = None
    for part in parts:
        found: Any = data.get(part.label)
        if isinstance(part, BreakerGuard):
            breakers[part.label] = _breaker(part, found)
            holds += [entry["id"] for entry in found["holds"]]
        elif isinstance(part, BulkheadGuard):
            bulkheads[part.label] = {
                "limit": found["limit"],
                "active": found["in_flight"],
                "queued": found["queued"],
            }
        elif isinstance(part, RateLimitGuard):
            limits[part.label] = _limit(found)
        elif isinstance(part, RetryGuard) and part.budget is not None:
            left = part.budget.ratio()
            budget = round(left if budget is None else min(left, budget), _DIGITS)
    share = min([held.get("share", 1.0), *(each["share"] for each in breakers.values())])
    state = _state(held, [each["state"] for each in breakers.values()])
    return {
        "state": state,
        # While calls come back by and by, the state is reported as closed.
        "ramping": share < 1 and state in {"closed", "half_open"} and held.get("mode") != "forced_open",
        "share": round(share, _DIGITS),
        "retries": "on" if held.get("retries", True) else "off",
        "holds": list(dict.fromkeys(holds)),
        "breakers": breakers,
        "bulkheads": bulkheads,
        "rate_limits": limits,
        "budget": budget,
    }


def _state(held: Mapping[str, Any], breakers: list[str]) -> str:
    """Return the mode of the holds, or else the worst state; a hold that lets a part pass hides no open breaker."""
    mode, own = held.get("mode", "auto"), worst(breakers)
    if mode == "auto":
        return own
    if mode == "forced_open" and held.get("share", 0.0) > 0 and own in {"open", "half_open"}:
        return own
    return str(mode)


def _breaker(guard: BreakerGuard, found: Mapping[str, Any]) -> dict[str, Any]:
    settings = guard.policy.settings
    remaining = found["open_remaining"]
    return {
        "state": found["state"],
        "automatic": found["automatic"],
        "failure_rate": round(found["failure_rate"], _DIGITS),
        "slow_rate": round(found["slow_rate"], _DIGITS),
        "calls": found["calls"],
        "failures": found["failures"],
        "slow_calls": found["slow_calls"],
        "consecutive": found["consecutive"],
        "threshold": settings.failure_rate,
        "slow_threshold": None if settings.slow_call is None else settings.slow_rate,
        "consecutive_threshold": settings.consecutive,
        "min_calls": settings.min_calls,
        "open_for": None if remaining is None else round(remaining, 1),
        "share": round(found["share"], _DIGITS),
    }


def _limit(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "rate": found["rate"],
        "configured_rate": found["configured_rate"],
        "adapting": found["adapting"],
        "burst": found["burst"],
    }
