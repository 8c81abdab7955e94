"""The audit record: listed, exported line by line, and checked against its chain of hashes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from starlette.responses import Response, StreamingResponse

from resilient.admin import receipts, requests
from resilient.admin.backend import in_thread
from resilient.admin.endpoints import Call, Table
from resilient.admin.reply import json_reply, table_or_json

__all__ = ["table"]

table = Table()

_LINES = "application/x-ndjson"
_COLUMNS = ("seq", "at", "actor", "role", "via", "action", "target", "outcome", "reason")
_PAGE = 500
_FILTERS = ("target", "actor", "action", "outcome", "via")


@table(
    "GET",
    "/v1/audit",
    query=requests.AuditQuery,
    answers={200: (receipts.AuditList, receipts.AuditCheck)},
    media=("text/plain", _LINES),
)
async def list_audit(call: Call) -> Response:
    """List what was done and refused, newest first; with `after` what followed that record, oldest first.

    `Accept: application/x-ndjson` exports everything behind `after`, a line for each record. `verify=true` checks
    the chain of hashes instead. A chain shows records that were edited, removed or moved; it does not show that the
    newest ones were cut off: for that, give number and hash of one that was logged, `known_seq` and `known_hash`.
    """
    query = call.queries(requests.AuditQuery)
    if query.verify:
        known = (query.known_seq, query.known_hash) if query.known_seq and query.known_hash else None
        return json_reply(asdict(await in_thread(call.site.backend.operations.verify_audit, known)))
    if _LINES in call.request.headers.get("accept", ""):
        return StreamingResponse(_export(call, query), 200, None, _LINES)
    rows, head = await in_thread(_listed, call, query)
    following = rows[-1]["seq"] if query.after and rows else max((row["seq"] for row in rows), default=query.after)
    return table_or_json(call.request, {"items": rows, "next": following, "head": head}, rows, _COLUMNS)


def _filters(query: requests.AuditQuery) -> dict[str, str]:
    return {name: value for name in _FILTERS if (value := getattr(query, name)) is not None}


def _listed(call: Call, query: requests.AuditQuery) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    backend = call.site.backend
    return backend.audit(query.after, query.limit, _filters(query), newest=not query.after), backend.audit_head()


async def _export(call: Call, query: requests.AuditQuery) -> AsyncIterator[bytes]:
    after = query.after
    while True:
        rows = await in_thread(call.site.backend.audit, after, _PAGE, _filters(query), newest=False)
        for row in rows:
            yield (json.dumps(row, ensure_ascii=False, separators=(",", ":"), default=str) + "\n").encode()
        if len(rows) < _PAGE:
            return
        after = rows[-1]["seq"]
