"""What an operator's request must say; all that is wrong with it is told at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

from resilient.control.errors import Refused
from resilient.control.intent import DAY, MODES, Disposition

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

    def wrong(self, parameter: str, value: object, allowed: str) -> None:
        """Note that a parameter is not what it must be."""
        self.errors.append({"parameter": parameter, "message": f"{parameter} must be {allowed}, got {plain(value)!r}"})

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

    def number(self, parameter: str, value: object, least: float, most: float, what: str = "seconds") -> float:
        """Return a finite number in a range."""
        sound = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not sound or not least <= value <= most:  # type: ignore[operator]
            self.wrong(parameter, value, f"{least:g} to {most:g} {what}")
            return least
        return float(value)  # type: ignore[arg-type]

    def ttl(self, value: object) -> float:
        """Return the seconds that a hold lasts."""
        return self.number("ttl", value, 1, DAY)

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
        start = self.number(
            "starts_at", starts_at, -_FURTHEST, wall + _FURTHEST, "seconds since 1970, at most a year ahead"
        )
        end = self.number("ends_at", ends_at, -_FURTHEST, wall + 2 * _FURTHEST, "seconds since 1970")
        if self.errors:
            return start, end
        if end <= start:
            self.wrong("ends_at", ends_at, "after starts_at")
        elif end - start > LONGEST_WINDOW:
            self.wrong("ends_at", ends_at, "at most 31 days after starts_at")
        elif end <= wall or start < wall - _LATE:
            self.wrong("starts_at", starts_at, "now or later; a window cannot be in the past")
        return start, end


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
