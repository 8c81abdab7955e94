"""A refusal as a response: for clients that would retry an error, and respect an answer."""

from __future__ import annotations

import json
import math
from typing import Any

from resilient._http.family import Family
from resilient.errors import Rejected


def answer(family: Family, error: Rejected) -> Any:  # noqa: ANN401 -- the family's own Response
    """Return a response 503 that says who refused, when to come back, and not to retry by itself."""
    headers = {"content-type": "application/problem+json", "x-should-retry": "false"}
    if error.retry_after is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after))
    problem = {
        "title": error.title,
        "status": 503,
        "detail": str(error),
        "downstream": error.downstream,
        "reason": error.reason,
    }
    body = json.dumps(problem).encode()
    headers["content-length"] = str(len(body))
    extensions = {"resilient": {"rejected": error.reason}}
    # Unread, like any answer of a transport: else the client never notes when it was over (`elapsed`).
    return family.response(503, headers=headers, stream=family.byte_stream(body), extensions=extensions)
