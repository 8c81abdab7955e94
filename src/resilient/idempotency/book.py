"""KeyBook: the memory of a service, which operations were begun, and what came of them."""

from __future__ import annotations

from typing import Literal

from resilient import _check
from resilient._runtime.blocking import complete
from resilient.idempotency.calls import InThreads
from resilient.idempotency.desk import Desk
from resilient.stores.contract import Store

__all__ = ["KeyBook", "opened"]


class KeyBook:
    """Remembers operations by their idempotency keys: which were begun, and what came of them.

    Used by `IdempotencyMiddleware` and by `once`; several of them may share one book.

    Args:
        store: Where it is kept, and nothing else is: a `SqliteStore` for several processes, a
            `MemoryStore` for one.
        name: Of this book, in the store, in events and in errors.
        lifetime: Seconds, above 0, for which a key is remembered after its operation, or after
            the last sign of life of one in doubt. After that the same key is a new operation.
            Publish it to your clients.
        lease: Seconds, above 0, for which a process may be silent before its operations are in
            doubt. It is renewed while an operation runs, however long that takes.
        in_doubt: "refuse" never executes an operation of which it is unknown whether it took
            effect, until `resolve` says so. "execute" executes it again when its lease is over:
            at least once, not exactly once.
        without_store: "refuse" executes nothing with a key while the store does not answer.
            "execute" does, without remembering it.
        patience: Seconds, above 0, that one request waits for a blocking store at most; and for
            which what was executed is tried to be written down.

    Raises:
        TypeError: If the store is none, or a value of a wrong type.
        ConfigError: If a value is out of range, or the lease is longer than the lifetime.

    Example:
        >>> from resilient.stores import MemoryStore
        >>> book = KeyBook(MemoryStore(), name="payments", lifetime=7 * 86_400)
        >>> book.resolve(book.id_of("order-4567"), "forget")
        False

    """

    def __init__(  # noqa: PLR0913 -- one setting for each thing that can go wrong
        self,
        store: Store,
        *,
        name: str = "idempotency",
        lifetime: _check.Duration = 86_400.0,
        lease: _check.Duration = 10.0,
        in_doubt: Literal["refuse", "execute"] = "refuse",
        without_store: Literal["refuse", "execute"] = "refuse",
        patience: _check.Duration = 2.0,
    ) -> None:
        """Check every value."""
        if isinstance(store, type) or not isinstance(store, Store):
            _check.refuse_type("store", store, "a store, such as a SqliteStore")
        self.name = _check.identifier("name", name)
        self.lifetime = _check.seconds("lifetime", lifetime)
        self.lease = _check.seconds("lease", lease)
        if self.lease > self.lifetime:
            _check.refuse("lease", lease, f"at most lifetime, which is {self.lifetime:g} s")
        for setting, value in (("in_doubt", in_doubt), ("without_store", without_store)):
            if value not in ("refuse", "execute"):
                _check.refuse(setting, value, '"refuse" or "execute"')
        self.in_doubt = in_doubt
        self.without_store = without_store
        self.desk = Desk(
            store,
            name=self.name,
            lifetime=self.lifetime,
            lease=self.lease,
            patience=_check.seconds("patience", patience),
            takes_over=in_doubt == "execute",
            goes_on=without_store == "execute",
        )
        """Where operations are begun and ended."""

    def id_of(self, key: str, *, scope: str = "") -> str:
        """Return under which name a key is in the store: a digest, so that no key is found there.

        Args:
            key: The idempotency key.
            scope: Whose key it is, and for what.

        """
        import hashlib  # noqa: PLC0415 -- only servers need it

        parts = (scope.encode("utf-8", "surrogatepass"), key.encode("utf-8", "surrogatepass"))
        text = b"".join(len(part).to_bytes(4) + part for part in parts)
        return f"{self.name}:{hashlib.sha256(text).hexdigest()}"

    def resolve(
        self, key_id: str, verdict: Literal["forget", "done"], *, answer: object = None, body: bytes = b""
    ) -> bool:
        """End a doubt by hand, after looking at what the operation has done; tell whether there was one.

        Args:
            key_id: The key, as errors and events name it, or from `id_of`.
            verdict: "forget": it took no effect, so the key is free again. "done": it did.
            answer: With "done", what to answer from now on, in the form of whoever reads it: see
                `recorded_response` and `recorded_result`. Left out, a repetition hears that the
                operation was executed, and that its result was not kept.
            body: The body of that answer.

        Raises:
            ConfigError: If the verdict is another word.
            KeyStoreDown: If the store does not answer.

        """
        if verdict not in ("forget", "done"):
            _check.refuse("verdict", verdict, '"forget" or "done"')
        if not key_id.startswith(f"{self.name}:"):
            _check.refuse("key_id", key_id, f'the id of a key of this book, which begins with "{self.name}:"')
        resolving = self.desk.resolve(InThreads(), key_id, answer, body, free=verdict == "forget")
        return complete(resolving)


def opened(book: object) -> KeyBook:
    """Return a book; a store alone becomes one with the usual settings.

    Raises:
        TypeError: If it is neither.

    """
    if isinstance(book, KeyBook):
        return book
    if isinstance(book, type) or not isinstance(book, Store):
        _check.refuse_type("book", book, "a KeyBook or a store")
    return KeyBook(book)
