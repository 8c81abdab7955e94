"""Holds: place, replace, release, extend; the kill switch of retries; and commands that are done once."""

from __future__ import annotations

from functools import partial

from starlette.responses import Response

from resilient.admin import answers, receipts, requests
from resilient.admin.backend import in_thread
from resilient.admin.changing import HEADERS, changed, who, within_reach
from resilient.admin.endpoints import Call, Table
from resilient.admin.preconditions import HEADERS as PRECONDITIONS
from resilient.admin.preconditions import precondition
from resilient.admin.problems import Problem
from resilient.admin.reply import json_reply, table_or_json

__all__ = ["table"]

table = Table()

_RECEIPTS = {200: receipts.ReceiptAnswer, 202: receipts.ReceiptAnswer}
_MATCH = {"If-Match": "The ETag that the caller saw; refused with 412 if the holds have changed since."}
_PLACING = {
    "query": requests.PlacingQuery,
    "answers": _RECEIPTS,
    "headers": PRECONDITIONS | HEADERS,
    "problems": (409, 412, 428, 429),
}
_RELEASING = {
    "query": requests.ReleaseQuery,
    "answers": _RECEIPTS,
    "headers": _MATCH | HEADERS,
    "problems": (404, 409, 412, 429),
}


@table("PUT", "/v1/downstreams/{name}/hold", "operator", body=requests.HoldBody, **_PLACING)
async def place_hold(call: Call) -> Response:
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
async def release_hold(call: Call) -> Response:
    """Release the caller's hold; with `hold_id` that one, for which others than its owner need the role admin."""
    return await _release(call, call.path["name"], call.queries(requests.ReleaseQuery).hold_id)


@table("DELETE", "/v1/downstreams/{name}/retries", "operator", **_RELEASING)
async def retries_on(call: Call) -> Response:
    """Give second attempts back: release the hold of the mode no_retries."""
    return await _release(call, call.path["name"], call.queries(requests.ReleaseQuery).hold_id, retries=True)


@table(
    "POST",
    "/v1/downstreams/{name}/commands",
    "operator",
    body=requests.CommandBody,
    query=requests.PlacingQuery,
    answers=_RECEIPTS,
    headers=HEADERS | {"Idempotency-Key": "The same key within 24 h does it once; 1 to 200 printable characters."},
    problems=(409, 429),
)
async def give_command(call: Call) -> Response:
    """Have every process forget what its breaker has seen (reset), or let an open one try now (probe)."""
    name, body = call.path["name"], call.sent(requests.CommandBody)
    within_reach(call, name)
    key = call.request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= 200 and key.isascii() and key.isprintable()):  # noqa: PLR2004
        allowed = "1 to 200 printable ASCII characters"
        raise Problem("malformed", f"Idempotency-Key must be {allowed}.", parameter="Idempotency-Key", allowed=allowed)
    query = call.queries(requests.PlacingQuery)
    run = partial(
        call.site.backend.operations.command,
        name,
        body.command,
        reason=body.reason,
        who=who(call),
        key=key,
        allow_unknown=query.allow_unknown,
        dry_run=query.dry_run,
    )
    return await changed(call, run, target=name, wait=query.wait)


@table("GET", "/v1/holds", query=requests.HoldsQuery, answers={200: answers.HoldList}, media=("text/plain",))
async def list_holds(call: Call) -> Response:
    """List holds, those in force or all there were."""
    query = call.queries(requests.HoldsQuery)
    rows = await in_thread(call.site.backend.holds, query.target, query.limit, ended=query.ended)
    columns = ("id", "target", "mode", "percent", "actor", "remaining", "status", "reason")
    return table_or_json(call.request, {"items": rows}, rows, columns)


@table("GET", "/v1/holds/{id}", answers={200: answers.HoldAnswer}, problems=(404,))
async def show_hold(call: Call) -> Response:
    """Show a hold, ended or not."""
    return json_reply(await in_thread(call.site.backend.hold, call.path["id"]))


@table(
    "PATCH",
    "/v1/holds/{id}",
    "operator",
    body=requests.HoldPatch,
    query=requests.ChangeQuery,
    answers=_RECEIPTS,
    headers=_MATCH | HEADERS,
    problems=(404, 409, 412, 429),
)
async def extend_hold(call: Call) -> Response:
    """Change when a hold ends, its ticket, or add a note; whose it is, or an admin."""
    body, query = call.sent(requests.HoldPatch), call.queries(requests.ChangeQuery)
    hold = await in_thread(call.site.backend.operations.hold, call.path["id"])
    within_reach(call, hold.target)
    run = partial(
        call.site.backend.operations.extend,
        hold.id,
        who=who(call),
        ttl=body.ttl,
        ticket=body.ticket,
        note=body.note,
        expect=await _expected(call, hold.target),
        dry_run=query.dry_run,
    )
    return await changed(call, run, target=hold.target, wait=query.wait)


@table("DELETE", "/v1/holds/{id}", "operator", **_RELEASING)
async def release_hold_by_id(call: Call) -> Response:
    """Release a hold by its id; others than its owner need the role admin."""
    hold = await in_thread(call.site.backend.operations.hold, call.path["id"])
    return await _release(call, hold.target, hold.id)


async def _place(call: Call, body: requests.HoldBody) -> Response:
    name, query = call.path["name"], call.queries(requests.PlacingQuery)
    within_reach(call, name)
    operations = call.site.backend.operations
    expect, create_only = precondition(call.request.headers, await in_thread(operations.etag, name))
    if call.request.headers.get("if-match", "").strip() == "*":
        await _has_one(call, name, retries=body.mode == "no_retries")
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
        strict=True,
        allow_unknown=query.allow_unknown,
        dry_run=query.dry_run,
        break_glass=tuple(body.break_glass),
    )
    return await changed(call, run, target=name, wait=query.wait)


async def _has_one(call: Call, name: str, *, retries: bool) -> None:
    """Refuse to replace what is not there."""
    found = await in_thread(call.site.backend.operations.holds, name)
    if not any(each.actor == call.known.name and (each.mode == "no_retries") is retries for each in found):
        raise Problem("stale", f"{call.known.name} has no hold on {name!r} that could be replaced.")


async def _expected(call: Call, target: str) -> str | None:
    """Return the tag that a change names; releasing and extending need none."""
    return precondition(call.request.headers, await in_thread(call.site.backend.operations.etag, target))[0]


async def _release(call: Call, name: str, hold_id: str | None, *, retries: bool = False) -> Response:
    query = call.queries(requests.ReleaseQuery)
    within_reach(call, name)
    run = partial(
        call.site.backend.operations.release,
        name,
        who=who(call),
        hold_id=hold_id,
        reason=query.reason,
        retries=retries,
        expect=await _expected(call, name),
        dry_run=query.dry_run,
    )
    return await changed(call, run, target=name, wait=query.wait)
