"""What a breaker's machine has to tell, turned into events once its lock is gone."""

from __future__ import annotations

import math

from resilient import events
from resilient._machines.holds import GATE, Entry, HoldEnded
from resilient._machines.states import OPEN, Transition
from resilient._policy import Env


def publish(env: Env, breaker: str, news: list[Transition | HoldEnded]) -> None:
    """Publish and remove all news, oldest first."""
    while news:
        try:
            event = news.pop(0)
        except IndexError:  # another thread was faster
            return
        if not events.wanted():
            continue
        if isinstance(event, HoldEnded):
            if event.entry.origin == GATE:  # the gate that put it there tells
                continue
            held(env, breaker, "expired" if event.expired else "released", event.entry)
        elif not event.shadow:
            env.emit("resilient.breaker.transition", **_moved(breaker, event))
        elif event.after == OPEN:
            env.emit("resilient.breaker.would_open", **_moved(breaker, event))


def held(env: Env, breaker: str, what: str, entry: Entry) -> None:
    """Tell that a hold was applied, released or has expired."""
    remaining = None if entry.until == math.inf else max(0.0, entry.until - env.now())
    env.emit(
        f"resilient.override.{what}",
        breaker=breaker,
        id=entry.id,
        mode=entry.mode,
        reason=entry.reason,
        actor=entry.actor,
        percent=entry.percent,
        expires=remaining,
    )


def _moved(breaker: str, event: Transition) -> dict[str, object]:
    return {
        "breaker": breaker,
        "from": event.before,
        "to": event.after,
        "cause": event.cause,
        "failure_rate": event.totals.failure_rate,
        "slow_rate": event.totals.slow_rate,
        "calls": event.totals.calls,
        "failures": event.totals.failures,
        "open_for": event.open_for,
        "era": event.era,
    }
