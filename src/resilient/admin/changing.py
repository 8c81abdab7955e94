"""What every change has in common: who makes it, whether they may, how far it has come, and its receipt."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NoReturn

import anyio
from starlette.responses import Response

from resilient import clock
from resilient.admin.backend import in_thread
from resilient.admin.endpoints import Call
from resilient.admin.problems import Problem
from resilient.admin.reply import json_reply
from resilient.control.intent import Via
from resilient.control.receipts import Receipt, Who
from resilient.control.spoken import iso

__all__ = ["HEADERS", "all_within_reach", "changed", "who", "within_reach"]

HEADERS = {"X-Resilient-Client": "`dashboard` if that sends the change; the audit record tells it."}

_LOOK = 0.05
"""Seconds between two looks at how far a change has come."""

_log = logging.getLogger("resilient.admin")


def who(call: Call) -> Who:
    """Return the caller, as the audit record names them."""
    via: Via = "dashboard" if call.request.headers.get("x-resilient-client") == "dashboard" else "api"
    return Who(call.known.name, call.known.role, via)


def within_reach(call: Call, target: str) -> None:
    """Refuse a change of a downstream that the caller's token does not reach.

    Raises:
        Problem: 403.

    """
    if not call.known.reaches(target):
        _out_of_reach(call, target)


def all_within_reach(call: Call, selector: str) -> None:
    """Refuse a change of all that a pattern covers, if the caller's token reaches only a part of it.

    Raises:
        Problem: 403.

    """
    if not call.known.reaches_all(selector):
        _out_of_reach(call, selector)


def _out_of_reach(call: Call, target: str) -> NoReturn:
    only = list(call.known.only)
    detail = f"The token of {call.known.name} may change {', '.join(only)} only, not {target!r}."
    raise Problem("role", detail, parameter="name", allowed=only)


async def changed(
    call: Call, change: Callable[[], Receipt], *, target: str, wait: float = 0.0, created: bool = False
) -> Response:
    """Make a change and return its receipt: 200 when it has arrived everywhere, 202 when it has not yet."""
    receipt = await in_thread(change)
    body: dict[str, Any] = asdict(receipt) | {"convergence": None}
    for name, value in body.items():
        if name.endswith("_at") and isinstance(value, (int, float)):
            body[name] = iso(value)
    headers = {"Dry-Run": "true"} if receipt.dry_run else {}
    status = 201 if created and not receipt.dry_run else 200
    if not receipt.dry_run:
        body["convergence"] = seen = await _converged(call, receipt.revision, wait)
        status = status if seen["complete"] else 202
        _log.info(
            "%s %s by %s: record %s",
            call.request.method,
            call.endpoint.path,
            call.known.name,
            receipt.audit_seq,
            extra={
                "event": "resilient.admin.changed",
                "request_id": call.request_id,
                "actor": call.known.name,
                "downstream": target,
                "audit_seq": receipt.audit_seq,
                "audit_hash": receipt.audit_hash,
            },
        )
    if target:
        headers["ETag"] = f'"{await in_thread(call.site.backend.operations.etag, target)}"'
    return json_reply(body, status, headers)


async def _converged(call: Call, revision: int, seconds: float) -> dict[str, Any]:
    """Wait until every process has applied a revision; in looks, so that waiting takes no thread."""
    started = clock.SYSTEM.now()
    while True:
        seen = await in_thread(call.site.backend.operations.converge, revision, 0.0)
        waited = clock.SYSTEM.now() - started
        if seen.complete or waited >= seconds:
            return asdict(seen) | {"waited_s": round(waited, 3)}
        await anyio.sleep(min(_LOOK, max(0.0, seconds - waited)))
