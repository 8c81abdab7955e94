"""The same idempotency key again, when an outer retry repeats the function that made the request.

A transport that makes a key notes it in its context. If an outer retry, in a later attempt of the
same call, comes by with the same request, it gets the same key: for the server it is one order.
The ledger's marks tell what was noted since that call began, so that an old key never passes for
a new order's. What runs in a context of its own (a plain function in a worker thread, a child
task) leaves no note; there, `with idempotency_key():` around the call has one key for all of it.
"""

from __future__ import annotations

import hashlib
from contextvars import ContextVar
from typing import Any, NamedTuple

from resilient._runtime.ledger import ledger, outer_turn
from resilient.idempotency.context import Operation

_MOST = 16
"""Keys that a context remembers."""


class Note(NamedTuple):
    """A key, when it was made, for which request, and in which attempt it was used last."""

    mark: int
    request: Operation
    key: str
    used: int


_notes: ContextVar[tuple[Note, ...]] = ContextVar("resilient_idempotency_keys", default=())


def recalled(request: Any) -> str | None:  # noqa: ANN401 -- of either family
    """Return the key that an earlier attempt of an outer retry has used for this request, or None."""
    turn = outer_turn()
    if turn is None:
        return None
    notes, wanted = _notes.get(), operation(request)
    for place, note in enumerate(notes):
        if note.mark > turn.since and note.request == wanted and note.used < turn.number:
            _notes.set((*notes[:place], note._replace(used=turn.number), *notes[place + 1 :]))
            return note.key
    return None


def noted(request: Any, key: str) -> None:  # noqa: ANN401
    """Note a key that was made for a request."""
    turn = outer_turn()
    note = Note(ledger.step(), operation(request), key, 1 if turn is None else turn.number)
    _notes.set((*_notes.get()[-_MOST + 1 :], note))


def operation(request: Any) -> Operation:  # noqa: ANN401
    """Return what tells this request from others."""
    body = getattr(request, "_content", None)
    digest = None if body is None else hashlib.blake2b(body, digest_size=16).digest()
    return Operation(request.method, str(request.url), digest)
