"""The key of a block: everything inside that acts, acts under this one name.

    with idempotency_key("order-4567"):
        client.post("/orders", json=order)

Transports of ours send it, and functions get it injected. It is a context variable: worker
threads of ours and child tasks see it, so that every attempt, hedge and nested pipeline has it,
and so has a later block of the same key, in another process, too.

One key names one operation. What the first request of a block was is noted in an object that all
copies of the context share; a second, different one is refused before anything is sent.
"""

from __future__ import annotations

from contextvars import ContextVar
from types import TracebackType
from typing import NamedTuple

from resilient import _check
from resilient._runtime import background
from resilient.errors import ConfigError
from resilient.idempotency.keys import checked_key, random_key

__all__ = ["Operation", "current_key", "idempotency_key", "key_for"]


class Operation(NamedTuple):
    """What a request asks for.

    Attributes:
        method: In capital letters.
        url: The whole URL.
        body: A digest of the body, or None for a body that can be read only once: it is then
            not compared.

    """

    method: str
    url: str
    body: bytes | None

    def same(self, other: Operation) -> bool:
        """Tell whether two requests may be one operation."""
        comparable = self.body is not None and other.body is not None
        return self[:2] == other[:2] and (self.body == other.body or not comparable)

    def __str__(self) -> str:
        """Show method and URL, without what may be secret: credentials and query."""
        scheme, mark, rest = self.url.partition("?")[0].partition("://")
        host, slash, path = rest.partition("/")
        return f"{self.method} {scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"


class _Holder:
    """A key, and what it was used for first."""

    __slots__ = ("key", "named")

    def __init__(self, key: str) -> None:
        self.key = key
        self.named: dict[str, Operation] = {}

    def name(self, operation: Operation) -> None:
        first = self.named.setdefault("first", operation)  # one atomic step: hedges come together
        if not first.same(operation):
            what = f"{operation} with another query or body" if str(first) == str(operation) else str(operation)
            message = (
                f"the idempotency key {self.key!r} already names {first}, so {what} was not sent under it: a server "
                "would refuse it or take it for the same. Open another block, `with idempotency_key(...)`, for it; or "
                'give it a key of its own with extensions={"resilient": {"idempotency_key": ...}}, or none with '
                "`with idempotency_key(None)`"
            )
            raise ConfigError(message)


class _Block(NamedTuple):
    """A block that code runs in: its key, if it has one, and the block around it."""

    holder: _Holder | None
    outer: _Block | None


_BLOCK: ContextVar[_Block | None] = ContextVar("resilient_idempotency", default=None)

# What goes on without its call, such as a refresh of a cache, is another operation.
background.leaving(lambda: _BLOCK.set(None))


def _holder() -> _Holder | None:
    block = _BLOCK.get()
    return None if block is None else block.holder


def current_key() -> str | None:
    """Return the key of the block that this code runs in, or None outside of all.

    Example:
        >>> with idempotency_key("order-4567"):
        ...     current_key()
        'order-4567'

    """
    holder = _holder()
    return None if holder is None else holder.key


def inside() -> bool:
    """Tell whether this code runs in a block with a key."""
    return _holder() is not None


def key_for(operation: Operation) -> str | None:
    """Return the block's key for a request, or None outside of all blocks.

    Raises:
        ConfigError: If the key names another request already.

    """
    holder = _holder()
    if holder is None:
        return None
    holder.name(operation)
    return holder.key


class idempotency_key:  # noqa: N801 -- reads as a noun in `with idempotency_key("order-4567"):`
    """Give the operation of a block its key: `with idempotency_key("order-4567"): ...`.

    For plain and for async code. Our transports send the key with each request of an unsafe
    method, which may then be repeated; `inject_key` hands it to a function. A block inside
    another one has its own key. Do not hold one across a `yield` of a generator.

    Args:
        key: Printable ASCII, at most 255 characters where it is sent bare; True for a new random
            one; None for none, also where an outer block has one.

    Raises:
        TypeError: If the key is neither a string, True nor None.
        ConfigError: If no header can carry it.

    Example:
        >>> with idempotency_key("order-4567") as key:
        ...     with idempotency_key(None):
        ...         current_key()
        ...     current_key() == key
        True

    """

    __slots__ = ("_key",)

    def __init__(self, key: str | bool | None = True) -> None:  # noqa: FBT001, FBT002 -- True is "a new one"
        """Check the key."""
        if key is False:
            _check.refuse("key", key, "a key, True for a new one, or None for none")
        self._key = random_key() if key is True else None if key is None else checked_key("key", key)

    def __enter__(self) -> str | None:
        """Return the key."""
        around = _holder()
        if self._key is None:
            holder = None
        else:  # the same key inside of itself is the same operation
            holder = around if around is not None and around.key == self._key else _Holder(self._key)
        # All that a block leaves behind is in the context: threads and tasks may share this object.
        _BLOCK.set(_Block(holder, _BLOCK.get()))
        return self._key

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Return to the key around, if there is one."""
        block = _BLOCK.get()
        _BLOCK.set(None if block is None else block.outer)
