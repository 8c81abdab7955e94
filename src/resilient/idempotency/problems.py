"""The answers of a server that does not execute: problem details (RFC 9457), with what a client needs to go on."""

from __future__ import annotations

import json
import math

from resilient.idempotency import errors
from resilient.idempotency.answers import Answer

__all__ = ["Problem", "of_refusal"]


class Problem:
    """One kind of refusal.

    Args:
        name: Last part of its type.
        status: Of the response.
        title: What all problems of this kind have in common.
        again: Whether the same request may be sent again by a machine.

    """

    __slots__ = ("again", "name", "status", "title")

    def __init__(self, name: str, status: int, title: str, *, again: bool = False) -> None:
        self.name, self.status, self.title, self.again = name, status, title, again

    def answer(self, detail: str, about: str | None, *, retry_after: float | None = None, key_id: str = "") -> Answer:
        """Return the response.

        Args:
            detail: What to do about it.
            about: URL of the documentation that the operator has given, or None.
            retry_after: Seconds, or None.
            key_id: The key, as the operator knows it.

        """
        kind = f"urn:resilient:idempotency:{self.name}" if about is None else f"{about}#{self.name}"
        problem: dict[str, object] = {"type": kind, "title": self.title, "status": self.status, "detail": detail}
        if key_id:
            problem["key_id"] = key_id
        body = json.dumps(problem).encode()
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-should-retry", b"true" if self.again else b"false"),
        ]
        if retry_after is not None:
            headers.append((b"retry-after", str(max(1, math.ceil(retry_after))).encode()))
        if about is not None:
            headers.append((b"link", f'<{about}>; rel="describedby"; type="text/html"'.encode()))
        return Answer(self.status, headers, body)


MISSING = Problem("key-missing", 400, "Idempotency-Key is missing")
MALFORMED = Problem("key-malformed", 400, "Idempotency-Key is malformed")
TOO_LARGE = Problem("body-too-large", 413, "The body is too large to be compared")

_DOUBT = (
    "The server that executed the original request was lost on the way. Until somebody has found out what was done, "
    "it is not executed again. Ask again later with the same key, not with a new one."
)

_KINDS: dict[type[errors.KeyRefused], tuple[Problem, str]] = {
    errors.KeyInProgress: (
        Problem("in-progress", 409, "A request with this Idempotency-Key is in progress", again=True),
        "The original request has not ended. Send this one again later, with the same key.",
    ),
    errors.KeyInDoubt: (
        Problem("in-doubt", 409, "It is in doubt whether this request took effect"),
        _DOUBT,
    ),
    errors.KeyReused: (
        Problem("key-reused", 422, "Idempotency-Key was used for another request"),
        "This key belongs to a request with other content. Use a new key for a new request.",
    ),
    errors.ResultNotKept: (
        Problem("not-kept", 409, "The request was executed; its response was not kept"),
        "The original request has ended, and is not executed again. Look up its result in another way.",
    ),
    errors.KeyStoreDown: (
        Problem("store-down", 503, "Requests with an Idempotency-Key cannot be served now", again=True),
        "Nothing was executed. Send the request again later, with the same key.",
    ),
}


def of_refusal(error: errors.KeyRefused, about: str | None) -> Answer:
    """Return the response to a request that is not executed."""
    problem, detail = _KINDS[type(error)]
    return problem.answer(detail, about, retry_after=error.retry_after, key_id=error.key_id)
