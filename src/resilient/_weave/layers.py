"""What is woven into a pipeline, and in which order: its policies, its gate, and inlays."""

from __future__ import annotations

from collections.abc import Sequence

from resilient._gate.gate import gate_of
from resilient._guards.timeout import TimeoutGuard
from resilient._policy import Env, Guard
from resilient._weave import inlays

_ASKS_AGAIN = frozenset({"retry", "fallback", "stale_cache"})
"""Policies that the gate stands inside of: they make attempts, or answer for what it refuses."""

_GATE, _INLAY = 100, 200
"""Numbers of layers that are no policies."""


def numbered(env: Env, guards: Sequence[Guard], *, inner: bool) -> list[tuple[int, Guard]]:
    """Return all layers, outermost first, and their numbers.

    Those of the policies are their positions, whatever else is woven in: calls in flight go on with the names
    they began with.

    Args:
        env: The pipeline.
        guards: Its policies.
        inner: Whether these are only the policies inside of one, so that no call begins here.

    """
    layers = list(enumerate(guards))
    gate = gate_of(env)
    if gate.on:
        place = 1 + max((at for at, guard in layers if guard.policy.kind in _ASKS_AGAIN), default=-1)
        waits = any(_waits(guard) for _, guard in layers[place:])
        layers.insert(place, (_GATE, gate))
        if waits:
            layers.append((_GATE + 1, gate.after_a_wait))
    if not inner:
        layers[:0] = [(_INLAY + number, guard) for number, guard in inlays.bound(env, "call")]
    return [*layers, *((_INLAY + number, guard) for number, guard in inlays.bound(env, "attempt"))]


def admitting(env: Env, guards: Sequence[Guard]) -> list[Guard]:
    """Return timeouts, and what asks whether a two-step call may pass, outermost first: the gate first and last."""
    # Woven in or not: who keeps the request until somebody places a hold has to hear of it.
    gate = gate_of(env)
    asks = [guard for guard in guards if isinstance(guard, TimeoutGuard) or hasattr(guard, "enter")]
    return [gate, *asks, gate.after_a_wait] if any(map(_waits, asks)) else [gate, *asks]


def _waits(guard: Guard) -> bool:
    """Tell whether a call may wait here before it goes on."""
    return not guard.flags("sync").isdisjoint(("waits", "queues"))
