"""Let a request in: its address, its sender, its values; each check refuses with the problem that it found."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import unquote

import anyio
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from resilient import faults
from resilient.admin.auth import Authenticator, Caller, Role
from resilient.admin.failures import Denials
from resilient.admin.problems import Problem
from resilient.admin.tokens import LEAK

__all__ = [
    "authenticated",
    "check_role",
    "no_body",
    "no_token_in_url",
    "peer",
    "read_body",
    "read_query",
    "segments",
    "still_admitted",
]

_LARGEST_BODY = 65_536
_SLOWEST_BODY = 10.0
_LONGEST_PEER = 64
_LEAKY = frozenset({"token", "access_token", "api_key", "apikey", "auth", "authorization", "bearer", "password"})

_ESCAPED = re.compile(r"\\u00([0-7][0-9A-Fa-f])")
"""A sign of ASCII as JSON may also write it."""

M = TypeVar("M", bound=BaseModel)


def peer(request: Request) -> str:
    """Return the address that the request comes from; behind a proxy it is whatever that one passes on."""
    host = request.client.host if request.client else "unknown"
    return host if len(host) <= _LONGEST_PEER and host.isascii() and host.isprintable() else "unreadable"


def segments(scope: Mapping[str, Any]) -> list[str]:
    """Return the path below the mount, cut at its slashes; those written as %2F belong to a name."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    if root and (path == root or path.startswith(f"{root.rstrip('/')}/")):
        path = path[len(root.rstrip("/")) :]
    raw = bytes(scope.get("raw_path") or b"").partition(b"?")[0].decode("ascii", "replace")
    parts = [unquote(part) for part in raw.split("/")]
    for start in range(1, len(parts)):
        if "/" + "/".join(parts[start:]) == path:
            return parts[start:]
    return path.split("/")[1:]


def no_token_in_url(request: Request) -> None:
    """Refuse an address that carries a token: addresses end up in logs, histories and Referer headers.

    Raises:
        Problem: 400.

    """
    url = request.url.path + "?" + unquote(request.url.query)
    if LEAK.search(url) or _LEAKY & {name.lower() for name in request.query_params}:
        detail = (
            "Tokens are taken from the header `Authorization: Bearer ...` only. What stands in an address is written "
            "to logs on the way: if it was a token, replace it."
        )
        raise Problem("token-in-url", detail)


async def authenticated(request: Request, authenticator: Authenticator, denials: Denials) -> Caller:
    """Return who sends the request.

    Raises:
        Problem: 401, the same for every wrong credential and for none; 429 after too many of them.

    """
    address = peer(request)
    wait = denials.wait(address)
    # Where secrets can be guessed, a peer that failed too often is not even tried. Where they cannot, it is, or
    # whoever shares a proxy with an attacker would be locked out.
    if wait and not getattr(authenticator, "unguessable", False):
        raise _too_many(wait)
    caller = await _ask(authenticator, request)
    if caller is not None:
        return caller
    if wait:
        raise _too_many(wait)
    denials.failed(address)
    raise Problem("unauthenticated", "Send `Authorization: Bearer rsl_...`.", headers={"WWW-Authenticate": "Bearer"})


async def still_admitted(request: Request, authenticator: Authenticator, role: Role) -> bool:
    """Tell whether who sent a request some time ago would be let in now: answers may go on for days."""
    caller = await _ask(authenticator, request)
    return caller is not None and caller.may(role)


def check_role(caller: Caller, role: Role) -> None:
    """Refuse a caller whose role does not include another.

    Raises:
        Problem: 403.

    """
    if not caller.may(role):
        detail = f"{caller.name} is {caller.role}; this needs the role {role}."
        raise Problem("role", detail, role=caller.role, allowed=role)


async def read_body(request: Request, model: type[M]) -> M:
    """Return the checked body.

    Raises:
        Problem: 400 for what is no JSON or has a token in it, 408, 413 and 415, 422 with every field that is wrong.

    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise Problem("media-type", "Send the body with `Content-Type: application/json`.", allowed="application/json")
    data = bytearray()
    with anyio.move_on_after(_SLOWEST_BODY) as patience:
        async for chunk in request.stream():
            data += chunk
            if len(data) > _LARGEST_BODY:
                raise Problem("too-large", f"A body has at most {_LARGEST_BODY} bytes.", allowed=_LARGEST_BODY)
    if patience.cancelled_caught:
        raise Problem("slow", f"A body must be here within {_SLOWEST_BODY:g} s.", headers={"Connection": "close"})
    _no_token_in_body(data)
    try:
        return model.model_validate_json(bytes(data), strict=True)
    except ValidationError as error:
        raise _invalid(error, model) from None


def no_body(request: Request) -> None:
    """Refuse a body where none is read: a reason in it would be lost.

    Raises:
        Problem: 400.

    """
    if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
        raise Problem("malformed", "No body is read here: a reason goes into the address, as in `?reason=it+is+fixed`.")


def read_query(request: Request, model: type[M]) -> M:
    """Return the checked parameters of the query.

    Raises:
        Problem: 422 with every parameter that is wrong, unknown or given twice.

    """
    values: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        values[name] = [values[name], value] if name in values else value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _invalid(error, model) from None


def _no_token_in_body(data: bytearray) -> None:
    """Refuse a body with a token in it, before any of it is kept in the record or repeated in an answer."""
    text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), data.decode("ascii", "replace"))
    if LEAK.search(text):
        detail = (
            "Tokens are taken from the header `Authorization: Bearer ...` only. Nothing of this body was kept; all the "
            "same, replace it if others can see what you sent."
        )
        raise Problem("token-in-body", detail)


def _too_many(wait: float) -> Problem:
    detail = "Too many requests without a valid token came from this address."
    return Problem("too-many-failures", detail, retry_after=wait)


async def _ask(authenticator: Authenticator, request: Request) -> Caller | None:
    try:
        answer = authenticator.authenticate(request)
        caller = await answer if inspect.isawaitable(answer) else answer
    except Exception as fault:  # noqa: BLE001 -- somebody else's code; who is not recognised stays outside
        faults.report(authenticator.authenticate, fault)
        return None
    return caller if isinstance(caller, Caller) else None


def _invalid(error: ValidationError, model: type[BaseModel]) -> Problem:
    found: list[Any] = error.errors(include_url=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return Problem("malformed", f"The body is no JSON: {found[0]['ctx']['error']}.")
    errors = [_told(each, model) for each in found]
    detail = "; ".join(f"{each['parameter']}: {each['message']}" for each in errors[:3])
    more = {name: errors[0][name] for name in ("allowed", "close_matches") if name in errors[0]}
    return Problem("invalid", detail, parameter=errors[0]["parameter"], errors=errors, **more)


def _told(error: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    place = ".".join(map(str, error["loc"])) or "body"
    message = error["msg"].removeprefix("Value error, ").removeprefix(f"{place} ")
    told: dict[str, Any] = {"parameter": place[:200], "message": message}
    if error["type"] == "extra_forbidden":
        told["message"] = "there is no such parameter"
        told["allowed"] = sorted(model.model_fields)
        told["close_matches"] = difflib.get_close_matches(place, model.model_fields)
    elif "expected" in error.get("ctx", {}):
        told["allowed"] = error["ctx"]["expected"]
    return told
