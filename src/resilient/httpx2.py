"""Resilient transports for `httpx2`: `ResilientTransport`, `AsyncResilientTransport`, and clients made with them.

The twin of `resilient.httpx`; both are doors to one core.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx2

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

FAMILY = Family(httpx2, __name__)

# The errors of ours as errors of this family; pickling finds them here.
if TYPE_CHECKING:

    class BreakerOpen(errors.BreakerOpen, httpx2.TransportError):
        """`resilient.BreakerOpen` as an `httpx2.TransportError`, with its `request`."""

    class BulkheadFull(errors.BulkheadFull, httpx2.TransportError):
        """`resilient.BulkheadFull` as an `httpx2.TransportError`, with its `request`."""

    class RateLimited(errors.RateLimited, httpx2.TransportError):
        """`resilient.RateLimited` as an `httpx2.TransportError`, with its `request`."""

    class BudgetExhausted(errors.BudgetExhausted, httpx2.TransportError):
        """`resilient.BudgetExhausted` as an `httpx2.TransportError`, with its `request`."""

    class ThreadsExhausted(errors.ThreadsExhausted, httpx2.TransportError):
        """`resilient.ThreadsExhausted` as an `httpx2.TransportError`, with its `request`."""

    class DeadlineExceeded(errors.DeadlineExceeded, httpx2.TransportError):
        """`resilient.DeadlineExceeded` as an `httpx2.TransportError`, with its `request`."""

    class CallTimeout(errors.CallTimeout, httpx2.TimeoutException):
        """`resilient.CallTimeout` as an `httpx2.TimeoutException`, with its `request`."""

else:
    BreakerOpen = FAMILY.error(errors.BreakerOpen)
    BulkheadFull = FAMILY.error(errors.BulkheadFull)
    RateLimited = FAMILY.error(errors.RateLimited)
    BudgetExhausted = FAMILY.error(errors.BudgetExhausted)
    ThreadsExhausted = FAMILY.error(errors.ThreadsExhausted)
    DeadlineExceeded = FAMILY.error(errors.DeadlineExceeded)
    CallTimeout = FAMILY.error(errors.CallTimeout)


class _Body(Body, httpx2.SyncByteStream):
    """A response body of this family, read by threads."""


class _AsyncBody(AsyncBody, httpx2.AsyncByteStream):
    """A response body of this family, read by tasks."""


class ResilientTransport(SyncTransport[httpx2.BaseTransport], httpx2.BaseTransport):
    """A transport of `httpx2.Client` whose requests pass through pipelines.

    Example:
        >>> import httpx2
        >>> from resilient import standard
        >>> from resilient.httpx2 import ResilientTransport
        >>> transport = ResilientTransport({"https://api.example.com": standard("doc-httpx2-api")})
        >>> client = httpx2.Client(transport=transport)
        >>> client.close()

    """

    family = FAMILY
    body = _Body


class AsyncResilientTransport(AsyncTransport[httpx2.AsyncBaseTransport], httpx2.AsyncBaseTransport):
    """A transport of `httpx2.AsyncClient` whose requests pass through pipelines, under asyncio and trio.

    It takes the same arguments as `ResilientTransport`.
    """

    family = FAMILY
    body = _AsyncBody


def client(pipelines: Pipeline | Mapping[str, Pipeline], **options: Any) -> httpx2.Client:  # noqa: ANN401
    """Return an `httpx2.Client` with a `ResilientTransport`.

    Args:
        pipelines: As for the transport.
        options: Those of the transport and of the client, told apart by their names.

    Raises:
        TypeError: If an option is known to neither, or says what the pipeline decides (`limits`).

    Example:
        >>> from resilient import standard
        >>> from resilient.httpx2 import client
        >>> with client(standard("doc-httpx2-client"), base_url="https://api.example.com") as api:
        ...     api.base_url.host
        'api.example.com'

    """
    mine, others = split(options)
    return httpx2.Client(transport=ResilientTransport(pipelines, **mine), **others)


def async_client(pipelines: Pipeline | Mapping[str, Pipeline], **options: Any) -> httpx2.AsyncClient:  # noqa: ANN401
    """Return an `httpx2.AsyncClient` with an `AsyncResilientTransport`; the arguments are those of `client`."""
    mine, others = split(options)
    return httpx2.AsyncClient(transport=AsyncResilientTransport(pipelines, **mine), **others)
