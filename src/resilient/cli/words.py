"""Numbers and times as people read them in a hurry: short, with a unit, and never a lie about what is unknown."""

from __future__ import annotations

from datetime import UTC, datetime

from resilient.control.durations import format_duration

__all__ = [
    "age",
    "ago",
    "clean",
    "count",
    "epoch",
    "iso",
    "latency",
    "left",
    "listed",
    "minute",
    "per_second",
    "percent",
    "second",
    "state",
]

UNKNOWN = "-"
_STATES = {"forced_open": "held open", "forced_closed": "held closed", "observe": "observed only"}
_TEN = 10
_HUNDRED = 100


def clean(text: object) -> str:
    """Return a text without what a terminal would obey: somebody else wrote it."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(each if each.isprintable() else " " if each in "\n\t" else f"\\x{ord(each):02x}" for each in shown)


def state(word: str) -> str:
    """Return a state, or the mode of a hold, as the dashboard and the first line call it."""
    return _STATES.get(word, word)


def count(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun, such as `1 process` and `2 processes`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def listed(words: list[str], most: int = 5) -> str:
    """Return some words in one line, and how many more there are."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(clean(each) for each in words[:most]) + more


def per_second(rate: float | None) -> str:
    """Return a rate; three digits are enough."""
    if rate is None:
        return UNKNOWN
    if rate == 0:
        return "0"
    return f"{rate:.1f}" if rate < _HUNDRED else f"{rate:.0f}"


def percent(share: float | None) -> str:
    """Return a share, 0 to 1, in hundredths, without the sign."""
    if share is None:
        return UNKNOWN
    hundredths = share * 100
    return f"{hundredths:.1f}" if 0 < hundredths < _TEN else f"{hundredths:.0f}"


def latency(seconds: float | None) -> str:
    """Return a latency to two or three digits."""
    if seconds is None:
        return UNKNOWN
    if seconds >= 1:
        return f"{seconds:.2f}s" if seconds < _TEN else f"{seconds:.0f}s"
    milliseconds = seconds * 1000
    return f"{milliseconds:.1f}ms" if milliseconds < _TEN else f"{milliseconds:.0f}ms"


def age(seconds: float) -> str:
    """Return a span of time by its two largest units: `45s`, `3m12s`, `2h5m`, `4d3h`."""
    whole = max(0, round(seconds))
    for unit in (60, 3600, 86400):
        if whole >= unit * 60 and unit > 60:  # noqa: PLR2004 -- from an hour on nobody counts seconds
            whole -= whole % (unit // 60)
    whole -= whole % 3600 if whole >= 86400 else whole % 60 if whole >= 3600 else 0  # noqa: PLR2004 -- hours, minutes
    return format_duration(float(whole)) if whole else "0s"


def left(seconds: float) -> str:
    """Return what is left of a hold."""
    return f"{age(seconds)} left"


def ago(text: str | None, now: float) -> str:
    """Return how long a moment is past.

    Args:
        text: The moment, ISO 8601; None if it is not known.
        now: Seconds since 1970.

    """
    return UNKNOWN if not text else age(now - epoch(text))


def epoch(text: str) -> float:
    """Return the seconds since 1970 of a moment that was written as ISO 8601."""
    return datetime.fromisoformat(text).timestamp()


def minute(wall: float) -> str:
    """Return a moment in UTC, to the minute."""
    return f"{datetime.fromtimestamp(wall, UTC):%Y-%m-%dT%H:%MZ}"


def second(wall: float) -> str:
    """Return a moment in UTC, to the second."""
    return f"{datetime.fromtimestamp(wall, UTC):%Y-%m-%dT%H:%M:%SZ}"


def iso(wall: float) -> str:
    """Return a moment as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
