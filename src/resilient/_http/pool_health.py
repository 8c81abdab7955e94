"""What is wrong inside a family's own pool, found in what it keeps of connections and requests.

Classic `httpx` loses places for ever when tasks are cancelled: a connection that was just assigned
to a waiting request stays "connecting" with nobody to connect it, and a body whose closing is
cancelled as well stays "active". A response that was never closed keeps its place in any family.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import nullcontext, suppress
from typing import Any

from resilient import faults

_GARBAGE = 100
"""Requests that nobody waits for, harmless each, up to which a pool is not rebuilt for them."""


def lost(transport: Any, leases: Collection[object]) -> int:  # noqa: ANN401 -- of either family
    """Return how many places of a pool are lost; 0 if that cannot be told.

    A connection that a request has been assigned, or that a request is being sent on, is in the
    pool's list of requests; and each of those requests has a lease of ours. So lost are busy
    connections without a request, and requests on busy connections beyond the leases.

    Args:
        transport: The family's transport that owns the pool.
        leases: The requests in progress, from before the pool knew them until it forgot them.

    """
    try:
        pool = transport._pool  # noqa: SLF001 -- there is no public place
        with getattr(pool, "_optional_thread_lock", None) or nullcontext():  # short, and no I/O inside
            requests = list(pool._requests)  # noqa: SLF001
            busy = {id(each) for each in pool.connections if not (each.is_idle() or each.is_closed())}
            assigned = [id(each.connection) for each in requests if each.connection is not None]
            out = len(leases)
    except Exception as fault:  # noqa: BLE001 -- another version; the pool may well be in order
        faults.report(lost, fault)
        return 0
    waiting = len(requests) - len(assigned)
    orphans = len(busy.difference(assigned))
    stale = sum(each in busy for each in assigned) + waiting - out
    garbage = len(requests) - out
    return orphans + max(0, stale, garbage if garbage > _GARBAGE else 0)


def part_with(stream: Any, *, retired: bool) -> None:  # noqa: ANN401
    """Have a connection closed that nobody may use again, when the body of an answer has just ended.

    That is one on which the server sent more than its answer: the pool would hand the rest to the
    next request, as its answer. And one of a pool that was closed meanwhile, which has forgotten
    it. Only for HTTP/1.1: in HTTP/2 each answer has a stream of its own.
    """
    try:
        state = stream._httpcore_stream._stream._connection._h11_state  # noqa: SLF001 -- there is no public place
        if retired or state.trailing_data[0]:
            state.send_failed()
    except AttributeError:  # a mock, HTTP/2, or another version
        return


def disown(transport: Any) -> None:  # noqa: ANN401
    """Close the sockets of a pool without a word to the other end, as far as they can be found.

    In a forked child they are shared with the parent: its connections stay as they are, for
    neither TLS nor HTTP/2 says goodbye. An event loop that is gone is not asked either.
    """
    with suppress(Exception):
        for connection in transport._pool.connections:  # noqa: SLF001
            with suppress(Exception):
                _let_go(connection)


def _let_go(connection: Any) -> None:  # noqa: ANN401
    while (inner := getattr(connection, "_connection", None)) is not None:
        connection = inner
    found = connection._network_stream.get_extra_info("socket")  # noqa: SLF001
    # Detached first, so that no finaliser closes the number again when it means another file.
    number = getattr(found, "_sock", found).detach()
    if number >= 0:
        os.close(number)
