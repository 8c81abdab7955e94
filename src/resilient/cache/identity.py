"""The second part of a key: whose answer it is. One identity's answers are out of reach for all others.

Credentials never get into a key, nor into the store: what stands for them is a digest, keyed with
a secret. A store that processes share keeps the secret for all of them.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import TYPE_CHECKING

from resilient import faults
from resilient.cache.address import elsewhere
from resilient.cache.messages import Asked, Call, Flow
from resilient.stores.contract import Record

if TYPE_CHECKING:
    from resilient.cache.config import HttpCache

__all__ = ["CREDENTIALS", "credentials", "partitions", "secret"]

CREDENTIALS = frozenset(
    {
        b"authorization",
        b"cookie",
        b"api-key",
        b"apikey",
        b"private-token",
        b"x-access-token",
        b"x-amz-security-token",
        b"x-api-key",
        b"x-api-token",
        b"x-auth-token",
        b"x-goog-api-key",
    }
)
"""Fields that tell one identity from another, unless `partition` says who is who."""

SECRET_KEY = "http-secret"  # noqa: S105 -- where it is kept
_SECRET_LIFETIME = 10 * 365 * 86400.0
_SECRET_SIZE = 32


def credentials(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the fields of a request that carry credentials."""
    return [(lower, value) for name, value in fields if (lower := name.lower()) in CREDENTIALS]


def partitions(cache: HttpCache, asked: Asked, held: list[tuple[bytes, bytes]]) -> tuple[str, ...] | None:
    """Return the ends of the keys under which a request may find its answer, its own one first.

    Args:
        cache: The cache, which has its secret if there are credentials.
        asked: The request.
        held: Its credentials.

    Returns:
        None if nobody can tell whose request it is: it goes past the cache.

    """
    host = elsewhere(asked.url, asked.fields)
    ends = _ends(cache, asked, held)
    return ends if ends is None or not host else tuple(end + host for end in ends)


def _ends(cache: HttpCache, asked: Asked, held: list[tuple[bytes, bytes]]) -> tuple[str, ...] | None:
    mode = "s" if cache.shared else "p"
    if cache.partition is not None:
        try:
            who = cache.partition(asked)
        except Exception as fault:  # noqa: BLE001 -- the call goes on without a cache
            faults.report(cache.partition, fault)
            return None
        if who is not None and not isinstance(who, str):
            faults.report(cache.partition, TypeError(f"partition must return a string or None, got {who!r}"))
            return None
        if who is not None:
            return (_digest(cache, mode, [(b"", who.encode("utf-8", "surrogatepass"))]),)
    if cache.shared:  # a request with `Authorization` shares what may be shared, and nothing else is stored
        held = [pair for pair in held if pair[0] != b"authorization"]
        return (_digest(cache, mode, held), mode) if held else (mode,)
    return (_digest(cache, mode, held) if held else mode,)


def _digest(cache: HttpCache, mode: str, held: list[tuple[bytes, bytes]]) -> str:
    digest = blake2b(key=cache.secret or b"", digest_size=16)
    for name, value in sorted(held):
        digest.update(b"%b\n%d\n" % (name, len(value)))
        digest.update(value)
    return f"{mode}:{digest.hexdigest()}"


def secret(cache: HttpCache) -> Flow:
    """Find or make the secret of a cache's store.

    Returns:
        Whether there is one.

    """
    if cache.secret is None:
        made = os.urandom(_SECRET_SIZE)
        records = yield Call("get", (SECRET_KEY,))
        if records is not None and not records:
            record = Record("", made, b"")
            kwargs = {"lifetime": _SECRET_LIFETIME, "expected": 0, "pinned": True}
            yield Call("put", (SECRET_KEY, record), kwargs)
            records = yield Call("get", (SECRET_KEY,))  # another process may have been first
        if not records:
            return False
        if len(records[0].head) != _SECRET_SIZE:
            yield Call("delete", (SECRET_KEY,))
            return False
        cache.secret = records[0].head
    return True
