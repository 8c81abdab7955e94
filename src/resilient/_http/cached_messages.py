"""Requests and answers of a family, as flows of the cache see them, and back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from resilient._http.family import Family
from resilient._policy import Env
from resilient.cache.messages import Asked, Fields, Got, Reply
from resilient.clock import current
from resilient.provenance import note

PROVENANCE = "resilient.provenance"
"""Extension of a response that says where it came from."""

_CODED = len(b"content-encoding")
_NO_TIME = timedelta(0)


def wall() -> float:
    """Return the wall time of the clock in force."""
    return current().wall()


def asked_of(family: Family, request: Any) -> Asked:  # noqa: ANN401 -- of either family
    """Return a client's request."""
    body = getattr(request, "_content", None)
    if body is None and type(request.stream) is family.byte_stream:  # the next hop of a redirect
        body = b"".join(request.stream)
    past = "target" if "target" in request.extensions else None  # then the URL is not what is asked for
    return Asked(request.method, str(request.url), request.headers.raw, body != b"", past)


def got_from(response: Any, exchange: Any) -> Got:  # noqa: ANN401
    """Return an answer of the pipeline, with the times of the attempt that it came from."""
    received = wall()
    took = exchange.route.env.now() - exchange.began if exchange.attempts else 0.0
    return Got(
        response.status_code,
        response.headers.raw,
        requested_at=received - max(0.0, took),
        received_at=received,
        handle=response,
        replaced=exchange.replacement,
    )


def replied(family: Family, env: Env, reply: Reply) -> Any:  # noqa: ANN401
    """Return a response that is made from the store, and tell where it came from."""
    extensions: dict[str, Any] = {}
    made = reply.provenance(env.downstream)
    if made is not None:
        extensions[PROVENANCE] = made
        note(made)
        if made.stale:
            env.emit("resilient.cache.stale_served", policy=made.served_by, age=made.age, cause=made.reason)
    stream = family.byte_stream(reply.body)
    response = family.response(reply.status, headers=reply.fields, stream=stream, extensions=extensions)
    if not _coded(reply.fields):
        # A client that reads it at once finds it read, which saves a fifth of its work; whoever streams, streams.
        response._content = reply.body  # noqa: SLF001 -- where both families look first
        response.elapsed = _NO_TIME
    return response


def in_memory(family: Family, response: Any) -> bytes | None:  # noqa: ANN401
    """Return the raw body of a response that needs no network to be read, or None."""
    if type(response.stream) is family.byte_stream:
        return b"".join(response.stream)
    # Where a transport around the network has read it.
    return None if _coded(response.headers.raw) else getattr(response, "_content", None)


def _coded(fields: Fields) -> bool:
    """Tell whether a body is not what it says, but a coding of that."""
    return any(len(name) == _CODED and name.lower() == b"content-encoding" for name, _ in fields)


def spent(response: Any) -> bool:  # noqa: ANN401
    """Tell whether the raw body of a response was read already, so that nobody reads it again."""
    return bool(response.is_stream_consumed or response.is_closed)


def shown(family: Family, response: Any, fields: Fields | None, body: bytes | None) -> Any:  # noqa: ANN401
    """Return a response with other header fields; one in memory stays as it is, for it may be one for all calls."""
    if fields is None:
        return response
    if body is None:
        response.headers = family.headers(fields)
        return response
    stream = family.byte_stream(body)
    return family.response(response.status_code, headers=fields, stream=stream, extensions=response.extensions)
