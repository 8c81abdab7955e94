"""Every refusal of the API, as `application/problem+json` (RFC 9457): one table of kinds, one way to answer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from starlette.responses import Response

from resilient.control.errors import Refused

__all__ = ["KINDS", "Problem", "from_refusal"]

KINDS: Final[Mapping[str, tuple[int, str]]] = MappingProxyType(
    {
        "malformed": (400, "The request cannot be read"),
        "token-in-url": (400, "A token stands in the address"),
        "token-in-body": (400, "A token stands in the body"),
        "unauthenticated": (401, "A valid token is needed"),
        "role": (403, "This caller may not do that"),
        "host": (403, "This host name is not served"),
        "origin": (403, "Another site sent this request"),
        "not-found": (404, "There is nothing here"),
        "unknown-name": (404, "Nobody knows this name"),
        "method": (405, "This method is not offered here"),
        "slow": (408, "The body did not come in time"),
        "rules": (409, "Interlock rules forbid it"),
        "conflict": (409, "Not possible in the present state"),
        "stale": (412, "It has changed since it was looked at"),
        "too-large": (413, "The body is too large"),
        "media-type": (415, "The body must be JSON"),
        "invalid": (422, "Some values are not allowed"),
        "precondition": (428, "It must be said what is replaced"),
        "wait": (429, "Too soon after the last change"),
        "too-many-failures": (429, "Too many requests without a valid token"),
        "fault": (500, "A fault of this service"),
        "streams": (503, "All streams are taken"),
        "unavailable": (503, "The control directory cannot be used"),
        "unaudited": (503, "It cannot be recorded, so it was not done"),
    }
)
"""The last part of a problem's `type`, with its status and its title."""

_OF_REFUSALS: Final = {
    "unknown": "unknown-name",
    "forbidden": "role",
    "audit": "unaudited",
}


class Problem(Exception):
    """An answer that is a refusal.

    Args:
        kind: One of `KINDS`.
        detail: A sentence for people; never with anything that the caller sent as a credential.
        headers: More headers of the answer.
        retry_after: Seconds until it has a chance, or None.
        members: More members of the object, such as `parameter`, `allowed`, `close_matches`, `violations`.

    """

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        **members: Any,  # noqa: ANN401 -- whatever JSON can say
    ) -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.status, self.title = KINDS[kind]
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members
        if retry_after is not None:
            self.headers["Retry-After"] = str(max(1, math.ceil(retry_after)))
            self.members["retry_after"] = max(0.0, retry_after)

    def response(self) -> Response:
        """Return the answer."""
        body = {
            "type": f"urn:resilient:problem:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.members,
        }
        return Response(
            json.dumps(body, ensure_ascii=False, default=str).encode("utf-8", "replace"),
            self.status,
            {"Cache-Control": "no-store", **self.headers},
            "application/problem+json",
        )


def from_refusal(refused: Refused) -> Problem:
    """Return the answer to what the control directory refused."""
    kind = _OF_REFUSALS.get(refused.kind, refused.kind)
    if kind == "unknown-name" and "close_matches" not in refused.details:
        kind = "not-found"  # an id, or a hold that the caller does not have
    members = {name: value for name, value in refused.details.items() if name not in _FIXED}
    return Problem(kind, refused.message, retry_after=refused.retry_after, **members)


_FIXED = frozenset({"type", "title", "status", "detail", "kind", "headers", "retry_after"})
