"""What the HTTP cases share: a pipeline with books to look into, and steps of the server that only they need."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest

from resilient import Backoff, Bulkhead, CircuitBreaker, Pipeline, Retry
from tests.faults import Exchange, step
from tests.http._world import Client

_number = count()


def quick(attempts: int, base: float = 0.001, **options: Any) -> Retry:
    """A retry that hardly waits, without a budget."""
    return Retry(
        attempts=attempts, backoff=Backoff(base=base, throttled_base=base, jitter="none"), budget=None, **options
    )


def guarded(
    attempts: int = 3, *, limit: int = 2, queue: int = 0, retry: Retry | None = None, **breaker: Any
) -> Pipeline:
    """A pipeline with a retry, a breaker and a bulkhead."""
    return Pipeline(
        f"http-case-{next(_number)}",
        retry or quick(attempts),
        CircuitBreaker(**{"consecutive": None, "min_calls": 1_000, "jitter": 0.0, **breaker}),
        Bulkhead(limit, queue=queue, max_wait=5.0 if queue else None),
    )


class Books:
    """What the policies of a pipeline have counted."""

    def __init__(self, pipeline: Pipeline) -> None:
        snapshot: Any = pipeline.snapshot()
        breaker, bulkhead = snapshot["circuit_breaker"], snapshot["bulkhead"]
        self.calls: int = breaker["calls"]
        self.failures: int = breaker["failures"]
        self.state: str = breaker["state"]
        self.probes: int = breaker["probes"]["in_flight"] if breaker["probes"] else 0
        self.held: tuple[int, int, int] = breaker["in_flight"], bulkhead["in_flight"], bulkhead["queued"]

    @property
    def settled(self) -> tuple[int, int]:
        return self.calls, self.failures


HALF_READ = pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
"""Trio's word on the clients' own generators when a body is not read to its end."""


NOTHING = (0, 0, 0)
"""What is held where no call is in progress: by the breaker, by the bulkhead, in its line."""


def books(pipeline: Pipeline) -> Books:
    return Books(pipeline)


async def pieces(client: Client, response: Any, kind: str) -> AsyncIterator[Any]:
    """Iterate over a response by one of the clients' own ways: raw, bytes, text or lines."""
    if client.world.is_async:
        async for piece in getattr(response, f"aiter_{kind}")():
            yield piece
    else:
        for piece in getattr(response, f"iter_{kind}")():
            yield piece


@step
async def in_two(
    exchange: Exchange,
    first: bytes,
    gate: threading.Event,
    second: bytes,
    status: int = 200,
    headers: tuple[tuple[str, str], ...] = (),
) -> None:
    """Send a part of the body; the other once the event is set."""
    await exchange.head(status, [*headers, ("content-length", str(len(first + second)))])
    await exchange.send(first)
    await exchange.opened(gate)
    await exchange.send(second)
    await exchange.end()


@step
async def unfinished(exchange: Exchange, status: int = 503, declared: int | None = 10, sent: bytes = b"half") -> None:
    """Answer with a part of a body whose rest never comes."""
    await exchange.head(status, [] if declared is None else [("content-length", str(declared))])
    await exchange.send(sent)
    await exchange.opened(threading.Event())
