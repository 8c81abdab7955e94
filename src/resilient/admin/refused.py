"""Refusals are counted, told in the log, and those at the door written into the audit, all within bounds."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from resilient import faults
from resilient.admin.admit import peer
from resilient.admin.backend import Backend, in_thread
from resilient.admin.endpoints import Call, Site
from resilient.admin.problems import Problem
from resilient.control.errors import ControlUnavailable, Refused

__all__ = ["METHODS", "audit", "tell"]

METHODS: Final = frozenset({"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"})
"""Those that are repeated in logs and labels; what else somebody sends is not."""

_DENIED: Final = {
    "unauthenticated": "auth",
    "too-many-failures": "auth",
    "role": "role",
    "host": "host",
    "origin": "origin",
    "token-in-url": "token_in_url",
    "token-in-body": "token_in_body",
    "rules": "interlock",
    "stale": "precondition",
    "precondition": "precondition",
}
_ANYBODYS: Final = frozenset({"host", "origin", "token_in_url"})
"""What anybody can cause, as often as they like, without failing to log in."""

_AUDITED: Final = {"unauthenticated": "authenticate", "role": "authorize"}


def tell(site: Site, problem: Problem, request: Request, call: Call | None) -> None:
    """Count a refusal and write it to the log."""
    reason = _DENIED.get(problem.kind)
    if reason is None:
        return
    slowed = problem.kind == "too-many-failures"
    site.denials.tell(
        reason,
        peer=peer(request),
        method=_method(request),
        route=call.endpoint.path if call else "",
        actor=call.caller.name if call and call.caller else "",
        quiet=slowed or (reason in _ANYBODYS and not site.denials.row(f"log {reason}")),
    )


async def audit(site: Site, problem: Problem, request: Request, call: Call) -> None:
    """Write a refused login or role into the audit, without anything that was sent as a credential.

    The caller has the answer already: how long this takes tells nobody anything, and no trouble with the record
    changes what they got.
    """
    action, caller = _AUDITED.get(problem.kind), call.caller
    if action is None:
        return
    count = site.denials.row(action, caller.name if caller else "")
    if not count:
        return
    given = {"method": _method(request), "peer": peer(request), "since_last": count}
    via = "dashboard" if request.headers.get("x-resilient-client") == "dashboard" else "api"
    said = {
        "actor": caller.name if caller else "unknown",
        "role": caller.role if caller else "none",
        "via": via,
        "action": action,
        "target": call.path.get("name", call.endpoint.path) if caller else call.endpoint.path,
        "request": given,
        "reason": f"{problem.kind}: {problem.detail if caller else 'no valid token'}",
    }
    try:
        await in_thread(_write, site.backend, said)
    except (ControlUnavailable, Refused) as fault:
        faults.report(audit, fault)


def _write(backend: Backend, said: dict[str, object]) -> None:
    backend.operations.denied(said)


def _method(request: Request) -> str:
    return request.method if request.method in METHODS else "?"
