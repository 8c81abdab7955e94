"""What an operator's request must say; all that is wrong with it is told at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

from resilient.control.durations import said
from resilient.control.errors import Refused
from resilient.control.intent import DAY, MODES, Disposition
from resilient.control.spoken import iso

__all__ = ["BREAK_GLASS_REASON", "LONGEST_WINDOW", "Checks", "plain"]

REASON = (3, 200)
BREAK_GLASS_REASON = 20
LONGEST_WINDOW = 31 * DAY
_FURTHEST = 366 * DAY
_LATE = 60.0
"""Seconds by which a window's start may be over: it was "now" when it was typed."""

_TEXT = 500


class Checks:
    """Collects what is wrong with the parameters of one request."""

    __slots__ = ("errors",)

    def __init__(self) -> None:
        """Begin with nothing wrong."""
        self.errors: list[dict[str, str]] = []

    def wrong(self, parameter: str, value: object, allowed: str, shown: str = "") -> None:
        """Note that a parameter is not what it must be; `shown` is its value as people write it."""
        got = shown or repr(plain(value))
        self.errors.append({"parameter": parameter, "message": f"{parameter} must be {allowed}, got {got}"})

    def done(self) -> None:
        """Finish.

        Raises:
            Refused: If something is wrong.

        """
        if self.errors:
            message = "; ".join(error["message"] for error in self.errors)
            raise Refused("invalid", message, {"parameter": self.errors[0]["parameter"], "errors": self.errors})

    def text(self, parameter: str, value: object, least: int, most: int) -> str:
        """Return a printable text without blanks around it."""
        text = value.strip() if isinstance(value, str) else ""
        if not isinstance(value, str) or not least <= len(text) <= most or not text.isprintable():
            self.wrong(parameter, value, f"a printable text of {least} to {most} characters")
        return text

    def reason(self, value: object, *, needed: bool = True) -> str:
        """Return a reason."""
        if not needed and isinstance(value, str) and not value.strip():
            return ""
        return self.text("reason", value, *REASON)

    def name(self, parameter: str, value: object) -> str:
        """Return a name of a downstream, or a pattern over them; blanks belong to it."""
        if not isinstance(value, str) or not 1 <= len(value) <= 200 or not value.isprintable():  # noqa: PLR2004
            self.wrong(parameter, value, "a printable name of 1 to 200 characters")
        return str(value)

    def one_of(self, parameter: str, value: object, allowed: tuple[str, ...]) -> None:
        """Check a word."""
        if value not in allowed:
            self.wrong(parameter, value, f"one of {', '.join(allowed)}")

    def number(self, parameter: str, value: object, least: float, most: float, what: str) -> float:
        """Return a finite number in a range."""
        number = _finite(value)
        if number is None or not least <= number <= most:
            self.wrong(parameter, value, f"{least:g} to {most:g} {what}")
            return least
        return number

    def duration(self, parameter: str, value: object, most: float = DAY) -> float:
        """Return a number of seconds, 1 or more."""
        seconds = _finite(value)
        if seconds is None:
            self.wrong(parameter, value, f"a number of seconds, 1 to {most:g}")
        elif not 1 <= seconds <= most:
            self.wrong(parameter, value, f"1s to {said(most)}", said(seconds))
        else:
            return seconds
        return 1.0

    def ttl(self, value: object) -> float:
        """Return the seconds that a hold lasts."""
        return self.duration("ttl", value)

    def mode(self, mode: object, percent: object, disposition: object) -> None:
        """Check what a hold or window does."""
        self.one_of("mode", mode, MODES)
        self.one_of("disposition", disposition, get_args(Disposition))
        if isinstance(percent, bool) or not isinstance(percent, int) or not 1 <= percent <= 100:  # noqa: PLR2004
            self.wrong("percent", percent, "a whole number from 1 to 100")
        elif mode != "forced_open" and percent != 100:  # noqa: PLR2004
            self.wrong("percent", percent, f"100 in mode {plain(mode)}; only forced_open takes a share")
        if mode != "forced_open" and disposition == "reject":
            self.wrong("disposition", disposition, f"fallback in mode {plain(mode)}, which refuses nothing")

    def span(self, starts_at: object, ends_at: object, wall: float) -> tuple[float, float]:
        """Return start and end of a window, in seconds since 1970."""
        start = self._moment("starts_at", starts_at, wall + _FURTHEST, "a time at most a year ahead")
        end = self._moment("ends_at", ends_at, wall + 2 * _FURTHEST, "a time at most two years ahead")
        if self.errors:
            return start, end
        if end <= start:
            self.wrong("ends_at", ends_at, f"after starts_at, {_shown(start)}", _shown(end))
        elif end - start > LONGEST_WINDOW:
            self.wrong("ends_at", ends_at, "at most 31 days after starts_at", _shown(end))
        elif start < wall - _LATE:
            self.wrong("starts_at", starts_at, "now or later; a window cannot be in the past", _shown(start))
        elif end <= wall:
            self.wrong("ends_at", ends_at, "later than now; a window cannot be in the past", _shown(end))
        return start, end

    def _moment(self, parameter: str, value: object, latest: float, allowed: str) -> float:
        """Return seconds since 1970."""
        moment = _finite(value)
        if moment is None:
            self.wrong(parameter, value, f"{allowed}, in seconds since 1970")
        elif not -_FURTHEST <= moment <= latest:
            self.wrong(parameter, value, allowed, _shown(moment))
        else:
            return moment
        return -_FURTHEST


def _finite(value: object) -> float | None:
    """Return a number as it is, None for everything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number of hundreds of digits
        return None


def _shown(moment: float) -> str:
    """Return a moment as people write it."""
    try:
        return str(iso(moment))
    except (ValueError, OverflowError, OSError):  # in no year that a calendar has
        return f"{moment:g}"


def plain(value: object) -> Any:  # noqa: ANN401 -- what JSON can say
    """Return what a request said, as far as it can be written down: whatever it was."""
    if isinstance(value, str):
        return value[:_TEXT].encode("utf-8", "backslashreplace").decode()
    if value is None or isinstance(value, (bool, int)):
        return value if value is None or abs(value) < 1 << 63 else "a huge number"
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, Mapping):
        return {str(plain(str(key))): plain(each) for key, each in list(value.items())[:_TEXT]}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each) for each in list(value)[:_TEXT]]
    return plain(repr(value))
