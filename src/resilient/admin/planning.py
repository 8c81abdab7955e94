"""Planned maintenances, which are ended and never deleted; and interlock rules."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

from starlette.responses import Response

from resilient.admin import answers, receipts, requests
from resilient.admin.backend import in_thread
from resilient.admin.changing import HEADERS, all_within_reach, changed, who
from resilient.admin.endpoints import Call, Table
from resilient.admin.preconditions import precondition
from resilient.admin.problems import Problem
from resilient.admin.reply import json_reply, table_or_json, tagged
from resilient.control.intent import Rule, Window
from resilient.control.spoken import window_json

__all__ = ["table"]

table = Table()

_RECEIPTS = {200: receipts.ReceiptAnswer, 202: receipts.ReceiptAnswer}


@table("GET", "/v1/windows", query=requests.WindowsQuery, answers={200: answers.WindowList}, media=("text/plain",))
async def list_windows(call: Call) -> Response:
    """List planned maintenances."""
    query = call.queries(requests.WindowsQuery)
    rows = [window_json(each) for each in await in_thread(call.site.backend.operations.windows, ended=query.ended)]
    columns = ("id", "selector", "mode", "percent", "starts_at", "ends_at", "actor", "status", "reason")
    return table_or_json(call.request, {"items": rows}, rows, columns)


@table(
    "POST",
    "/v1/windows",
    "operator",
    body=requests.WindowBody,
    query=requests.PlacingQuery,
    answers={201: receipts.ReceiptAnswer, **_RECEIPTS},
    headers=HEADERS,
    problems=(404, 409, 429),
)
async def schedule_window(call: Call) -> Response:
    """Plan a maintenance; 201 when it is planned, 200 for a dry run."""
    body, query = call.sent(requests.WindowBody), call.queries(requests.PlacingQuery)
    all_within_reach(call, body.selector)
    run = partial(
        call.site.backend.operations.schedule,
        body.selector,
        body.mode,
        starts_at=body.starts_at.timestamp(),
        ends_at=body.ends_at.timestamp(),
        reason=body.reason,
        who=who(call),
        percent=body.percent,
        disposition=body.disposition,
        ticket=body.ticket,
        allow_unknown=query.allow_unknown,
        dry_run=query.dry_run,
        break_glass=tuple(body.break_glass),
    )
    return await changed(call, run, target="", wait=query.wait, created=True)


@table("GET", "/v1/windows/{id}", answers={200: answers.WindowAnswer}, problems=(404,))
async def show_window(call: Call) -> Response:
    """Show a planned maintenance, ended or not."""
    return json_reply(window_json(await _window(call)))


@table(
    "POST",
    "/v1/windows/{id}/end",
    "operator",
    body=requests.WindowEndBody,
    query=requests.ChangeQuery,
    answers=_RECEIPTS,
    headers=HEADERS,
    problems=(404, 409, 429),
)
async def end_window(call: Call) -> Response:
    """End a maintenance before its time, or call it off."""
    found = await _window(call)
    all_within_reach(call, found.selector)
    run = partial(
        call.site.backend.operations.end_window,
        found.id,
        who=who(call),
        reason=call.sent(requests.WindowEndBody).reason,
        dry_run=call.queries(requests.ChangeQuery).dry_run,
    )
    return await changed(call, run, target="", wait=call.queries(requests.ChangeQuery).wait)


@table("GET", "/v1/rules", answers={200: answers.RulesAnswer, 304: None})
async def show_rules(call: Call) -> Response:
    """List the interlock rules; the ETag is needed to replace them."""
    value, tag = await in_thread(_rules, call)
    return tagged(call.request, value, tag)


@table(
    "PUT",
    "/v1/rules",
    "admin",
    body=requests.RulesBody,
    query=requests.ChangeQuery,
    answers=_RECEIPTS,
    headers={"If-Match": "The ETag of the rules that are replaced; always needed.", **HEADERS},
    problems=(409, 412, 428, 429),
)
async def set_rules(call: Call) -> Response:
    """Replace all interlock rules.

    They are for all downstreams, and so must the token be.
    """
    all_within_reach(call, "*")
    body = call.sent(requests.RulesBody)
    _, tag = await in_thread(_rules, call)
    expect, _ = precondition(call.request.headers, tag)
    if expect is None:
        raise Problem(
            "precondition", "Send If-Match with the ETag of the rules that are replaced.", parameter="If-Match"
        )
    made = [Rule(**{**each.model_dump(), "group": tuple(each.group)}) for each in body.rules]
    query = call.queries(requests.ChangeQuery)
    run = partial(
        call.site.backend.operations.set_rules,
        made,
        who=who(call),
        reason=body.reason,
        expect=expect,
        dry_run=query.dry_run,
    )
    return await changed(call, run, target="", wait=query.wait)


async def _window(call: Call) -> Window:
    return await in_thread(call.site.backend.operations.window, call.path["id"])


def _rules(call: Call) -> tuple[dict[str, Any], str]:
    operations = call.site.backend.operations
    tag = operations.rules_etag()  # first: who replaces rules that changed in between is refused
    revision = call.site.backend.directory.revision()
    return {"rules": [asdict(each) for each in operations.rules()], "revision": revision}, tag
