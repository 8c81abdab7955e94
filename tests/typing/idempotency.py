"""What a user's type checker sees of `resilient.idempotency`: decorated functions keep their types."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, assert_type

from resilient.idempotency import (
    IdempotencyMiddleware,
    KeyBook,
    current_key,
    derived_key,
    fingerprint,
    idempotency_key,
    inject_key,
    once,
    recorded_response,
)
from resilient.stores import MemoryStore

Message = MutableMapping[str, Any]
book = KeyBook(MemoryStore(), name="typed", lifetime=60, in_doubt="refuse")


@inject_key("key")
def charge(cents: int, *, key: str | None = None) -> str:
    return f"{cents} under {key}"


@inject_key("headers", header="Idempotency-Key", style="quoted")
async def acharge(cents: int, headers: dict[str, str] | None = None) -> bytes:
    return repr((cents, headers)).encode()


@once(book, key="order")
def pay(order: str, cents: int = 1) -> dict[str, int]:
    return {order: cents}


@once(MemoryStore(), key=str, not_executed=ValueError)
async def apay(order: str) -> int:
    return len(order)


async def app(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    del scope, receive, send


async def uses() -> None:
    assert_type(charge(1), str)
    assert_type(charge(1, key="k"), str)
    assert_type(await acharge(1), bytes)
    assert_type(pay("a", cents=2), dict[str, int])
    assert_type(await apay("a"), int)
    with idempotency_key("order-1") as key:
        assert_type(key, str | None)
    with idempotency_key(), idempotency_key(None):
        assert_type(current_key(), str | None)
    assert_type(derived_key(b"0123456789abcdef", tenant="t", operation="o", intent="i", body={"a": 1}), str)
    assert_type(fingerprint([1, None]), str)
    assert_type(book.resolve("typed:1", "done", **recorded_response(201)), bool)
    IdempotencyMiddleware(app, book, required=lambda scope: scope["path"] == "/", not_executed=(401,))
    IdempotencyMiddleware(app, MemoryStore(), not_executed=lambda status, headers: headers["x"] == str(status))
    IdempotencyMiddleware(app, book, accept=("bare",), larger="unchecked", wait=1.5)


def misuses() -> None:
    charge("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    pay(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    KeyBook(MemoryStore(), in_doubt="maybe")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
