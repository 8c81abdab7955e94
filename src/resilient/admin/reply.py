"""Good answers: JSON, a table for terminals, or nothing new since the caller looked last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from resilient.admin.streams import stable
from resilient.control.durations import format_duration

__all__ = ["etag_of", "json_reply", "table_or_json", "tagged", "wants_text"]


def json_reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:  # noqa: ANN401
    """Return an answer with a JSON body."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return Response(text.encode("utf-8", "replace"), status, dict(headers or {}), "application/json")


def tagged(request: Request, value: Any, tag: str) -> Response:  # noqa: ANN401 -- whatever JSON can say
    """Return an answer with an ETag, or 304 to who has it already."""
    quoted = f'"{tag}"'
    headers = {"ETag": quoted, "Cache-Control": "private, no-cache"}
    known = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    if quoted in known or known == ["*"]:
        return Response(None, 304, headers)
    return json_reply(value, headers=headers)


def etag_of(value: Any) -> str:  # noqa: ANN401 -- whatever JSON can say
    """Return a tag that changes when a value changes in more than the passing of time."""
    return hashlib.sha256(stable(value).encode("utf-8", "replace")).hexdigest()[:20]


def wants_text(request: Request) -> bool:
    """Tell whether the caller asked for plain text rather than JSON."""
    accept = request.headers.get("accept", "")
    return "text/plain" in accept and "json" not in accept


def table_or_json(
    request: Request, value: Mapping[str, Any], rows: Iterable[Mapping[str, Any]], columns: Sequence[str]
) -> Response:
    """Return a list as JSON, or its columns as a table to who asked for text."""
    if not wants_text(request):
        return json_reply(value)
    cells = [[column.upper() for column in columns]]
    cells += [[_cell(column, row.get(column)) for column in columns] for row in rows]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)
    return Response("\n".join([*lines, ""]).encode("utf-8", "replace"), 200, None, "text/plain")


def _cell(column: str, value: Any) -> str:  # noqa: ANN401 -- whatever JSON can say
    if value is None:
        return "-"
    if isinstance(value, float):
        return format_duration(value) if column in ("remaining", "heartbeat_age", "p99") else f"{value:.4g}"
    if isinstance(value, dict):
        return ",".join(f"{key}={each}" for key, each in value.items()) or "-"
    if isinstance(value, list):
        return ",".join(str(each.get("id", "")) if isinstance(each, dict) else str(each) for each in value) or "-"
    # A table for a terminal: nothing in it may move the cursor.
    return "".join(sign if sign.isprintable() else "?" for sign in str(value)) or "-"
