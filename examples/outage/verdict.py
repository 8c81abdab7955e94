"""Decide whether the pipeline kept its promise, and say with which figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from examples.outage.board import counts
from examples.outage.tally import FALLBACK, FRESH

__all__ = ["Check", "checks", "definitions", "side"]

SHARE = 0.2
"""What the failing service may receive, as a share of the unprotected traffic."""


def definitions(family: str) -> dict[str, str]:
    """Say what the words of the report mean, with the clients of this library."""
    return {
        "fresh": "the service answered this very call with 200",
        "last known": "the caller got the rates of an earlier call, marked so, at most 60 s old",
        "answered": "fresh or last known; everything else the caller saw was an exception",
        "latency": "from the scheduled time of the call to its end, all calls, answered or not",
        "failing service": "requests that arrived at the service while every request failed",
        "protected": f"{family}.Client with a ResilientTransport, {family}.AsyncClient with an AsyncResilientTransport",
        "unprotected": f"{family}.Client and {family}.AsyncClient as they come: 100 connections, "
        "5 s per step, no retry; every call has its own thread or task",
    }


@dataclass(frozen=True, slots=True)
class Check:
    """One claim with the figures of both sides.

    Attributes:
        claim: What must hold.
        protected: The figure of the protected side.
        unprotected: The figure of the other.
        holds: Whether it does.

    """

    claim: str
    protected: float
    unprotected: float
    holds: bool

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def side(client: Mapping[str, Any], server: Mapping[str, Any]) -> dict[str, Any]:
    """Join the last words of the callers and of the service into the result of one side."""
    seen = counts(client["phases"])
    own = ("phases", "latency", "fresh_latency", "retries", "rejections", "transitions")
    return {
        "calls": sum(seen.values()),
        "answered": seen[FRESH] + seen[FALLBACK],
        **seen,
        **{key: client[key] for key in own if key in client},
        "received": dict(server["received"]),
        "received_total": sum(server["received"].values()),
    }


def checks(protected: Mapping[str, Any], unprotected: Mapping[str, Any]) -> list[Check]:
    """Compare two results of `side`; the demo succeeds only if all of these hold."""
    answered = protected["answered"], unprotected["answered"]
    slowest = protected["latency"]["p99"], unprotected["latency"]["p99"]
    failing = protected["received"].get("failing", 0), unprotected["received"].get("failing", 0)
    return [
        Check("more calls answered", *answered, answered[0] > answered[1]),
        Check("lower p99 latency in seconds", *slowest, slowest[0] < slowest[1]),
        Check(
            "failing service got at most a fifth of the requests",
            *failing,
            failing[1] > 0 and failing[0] <= SHARE * failing[1],
        ),
    ]
