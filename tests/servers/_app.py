"""The application that the servers run: it calls a downstream in bursts, and tells when it began each call.

Everything comes from the environment, so that each worker of each kind of server finds the same.
"""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from resilient import BreakerOpen, CircuitBreaker, Pipeline, Retry
from resilient.backoff import Backoff

PORT = int(os.environ.get("TEST_DOWNSTREAM_PORT", "0"))

payments = Pipeline("payments", CircuitBreaker(probes=1))
stock = Pipeline("stock")  # no breaker: a hold binds to the downstream
slow = Pipeline("slow", Retry(attempts=3, backoff=Backoff(base=2.0, jitter="none"), budget=None))
PIPELINES = {each.name: each for each in (payments, stock, slow)}

_own = threading.local()


def ask(name: str, began: int) -> None:
    """Send one request to the downstream over this thread's connection."""
    connection = getattr(_own, "connection", None)
    if connection is None or _own.pid != os.getpid():
        connection = _own.connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
        _own.pid = os.getpid()
    try:
        connection.request("POST", f"/{name}", headers={"X-Began": str(began), "X-Pid": str(os.getpid())})
        answer = connection.getresponse()
        answer.read()
    except BaseException:
        connection.close()
        _own.connection = None
        raise
    if answer.status != http.client.OK:
        message = f"{name} answered {answer.status}"
        raise ConnectionError(message)


def burst(name: str, calls: int) -> dict[str, int]:
    """Make some calls; return how they ended."""
    pipeline = PIPELINES[name]
    told = {"pid": os.getpid(), "passed": 0, "refused": 0, "failed": 0}
    for _ in range(calls):
        # Before admission: what began after a trip was in force has no excuse.
        began = time.monotonic_ns()
        try:
            pipeline.call(ask, name, began)
        except BreakerOpen:
            told["refused"] += 1
        except OSError:
            told["failed"] += 1
        else:
            told["passed"] += 1
    return told


async def aburst(name: str, calls: int) -> dict[str, int]:
    """Make some calls from the event loop; return how they ended."""
    import asyncio

    pipeline = PIPELINES[name]
    told = {"pid": os.getpid(), "passed": 0, "refused": 0, "failed": 0}

    async def send(began: int) -> None:
        await asyncio.to_thread(ask, name, began)

    for _ in range(calls):
        began = time.monotonic_ns()
        try:
            await pipeline.acall(send, began)
        except BreakerOpen:
            told["refused"] += 1
        except OSError:
            told["failed"] += 1
        else:
            told["passed"] += 1
    return told


def metrics() -> str:
    """Return what Prometheus would scrape from this worker."""
    from resilient.prometheus import exposition

    return exposition()[0].decode()


def wsgi(environ: dict[str, Any], start: Callable[..., object]) -> Iterator[bytes]:
    """Serve as WSGI: what gunicorn's own workers run."""
    query = parse_qs(environ["QUERY_STRING"])
    path = environ["PATH_INFO"]
    if path == "/metrics":
        body = metrics().encode()
    elif path == "/pid":
        body = json.dumps({"pid": os.getpid()}).encode()
    else:
        body = json.dumps(burst(path.strip("/"), int(query["calls"][0]))).encode()
    start("200 OK", [("Content-Length", str(len(body))), ("Connection", "close")])
    return iter([body])


async def asgi(scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[..., Any]) -> None:
    """Serve as ASGI, without lifespan: the library must not need it."""
    if scope["type"] != "http":
        raise NotImplementedError
    query = parse_qs(scope["query_string"].decode())
    path = scope["path"]
    if path == "/metrics":
        body = metrics().encode()
    elif path == "/pid":
        body = json.dumps({"pid": os.getpid()}).encode()
    elif path == "/block":
        while Path(query["while"][0]).exists():  # an event loop that hangs, as people build them
            time.sleep(0.02)
        body = b"{}"
    else:
        body = json.dumps(await aburst(path.strip("/"), int(query["calls"][0]))).encode()
    headers = [(b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
