"""What an error response says about trying again: when, whether, and whose fault it was.

Only for responses with status 400 and above; a `Retry-After` on a redirect is about following it.
The first of these that says something usable decides when:

1. `grpc-retry-pushback-ms`
2. `retry-after-ms`, `x-ms-retry-after-ms`, `x-amz-retry-after` (milliseconds)
3. `Retry-After` (seconds, or a date compared with the response's own `Date`)
4. on 403 and 429, the end of a used-up allowance (`quota`)

Of a list, or a field that came several times, the longest wait counts. What cannot be understood
is as if it were not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from resilient import _http_times as times
from resilient._http import quota
from resilient._http_times import Headers

_ERRORS = 400
_USED_UP = frozenset({403, 429})
_MILLISECONDS = ("retry-after-ms", "x-ms-retry-after-ms", "x-amz-retry-after")
_SHOULD_RETRY = ("x-should-retry", "stripe-should-retry")
_OVERLOADED = ("x-envoy-overloaded", "x-envoy-ratelimited")

_PUSHBACK = "grpc-retry-pushback-ms"
_WHOLE = re.compile("[0-9]{1,10}")
_INT32 = 2**31


class Hints(NamedTuple):
    """What the server said, as far as it makes sense.

    Attributes:
        retry_after: Seconds, from 0 to a year, before which it wants no retry; None: it did not say.
        should_retry: Whether it wants a retry at all; None: it did not say.
        overloaded: Whether a proxy answered in its place because it has too much to do.

    """

    retry_after: float | None = None
    should_retry: bool | None = None
    overloaded: bool = False


NONE = Hints()


def read(headers: Headers, status: int) -> Hints:
    """Return the hints of a response.

    Args:
        headers: The response's headers.
        status: The response's status code.

    """
    if status < _ERRORS:
        return NONE
    pushback, forbidden = _pushback(headers)
    should_retry = False if forbidden else _should_retry(headers)
    overloaded = any(name in headers for name in _OVERLOADED)
    return Hints(_retry_after(headers, status) if pushback is None else pushback, should_retry, overloaded)


def _pushback(headers: Headers) -> tuple[float | None, bool]:
    """Return the wait that a gRPC server asks for, and whether it asks for no retry ever (gRFC A6)."""
    if _PUSHBACK not in headers:
        return None, False
    text = headers.get(_PUSHBACK, "").strip(" \t")
    if not _WHOLE.fullmatch(text) or int(text) >= _INT32:
        return None, True
    return int(text) / 1000, False


def _should_retry(headers: Headers) -> bool | None:
    """Return the server's word; among several, its no."""
    words = {word for name in _SHOULD_RETRY for word in times.listed(headers.get(name, "").lower())}
    return False if "false" in words else True if "true" in words else None


def _retry_after(headers: Headers, status: int) -> float | None:
    for name in _MILLISECONDS:
        wait = _longest(times.number(part) for part in times.listed(headers.get(name, "")))
        if wait is not None:
            return times.clamped(wait / 1000)
    wait = _longest(_seconds(part, headers) for part in times.listed(headers.get("retry-after", "")))
    if wait is None and status in _USED_UP:
        return quota.exhausted(headers)
    return wait


def _longest(waits: Iterable[float | None]) -> float | None:
    return max((wait for wait in waits if wait is not None), default=None)


def _seconds(text: str, headers: Headers) -> float | None:
    seconds = times.number(text)
    if seconds is not None:
        return times.clamped(seconds)
    moment = times.date(text)
    return None if moment is None else times.ahead(moment, headers)
