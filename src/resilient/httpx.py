"""Resilient transports for `httpx`: `ResilientTransport`, `AsyncResilientTransport`, and clients made with them.

The twin of `resilient.httpx2`; both are doors to one core.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx

from resilient import errors
from resilient._deadline_header import DeadlineHeader
from resilient._http.clients import split
from resilient._http.family import Family
from resilient._http.keys import IdempotencyKey
from resilient._http.options import CallOptions
from resilient._http.streams import AsyncBody, Body
from resilient._http.transport import AsyncTransport, SyncTransport
from resilient.pipeline import Pipeline

__all__ = [
    "AsyncResilientTransport",
    "BreakerOpen",
    "BudgetExhausted",
    "BulkheadFull",
    "CallOptions",
    "CallTimeout",
    "DeadlineExceeded",
    "DeadlineHeader",
    "IdempotencyKey",
    "RateLimited",
    "ResilientTransport",
    "ThreadsExhausted",
    "async_client",
    "client",
]

FAMILY = Family(httpx, __name__)

# The errors of ours as errors of this family; pickling finds them here.
if TYPE_CHECKING:

    class BreakerOpen(errors.BreakerOpen, httpx.TransportError):
        """`resilient.BreakerOpen` as an `httpx.TransportError`, with its `request`."""

    class BulkheadFull(errors.BulkheadFull, httpx.TransportError):
        """`resilient.BulkheadFull` as an `httpx.TransportError`, with its `request`."""

    class RateLimited(errors.RateLimited, httpx.TransportError):
        """`resilient.RateLimited` as an `httpx.TransportError`, with its `request`."""

    class BudgetExhausted(errors.BudgetExhausted, httpx.TransportError):
        """`resilient.BudgetExhausted` as an `httpx.TransportError`, with its `request`."""

    class ThreadsExhausted(errors.ThreadsExhausted, httpx.TransportError):
        """`resilient.ThreadsExhausted` as an `httpx.TransportError`, with its `request`."""

    class DeadlineExceeded(errors.DeadlineExceeded, httpx.TransportError):
        """`resilient.DeadlineExceeded` as an `httpx.TransportError`, with its `request`."""

    class CallTimeout(errors.CallTimeout, httpx.TimeoutException):
        """`resilient.CallTimeout` as an `httpx.TimeoutException`, with its `request`."""

else:
    BreakerOpen = FAMILY.error(errors.BreakerOpen)
    BulkheadFull = FAMILY.error(errors.BulkheadFull)
    RateLimited = FAMILY.error(errors.RateLimited)
    BudgetExhausted = FAMILY.error(errors.BudgetExhausted)
    ThreadsExhausted = FAMILY.error(errors.ThreadsExhausted)
    DeadlineExceeded = FAMILY.error(errors.DeadlineExceeded)
    CallTimeout = FAMILY.error(errors.CallTimeout)


class _Body(Body, httpx.SyncByteStream):
    """A response body of this family, read by threads."""


class _AsyncBody(AsyncBody, httpx.AsyncByteStream):
    """A response body of this family, read by tasks."""


class ResilientTransport(SyncTransport[httpx.BaseTransport], httpx.BaseTransport):
    """A transport of `httpx.Client` whose requests pass through pipelines.

    Example:
        >>> import httpx
        >>> from resilient import standard
        >>> from resilient.httpx import ResilientTransport
        >>> transport = ResilientTransport({"https://api.example.com": standard("doc-httpx-api")})
        >>> client = httpx.Client(transport=transport)
        >>> client.close()

    """

    family = FAMILY
    body = _Body


class AsyncResilientTransport(AsyncTransport[httpx.AsyncBaseTransport], httpx.AsyncBaseTransport):
    """A transport of `httpx.AsyncClient` whose requests pass through pipelines, under asyncio and trio.

    It takes the same arguments as `ResilientTransport`.
    """

    family = FAMILY
    body = _AsyncBody


def client(pipelines: Pipeline | Mapping[str, Pipeline], **options: Any) -> httpx.Client:  # noqa: ANN401
    """Return an `httpx.Client` with a `ResilientTransport`.

    Args:
        pipelines: As for the transport.
        options: Those of the transport and of the client, told apart by their names.

    Raises:
        TypeError: If an option is known to neither, or says what the pipeline decides (`limits`).

    Example:
        >>> from resilient import standard
        >>> from resilient.httpx import client
        >>> with client(standard("doc-httpx-client"), base_url="https://api.example.com") as api:
        ...     api.base_url.host
        'api.example.com'

    """
    mine, others = split(options)
    return httpx.Client(transport=ResilientTransport(pipelines, **mine), **others)


def async_client(pipelines: Pipeline | Mapping[str, Pipeline], **options: Any) -> httpx.AsyncClient:  # noqa: ANN401
    """Return an `httpx.AsyncClient` with an `AsyncResilientTransport`; the arguments are those of `client`."""
    mine, others = split(options)
    return httpx.AsyncClient(transport=AsyncResilientTransport(pipelines, **mine), **others)
