"""The gates of this process, and how one gets into the functions of its pipeline."""

from __future__ import annotations

from resilient._gate.gate import GateGuard, gate_of
from resilient._policy import Env
from resilient._runtime import live
from resilient._weave import inlays
from resilient._weave.assembly import Assembly

__all__ = ["gates", "weave_gate"]


def gates() -> list[GateGuard]:
    """Return the gates of every pipeline alive."""
    found = {id(member.env): gate_of(member.env) for member in live.members() if isinstance(member, Assembly)}
    return list(found.values())


def weave_gate(env: Env) -> None:
    """Weave the gate of one pipeline into its functions, as it is about to be needed."""
    gate = gate_of(env)
    with inlays.lock:  # who comes second has to wait until it is done
        if not gate.woven:
            there, gate.woven = gate.on, True
            for member in () if there else live.members():
                if isinstance(member, Assembly) and member.env is env:
                    member.reweave()
