"""Holds: place, replace, release, extend; the kill switch of retries; and commands that are done once."""

from __future__ import annotations

from functools import partial

from starlette.responses import Response

from resilient.admin import answers, preconditions, requests
from resilient.admin.backend import in_thread
from resilient.admin.changing import HEADERS, changed, who, within_reach
from resilient.admin.endpoints import Call, Table
from resilient.admin.problems import Problem
from resilient.admin.reply import json_reply, table_or_json

__all__ = ["table"]

table = Table()

_RECEIPTS = {200: answers.ReceiptAnswer, 202: answers.ReceiptAnswer}
_PLACING = {
    "query": requests.MutationQuery,
    "answers": _RECEIPTS,
    "headers": preconditions.HEADERS | HEADERS,
    "problems": (409, 412, 428, 429),
}
_RELEASING = {
    "query": requests.ReleaseQuery,
    "answers": _RECEIPTS,
    "headers": HEADERS,
    "problems": (409, 429),
}


@table("PUT", "/v1/downstreams/{name}/hold", "operator", body=requests.HoldBody, **_PLACING)
async def place(call: Call) -> Response:
    """Place the caller's hold on a downstream, or replace it.

    To replace one, send `If-Match` with the ETag of the downstream (428 without, 412 if it has changed since);
    `If-None-Match: *` only places. 200 says that every live process has applied it, 202 that some have not yet.
    """
    return await _place(call, call.sent(requests.HoldBody))


@table("PUT", "/v1/downstreams/{name}/retries", "operator", body=requests.RetriesBody, **_PLACING)
async def retries_off(call: Call) -> Response:
    """Take second attempts away from a downstream: a hold of the mode no_retries."""
    return await _place(call, call.sent(requests.RetriesBody))


@table("DELETE", "/v1/downstreams/{name}/hold", "operator", **_RELEASING)
async def release(call: Call) -> Response:
    """Release the caller's hold; with `hold_id` that one, for which others than its owner need the role admin."""
    return await _release(call, call.path["name"], call.queries(requests.ReleaseQuery).hold_id)


@table("DELETE", "/v1/downstreams/{name}/retries", "operator", **_RELEASING)
async def retries_on(call: Call) -> Response:
    """Give second attempts back: release the hold of the mode no_retries."""
    name, hold_id = call.path["name"], call.queries(requests.ReleaseQuery).hold_id
    if hold_id is None:
        there = await in_thread(call.site.backend.operations.holds, name)
        mine = [each for each in there if each.mode == "no_retries" and each.actor == call.known.name]
        if not mine:
            others = sorted({each.actor for each in there if each.mode == "no_retries"})
            detail = f"{call.known.name} holds no retries of {name!r}."
            raise Problem("not-found", detail + (f" {', '.join(others)} does; give hold_id." if others else ""))
        hold_id = mine[0].id
    return await _release(call, name, hold_id)


@table(
    "POST",
    "/v1/downstreams/{name}/commands",
    "operator",
    body=requests.CommandBody,
    query=requests.CommandQuery,
    answers=_RECEIPTS,
    headers=HEADERS | {"Idempotency-Key": "The same key within 24 h does it once; 1 to 200 printable characters."},
    problems=(409, 429),
)
async def command(call: Call) -> Response:
    """Have every process forget what its breaker has seen (reset), or let an open one try now (probe)."""
    name, body = call.path["name"], call.sent(requests.CommandBody)
    within_reach(call, name)
    key = call.request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= 200 and key.isascii() and key.isprintable()):  # noqa: PLR2004
        allowed = "1 to 200 printable ASCII characters"
        raise Problem("malformed", f"Idempotency-Key must be {allowed}.", parameter="Idempotency-Key", allowed=allowed)
    run = partial(call.site.backend.operations.command, name, body.command, reason=body.reason, who=who(call), key=key)
    return await changed(call, run, target=name, wait=call.queries(requests.CommandQuery).wait)


@table("GET", "/v1/holds", query=requests.HoldsQuery, answers={200: answers.HoldList}, media=("text/plain",))
async def listed(call: Call) -> Response:
    """List holds, those in force or all there were."""
    query = call.queries(requests.HoldsQuery)
    rows = await in_thread(call.site.backend.holds, query.target, query.limit, ended=query.ended)
    columns = ("id", "target", "mode", "percent", "actor", "remaining", "status", "reason")
    return table_or_json(call.request, {"items": rows}, rows, columns)


@table("GET", "/v1/holds/{id}", answers={200: answers.HoldAnswer}, problems=(404,))
async def one(call: Call) -> Response:
    """Show a hold, ended or not."""
    return json_reply(await in_thread(call.site.backend.hold, call.path["id"]))


@table(
    "PATCH",
    "/v1/holds/{id}",
    "operator",
    body=requests.HoldPatch,
    query=requests.WaitQuery,
    answers=_RECEIPTS,
    headers=HEADERS,
    problems=(404, 409, 429),
)
async def extend(call: Call) -> Response:
    """Change when a hold ends, its ticket, or add a note; whose it is, or an admin."""
    body = call.sent(requests.HoldPatch)
    hold = await in_thread(call.site.backend.operations.hold, call.path["id"])
    within_reach(call, hold.target)
    run = partial(
        call.site.backend.operations.extend,
        hold.id,
        who=who(call),
        ttl=body.ttl,
        ticket=body.ticket,
        note=body.note,
    )
    return await changed(call, run, target=hold.target, wait=call.queries(requests.WaitQuery).wait)


@table("DELETE", "/v1/holds/{id}", "operator", **{**_RELEASING, "problems": (404, 409, 429)})
async def release_by_id(call: Call) -> Response:
    """Release a hold by its id; others than its owner need the role admin."""
    hold = await in_thread(call.site.backend.operations.hold, call.path["id"])
    return await _release(call, hold.target, hold.id)


async def _place(call: Call, body: requests.HoldBody) -> Response:
    name, query = call.path["name"], call.queries(requests.MutationQuery)
    within_reach(call, name)
    operations = call.site.backend.operations
    expect, create_only = preconditions.precondition(call.request.headers, await in_thread(operations.etag, name))
    run = partial(
        operations.place,
        name,
        body.mode,
        reason=body.reason,
        ttl=body.ttl,
        who=who(call),
        percent=body.percent,
        disposition=body.disposition,
        ticket=body.ticket,
        expect=expect,
        create_only=create_only,
        allow_unknown=query.allow_unknown,
        dry_run=query.dry_run,
        break_glass=tuple(body.break_glass),
    )
    return await changed(call, run, target=name, wait=query.wait)


async def _release(call: Call, name: str, hold_id: str | None) -> Response:
    query = call.queries(requests.ReleaseQuery)
    within_reach(call, name)
    run = partial(
        call.site.backend.operations.release,
        name,
        who=who(call),
        hold_id=hold_id,
        reason=query.reason,
        dry_run=query.dry_run,
    )
    return await changed(call, run, target=name, wait=query.wait)
