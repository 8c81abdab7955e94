"""What a response says of the cache: `Cache-Status` (RFC 9211)."""

from __future__ import annotations

import re

__all__ = ["FIELD", "forwarded", "hit"]

FIELD = b"Cache-Status"
NAME = "resilient"

_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*")


def hit(ttl: float, detail: str | None = None) -> bytes:
    """Return the value for a stored answer that was served without asking.

    Args:
        ttl: Seconds for which it is fresh yet; negative for one past its time.
        detail: Why, in a word.

    """
    return f"{NAME}; hit; ttl={_whole(ttl)}{_detail(detail)}".encode("latin-1", "replace")


def forwarded(
    why: str,
    status: int | None = None,
    *,
    ttl: float | None = None,
    stored: bool = False,
    detail: str | None = None,
) -> bytes:
    """Return the value for a request that was sent on.

    Args:
        why: One of "bypass", "method", "uri-miss", "vary-miss", "request", "stale" and "partial".
        status: What came back, where that is not what is served.
        ttl: Seconds for which the answer is fresh yet.
        stored: Whether it is being stored.
        detail: More about it, in a word.

    """
    parts = [NAME, f"fwd={why}"]
    if status is not None:
        parts.append(f"fwd-status={status}")
    if ttl is not None:
        parts.append(f"ttl={_whole(ttl)}")
    if stored:
        parts.append("stored")
    return ("; ".join(parts) + _detail(detail)).encode("latin-1", "replace")


def _whole(seconds: float) -> int:
    return int(seconds // 1)


def _detail(detail: str | None) -> str:
    if detail is None:
        return ""
    return f"; detail={detail}" if _TOKEN.fullmatch(detail) else f"; detail={_string(detail)}"


def _string(text: str) -> str:
    """Return a text as a structured field's string: printable ASCII, quotes and backslashes escaped."""
    plain = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
