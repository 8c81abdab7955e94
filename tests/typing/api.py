"""What the type checkers must see: decorated functions keep their exact types.

Checked by `mypy --strict` and `pyright` in strict mode; never run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, assert_type

from resilient import (
    Bulkhead,
    CircuitBreaker,
    Classifier,
    Count,
    Fallback,
    Keyed,
    Outcome,
    Permit,
    Pipeline,
    RateLimit,
    Retry,
    Timeout,
    Verdict,
    deadline,
    from_status,
    remaining,
    standard,
)

payments = Pipeline(
    "payments",
    Timeout(2.0),
    Retry(3, on=(OSError,)),
    CircuitBreaker(window=Count(100)),
    RateLimit(100, per=1.0),
    Bulkhead(20),
    Timeout(0.5),
    classifier=Classifier(error=lambda error: Outcome.FAILURE if isinstance(error, OSError) else None),
)


@payments
def charge(order: int, *, currency: str = "EUR") -> str:
    """Charge."""
    return f"{order} {currency}"


@payments
async def acharge(order: int) -> bytes:
    """Charge."""
    return b"" * order


class Orders:
    """Methods of each kind."""

    @payments
    def find(self, number: int) -> str:
        """Find."""
        return str(number)

    @payments
    async def afind(self, number: int) -> str:
        """Find."""
        return str(number)

    @classmethod
    def plain(cls, number: int) -> int:
        """Plain."""
        return number


@payments.methods("find")
class Found:
    """Guarded by one declaration."""

    def find(self, number: int) -> str:
        """Find."""
        return str(number)


def use() -> None:
    """Use the plain forms."""
    assert_type(charge(1, currency="USD"), str)
    assert_type(Orders().find(3), str)
    assert_type(Found().find(3), str)
    assert_type(payments.call(charge, 1, currency="USD"), str)
    assert_type(payments.call(max, 1, 2), int)
    assert_type(remaining(), float | None)
    assert_type(from_status(503), Verdict)
    with payments.permit() as permit, deadline(2):
        assert_type(permit, Permit)
        permit.succeeded()
    plain: Callable[[int], str] = Orders().find
    assert_type(plain(1), str)


async def ause() -> None:
    """Use the async forms."""
    assert_type(await acharge(1), bytes)
    assert_type(await Orders().afind(3), str)
    pending: Coroutine[Any, Any, bytes] = acharge(1)
    assert_type(await pending, bytes)
    assert_type(await payments.acall(acharge, 1), bytes)
    async with payments.permit() as permit:
        assert_type(permit, Permit)
    awaitable: Awaitable[bytes] = acharge(1)
    await awaitable


hosts = Keyed("hosts", CircuitBreaker())


def host_of(host: str, path: str) -> str:
    """Return the key of a call."""
    return host if path else ""


@hosts.by(host_of)
def get(host: str, path: str) -> bytes:
    """Get."""
    return f"{host}{path}".encode()


assert_type(get("a", "/"), bytes)
assert_type(hosts["a"], Pipeline)
assert_type(hosts.call("a", get, "a", "/"), bytes)
assert_type(standard("search", timeout=3), Pipeline)


def wrong() -> None:
    """Mistakes that a checker must see; each line needs its ignore, or the checker complains."""
    charge("one")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    charge(1, currancy="USD")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    payments.call(charge, "one")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    Timeout("2")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    Fallback(1, time=2)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
