"""Numbers and times in headers: any text in, seconds or None out, never an exception."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol

from resilient import clock

LONGEST = 365 * 86400.0
"""Seconds; whatever a server says, we do not plan further ahead."""

_DIGITS = r"[0-9]{1,15}(?:\.[0-9]{1,15})?"
_NUMBER = re.compile(_DIGITS)
_DURATION = re.compile(rf"(?:{_DIGITS}(?:ms|[dhms]))+")
_PART = re.compile(rf"({_DIGITS})(ms|[dhms])")
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}

_TIME = "[0-9]{2}:[0-9]{2}:[0-9]{2}"
_ZONE = "(?:GMT|UTC|[+-][0-9]{4})"
_DATE = re.compile(
    rf"[a-z]{{3}}, [0-9]{{1,2}} [a-z]{{3}} [1-9][0-9]{{3}} {_TIME} {_ZONE}"  # IMF-fixdate
    rf"|[a-z]{{6,9}}, [0-9]{{2}}-[a-z]{{3}}-[0-9]{{2}} {_TIME} {_ZONE}"  # RFC 850
    rf"|[a-z]{{3}} [a-z]{{3}} [ 0-9][0-9] {_TIME} [1-9][0-9]{{3}}",  # asctime, always in UTC
    re.IGNORECASE,
)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_BETWEEN = re.compile(r",(?![ \t]*[0-9]{1,2}[ -][A-Za-z])")
"""A comma between two values; not the one after the weekday of a date."""

_EPOCH = 1e9
_EPOCH_MS = 1e12


class Headers(Protocol):
    """What we use of a family's headers; names are case-insensitive, repeated fields are joined by commas."""

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """All fields as received."""

    def __contains__(self, key: object) -> bool:
        """Tell whether a field is there."""

    def get(self, key: str, default: str = "") -> str:
        """Return a field's value."""


def wall() -> datetime:
    """Return the wall time, which only the dates of other machines are compared with."""
    return datetime.fromtimestamp(clock.current().wall(), UTC)


def listed(text: str) -> list[str]:
    """Return the members of a list, or of a field that came several times."""
    return [part.strip(" \t") for part in _BETWEEN.split(text)]


def number(text: str) -> float | None:
    """Return a plain decimal number: no sign, no exponent, at most 15 digits before the point."""
    return float(text) if _NUMBER.fullmatch(text) else None


def date(text: str, *, any_weekday: bool = False) -> datetime | None:
    """Return a date in one of HTTP's three forms (RFC 9110, 5.6.7).

    A date without zone, but for asctime's, is none; nor is one on the wrong weekday, unless any will do.
    """
    if not _DATE.fullmatch(text):
        return None
    try:
        moment = parsedate_to_datetime(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return moment if any_weekday or text[:3].lower() == _DAYS[moment.weekday()] else None


def ahead(moment: datetime, headers: Headers) -> float:
    """Return the seconds until a moment by the server's own clock, or by ours if it shows none."""
    now = date(headers.get("date", "").strip(" \t")) or wall()
    return clamped((moment - now).total_seconds())


def until(text: str, headers: Headers) -> float | None:
    """Return the seconds until a moment that is written as servers see fit.

    A number above 10^12 is a time since 1970 in milliseconds, above 10^9 in seconds, below it
    is a duration in seconds. "6m0s" and "120ms" are durations; dates are those of HTTP or ISO 8601.
    """
    value = number(text)
    if value is not None:
        if value <= _EPOCH:
            return clamped(value)
        now = date(headers.get("date", "").strip(" \t")) or wall()
        return clamped((value / 1000 if value > _EPOCH_MS else value) - now.timestamp())
    if _DURATION.fullmatch(text):
        return clamped(sum(float(count) * _UNITS[unit] for count, unit in _PART.findall(text)))
    moment = date(text) or _iso(text)
    return None if moment is None else ahead(moment, headers)


def clamped(seconds: float) -> float:
    """Return a duration between none and a year."""
    return min(max(0.0, seconds), LONGEST)


def _iso(text: str) -> datetime | None:
    if not text.isascii():
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None
