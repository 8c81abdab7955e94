"""If-Match and If-None-Match, as a change of a downstream's holds reads them."""

from __future__ import annotations

import re
from typing import Final

from starlette.datastructures import Headers

from resilient.admin.problems import Problem

__all__ = ["HEADERS", "Precondition", "precondition"]

Precondition = tuple[str | None, bool]
"""The tag that is expected (None: none is named), and whether there must be nothing yet."""

HEADERS: Final = {
    "If-Match": "The ETag that the caller saw; needed to replace a hold that is there.",
    "If-None-Match": "Only `*`: place the hold only if the caller has none yet.",
}
_TAG: Final = re.compile(r'"([\x21\x23-\x7e]*)"')
_MALFORMED: Final = 'must be an ETag in quotation marks, such as "4f2a", or *'


def precondition(headers: Headers, current: str) -> Precondition:
    """Return what a change expects to find.

    Args:
        headers: Those of the request.
        current: The tag as it is now; `If-Match: *` means just that one, and so does a list that has it.

    Raises:
        Problem: 400 for tags that are none, or both headers at once.

    """
    match, none = headers.getlist("if-match"), headers.getlist("if-none-match")
    if match and none:
        raise Problem("malformed", "If-Match and If-None-Match exclude each other.", parameter="If-Match")
    if none:
        if [each.strip() for each in none] != ["*"]:
            detail = 'If-None-Match must be "*" on a change; to replace what is there, send If-Match.'
            raise Problem("malformed", detail, parameter="If-None-Match", allowed="*")
        return None, True
    if not match:
        return None, False
    if [each.strip() for each in match] == ["*"]:
        return current, False
    tags = _tags(", ".join(match))
    return (current if current in tags else tags[0]), False


def _tags(text: str) -> list[str]:
    tags = []
    for part in (each.strip() for each in text.split(",")):
        found = _TAG.fullmatch(part.removeprefix("W/"))
        if part == "*":  # among others, where it does not belong
            tags.append("*")
        elif found is None or not found[1]:
            raise Problem("malformed", f"If-Match {_MALFORMED}.", parameter="If-Match", allowed=_MALFORMED)
        else:
            # A weak tag never matches (RFC 9110, 13.1.1); what it says is no tag of ours with the prefix on.
            tags.append(found[1] if part.startswith('"') else f"W/{found[1]}")
    return tags
