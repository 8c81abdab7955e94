"""What a server says about our allowance, as a pace that is safe to send at.

Understood are the IETF's `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers,
its current form and that of draft 7), the older `RateLimit-Limit`, `-Remaining` and `-Reset`, and
the dialects of vendors. Of several statements the one with the lowest pace counts; those that make
no sense are as if they were not there.

`Retry-After` has precedence over all of this: a caller that found one need not look here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import islice, zip_longest
from typing import Any, NamedTuple

from resilient import _http_times as times
from resilient import faults
from resilient._http_times import Headers

LONGEST = 60.0
"""Seconds for which a statement is believed at most; the next response brings a newer one."""

_MOST = 8
"""Statements of one field that are looked at."""

_LONGEST_FIELD = 4096
_WINDOW = re.compile(r";[ \t]*w=([0-9]{1,9})(?![0-9.])")


class Dialect(NamedTuple):
    """Three fields that make a statement.

    Attributes:
        limit: The field with the whole allowance.
        remaining: The field with what is left of it.
        resets: Fields with the end of the period, the most exact first.
        refills: Whether the end is when all is there again, coming back bit by bit until then.

    """

    limit: str
    remaining: str
    resets: tuple[str, ...]
    refills: bool = False


_DIALECTS = (
    Dialect("ratelimit-limit", "ratelimit-remaining", ("ratelimit-reset",)),
    Dialect("x-ratelimit-limit", "x-ratelimit-remaining", ("x-ratelimit-reset-after", "x-ratelimit-reset")),
    Dialect("x-rate-limit-limit", "x-rate-limit-remaining", ("x-rate-limit-reset",)),
    Dialect(
        "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", ("x-ratelimit-reset-requests",), refills=True
    ),
    Dialect(
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-remaining",
        ("anthropic-ratelimit-requests-reset",),
        refills=True,
    ),
)


class Quota(NamedTuple):
    """One statement.

    Attributes:
        pace: Requests per second that are safe to send; None: it cannot be told.
        seconds: How long the statement holds, 60 at most; with nothing remaining, when there is more.
        remaining: Requests left, or None.

    """

    pace: float | None
    seconds: float
    remaining: int | None


def read(headers: Headers) -> Quota | None:
    """Return the tightest statement of a response, or None if it makes none."""
    names = _names(headers)
    if b"ratelimit" not in names and b"rate-limit" not in names:
        return None
    tightest = min(_statements(headers, names), key=_tightness, default=None)
    return None if tightest is None else tightest._replace(seconds=min(tightest.seconds, LONGEST))


def exhausted(headers: Headers) -> float | None:
    """Return the seconds until a used-up allowance has something again.

    None if none is used up, or the time has passed already.
    """
    said = _statements(headers, _names(headers))
    return max((each.seconds for each in said if each.remaining == 0 and each.pace is not None), default=None)


def _names(headers: Headers) -> bytes:
    """Return the names of all fields: asking for each that might be there takes ten times as long."""
    return b" ".join([name for name, _ in headers.raw]).lower()


def _tightness(said: Quota) -> tuple[bool, float]:
    return said.pace is None, said.pace or 0.0


def _statements(headers: Headers, names: bytes) -> Iterator[Quota]:
    if times.number(headers.get("age", "").strip(" \t")):
        return  # out of a cache: what it says was said to somebody else
    yield from _structured(headers.get("ratelimit", ""), headers.get("ratelimit-policy", ""))
    for dialect in _DIALECTS:
        if dialect.limit.encode() not in names and dialect.remaining.encode() not in names:
            continue
        limits, remains = headers.get(dialect.limit, ""), headers.get(dialect.remaining, "")
        resets = next(filter(None, (headers.get(name, "") for name in dialect.resets)), "")
        rows = zip_longest(*map(times.listed, (limits, remains, resets)), fillvalue="")
        for limit, remaining, reset in islice(rows, _MOST):
            quota, left = times.number(limit.partition(";")[0].strip(" \t")), times.number(remaining)
            window = _WINDOW.search(limit)
            said = _statement(
                quota,
                float(window[1]) if window else None,
                None if left is None else int(left),
                times.until(reset, headers),
                refills=dialect.refills,
            )
            if said:
                yield said


def _statement(
    quota: float | None, window: float | None, remaining: int | None, reset: float | None, *, refills: bool = False
) -> Quota | None:
    """Return what four numbers mean: so many per window, so many left until the reset.

    What is left may be more than the window's share (all of it just before the reset), so the
    pace is never above the policy's own.
    """
    paces = []
    if quota is not None and window:
        paces.append(quota / min(window, times.LONGEST))
    if remaining is not None and reset:
        paces.append((quota if refills and quota else remaining) / min(reset, times.LONGEST))
    if not paces:
        return None if remaining is None else Quota(None, 0.0, remaining)
    pace = min(paces)
    seconds = float(min(reset or window or 0, times.LONGEST))
    if remaining == 0 and pace > 0:
        seconds = min(seconds, 1 / pace)
    return Quota(pace, seconds, remaining)


def _structured(limit: str, policy: str) -> Iterator[Quota]:
    """Read `RateLimit` and `RateLimit-Policy`: a limit and the policy of the same name belong together.

    Policies alone count only where no limit is told: a server names the limits that are near.
    """
    known: dict[str, list[tuple[int | None, int | None]]] = {}
    foreign: set[str] = set()
    for name, parameters in _members(policy):
        if str(parameters.get("qu", "requests")) != "requests":
            foreign.add(name)
            continue
        quota, window = _whole(parameters.get("q")), _whole(parameters.get("w"))
        if quota is not None and window:
            known.setdefault(name, []).append((quota, window))
    told = [
        _statement(quota, window, remaining, _whole(parameters.get("t")))
        for name, parameters in _members(limit)
        if name not in foreign and (remaining := _whole(parameters.get("r"))) is not None
        for quota, window in known.get(name, [(None, None)])
    ]
    alone = [_statement(quota, window, None, None) for policies in known.values() for quota, window in policies]
    yield from filter(None, told or alone)


def _members(text: str) -> list[tuple[str, Mapping[str, object]]]:
    """Return the named members of a field with their parameters; none if it is malformed.

    The forms of draft 7 (`limit=100, remaining=50, reset=5` and `100;w=60`) are told in the
    words of the current one, under no name.
    """
    if not 0 < len(text) <= _LONGEST_FIELD or not text.isascii():
        return []
    parse = _parser()
    if parse is None:
        return []
    members = _parsed(parse, text, "list")
    if isinstance(members, list):
        found: list[tuple[str, Mapping[str, object]]] = []
        for value, parameters in members[:_MOST]:
            if type(value) is int:
                found.append(("", {"q": value, **parameters}))
            elif not isinstance(value, list):
                found.append((str(value), parameters))
        return found
    members = _parsed(parse, text, "dictionary")
    if isinstance(members, dict):
        plain = {key: value for key, (value, _) in members.items() if type(value) is int}
        return [("", {"r": plain.get("remaining"), "t": plain.get("reset")})]
    return []


def _parsed(parse: Callable[..., Any], text: str, kind: str) -> object:
    try:
        return parse(text.encode("ascii"), tltype=kind)
    except Exception:  # noqa: BLE001 -- malformed is ignored, however the parser puts it
        return None


@cache
def _parser() -> Callable[..., Any] | None:
    """Return the parser of structured fields (RFC 9651); without its library, note that once."""
    try:
        from http_sf import parse  # noqa: PLC0415 -- only for servers that send such fields
    except ImportError as missing:
        faults.report(read, missing)
        return None
    return parse


def _whole(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None
