"""Durations as people write them: `45m`, `1h30m`, `90s`, or a number of seconds.

The command line, the settings and the API read them alike.
"""

from __future__ import annotations

import math
import re

from resilient.errors import ConfigError

__all__ = ["ALLOWED", "format_duration", "parse_duration", "said"]

ALLOWED = 'a duration above 0 such as "45m", "1h30m", "90s", "1.5s" or "500ms", or a number of seconds'

# Each unit at most once, largest first; only the last of them may have a fraction.
_UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|[dhms])")
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")
_LONGEST = 64
_SAID = 1e9
"""Seconds beyond which nobody means a duration."""


def parse_duration(value: object, name: str = "duration", *, zero: bool = False) -> float:
    """Return the seconds that a text or a number means; nothing is guessed.

    Args:
        value: `"45m"`, `"1h30m"`, `"90s"`, `"500ms"`, `"2d"`, `"90"` or a number of seconds. Units come once
            each, largest first, without spaces and in lower case; only the last may have a fraction.
        name: What the error calls it.
        zero: Whether 0 is allowed.

    Raises:
        ConfigError: If it is no such duration, not finite, negative, or 0 where that is not allowed.

    Example:
        >>> parse_duration("1h30m")
        5400.0
        >>> parse_duration(90)
        90.0

    """
    seconds = _text(value) if isinstance(value, str) else _number(value)
    if seconds is None or seconds < 0 or (seconds == 0 and not zero):
        allowed = ALLOWED.replace("above 0", "of 0 or more") if zero else ALLOWED
        message = f"{name} must be {allowed}, got {_shown(value)}"
        raise ConfigError(message)
    return seconds


def format_duration(seconds: float) -> str:
    """Return the shortest text that means these seconds, such as `1h30m`; below a minute to the millisecond.

    Example:
        >>> format_duration(5400.0)
        '1h30m'

    """
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms"
    if seconds < _UNITS["m"]:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    left, parts = round(seconds), []
    for unit in "dhms":
        amount, left = divmod(left, int(_UNITS[unit]))
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts)


def said(seconds: float) -> str:
    """Return a duration as people say it in a message: in days if they are whole and several, else in hours.

    Example:
        >>> said(90_000.0)
        '25h'

    """
    day = _UNITS["d"]
    if not 0 < seconds < _SAID:
        return f"{seconds:g}s"
    if seconds < day or (seconds % day == 0 and seconds > day):
        return format_duration(seconds)
    hours, rest = divmod(round(seconds), int(_UNITS["h"]))
    return f"{hours}h{format_duration(rest) if rest else ''}"


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) else None


def _text(value: str) -> float | None:
    if len(value) > _LONGEST:
        return None
    if _NUMBER.fullmatch(value):
        return float(value)
    total, place, last, fraction = 0.0, 0, math.inf, False
    while place < len(value):
        part = _PART.match(value, place)
        if part is None or fraction:
            return None
        amount, unit = part.groups()
        if _UNITS[unit] >= last:
            return None
        total, place, last, fraction = total + float(amount) * _UNITS[unit], part.end(), _UNITS[unit], "." in amount
    return total if place else None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST + 2 else f"{text[:_LONGEST]}..."
