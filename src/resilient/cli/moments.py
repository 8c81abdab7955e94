"""Moments as people write them: ISO 8601, a time of day, `now`, or from now on, such as `2h`."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from resilient.control.durations import parse_duration
from resilient.errors import ConfigError

__all__ = ["parse_moment", "parse_past"]

ALLOWED = '"now", "2h", a time of day as in "22:00", or a date and time such as "2026-11-28T22:00" (with "Z" for UTC)'
_DURATION = re.compile(r"\+?[0-9][0-9.]*(?:[dhm]|m?s)[0-9dhms.]*")
_TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")


def parse_moment(text: str, name: str, wall: float, *, after: float | None = None) -> float:
    """Return the seconds since 1970 of a moment; without a zone it is one of this host's.

    Args:
        text: The moment.
        name: What the error calls it.
        wall: The time now, in seconds since 1970.
        after: What a time of day, or a duration, starts from; now, unless given.

    Raises:
        ConfigError: If it is none.

    """
    start = wall if after is None else after
    if text == "now":
        return wall
    if _DURATION.fullmatch(text):
        return start + parse_duration(text.removeprefix("+"), name)
    match = _TIME_OF_DAY.fullmatch(text)
    if match:
        first = datetime.fromtimestamp(start)  # noqa: DTZ006 -- a time of day is one of this place
        moment = first.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
        if moment <= first:
            moment += timedelta(days=1)
        return moment.timestamp()
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        message = f"{name} must be {ALLOWED}, got {text[:80]!r}"
        raise ConfigError(message) from None


def parse_past(text: str, name: str, wall: float) -> float:
    """Return the seconds since 1970 of a moment that is past; a duration means so long ago, a time of day the last.

    Args:
        text: The moment.
        name: What the error calls it.
        wall: The time now, in seconds since 1970.

    Raises:
        ConfigError: If it is none.

    """
    try:
        return wall - parse_duration(text, name)
    except ConfigError:
        moment = parse_moment(text, name, wall)
    if _TIME_OF_DAY.fullmatch(text):
        day = datetime.fromtimestamp(moment) - timedelta(days=1)  # noqa: DTZ006 -- of this place, as above
        return day.timestamp()
    return moment
