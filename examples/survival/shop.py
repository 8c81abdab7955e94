"""The downstream: a shop with rates to read and orders to place, an ASGI application under uvicorn.

It runs in its own process: `python -m examples.survival.shop --folder DIR` begins to serve when
a line arrives on its standard input and prints its address as a line of JSON. Later lines tell
it how slow to be. It prints each order that it begins to carry out, and what it has done every
half second; it ends when its standard input does, or is killed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Any

import uvicorn

from examples.common.process import every, play, say, started, told
from examples.survival.keys import accepted, guarded
from examples.survival.ledger import Ledger
from examples.survival.mischief import Mischief, Receive, Scope, Send, Unreliable
from examples.survival.rates import CURRENCIES, TICK, tick

__all__ = ["Shop"]

WORK = 0.02
"""Seconds that an order takes before it takes effect."""


class Shop:
    """The service itself, which knows nothing of keys.

    Args:
        ledger: Where orders take effect.
        mischief: What happens to an order after it took effect.

    """

    def __init__(self, ledger: Ledger, mischief: Mischief) -> None:
        """Start with no delay."""
        self.ledger = ledger
        self.mischief = mischief
        self.delay = 0.0
        self.answered: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        body = await _body(receive)
        await asyncio.sleep(self.delay)
        what, _, which = scope["path"].strip("/").partition("/")
        self.answered[what] += 1
        if scope["method"] == "GET" and what == "rates" and which in CURRENCIES:
            await self._rate(which, dict(scope["headers"]).get(b"if-none-match", b"").decode(), send)
        elif scope["method"] == "POST" and what == "orders":
            await self._order(scope, json.loads(body), send)
        else:
            await _answer(send, HTTPStatus.NOT_FOUND)

    async def _rate(self, currency: str, known: str, send: Send) -> None:
        number = tick()
        tag = f'"{currency}-{number}"'
        caching = {"Cache-Control": "max-age=1", "ETag": tag}
        if known == tag:
            await _answer(send, HTTPStatus.NOT_MODIFIED, headers=caching)
            return
        content = {"currency": currency, "rate": CURRENCIES[currency] * (1 + number % 7 / 1000), "since": number * TICK}
        await _answer(send, HTTPStatus.OK, json.dumps(content).encode(), caching)

    async def _order(self, scope: Scope, order: dict[str, Any], send: Send) -> None:
        say(begun=order["order"])
        await asyncio.sleep(WORK)
        await asyncio.to_thread(self.ledger.apply, order["order"], order["cents"])
        await self.mischief.after_effect(scope)
        await _answer(send, HTTPStatus.CREATED, accepted(order["order"]))


async def _body(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


async def _answer(
    send: Send, status: HTTPStatus, body: bytes = b"", headers: Mapping[str, str] = MappingProxyType({})
) -> None:
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body))} if body else {}
    raw = [(name.lower().encode(), value.encode()) for name, value in {**fields, **headers}.items()]
    await send({"type": "http.response.start", "status": status.value, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def build(folder: Path, seed: int) -> tuple[Shop, Unreliable]:
    """Return the shop, and the application that the network reaches."""
    mischief = Mischief(seed)
    shop = Shop(Ledger(folder / "ledger.jsonl"), mischief)
    return shop, Unreliable(guarded(shop, folder), mischief)


async def _main(folder: Path, port: int, seed: int) -> None:
    await started()
    listening = socket.create_server(("127.0.0.1", port), backlog=1024)
    host, port = listening.getsockname()
    shop, application = build(folder, seed)
    server = uvicorn.Server(
        uvicorn.Config(application, http="h11", ws="none", lifespan="off", log_level="warning", access_log=False)
    )
    shop.mischief.connections = server.server_state.connections
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    say(url=f"http://{host}:{port}", port=port)
    async with every(0.5, lambda: say(answered=shop.answered, mischief=shop.mischief.done)):
        while (message := await told()) is not None:
            shop.delay = message["delay"]
    server.should_exit = True
    await serving
    say(answered=shop.answered, mischief=shop.mischief.done)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, required=True, help="where the ledger and the keys are kept")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    play(_main(arguments.folder, arguments.port, arguments.seed))
