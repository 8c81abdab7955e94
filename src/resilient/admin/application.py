"""The ASGI application: who is let in, which handler answers, and the headers that every answer has."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from resilient import clock
from resilient.admin.admit import (
    authenticated,
    check_role,
    no_body,
    no_token_in_url,
    read_body,
    read_query,
    segments,
    still_admitted,
)
from resilient.admin.auth import Authenticator
from resilient.admin.endpoints import Call, Endpoint, Site
from resilient.admin.hosts import Hosts, check_origin
from resilient.admin.problems import Problem, from_refusal
from resilient.admin.refused import METHODS, audit, tell
from resilient.admin.requests import ListQuery
from resilient.control.errors import ControlUnavailable, Refused
from resilient.telemetry.statistics import PROCESS

__all__ = ["Admin"]

_log = logging.getLogger("resilient.admin")

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer, unless it says otherwise itself."""

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_ID: Final = re.compile("[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Admin:
    """The admin API and its dashboard, as an ASGI 3 application that can be mounted anywhere."""

    site: Site
    authenticator: Authenticator
    hosts: Hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._serve(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            kind = (await receive())["type"]
            if kind == "lifespan.shutdown":
                self.site.hub.closed = True
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        call: list[Call] = []
        denied: Problem | None = None
        started = clock.SYSTEM.now()
        try:
            response = await self._answer(request, call)
        except ClientDisconnect:
            return
        except Exception as fault:  # noqa: BLE001 -- whatever it is, the caller gets an answer and no traceback
            problem = _problem(fault, request.method)
            tell(self.site, problem, request, call[0] if call else None)
            denied = problem if problem is fault else None  # what the record refuses is in the audit already
            response = problem.response()
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if request.method not in _SAFE:
            response.headers.setdefault("X-Request-Id", call[0].request_id if call else _request_id(request))
        _measure(request.method, response.status_code, call[0] if call else None, clock.SYSTEM.now() - started)
        await response(scope, receive, _headless(send) if request.method == "HEAD" else send)
        if denied is not None and call:
            await audit(self.site, denied, request, call[0])

    async def _answer(self, request: Request, calls: list[Call]) -> Response:
        self.hosts.check(request.headers)
        no_token_in_url(request)
        if not segments(request.scope):
            return _to_folder(request)
        if request.method not in _SAFE:
            check_origin(request.headers)
        endpoint, path = self._route(request)
        call = Call(self.site, request, None, endpoint, path, _request_id(request))
        calls.append(call)
        if endpoint.role is not None:
            call.caller = await authenticated(request, self.authenticator, self.site.denials)
            check_role(call.caller, endpoint.role)
            call.admitted = partial(still_admitted, request, self.authenticator, endpoint.role)
        call.query = read_query(request, endpoint.query or ListQuery)
        if endpoint.body is not None:
            call.body = await read_body(request, endpoint.body)
        elif request.method == "DELETE":
            no_body(request)
        return await endpoint.handler(call)

    def _route(self, request: Request) -> tuple[Endpoint, dict[str, str]]:
        parts = segments(request.scope)
        found = [(each, path) for each in self.site.endpoints if (path := each.match(parts)) is not None]
        for endpoint, path in found:
            if request.method == endpoint.method or (request.method == "HEAD" and endpoint.head):
                return endpoint, path
        if not found:
            raise Problem("not-found", "There is nothing at this address; `openapi.json` lists what there is.")
        allowed = sorted({each.method for each, _ in found} | {"HEAD" for each, _ in found if each.head})
        asked = request.method if request.method in METHODS else "This method"
        detail = f"{asked} is not offered here; {', '.join(allowed)} is."
        raise Problem("method", detail, headers={"Allow": ", ".join(allowed)}, allowed=allowed)


def _problem(fault: Exception, method: str) -> Problem:
    if isinstance(fault, Problem):
        return fault
    if isinstance(fault, Refused):
        return from_refusal(fault)
    if isinstance(fault, ControlUnavailable):
        return Problem("unavailable", str(fault), retry_after=2.0)
    _log.error("%s failed; its caller was told so", method, exc_info=fault, extra={"event": "resilient.admin.fault"})
    return Problem("fault", "This is a fault of the service, and was written to its log.")


def _measure(method: str, status: int, call: Call | None, seconds: float) -> None:
    """Record how long it took until there was an answer; the labels have few values, whatever is asked."""
    route, role = (call.endpoint.path, call.caller.role if call.caller else "") if call else ("", "")
    labels = (route, method if method in METHODS else "other", str(status), role)
    PROCESS.add("resilient_admin_request_duration_seconds", labels, seconds)


def _to_folder(request: Request) -> Response:
    """Lead from the mount itself, such as /ops, to /ops/: relative links of the page start there."""
    path = str(request.scope["path"]) or str(request.scope.get("root_path", ""))
    return Response(None, 308, {"Location": f"{quote(path.rpartition('/')[2])}/"})


def _request_id(request: Request) -> str:
    sent = request.headers.get("x-request-id", "")
    return sent if _ID.fullmatch(sent) else secrets.token_hex(8)


def _headless(send: Send) -> Send:
    async def without_body(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return without_body
