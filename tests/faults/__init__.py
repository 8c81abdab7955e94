"""A scripted server on real loopback sockets that fails in every way a downstream can.

    with FaultServer([reset(), retry_after(503, 0), answer(body=b"at last")]) as server:
        httpx.get(server.url)

It speaks HTTP/1.1, and HTTP/2 in the clear to clients that begin with its preface. It lives in a
thread of its own, so plain threads, asyncio and trio use it alike; `ProcessServer` is the same in
a process of its own, for load.
"""

from __future__ import annotations

from tests.faults.deadends import nobody, unanswered
from tests.faults.exchange import Exchange, Step, step
from tests.faults.process import ProcessServer
from tests.faults.record import Headers, Received
from tests.faults.server import FaultServer
from tests.faults.steps import (
    answer,
    burst_429,
    close,
    close_after,
    close_mid_body,
    close_on_reuse,
    drip,
    drip_headers,
    echo,
    event_stream,
    gated,
    goaway,
    hints,
    raw,
    redirect,
    refused_stream,
    reset,
    reset_mid_body,
    retry_after,
    rst,
    stall,
    stall_mid_body,
    unauthorized,
    unread,
)

__all__ = [
    "Exchange",
    "FaultServer",
    "Headers",
    "ProcessServer",
    "Received",
    "Step",
    "answer",
    "burst_429",
    "close",
    "close_after",
    "close_mid_body",
    "close_on_reuse",
    "drip",
    "drip_headers",
    "echo",
    "event_stream",
    "gated",
    "goaway",
    "hints",
    "nobody",
    "raw",
    "redirect",
    "refused_stream",
    "reset",
    "reset_mid_body",
    "retry_after",
    "rst",
    "stall",
    "stall_mid_body",
    "step",
    "unanswered",
    "unauthorized",
    "unread",
]
