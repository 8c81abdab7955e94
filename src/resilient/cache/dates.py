"""Dates in the three forms of HTTP, as seconds since 1970; any other text is no date."""

from __future__ import annotations

import re

from resilient._http_times import date

__all__ = ["moment"]

_TIME = "[0-9]{2}:[0-9]{2}:[0-9]{2}"
_STRICT = re.compile(
    rf"[a-z]{{3}}, [0-9]{{2}} [a-z]{{3}} [0-9]{{4}} {_TIME} gmt"  # IMF-fixdate
    rf"|[a-z]{{6,9}}, [0-9]{{2}}-[a-z]{{3}}-[0-9]{{2}} {_TIME} gmt"  # RFC 850
    rf"|[a-z]{{3}} [a-z]{{3}} [ 0-9][0-9] {_TIME} [0-9]{{4}}",  # asctime
    re.IGNORECASE | re.ASCII,
)

_KNOWN: dict[bytes, float | None] = {}
"""Dates read lately: each is asked for several times, and the same ones come again and again."""

_MOST_KNOWN = 256
_LONGEST = 40


def moment(value: bytes | None) -> float | None:
    """Return when a date is.

    Letters may be in any case and the weekday may be wrong, for nothing depends on it. But the
    zone is GMT and nothing is missing or added: what has another zone counts as invalid
    (RFC 9111, 4.2).
    """
    if value is None:
        return None
    known = _KNOWN.get(value, -1.0)
    if known != -1.0:
        return known
    made = _moment(value)
    if len(_KNOWN) >= _MOST_KNOWN:
        _KNOWN.clear()
    if len(value) <= _LONGEST:
        _KNOWN[value] = made
    return made


def _moment(value: bytes) -> float | None:
    text = value.strip(b" \t").decode("latin-1")
    found = date(text, any_weekday=True) if _STRICT.fullmatch(text) else None
    return None if found is None else found.timestamp()
