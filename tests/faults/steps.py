"""What the server may do with a request: each step is an answer, or a way to fail to give one.

A step of one's own is an async function of an `Exchange`, decorated with `step`.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterable, Mapping

from tests.faults.exchange import Exchange, Step, step

Pairs = Mapping[str, str] | Iterable[tuple[str, str]]

REFUSED_STREAM = 0x7
ARRIVAL = 0.01
"""Seconds between the last byte sent and a reset, so that the byte is not lost with the connection."""


def _pairs(headers: Pairs, *more: tuple[str, str]) -> list[tuple[str, str]]:
    pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    given = {name.lower() for name, _ in pairs}
    return pairs + [pair for pair in more if pair[0].lower() not in given]


async def _begin(exchange: Exchange, declared: int | None, sent: bytes) -> None:
    # Nothing declared: chunked, which both protocols see to.
    await exchange.head(200, [] if declared is None else [("content-length", str(declared))])
    if sent:
        await exchange.send(sent)


async def _wait(seconds: float | None) -> None:
    if seconds is None:
        await asyncio.get_running_loop().create_future()  # until the client or the server ends it
    else:
        await asyncio.sleep(seconds)


@step
async def answer(
    exchange: Exchange, status: int = 200, body: bytes = b"ok", headers: Pairs = (), *, chunked: bool = False
) -> None:
    """Answer, as a healthy downstream does."""
    length = () if chunked else (("content-length", str(len(body))),)
    await exchange.head(status, _pairs(headers, *length))
    if body:
        await exchange.send(body)
    await exchange.end()


def retry_after(status: int = 503, value: object = 0, body: bytes = b"later", headers: Pairs = ()) -> Step:
    """Refuse with a status and a `Retry-After` of any form."""
    return answer(status, body, _pairs(headers, ("retry-after", str(value))))


def burst_429(count: int = 3, headers: Pairs = ()) -> list[Step]:
    """Refuse so many times with 429; a part of a script: `[*burst_429(3), answer()]`."""
    return [answer(429, b"slow down", headers)] * count


def redirect(url: str, status: int = 302) -> Step:
    """Send the client elsewhere."""
    return answer(status, b"moved", {"location": url})


def unauthorized(nonce: str = "nonce-1", *, realm: str = "faults", stale: bool = False, scheme: str = "Digest") -> Step:
    """Demand credentials: Digest with this nonce, or another scheme with the realm alone."""
    demand = f'{scheme} realm="{realm}"'
    if scheme == "Digest":
        demand += f', nonce="{nonce}", qop="auth", algorithm=MD5' + (", stale=true" if stale else "")
    return answer(401, b"who are you", {"www-authenticate": demand})


@step
async def echo(exchange: Exchange, status: int = 200) -> None:
    """Answer with the body of the request."""
    await answer(status, exchange.received.body).play(exchange)


@step
async def reset(exchange: Exchange, after: float = 0.0) -> None:
    """Tear the connection down before any header."""
    await asyncio.sleep(after)
    exchange.reset()


@step
async def close(exchange: Exchange, after: float = 0.0) -> None:
    """Close the connection in order, without an answer."""
    await asyncio.sleep(after)
    exchange.close()


@step
async def reset_mid_body(exchange: Exchange, sent: bytes = b"half", declared: int | None = 100) -> None:
    """Tear the connection down after a part of the body; `declared=None` sends it chunked."""
    await _begin(exchange, declared, sent)
    await asyncio.sleep(ARRIVAL)
    exchange.reset()


@step
async def close_mid_body(exchange: Exchange, sent: bytes = b"half", declared: int | None = 100) -> None:
    """Close the connection in order after a part of the body."""
    await _begin(exchange, declared, sent)
    exchange.close()


@step
async def stall(exchange: Exchange, seconds: float | None = None, then: Step | None = None) -> None:
    """Send nothing until the server stops, or so many seconds; then answer, or play another step."""
    await _wait(seconds)
    await (then or answer()).play(exchange)


@step
async def stall_mid_body(
    exchange: Exchange, sent: bytes = b"half", declared: int | None = 100, seconds: float | None = None
) -> None:
    """Stall after headers and a part of the body; after so many seconds, send the rest."""
    await _begin(exchange, declared, sent)
    await _wait(seconds)
    await exchange.send(b"." * max(0, (declared or 0) - len(sent)))
    await exchange.end()


@step
async def drip(exchange: Exchange, interval: float = 0.01, chunk: bytes = b"x", count: int | None = None) -> None:
    """Send the body slowly: a chunk at each interval, `count` of them or without end."""
    await _begin(exchange, None if count is None else len(chunk) * count, b"")
    for _ in itertools.count() if count is None else range(count):
        await asyncio.sleep(interval)
        await exchange.send(chunk)
    await exchange.end()


@step
async def drip_headers(exchange: Exchange, interval: float = 0.01) -> None:
    """Send status line and header bytes one by one, for ever; HTTP/1.1 only."""
    endless = itertools.chain.from_iterable(f"X-Drip-{number}: 1\r\n".encode() for number in itertools.count())
    for byte in itertools.chain(b"HTTP/1.1 200 OK\r\n", endless):
        await exchange.raw(bytes([byte]))
        await asyncio.sleep(interval)


@step
async def close_after(
    exchange: Exchange, status: int = 200, body: bytes = b"ok", headers: Pairs = (), *, silent: bool = False
) -> None:
    """Answer and close the connection: announced by `Connection: close` (HTTP/1.1), or silently."""
    announced = () if silent else (("connection", "close"),)
    await answer(status, body, _pairs(headers, *announced)).play(exchange)
    exchange.close()


@step
async def close_on_reuse(exchange: Exchange, then: Step | None = None) -> None:
    """Answer and keep the connection, but close it unanswered when it is used again; HTTP/1.1 only.

    This is the keep-alive race: the client cannot know before it has sent.
    """
    await (then or answer()).play(exchange)
    exchange.doom()


@step
async def event_stream(
    exchange: Exchange, events: Iterable[str] | None = None, interval: float = 0.01, *, ends: bool = True
) -> None:
    """Send server-sent events: the given ones, or numbers without end; without `ends` it stays open, silent."""
    await exchange.head(200, [("content-type", "text/event-stream"), ("cache-control", "no-store")])
    for event in map(str, itertools.count(1)) if events is None else events:
        await exchange.send(f"data: {event}\n\n".encode())
        await asyncio.sleep(interval)
    if not ends:
        await _wait(None)
    await exchange.end()


@step
async def gated(exchange: Exchange, event: threading.Event, then: Step | None = None) -> None:
    """Wait for an event, then answer or play another step."""
    await exchange.opened(event)
    await (then or answer()).play(exchange)


@step
async def hints(
    exchange: Exchange, status: int = 103, headers: Pairs = (("link", "</a.css>"),), then: Step | None = None
) -> None:
    """Send an interim answer, then answer or play another step."""
    await exchange.hint(status, _pairs(headers))
    await (then or answer()).play(exchange)


@step
async def raw(exchange: Exchange, data: bytes, *, closes: bool = True) -> None:
    """Send bytes that need not be HTTP, and close or stall; HTTP/1.1 only."""
    await exchange.raw(data)
    if not closes:
        await _wait(None)
    exchange.close()


@step
async def unread(exchange: Exchange, seconds: float | None = None) -> None:
    """Stop reading, so that a large body gets stuck on its way; the server must be `early`."""
    exchange.deafen()
    await _wait(seconds)
    exchange.reset()


@step
async def rst(exchange: Exchange, code: int = 0x2, sent: bytes | None = None) -> None:
    """Reset the stream (HTTP/2) with a code: before headers, or after a part of the body."""
    if sent is not None:
        await _begin(exchange, None, sent)
    exchange.rst(code)


def refused_stream() -> Step:
    """Refuse the stream (HTTP/2): the request was not processed, and may be sent again."""
    return rst(REFUSED_STREAM)


@step
async def goaway(exchange: Exchange, last: int | None = None, code: int = 0, then: Step | None = None) -> None:
    """Send GOAWAY (HTTP/2), then close, or play another step first.

    Unless told otherwise it says of this request that it was not processed, or, with `then`, that it was.
    """
    stream = exchange.received.stream
    if last is None:
        last = max(0, stream - 2) if then is None else stream
    exchange.goaway(last, code)
    if then is not None:
        await then.play(exchange)
    exchange.close()
