"""What can be looked at: everything at a glance, one downstream in full, processes, events, incidents."""

from __future__ import annotations

import difflib
from typing import Any

from starlette.responses import Response

from resilient import __version__
from resilient.admin import answers, requests
from resilient.admin.backend import in_thread
from resilient.admin.endpoints import Call, Table
from resilient.admin.problems import Problem
from resilient.admin.reply import etag_of, json_reply, table_or_json, tagged, wants_text
from resilient.control.pages import read_pages

__all__ = ["table"]

table = Table()

_ROW = ("name", "state", "states", "rate", "error_share", "in_flight", "p99", "holds")
_CONDITIONAL = {"If-None-Match": "The ETag of the last answer: 304 if nothing has changed."}
_TEXT = ("text/plain",)


@table("GET", "/v1", answers={200: answers.Version})
async def show_caller(call: Call) -> Response:
    """Say who answers, how far it reaches, and what the caller may do."""
    seen = await in_thread(call.site.backend.overview)
    caller = call.known
    told = {"name": caller.name, "role": caller.role, "only": list(caller.only)}
    kept = {key: seen[key] for key in ("app", "path", "reach", "revision")}
    return json_reply({"version": __version__, **kept, **told})


@table("GET", "/v1/snapshot", answers={200: answers.Snapshot, 304: None}, headers=_CONDITIONAL, media=_TEXT)
async def show_snapshot(call: Call) -> Response:
    """Show everything at a glance."""
    seen = await in_thread(call.site.backend.overview)
    if wants_text(call.request):
        return table_or_json(call.request, seen, seen["downstreams"], _ROW)
    return tagged(call.request, seen, etag_of({key: value for key, value in seen.items() if key != "at"}))


@table("GET", "/v1/downstreams", answers={200: answers.DownstreamList}, media=_TEXT, query=requests.DownstreamsQuery)
async def list_downstreams(call: Call) -> Response:
    """List downstreams."""
    query = call.queries(requests.DownstreamsQuery)
    rows = (await in_thread(call.site.backend.overview))["downstreams"]
    rows = [
        row
        for row in rows
        if (query.state is None or row["state"] == query.state) and query.q.lower() in row["name"].lower()
    ]
    return table_or_json(call.request, {"items": rows}, rows, _ROW)


@table("GET", "/v1/downstreams/{name}", answers={200: answers.DownstreamAnswer}, problems=(404,))
async def show_downstream(call: Call) -> Response:
    """Show one downstream: its settings, thresholds beside the present window, each process, the last events.

    The ETag is that of its holds: send it as `If-Match` to replace one. Statistics change without it.
    """
    row, shown, last = await in_thread(_in_full, call, call.path["name"])
    return json_reply(row | {"processes": shown, "events": last}, headers={"ETag": f'"{row["etag"]}"'})


@table(
    "GET",
    "/v1/downstreams/{name}/events",
    query=requests.EventsQuery,
    answers={200: answers.EventList},
    media=_TEXT,
    problems=(404,),
)
async def list_events_of_downstream(call: Call) -> Response:
    """List a downstream's events."""
    name = call.path["name"]
    await in_thread(_row, call, name)
    return await _events(call, name)


@table("GET", "/v1/events", query=requests.EventsQuery, answers={200: answers.EventList}, media=_TEXT)
async def list_events(call: Call) -> Response:
    """List the events of all processes on this host."""
    return await _events(call, None)


@table(
    "GET",
    "/v1/incidents",
    query=requests.IncidentsQuery,
    answers={200: answers.IncidentList},
    media=_TEXT,
)
async def list_incidents(call: Call) -> Response:
    """List incidents, newest first; those under way have no end."""
    query = call.queries(requests.IncidentsQuery)
    rows = await in_thread(call.site.backend.incidents, query.target, query.limit)
    columns = ("id", "downstream", "started_at", "ended_at", "duration_s", "planned", "cause")
    return table_or_json(call.request, {"items": rows}, rows, columns)


@table("GET", "/v1/processes", answers={200: answers.ProcessList}, media=_TEXT)
async def list_processes(call: Call) -> Response:
    """List the processes on this host, and whether they have applied the last change."""
    rows = (await in_thread(call.site.backend.overview))["processes"]
    columns = ("instance", "host", "pid", "version", "python", "heartbeat_age", "applied", "stale")
    return table_or_json(call.request, {"items": rows}, rows, columns)


def _row(call: Call, name: str) -> dict[str, Any]:
    """Return a downstream's row.

    Raises:
        Problem: 404 with names that are close to it.

    """
    rows: dict[str, dict[str, Any]] = {row["name"]: row for row in call.site.backend.overview()["downstreams"]}
    if name in rows:
        return rows[name]
    matches = difflib.get_close_matches(name, rows, n=3, cutoff=0.5)
    close = f" Close to it: {', '.join(matches)}." if matches else ""
    raise Problem(
        "unknown-name", f"No process shows a downstream {name!r}.{close}", parameter="name", close_matches=matches
    )


def _in_full(call: Call, name: str) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    row = _row(call, name)
    shown = []
    for page in read_pages(call.site.backend.directory.path):
        own = page.data.get("downstreams", {}).get(name)
        if page.alive and own is not None:
            shown.append({"instance": page.instance, "pid": page.data.get("pid"), "age": round(page.age, 3), **own})
    return row, shown, call.site.backend.events(None, 20, name)[0]


async def _events(call: Call, name: str | None) -> Response:
    query = call.queries(requests.EventsQuery)
    rows, cursor = await in_thread(call.site.backend.events, query.after or None, query.limit, name)
    columns = ("seq", "at", "name", "downstream", "instance", "fields")
    return table_or_json(call.request, {"items": rows, "next": cursor}, rows, columns)
