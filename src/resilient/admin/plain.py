"""What needs no token: health, readiness, metrics if they are served, the dashboard's files, the OpenAPI document."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from resilient.admin import answers
from resilient.admin.backend import in_thread
from resilient.admin.endpoints import Call, Endpoint, Table
from resilient.admin.problems import Problem
from resilient.admin.reply import json_reply
from resilient.control.errors import ControlUnavailable

__all__ = ["table"]

table = Table()

_STATIC: Final = Path(__file__).parent / "static"
_TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


@table("GET", "/healthz", None, answers={200: answers.Alive})
async def show_health(call: Call) -> Response:  # noqa: ARG001 -- a handler's
    """Say that the process answers; always the same."""
    return json_reply({"status": "ok"})


@table("GET", "/readyz", None, answers={200: answers.Ready, 503: answers.Ready})
async def show_readiness(call: Call) -> Response:
    """Say whether this host should get requests, with the state of each downstream that was named critical.

    That is always so unless the application names states in which it is not: an open breaker here is mostly open
    on every other host, too, and taking all of them out of service helps nobody.
    """
    states: dict[str, str] = {}
    if call.site.critical:
        try:
            await in_thread(call.site.hub.refresh)
            states = {row["name"]: row["state"] for row in call.site.hub.latest.get("downstreams", ())}
        except ControlUnavailable:
            pass  # unknown is no reason to take a host out of service
    critical = {name: states.get(name, "unknown") for name in call.site.critical}
    down = any(state in call.site.unready for state in critical.values())
    return json_reply({"status": "not ready" if down else "ready", "critical": critical}, 503 if down else 200)


@table("GET", "/openapi.json", None, answers={200: None}, media=("application/json",))
async def show_openapi(call: Call) -> Response:
    """Describe the API."""
    made = call.site.made
    if "openapi" not in made:  # once: anybody may ask, and the event loop may be an application's
        made["openapi"] = await in_thread(_described, call.site.endpoints)
    return Response(made["openapi"], 200, None, "application/json")


@table("GET", "/", None, answers={200: None, 304: None}, media=("text/html",))
async def show_dashboard(call: Call) -> Response:
    """Serve the dashboard."""
    return await in_thread(_file, call.request, "index.html")


@table("GET", "/{file}", None, answers={200: None, 304: None}, media=("*/*",), problems=(404,))
async def show_file(call: Call) -> Response:
    """Serve a file of the dashboard."""
    return await in_thread(_file, call.request, call.path["file"])


def _described(endpoints: tuple[Endpoint, ...]) -> bytes:
    from resilient.admin.openapi import document  # noqa: PLC0415 -- that module is also a command

    return json.dumps(document(endpoints), ensure_ascii=False, separators=(",", ":")).encode()


def _file(request: Request, name: str) -> Response:
    found = _files().get(name)
    if found is None:
        raise Problem("not-found", "There is no such file.", parameter="file")
    content, kind, tag = found
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(None, 304, headers)
    return Response(content, 200, headers, kind)


@cache
def _files() -> dict[str, tuple[bytes, str, str]]:
    """Return the dashboard's files, read once: some 100 kB."""
    found = {}
    for path in _STATIC.iterdir():
        if path.suffix in _TYPES and path.is_file():
            content = path.read_bytes()
            found[path.name] = content, _TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:20]}"'
    return found
