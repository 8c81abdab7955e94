"""A deadline as a header: the seconds that are left, as text and back.

Writing rounds up to the next unit and never writes 0, which some servers take for "no limit".
Reading takes any text and returns seconds or None, never an exception.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, cast

from resilient import _check

__all__ = ["DeadlineHeader", "Format"]

Format = Literal["auto", "grpc", "milliseconds", "seconds", "unix", "rfc3339"]

LEAST_RESERVE = 0.005
RESERVE_SHARE = 0.05

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a field name (RFC 9110, 5.1)
_SECOND = 10**9
_GRPC = {"n": 1, "u": 10**3, "m": 10**6, "S": _SECOND, "M": 60 * _SECOND, "H": 3600 * _SECOND}
_GRPC_MOST = 99_999_999
_GRPC_TEXT = re.compile("([0-9]{1,8})([HMSmun])")
_WHOLE = re.compile("[0-9]{1,15}")
_DECIMAL = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?")
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)

_MILLISECONDS_MOST = 9_999_999_999  # ten digits are what Connect allows
_SECONDS_MOST = 10**15 - 1
_EARLIEST = 10**9  # 2001; a number below it is no date but somebody's duration
_LATEST = 10**10 - 1  # 2286; a number above it counts milliseconds


@dataclass(frozen=True, slots=True)
class DeadlineHeader:
    """The header that tells a server how much time is left.

    Args:
        name: Name of the header.
        format: How the time is written.

            - "grpc": `grpc-timeout`, up to eight digits and a unit, such as `1500m`
            - "milliseconds": what is left, as a whole number
            - "seconds": what is left, as a decimal number
            - "unix": the end, in seconds since 1970; only between machines with the same clock
            - "rfc3339": the end, as a date with zone; likewise
            - "auto": "grpc" for `grpc-timeout`, "milliseconds" for every other name
        reserve: Seconds, 0 or more, that are kept back for the way of the answer, so that the
            server gives up before its caller does. "auto" keeps 5 % of what is left, 5 ms at least.

    Raises:
        ConfigError: If the name is no field name, the format unknown, or the reserve negative.
        TypeError: If one of them is of a wrong type.

    Example:
        >>> DeadlineHeader().encode(2.0)
        '1900'
        >>> DeadlineHeader("grpc-timeout", reserve=0).encode(2.0)
        '2000000u'
        >>> DeadlineHeader("grpc-timeout").decode("1500m")
        1.5

    """

    name: str = "X-Request-Deadline"
    format: Format = field(default="auto", kw_only=True)
    reserve: _check.Duration | Literal["auto"] = field(default="auto", kw_only=True)

    def __post_init__(self) -> None:
        """Check every value and settle the format."""
        if not isinstance(self.name, str):
            _check.refuse_type("name", self.name, "a string")
        if not _TOKEN.fullmatch(self.name):
            _check.refuse("name", self.name, "a header name: letters, digits and !#$%&'*+-.^_`|~")
        if not isinstance(self.format, str):
            _check.refuse_type("format", self.format, "a string")
        grpc = self.name.lower() == "grpc-timeout"
        if self.format == "auto":
            object.__setattr__(self, "format", "grpc" if grpc else "milliseconds")
        if self.format not in _CODECS:
            _check.refuse("format", self.format, f'one of "auto", {", ".join(map(repr, _CODECS))}'.replace("'", '"'))
        if grpc and self.format != "grpc":
            _check.refuse("format", self.format, f'"grpc" for {self.name}: its servers read nothing else')
        if self.reserve != "auto":
            object.__setattr__(self, "reserve", _check.seconds("reserve", self.reserve, zero=True))

    def encode(self, remaining: float) -> str:
        """Return the header's value.

        Args:
            remaining: Seconds that are left. With less than the reserve left, the smallest value
                is written, which makes the server refuse at once.

        Raises:
            ConfigError: If it is NaN or infinite: without a deadline no header is sent.

        """
        left = _check.number("remaining", remaining)
        kept = max(LEAST_RESERVE, left * RESERVE_SHARE) if self.reserve == "auto" else cast("float", self.reserve)
        return _CODECS[self.format][0](max(0.0, left - kept))

    def decode(self, value: str) -> float | None:
        """Return the seconds that are left, 0.0 if none are, or None for a value that makes no sense."""
        return _CODECS[self.format][1](value)


def _wall() -> float:
    """Return the wall time, which only the dates of other machines are compared with."""
    return datetime.now(UTC).timestamp()


def _count(seconds: float, unit: int) -> int:
    """Return the fewest units, 1 or more, that last at least so long; a unit is in nanoseconds."""
    above, below = seconds.as_integer_ratio()
    count = above * _SECOND // (below * unit)
    return max(1, count + (_seconds(count, unit) < seconds))


def _seconds(count: int, unit: int) -> float:
    return count * unit / _SECOND


def _write_grpc(left: float) -> str:
    for letter, unit in _GRPC.items():  # finest first
        count = _count(left, unit)
        if count <= _GRPC_MOST:
            return f"{count}{letter}"
    return f"{_GRPC_MOST}H"


def _read_grpc(text: str) -> float | None:
    match = _GRPC_TEXT.fullmatch(text)
    count = int(match[1]) if match else 0
    return _seconds(count, _GRPC[match[2]]) if match and count else None


def _write_milliseconds(left: float) -> str:
    return str(min(_count(left, 10**6), _MILLISECONDS_MOST))


def _read_milliseconds(text: str) -> float | None:
    return _seconds(int(text), 10**6) if _WHOLE.fullmatch(text) else None


def _write_seconds(left: float) -> str:
    whole, part = divmod(_count(min(left, _SECONDS_MOST), 10**3), 10**6)
    return f"{whole}.{part:06d}".rstrip("0").rstrip(".")


def _read_seconds(text: str) -> float | None:
    return float(text) if _DECIMAL.fullmatch(text) else None


def _end(left: float) -> tuple[int, int]:
    """Return the end as seconds and milliseconds since 1970."""
    return divmod(_count(min(_wall() + left, _LATEST), 10**6), 1000)


def _until(end: float) -> float | None:
    """Return the seconds until an end since 1970, or None for one that is in no year of ours."""
    return max(0.0, end - _wall()) if _EARLIEST <= end <= _LATEST else None


def _write_unix(left: float) -> str:
    return "{}.{:03d}".format(*_end(left))


def _read_unix(text: str) -> float | None:
    return _until(float(text)) if _DECIMAL.fullmatch(text) else None


def _write_rfc3339(left: float) -> str:
    whole, part = _end(left)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{part:03d}Z"


def _read_rfc3339(text: str) -> float | None:
    if not _RFC3339.fullmatch(text):
        return None
    try:
        end = datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError):
        return None
    return _until(end)


_CODECS: dict[str, tuple[Callable[[float], str], Callable[[str], float | None]]] = {
    "grpc": (_write_grpc, _read_grpc),
    "milliseconds": (_write_milliseconds, _read_milliseconds),
    "seconds": (_write_seconds, _read_seconds),
    "unix": (_write_unix, _read_unix),
    "rfc3339": (_write_rfc3339, _read_rfc3339),
}
