"""Cache-Control: a field to its directives, and their arguments to seconds or names (RFC 9111, 5.2).

Whatever is written there, parsing never fails. Of a directive that comes twice the first counts.
An argument that makes no sense counts as the strictest one: 0 seconds, or no argument.
"""

from __future__ import annotations

import re

from resilient.cache.fields import Index, listed

__all__ = ["MOST", "Directives", "delta", "names", "parse"]

Directives = dict[bytes, bytes | None]
"""Arguments by the directive's name in lower case; None where there is none, and b"?" for what makes no sense."""

MOST = 2.0**31
"""Seconds that stand for any longer time (RFC 9111, 1.2.2)."""

_NONSENSE = b"?"
_DIGITS = re.compile(rb"[0-9]+")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_LONGEST_DIGITS = 10


def parse(found: Index, field: bytes = b"cache-control") -> Directives:
    """Return the directives of an answer or request."""
    directives: Directives = {}
    for value in found.get(field, ()):
        for member in listed(value):
            name, equals, argument = member.partition(b"=")
            if _NAME.fullmatch(name):
                directives.setdefault(name.lower(), _argument(argument) if equals else None)
            elif start := _NAME.match(name):  # such as `max-age =60`: meant, but malformed
                directives.setdefault(start[0].lower(), _NONSENSE)
    return directives


def delta(directives: Directives, name: bytes) -> float | None:
    """Return the seconds that a directive gives: None if it is absent, 0 if its argument makes no sense."""
    if name not in directives:
        return None
    return seconds(directives[name]) or 0.0


def seconds(text: bytes | None) -> float | None:
    """Return delta-seconds as a number of at most 2^31, or None if it is none."""
    if text is None or not _DIGITS.fullmatch(text):
        return None
    text = text.lstrip(b"0") or b"0"
    return MOST if len(text) > _LONGEST_DIGITS else min(float(text), MOST)


def names(directives: Directives, name: bytes) -> list[bytes] | None:
    """Return the field names of a directive's qualified form, such as `no-cache="set-cookie"`.

    None if it is absent; an empty list for the unqualified form, and for an argument without
    quotes: that is what careless servers write who mean the unqualified one.
    """
    if name not in directives:
        return None
    argument = directives[name]
    if argument is None or not argument.startswith(b'"'):
        return []
    fields = [field.lower() for field in listed(argument[1:])]
    return fields if all(_NAME.fullmatch(field) for field in fields) else []


def _argument(text: bytes) -> bytes:
    """Return an argument without its quotes; one of several names keeps the first quote as a mark."""
    if text.startswith(b'"'):
        if len(text) < 2 or not text.endswith(b'"'):  # noqa: PLR2004 -- two quotes
            return _NONSENSE
        inner = _ESCAPED.sub(rb"\1", text[1:-1])
        return inner if _DIGITS.fullmatch(inner) else b'"' + inner
    return text if _NAME.fullmatch(text) else _NONSENSE
