"""Header fields as lists of raw pairs: looked up, split, cleaned for the store and merged."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from resilient.cache.messages import Fields

__all__ = ["Index", "index", "joined", "listed", "merged", "named", "storable", "tags", "without"]

Index = Mapping[bytes, list[bytes]]
"""Values of each field in order, by its name in lower case."""

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Of one connection or one proxy; never stored (RFC 9110, 7.6.1; RFC 9111, 3.1)."""

BOUND_TO_BODY = frozenset({b"content-length", b"content-encoding", b"content-range"})
"""What the stored bytes depend on: a 304 or a HEAD never changes it (RFC 9111, 3.2)."""

_QUOTED = rb'"(?:[^"\\]|\\.)*"?'
_MEMBER = re.compile(rb"(?:" + _QUOTED + rb"|[^,\"])+", re.DOTALL)
_TAG = re.compile(rb'(?:W/)?"[^"]*"|[^\s,]+')


def index(fields: Fields) -> dict[bytes, list[bytes]]:
    """Return the values of each field by its name."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        key = name.lower()
        if key in found:
            found[key].append(value)
        else:
            found[key] = [value]
    return found


def joined(fields: Index, name: bytes) -> bytes | None:
    """Return all values of a field as one, or None if it is absent."""
    values = fields.get(name)
    if values is None:
        return None
    return values[0] if len(values) == 1 else b", ".join(values)


def listed(value: bytes) -> list[bytes]:
    """Return the members of a list, without those that are empty; a comma in a quoted string parts nothing."""
    if b'"' not in value:
        members: Iterable[bytes] = value.split(b",")
    else:
        members = _MEMBER.findall(value)
    return [stripped for member in members if (stripped := member.strip(b" \t"))]


def named(value: bytes | None) -> list[bytes]:
    """Return the field names that a list holds, in lower case and each once."""
    return [] if value is None else list(dict.fromkeys(member.lower() for member in listed(value)))


def tags(value: bytes) -> list[bytes]:
    """Return the entity tags of a list, as they are written; those without quotes, too."""
    return _TAG.findall(value)


def without(fields: Fields, names: Collection[bytes]) -> Fields:
    """Return the fields but for those of these names."""
    return [pair for pair in fields if pair[0].lower() not in names]


def storable(fields: Fields, found: Index, kept_out: Collection[bytes] = ()) -> Fields:
    """Return what is stored of an answer's fields (RFC 9111, 3.1).

    Args:
        fields: The fields.
        found: The same by name.
        kept_out: Names that `no-cache` or `private` keep from being stored.

    """
    refused = {*HOP_BY_HOP, *named(joined(found, b"connection")), *kept_out, b"age"}
    return without(fields, refused)


def merged(stored: Fields, newer: Fields) -> Fields:
    """Return stored fields updated with those of a newer answer (RFC 9111, 3.2).

    Args:
        stored: What is stored.
        newer: What `storable` left of the newer answer's fields.

    """
    newer = without(newer, BOUND_TO_BODY)
    return [*without(stored, {name.lower() for name, _ in newer}), *newer]
