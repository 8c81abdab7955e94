"""What the type checkers must see of the transports: clients and errors keep their family's types.

Checked by `mypy --strict` and `pyright` in strict mode; never run.
"""

from __future__ import annotations

from typing import assert_type

import httpx
import httpx2

import resilient.httpx
from resilient import Keyed, Rejected, Retry, standard
from resilient.httpx2 import (
    AsyncResilientTransport,
    BreakerOpen,
    CallOptions,
    CallTimeout,
    DeadlineHeader,
    IdempotencyKey,
    ResilientTransport,
    async_client,
    client,
)

payments = standard("payments")
hosts = Keyed("hosts", Retry())

transport = ResilientTransport(
    {"https://api.example.com": payments, "all://*.example.com": payments},
    default=hosts,
    idempotency=IdempotencyKey(style="quoted"),
    rejections="answer",
    attempt_header="X-Attempt",
    deadline_header=DeadlineHeader("grpc-timeout"),
    http2=True,
    verify="ca.pem",
    keepalive_expiry=30,
)
assert_type(httpx2.Client(transport=transport), httpx2.Client)
assert_type(httpx2.AsyncClient(transport=AsyncResilientTransport(payments)), httpx2.AsyncClient)
assert_type(httpx.Client(transport=resilient.httpx.ResilientTransport(payments)), httpx.Client)
assert_type(httpx.AsyncClient(transport=resilient.httpx.AsyncResilientTransport(payments)), httpx.AsyncClient)
assert_type(client(payments, base_url="https://api.example.com"), httpx2.Client)
assert_type(async_client({"all://": payments}), httpx2.AsyncClient)
assert_type(resilient.httpx.client(payments), httpx.Client)
assert_type(resilient.httpx.async_client(payments), httpx.AsyncClient)


def answer(_: httpx2.Request) -> httpx2.Response:
    """Answer."""
    return httpx2.Response(200)


ResilientTransport(payments, transport=httpx2.MockTransport(answer), default=standard)
AsyncResilientTransport(payments, transport=httpx2.MockTransport(answer), owns_transport=False)


def use() -> float | None:
    """Send, and catch what is raised as an error of either tree."""
    with ResilientTransport(payments) as entered:
        assert_type(entered, ResilientTransport)
    with client(payments) as api:
        try:
            response = api.post("/orders", extensions={"resilient": CallOptions(attempts=2, timeout=1.5)})
            assert_type(response, httpx2.Response)
        except BreakerOpen as error:
            assert_type(error.request, httpx2.Request)
            return error.retry_after
        except CallTimeout as error:
            late: httpx2.TimeoutException = error
            assert_type(late.request, httpx2.Request)
        except httpx2.TransportError as error:
            return error.retry_after if isinstance(error, Rejected) else None
    return None


def name(error: resilient.httpx.BreakerOpen) -> str:
    """Stand in an annotation."""
    also: httpx.TransportError = error
    return f"{error.downstream} {also.request.url}"


async def ause() -> None:
    """Send, by a task."""
    async with async_client(payments) as api:
        assert_type(await api.get("/orders"), httpx2.Response)
    async with AsyncResilientTransport(payments) as entered:
        assert_type(entered, AsyncResilientTransport)


def wrong() -> None:
    """Mistakes that a checker must see; each line needs its ignore, or the checker complains."""
    ResilientTransport(payments, tarnsport=None)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    ResilientTransport(payments, http2="yes")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    ResilientTransport(payments, rejections="no")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    ResilientTransport(
        payments,
        transport=httpx.HTTPTransport(),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    )
    ResilientTransport(
        payments,
        transport=httpx2.AsyncHTTPTransport(),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    )
    httpx2.Client(transport=AsyncResilientTransport(payments))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    httpx.Client(transport=ResilientTransport(payments))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    client("payments")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    CallOptions(retries=3)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
