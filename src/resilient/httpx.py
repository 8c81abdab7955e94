"""Resilient transports for `httpx`: `ResilientTransport`, `AsyncResilientTransport`, and clients made with them.

The twin of `resilient.httpx2`; both are doors to one core.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
    "CallOptions",
    "DeadlineHeader",
    "IdempotencyKey",
    "ResilientTransport",
    "async_client",
    "client",
]

FAMILY = Family(httpx, __name__)

# The errors of ours as errors of this family; pickling finds them here.
BreakerOpen: type[errors.BreakerOpen] = FAMILY.error(errors.BreakerOpen)
BulkheadFull: type[errors.BulkheadFull] = FAMILY.error(errors.BulkheadFull)
RateLimited: type[errors.RateLimited] = FAMILY.error(errors.RateLimited)
BudgetExhausted: type[errors.BudgetExhausted] = FAMILY.error(errors.BudgetExhausted)
ThreadsExhausted: type[errors.ThreadsExhausted] = FAMILY.error(errors.ThreadsExhausted)
DeadlineExceeded: type[errors.DeadlineExceeded] = FAMILY.error(errors.DeadlineExceeded)
CallTimeout: type[errors.CallTimeout] = FAMILY.error(errors.CallTimeout)


class _Body(Body, httpx.SyncByteStream):
    """A response body of this family, read by threads."""


class _AsyncBody(AsyncBody, httpx.AsyncByteStream):
    """A response body of this family, read by tasks."""


class ResilientTransport(SyncTransport, httpx.BaseTransport):
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


class AsyncResilientTransport(AsyncTransport, httpx.AsyncBaseTransport):
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
